"""Data sets that installed packages or a user's folder bring: where each is from, how to get it, its checked bytes.

Nothing is fetched, and no package is imported: only its files are read, and only if their checksums are the known ones.
"""

from __future__ import annotations

import gzip
import hashlib
import sys
import zlib
from difflib import get_close_matches
from importlib import metadata
from pathlib import Path

from gatewise.data.origins import SOURCES, File, Source


def sources() -> tuple[Source, ...]:
    """List all data sets that do not come with gatewise, as ``gatewise data list`` prints them.

    Returns
    -------
    tuple of Source

    Examples
    --------
    >>> [one.name for one in sources()]
    ['digits', 'mnist-5000', 'mfeat', 'fashion-mnist', 'cifar-10', 'watch', 'opt']
    """
    return tuple(SOURCES.values())


def source(name: str) -> Source:
    """Get the description of a data set that does not come with gatewise.

    Parameters
    ----------
    name : str
        The name of one of `sources()`.

    Returns
    -------
    Source

    Raises
    ------
    ValueError
        If the name is unknown; the message lists the names.

    Examples
    --------
    >>> source("digits").name
    'digits'
    """
    found = {one.name: one for one in sources()}
    if name in found:
        return found[name]
    close = get_close_matches(str(name), found, n=1)
    hint = f": did you mean {close[0]!r}?" if close else "."
    raise ValueError(f"no installed data set is called {name!r}{hint} There are {', '.join(found)}")


def present(one: Source, folder: Path | None = None) -> bool:
    """Check whether all files of a data set are installed, without reading them.

    Parameters
    ----------
    one : Source
    folder : Path, optional
        Folder that is searched first.

    Returns
    -------
    bool

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from gatewise.data import present, source
    >>> isinstance(present(source("mfeat"), Path(tempfile.mkdtemp())), bool)
    True
    """
    return any(files and not missing(one, files, folder) for files in (one.files, one.instead))


def contents(one: Source, folder: Path | None = None) -> dict[str, bytes]:
    """Return the checked contents of a source's files by their names, decompressed if they are ``.gz``.

    Parameters
    ----------
    one : Source
    folder : Path, optional
        Of the user; looked into first, then the package, then the system.

    Raises
    ------
    FileNotFoundError
        If a file is nowhere; the message names the command that brings it.
    ValueError
        If a file is damaged or not the known one.
    """
    files = one.instead if one.instead and missing(one, one.files, folder) else one.files
    if absent := missing(one, files, folder):
        absent = missing(one, one.files, folder)
        looked = dict.fromkeys(str(path.parent) for path in places(one, absent[0], folder))
        raise FileNotFoundError(
            f"data set {one.name!r} needs {absent[0].name}, which is not in {', '.join(looked) or _nowhere(one)}. "
            f"To get it: {one.install}"
        )
    return {file.name: _checked(one, file, _find(one, file, folder)) for file in files}


def _nowhere(one: Source) -> str:
    return "a folder, as none was given" if one.package is None else f"the package {one.package}, not installed"


def missing(one: Source, files: tuple[File, ...], folder: Path | None = None) -> list[File]:
    """Return those of the files that are nowhere."""
    return [file for file in files if not any(path.is_file() for path in places(one, file, folder))]


def places(one: Source, file: File, folder: Path | None = None) -> list[Path]:
    """Return where a file may be, in the order in which it is looked for."""
    roots = []
    if folder is not None:
        roots = [Path(folder), *(Path(folder) / part for part in dict.fromkeys((one.name, *one.subfolders)))]
    if one.system is not None:
        prefixes = dict.fromkeys((sys.prefix, "/usr/local", "/usr"))
        roots += [Path(prefix) / "share" / one.system for prefix in prefixes]
    names = [file.name, file.name.removesuffix(".gz")] if file.name.endswith("-ubyte.gz") else [file.name]
    found = [root / name for root in roots for name in names]
    home = _packaged(one, file)
    return found if home is None else [*found, home]


def _packaged(one: Source, file: File) -> Path | None:
    """Return the place of a file of an installed distribution, or None if that is not installed."""
    if one.package is None:
        return None
    try:
        return Path(str(metadata.distribution(one.package).locate_file(file.path)))
    except metadata.PackageNotFoundError:
        return None


def _find(one: Source, file: File, folder: Path | None) -> Path:
    return next(path for path in places(one, file, folder) if path.is_file())


def _checked(one: Source, file: File, path: Path) -> bytes:
    """Return the content of a file, or an error that says what is wrong with it."""
    remedy = f"remove it and get it anew: {one.install}"
    content = path.read_bytes()
    if path.suffix == ".gz":
        try:
            content = gzip.decompress(content)
        except (EOFError, OSError, zlib.error) as cause:
            raise ValueError(f"data set {one.name!r}: {path} cannot be decompressed ({cause}); {remedy}") from cause
    found = hashlib.new(file.method, content, usedforsecurity=False).hexdigest()
    if found != file.digest:
        raise ValueError(
            f"data set {one.name!r}: the content of {path} has the {file.method} sum {found}, expected {file.digest}, "
            f"so it is not the published file; {remedy}"
        )
    return content
