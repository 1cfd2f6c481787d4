"""Speed, memory and disk against a baseline, as ratios within one run: `python -m benchmarks [NAME ...]`."""
