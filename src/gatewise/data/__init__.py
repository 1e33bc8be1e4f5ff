"""Data sets and tables on disk.

`load` reads one of the small classic data sets that come with gatewise. `sources` lists data sets from other packages
or folders; `mfeat`, `watch` and `opt` read three of them. `ParquetTable` reads large tables in batches. numpy and
pandas are imported only when data are read.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from gatewise.data.catalogue import Description
from gatewise.data.installed import present, source, sources
from gatewise.data.loading import DataSet, describe, load, names
from gatewise.data.origins import Source
from gatewise.data.parquet import ParquetTable

if TYPE_CHECKING:
    from gatewise.data.views import Recordings, Views, mfeat, opt, watch

_VIEWS = ("Recordings", "Views", "mfeat", "opt", "watch")

__all__ = ["DataSet", "Description", "ParquetTable", "Recordings", "Source", "Views", "describe"]
__all__ += ["load", "mfeat", "names", "opt", "present", "source", "sources", "watch"]


if not TYPE_CHECKING:  # a function of this name would make every name a known one

    def __getattr__(name: str) -> object:
        """Import a reader from its module."""
        if name not in _VIEWS:
            raise AttributeError(
                f"module 'gatewise.data' has no attribute {name!r}: its names are {', '.join(__all__)}"
            )
        return getattr(import_module("gatewise.data.views"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
