"""What a page shows: tables, figures, the volume viewer."""
