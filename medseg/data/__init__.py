"""Volumes in and out, data sets and their official layouts, splits, phantoms, windows and transforms."""
