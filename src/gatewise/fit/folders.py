"""Folders of records: made, locked against a second process, their headers written whole or not at all."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
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


def read_header(path: Path, needed: Iterable[str], missing: str) -> dict[str, Any]:
    """Return the names and values of a folder's header, a file of JSON.

    Raises
    ------
    ValueError
        With the words for `missing` if there is none; if it is damaged, or lacks a needed name.
    """
    if not path.is_file():
        raise ValueError(missing)
    try:
        held = json.loads(path.read_text("utf-8", errors="replace"))
    except ValueError:
        held = None
    if not isinstance(held, dict) or not set(needed) <= set(held):
        raise ValueError(f"{path} is damaged: move the folder away, and run it again")
    return held
