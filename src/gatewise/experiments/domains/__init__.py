"""Experiments with latent domains: three sources of digits, ten wearers."""
