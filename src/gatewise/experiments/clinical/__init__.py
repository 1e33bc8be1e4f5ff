"""Experiments with clinical time series, on files of one's own."""
