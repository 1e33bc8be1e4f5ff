"""Experiments with several modalities, some of which are missing: digits' features and a watch."""
