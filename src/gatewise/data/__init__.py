"""Small classic data sets with their sources, sets that packages or folders bring, and `ParquetTable`, rows on disk."""

from gatewise.data.catalogue import Description
from gatewise.data.images import Images, images
from gatewise.data.installed import Source, present, source, sources
from gatewise.data.loading import DataSet, describe, load, names
from gatewise.data.parquet import ParquetTable
from gatewise.data.views import Recordings, Views, mfeat, opt, watch

__all__ = ["DataSet", "Description", "Images", "ParquetTable", "Recordings", "Source", "Views", "describe", "images"]
__all__ += ["load", "mfeat", "names", "opt", "present", "source", "sources", "watch"]
