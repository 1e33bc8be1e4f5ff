"""Reading the shipped data sets, each checked against its checksum."""

from __future__ import annotations

import hashlib
import io
from difflib import get_close_matches
from importlib import resources
from typing import TYPE_CHECKING, NamedTuple

from gatewise.data.catalogue import CATALOGUE, Description

if TYPE_CHECKING:
    import pandas as pd

_REMEDY = "reinstall gatewise, or restore the file from its repository"


class DataSet(NamedTuple):
    """A loaded data set: `X` and `y` are the columns usually modelled, `frame` holds all columns.

    Attributes
    ----------
    X : DataFrame
        The usual inputs, in their units.
    y : Series
        The usual response.
    frame : DataFrame
        All columns.
    name, target, features, source, licence, sha256
        As in `Description`.

    Examples
    --------
    >>> from gatewise.data import load
    >>> cycle = load("mcycle")
    >>> cycle.X.shape, cycle.target, cycle.features
    ((133, 1), 'accel', ('times',))
    """

    X: pd.DataFrame
    y: pd.Series
    frame: pd.DataFrame
    name: str
    target: str
    features: tuple[str, ...]
    source: str
    licence: str
    sha256: str

    def __repr__(self) -> str:
        return f"<DataSet {self.name}: {len(self.frame)} rows, {self.target} by {', '.join(self.features)}>"


def names() -> tuple[str, ...]:
    """List the names of the data sets that come with gatewise, in alphabetical order.

    Returns
    -------
    tuple of str

    Examples
    --------
    >>> from gatewise import data
    >>> data.names()
    ('ais', 'co2', 'ethanol', 'mcycle', 'npreg', 'nregfix', 'tempanomalies', 'tone')
    """
    return tuple(sorted(CATALOGUE))


def describe(name: str) -> Description:
    """Describe a data set without reading its file.

    Parameters
    ----------
    name : str
        One of `names()`.

    Returns
    -------
    Description

    Raises
    ------
    ValueError
        If no data set has that name; the message lists the names.

    Examples
    --------
    >>> from gatewise import data
    >>> tone = data.describe("tone")
    >>> tone.n, tone.target, tone.features
    (150, 'tuned', ('stretchratio',))
    >>> data.describe("tones")
    Traceback (most recent call last):
    ...
    ValueError: no data set is called 'tones': did you mean 'tone'? There are ais, co2, ethanol, ...
    """
    if name in CATALOGUE:
        return CATALOGUE[name]
    close = get_close_matches(str(name), CATALOGUE, n=1)
    hint = f": did you mean {close[0]!r}?" if close else "."
    raise ValueError(f"no data set is called {name!r}{hint} There are {', '.join(names())}")


def load(name: str) -> DataSet:
    """Load a data set that comes with gatewise, as pandas objects.

    Parameters
    ----------
    name : str
        One of `names()`.

    Returns
    -------
    DataSet
        `X` (n, d) and `y` (n,) are the columns usually modelled; `frame` (n, columns) has all columns in the units of
        the source. No rows are dropped and no values are recoded.

    Raises
    ------
    ValueError
        If no data set has that name, or the checksum of its file is wrong.
    FileNotFoundError
        If the file is missing from the installation.

    Examples
    --------
    >>> from gatewise import data
    >>> tone = data.load("tone")
    >>> tone.X.shape, tone.y.name
    ((150, 1), 'tuned')
    >>> co2 = data.load("co2")
    >>> list(co2.frame.columns)
    ['GNP', 'CO2', 'country']
    """
    import pandas as pd

    entry = describe(name)
    frame = pd.read_csv(io.BytesIO(_verified_bytes(entry)))
    return DataSet(
        X=frame[list(entry.features)],
        y=frame[entry.target],
        frame=frame,
        name=entry.name,
        target=entry.target,
        features=entry.features,
        source=entry.source,
        licence=entry.licence,
        sha256=entry.sha256,
    )


def _verified_bytes(entry: Description) -> bytes:
    """The file's bytes, or an error that says what is wrong with it."""
    path = resources.files("gatewise.data") / "files" / entry.file
    if not path.is_file():
        raise FileNotFoundError(f"data set {entry.name!r} needs {path}, which does not exist: {_REMEDY}")
    content = path.read_bytes()
    found = hashlib.sha256(content).hexdigest()
    if found != entry.sha256:
        raise ValueError(
            f"data set {entry.name!r}: {path} has SHA-256 {found}, expected {entry.sha256}, so its values "
            f"are not the published ones: {_REMEDY}"
        )
    return content
