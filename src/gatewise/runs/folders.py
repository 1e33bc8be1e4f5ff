"""Folders of records: made, locked against a second process, their headers read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gatewise.files import plain_file


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


def read_header(path: Path, needed: Mapping[str, type], missing: str) -> dict[str, Any]:
    """Return the names and values of a folder's header, a file of JSON, after checking those that are needed.

    Raises
    ------
    ValueError
        With the words for `missing` if there is none; if it is damaged, lacks a needed name, or is no plain file.
    """
    if not plain_file(path).exists():
        raise ValueError(missing)
    try:
        held = json.loads(path.read_text("utf-8", errors="replace"))
    except (ValueError, RecursionError):
        held = None
    if not isinstance(held, dict) or not all(isinstance(held.get(name), kind) for name, kind in needed.items()):
        raise ValueError(f"{path} is damaged: move the folder away, and run it again")
    return held
