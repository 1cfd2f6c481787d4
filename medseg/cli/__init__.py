"""The command line: medseg data | train | predict | evaluate | curve | model | study | book."""

from medseg.cli.main import app, main

__all__ = ["app", "main"]
