"""Small classic data sets with their sources: `names`, `describe`, `load`; and `ParquetTable`, rows on disk."""

from gatewise.data.catalogue import Description
from gatewise.data.loading import DataSet, describe, load, names
from gatewise.data.parquet import ParquetTable

__all__ = ["DataSet", "Description", "ParquetTable", "describe", "load", "names"]
