"""Scores of predictions against a data set: overlap, surfaces, classes, intervals, baselines, report."""
