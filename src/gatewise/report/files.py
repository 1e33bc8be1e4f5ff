"""Writing files whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def whole(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a scratch path beside `path` that replaces it when the block ends well, and is removed otherwise.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     target = Path(folder) / "page.html"
    ...     with whole(target) as scratch:
    ...         _ = scratch.write_text("all of it")
    ...     target.read_text()
    'all of it'
    """
    target = Path(path)
    scratch = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        yield scratch
        scratch.replace(target)
    finally:
        scratch.unlink(missing_ok=True)


def require_writable(path: str | os.PathLike[str]) -> None:
    """Check before long work that a file can be written.

    Raises
    ------
    OSError
        With the cause and the remedy.
    """
    target = Path(path)
    if target.is_dir():
        raise IsADirectoryError(f"{target} is a directory: give the name of a file")
    if not target.parent.is_dir():
        raise FileNotFoundError(f"there is no directory {target.parent} for {target.name}: make it first")
    scratch = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        scratch.touch()
        scratch.unlink()
    except OSError as cause:
        raise OSError(f"cannot write to {target.parent} ({cause.strerror}): choose another place") from None


def require_directory(path: str | os.PathLike[str]) -> Path:
    """Return a directory that exists and can be written to, made when missing.

    Raises
    ------
    OSError
        With the cause and the remedy.
    """
    folder = Path(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise NotADirectoryError(f"{folder} is a file: give the name of a directory") from None
    except OSError as cause:
        raise OSError(f"cannot make the directory {folder} ({cause.strerror}): choose another place") from None
    require_writable(folder / "index.html")
    return folder


def require_different(*paths: Path | None) -> None:
    """Raise unless all paths that are given name different files: nothing that is read, or just written, is lost.

    Raises
    ------
    ValueError
        With the path that was named twice.
    """
    seen: set[Path] = set()
    for path in filter(None, paths):
        place = path.resolve()
        if place in seen:
            raise ValueError(f"{path} is named twice: give every file that is read or written a place of its own")
        seen.add(place)
