"""Laws of fits: optima, invariance, EM."""
