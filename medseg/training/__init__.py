"""Losses, precision, schedule, loop and checkpoint."""
