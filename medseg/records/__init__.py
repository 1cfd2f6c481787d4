"""One run, one record."""
