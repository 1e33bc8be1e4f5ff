"""Own measurements: the engine against a counted floor, the fits against references. Never part of the tests.

Only the reading of the source in `benchmarks.house` is shared with them.
"""
