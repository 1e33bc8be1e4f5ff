"""Covariances of estimates: observed information, outer products, sandwich, and when there are none."""
