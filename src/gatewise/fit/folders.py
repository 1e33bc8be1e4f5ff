"""Folders of records: made, locked against a second process, their headers written whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any


def make_folder(folder: Path) -> None:
    """Make a folder with its parents, if it is missing.

    Raises
    ------
    ValueError
        If a file stands in its place.
    """
    if any(part.exists() and not part.is_dir() for part in (folder, *folder.parents)):
        raise ValueError(f"{folder} is, or lies under, a file: give a folder")
    folder.mkdir(parents=True, exist_ok=True)


def replace_text(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    scratch.write_text(text, "utf-8")
    scratch.replace(path)


def lock(file: Any, path: Path) -> None:
    """Lock an open file until it is closed.

    Raises
    ------
    ValueError
        If another process has locked it.
    """
    try:
        import fcntl
    except ImportError:  # no such locks on this system
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise ValueError(f"{path} is being written by another process: wait for it, or give another folder") from None
