"""The book: run the pages, stage them, build the HTML."""
