"""Folders with records in one compressed file with check sums, and back."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

from gatewise.files import atomic_write, plain_file, require_there
from gatewise.runs.folders import make_folder

INDEX, FORM = "index.json", 2
LARGEST = 2 * 2**30  # bytes of a file that is unpacked


class Kind(NamedTuple):
    """What a packed file holds: the word for it, the command that writes it, and the names of its files."""

    word: str
    command: str
    parts: tuple[str, ...]

    def has(self, part: str) -> bool:
        """Return whether a name is that of a file of such a folder."""
        return Path(part).name == part and any(Path(part).match(pattern) for pattern in self.parts)


def write_archive(
    kind: Kind, folders: Sequence[str | Path], about: Callable[[Path], Mapping[str, Any]], path: str | Path
) -> dict[str, Any]:
    """Write folders to one ``.tar.xz``, whole or not at all, and return its index; equal contents give equal files.

    Parameters
    ----------
    kind : Kind
    folders : sequence of path
        With different names.
    about : callable
        What the index says about a folder, beside the SHA-256 of each of its files.
    path : path

    Raises
    ------
    ValueError
        Without folders, or if two have one name.
    """
    places = {Path(folder).resolve().name: Path(folder) for folder in folders}
    if len(places) < len(folders) or not folders:
        raise ValueError(f"{len(folders)} folders with {len(places)} names: give folders of different names")
    told: dict[str, Any] = {name: dict(about(place)) for name, place in sorted(places.items())}
    contents = {name: _files(kind, places[name]) for name in told}
    for name, parts in contents.items():
        told[name]["sha256"] = {part: hashlib.sha256(data).hexdigest() for part, data in parts.items()}
    index = {"form": FORM, "kind": kind.word, "gatewise": version("gatewise"), "folders": told}
    with atomic_write(plain_file(Path(path))) as scratch, tarfile.open(scratch, "w:xz", preset=6) as archive:
        _add(archive, INDEX, json.dumps(index, indent=1, sort_keys=True).encode())
        for name, parts in contents.items():
            for part, data in parts.items():
                _add(archive, f"{name}/{part}", data)
    return index


def _files(kind: Kind, folder: Path) -> dict[str, bytes]:
    found = sorted({path for pattern in kind.parts for path in folder.glob(pattern)})
    return {path.name: plain_file(path).read_bytes() for path in found}


def _add(archive: tarfile.TarFile, name: str, data: bytes) -> None:
    """Add a file without owner or time, so that equal contents give equal archives."""
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(data), 0o644
    archive.addfile(entry, io.BytesIO(data))


def write_folders(kind: Kind, path: str | Path, into: str | Path) -> list[Path]:
    """Write the folders of a packed file below a folder, and return them.

    Every file is compared with its check sum before anything is written; what the index does not name is left out.

    Raises
    ------
    ValueError
        If the file is of another kind or damaged, or a folder is there already.
    OSError
        If it cannot be read, or a folder cannot be written.
    """
    home = Path(into)
    require_there(Path(path))
    contents = _read(kind, Path(path))
    for name in contents:
        if (home / name).exists():
            raise ValueError(f"{home / name} is there already: move it away, or give another folder")
    for name, parts in contents.items():
        make_folder(home / name)
        for part, data in parts.items():
            with atomic_write(home / name / part) as scratch:
                scratch.write_bytes(data)
    return [home / name for name in contents]


def _read(kind: Kind, path: Path) -> dict[str, dict[str, bytes]]:
    """Return the files of a packed file, by folder and name, each with the check sum that the index has."""
    try:
        with tarfile.open(path, "r:xz") as archive:
            index = json.loads(_member(archive, INDEX))
            form, word = index["form"], index.get("kind")
            if (form, word) == (FORM, kind.word):
                listed = {name: dict(about["sha256"]) for name, about in index["folders"].items()}
                known = {
                    name: {part: _member(archive, f"{name}/{part}") for part in sums} for name, sums in listed.items()
                }
    except (tarfile.TarError, EOFError, KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"{path} is damaged or was not written by {kind.command} ({error})") from None
    if form != FORM:
        raise ValueError(f"{path} has the form {form}, this version reads {FORM}: use the gatewise that wrote it")
    if word != kind.word:
        raise ValueError(f"{path} holds folders of the kind {word!r}: it was not written by {kind.command}")
    for name, sums in listed.items():
        if Path(name).name != name or name in ("", ".", "..") or not all(map(kind.has, sums)):
            raise ValueError(f"{path} names files outside the folders that it holds: it is not used")
        wrong = [part for part, total in sums.items() if hashlib.sha256(known[name][part]).hexdigest() != total]
        if wrong:
            raise ValueError(f"{path} is damaged: {name}/{wrong[0]} has another check sum than the index says")
    return known


def _member(archive: tarfile.TarFile, name: str) -> bytes:
    entry = archive.getmember(name)
    file = archive.extractfile(entry)
    if file is None or entry.size > LARGEST:
        raise ValueError(f"{name} is no file, or larger than {LARGEST} bytes")
    return file.read()
