"""Writing files whole or not at all, and appending to files of records. Everything in gatewise that writes goes here.

It lies below all rooms and imports nothing but the standard library, so that layers, models, records and pages share
one writer. `atomic_write` is for files that a user names: links are followed, and what is no regular file is refused.
Folders of records may come from elsewhere, so that nothing in them is followed: their files pass `plain_file`.
"""

from __future__ import annotations

import errno
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

REMEDIES = {
    errno.ENOSPC: "make room, or choose another place",
    errno.EDQUOT: "make room, or choose another place",
    errno.EFBIG: "raise the limit (ulimit -f), or choose another place",
}
KINDS = {
    stat.S_IFDIR: "a directory",
    stat.S_IFIFO: "a pipe",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
    stat.S_IFLNK: "a link",
}


@contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a scratch path that replaces a file when the block ends well, and is removed otherwise.

    The scratch file lies beside the file, or beside what it links to; the file keeps its permissions.

    Raises
    ------
    OSError
        In words with the path and the remedy, if it cannot be written or is no regular file.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     target = Path(folder) / "page.html"
    ...     with atomic_write(target) as scratch:
    ...         _ = scratch.write_text("all of it")
    ...     target.read_text()
    'all of it'
    """
    target = require_writable(path)
    scratch = _make_scratch(target)
    try:
        with _in_words(target, scratch):
            yield scratch
            _sync(scratch)
            scratch.replace(target)
    finally:
        scratch.unlink(missing_ok=True)


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write a text in UTF-8, whole or not at all (`atomic_write`)."""
    with atomic_write(path) as scratch:
        scratch.write_text(text, "utf-8")


def append_lines(file: BinaryIO, lines: str) -> None:
    """Append to a file that is open in binary mode, and wait until it is on the disk; what does not fit is cut off.

    Raises
    ------
    OSError
        In words, if the disk is full.
    """
    path = Path(file.name)
    begin = os.fstat(file.fileno()).st_size
    try:
        with _in_words(path, path, "what stood there before is kept: "):
            _write_through(file, lines.encode())
    except OSError:
        os.truncate(path, begin)
        raise


def _write_through(file: BinaryIO, data: bytes) -> None:
    """Write past the buffer, which would keep what does not fit and try again when the file is closed."""
    file.flush()
    left = memoryview(data)
    while left:
        left = left[os.write(file.fileno(), left) :]
    os.fsync(file.fileno())


def require_writable(path: str | os.PathLike[str]) -> Path:
    """Return the regular file behind a path, links followed, after checking that it can be written.

    Raises
    ------
    OSError
        With the cause and the remedy.
    """
    given = Path(path)
    kind = _kind(given)
    if kind == stat.S_IFDIR:
        raise IsADirectoryError(f"{given} is a directory: give the name of a file")
    if kind not in (None, stat.S_IFREG):
        raise OSError(f"{given} is {KINDS[kind]}, which would be lost: give the name of a regular file")
    target = Path(os.path.realpath(given)) if given.is_symlink() else given
    if target.is_symlink():
        raise OSError(f"{given} is a link that leads to itself: give the name of a regular file")
    if not target.parent.is_dir():
        raise FileNotFoundError(f"there is no directory {target.parent} for {target.name}: create it first")
    if kind is not None and not os.access(target, os.W_OK):
        raise PermissionError(f"{given} is write-protected: choose another name, or make it writable")
    _make_scratch(target).unlink()
    return target


def _kind(path: Path) -> int | None:
    """Return what a path leads to, None if it is not there."""
    try:
        return stat.S_IFMT(path.stat().st_mode)
    except OSError:
        return None


def _make_scratch(target: Path) -> Path:
    """Make an empty file of a name that no other process has, beside a file and with its permissions."""
    scratch = target.with_name(f".{target.name[:40]}.{secrets.token_hex(8)}.part")
    try:
        os.close(os.open(scratch, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    except OSError as cause:
        raise _told(cause, f"cannot write to {target.parent}") from cause
    if target.exists():
        scratch.chmod(stat.S_IMODE(target.stat().st_mode))
    return scratch


def _sync(path: Path) -> None:
    """Wait until a file is on the disk."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())


@contextmanager
def _in_words(path: Path, scratch: Path, kept: str = "") -> Iterator[None]:
    """Say which file could not be written; errors about other files pass."""
    try:
        yield
    except OSError as cause:
        if cause.errno is None or cause.filename not in (None, str(scratch), scratch):
            raise
        raise _told(cause, f"{path} cannot be written", kept) from cause


def _told(cause: OSError, head: str, kept: str = "") -> OSError:
    """Return an error in words with the number of its cause."""
    remedy = REMEDIES.get(cause.errno or 0, "choose another place")
    told = type(cause)(f"{head} ({cause.strerror}): {kept}{remedy}")
    told.errno = cause.errno
    return told


def require_there(path: Path, words: str = "there is no file {}: check the path") -> None:
    """Raise unless something is at a path; says so before anything heavy is imported.

    Raises
    ------
    FileNotFoundError
        With the words.
    """
    if not path.exists():
        raise FileNotFoundError(words.format(path))


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
        raise _told(cause, f"cannot make the directory {folder}") from None
    _make_scratch(folder / "index.html").unlink()
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
            raise ValueError(f"{path} is named twice: give each file its own path")
        seen.add(place)


def plain_file(path: Path) -> Path:
    """Return a path inside a folder that may come from elsewhere, unless something else than a file stands there.

    Links are not followed: one could lead a report to read or to replace any file of its reader.

    Raises
    ------
    ValueError
        If it is a link, a directory, a pipe or a device.
    """
    try:
        kind = stat.S_IFMT(path.lstat().st_mode)
    except FileNotFoundError:
        return path
    if kind != stat.S_IFREG:
        raise ValueError(
            f"{path} is {KINDS.get(kind, 'no file')}: a folder of records holds plain files, and nothing in it is "
            "followed; put a copy of the file there, or remove it"
        )
    return path
