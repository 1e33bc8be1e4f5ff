"""Small classic data sets with their sources, sets that packages or folders bring, and `ParquetTable`, rows on disk.

Readers of views are imported when they are first used, those of images stand in `gatewise.data.images`: listing the
sets loads neither numpy nor pandas.
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
