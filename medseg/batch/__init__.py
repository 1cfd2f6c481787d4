"""Tasks in order, here or on the workers of a Dask scheduler."""
