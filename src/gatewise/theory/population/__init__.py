"""Exponents of the population loss near a truth: how far parameters may move for how small a loss."""
