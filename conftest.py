"""Doctests that need a package which is not installed are left out."""

from importlib.util import find_spec

collect_ignore = ["tests/nn/mesh.py"]  # a program that imports the one beside it
collect_ignore += [] if find_spec("transformers") else ["src/gatewise/nn/hub/blocks.py"]
