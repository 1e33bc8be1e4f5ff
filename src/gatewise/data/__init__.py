"""Small classic data sets with their sources: `names`, `describe`, `load`."""

from gatewise.data.catalogue import Description
from gatewise.data.loading import DataSet, describe, load, names

__all__ = ["DataSet", "Description", "describe", "load", "names"]
