"""Own measurements: the engine against a counted floor, the fits against references. Never part of the tests."""
