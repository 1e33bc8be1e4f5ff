"""Objectives: data, parameterization, log-likelihood and sum of squares with their derivatives."""
