"""Sets of other kinds as arrays: six views of digits, recordings of a watch, a trial in four clinics."""

from __future__ import annotations

import io
import lzma
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from gatewise.data.installed import contents, source
from gatewise.data.pickles import read_pickle

if TYPE_CHECKING:
    import pandas as pd

VIEWS = {
    "profiles": "fac",
    "Fourier": "fou",
    "Karhunen-Loeve": "kar",
    "morphology": "mor",
    "pixels": "pix",
    "Zernike": "zer",
}


class Views(NamedTuple):
    """Several feature sets (views) of the same objects.

    Attributes
    ----------
    views : dict of str to ndarray (n, d_view)
    label : ndarray (n,) of int64

    Examples
    --------
    >>> import numpy as np
    >>> from gatewise.data import Views
    >>> both = Views({"pixels": np.zeros((5, 4)), "strokes": np.zeros((5, 2))}, np.arange(5))
    >>> {name: view.shape for name, view in both.views.items()}
    {'pixels': (5, 4), 'strokes': (5, 2)}
    """

    views: dict[str, np.ndarray]
    label: np.ndarray


class Recordings(NamedTuple):
    """Multichannel time series with the class and the wearer of each.

    Attributes
    ----------
    series : list of ndarray (time, channels)
    label, wearer, side : ndarray (n,) of int64
        Side 1 is the right arm.
    channels, classes : tuple of str

    Examples
    --------
    >>> import numpy as np
    >>> from gatewise.data import Recordings
    >>> wave = np.sin(np.arange(40.0)).reshape(20, 2)  # 20 times, two channels
    >>> one = np.zeros(1, dtype=np.int64)
    >>> Recordings([wave], one, one, one, ("x", "y"), ("rest",)).series[0].shape
    (20, 2)
    """

    series: list[np.ndarray]
    label: np.ndarray
    wearer: np.ndarray
    side: np.ndarray
    channels: tuple[str, ...]
    classes: tuple[str, ...]

    def windows(self, length: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the whole windows ``(n, length, channels)`` of all series, with class and wearer of each ``(n,)``."""
        count = [len(series) // length for series in self.series]
        parts = (series[: many * length] for series, many in zip(self.series, count, strict=True))
        whole = np.concatenate([part.reshape(-1, length, part.shape[-1]) for part in parts])
        return whole, np.repeat(self.label, count), np.repeat(self.wearer, count)


def mfeat(folder: Path | None = None) -> Views:
    """Load the six views of 2000 handwritten digits; row i is the same digit in every view.

    Parameters
    ----------
    folder : Path, optional
        Folder that is searched first.

    Returns
    -------
    Views

    Raises
    ------
    FileNotFoundError
        If a file is missing; the message gives the command that installs it.
    ValueError
        If a file is damaged or unknown.

    Examples
    --------
    >>> from gatewise.data import mfeat, present, source
    >>> digits = mfeat() if present(source("mfeat")) else None  # where it is installed
    """
    files = contents(source("mfeat"), folder)
    tables = {view: read_view(files[f"mfeat-{short}.csv"]) for view, short in VIEWS.items()}
    label = next(iter(tables.values()))[1]
    if any(not np.array_equal(label, other) for _, other in tables.values()):
        raise ValueError("the views have different labels: their rows are not the same objects")
    return Views({view: values for view, (values, _) in tables.items()}, label)


def read_view(content: bytes) -> tuple[np.ndarray, np.ndarray]:
    """Return features ``(n, d)`` and labels of a table with one line of names and the label last."""
    rows = np.loadtxt(content.decode("ascii").splitlines(), delimiter=",", skiprows=1, ndmin=2)
    return rows[:, :-1], rows[:, -1].astype(np.int64)


def watch(folder: Path | None = None) -> Recordings:
    """Load the smartwatch recordings. The file is a pickle; no code in it is executed.

    Parameters
    ----------
    folder : Path, optional
        Folder that is searched first.

    Returns
    -------
    Recordings

    Raises
    ------
    FileNotFoundError
        If a file is missing; the message gives the command that installs it.
    ValueError
        If a file is damaged or unknown.

    Examples
    --------
    >>> from gatewise.data import present, source, watch
    >>> recordings = watch() if present(source("watch")) else None  # where it is installed
    """
    found = read_recordings(contents(source("watch"), folder)["watch_dataset.npy"])
    label, wearer, side = (np.asarray(found[key], dtype=np.int64) for key in ("y", "subject", "side"))
    return Recordings(
        list(found["X"]), label, wearer, side, tuple(map(str, found["X_labels"])), tuple(map(str, found["y_labels"]))
    )


def read_recordings(content: bytes) -> dict[str, Any]:
    """Return the dict that an npy file of one object holds.

    Raises
    ------
    ValueError
        If the file is another one.
    """
    file = io.BytesIO(content)
    if np.lib.format.read_magic(file) != (1, 0):
        raise ValueError("the npy file does not have version 1.0: download it again")
    shape, _, kind = np.lib.format.read_array_header_1_0(file)
    if shape != () or not kind.hasobject:
        raise ValueError(f"the npy file holds {kind} of shape {shape}: one object was expected")
    return read_pickle(content[file.tell() :]).item()


def opt(folder: Path | None = None) -> pd.DataFrame:
    """Load a trial of 823 pregnancies with 171 columns, one of them ``Clinic``. The file is a pickle; no code is run.

    Text is as in the file, with trailing spaces; missing values are None or NaN.

    Parameters
    ----------
    folder : Path, optional
        Folder that is searched first.

    Returns
    -------
    DataFrame

    Raises
    ------
    FileNotFoundError
        If a file is missing; the message gives the command that installs it.
    ValueError
        If a file is damaged or unknown.

    Examples
    --------
    >>> from gatewise.data import opt, present, source
    >>> trial = opt() if present(source("opt")) else None  # where it is installed
    """
    import pandas as pd

    return pd.DataFrame(read_pickle(lzma.decompress(contents(source("opt"), folder)["opt.pkl.compress"])))
