"""Experiments with images."""
