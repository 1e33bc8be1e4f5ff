"""Inference from a fit: predictions, standard errors and intervals, identifiability."""
