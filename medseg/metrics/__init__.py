"""Judging a segmentation: overlap, surface distances, scores per case, summaries and paired statistics.

Every score is kept per case and per label; means, intervals and tests are computed from those rows. Two
aggregates of Dice exist and are never mixed: the mean over cases (`summary`) and the pooled one (`overlap`).
The background is never part of a mean.
"""
