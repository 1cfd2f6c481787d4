"""Lifting 2D weights to 3D."""
