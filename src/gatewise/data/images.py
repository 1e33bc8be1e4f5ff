"""Sets of small images as arrays, read from the files of packages or of a user's folder."""

from __future__ import annotations

import struct
from collections.abc import Callable
from math import prod
from pathlib import Path
from typing import NamedTuple

import numpy as np

from gatewise.data.installed import contents, source
from gatewise.data.pickles import read_pickle

DIGITS = tuple("0123456789")
CLOTHES = ("T-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot")
THINGS = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
BYTES, SIDE = 0x08, 32  # IDX code of unsigned bytes; pixels along a side of CIFAR-10


class Images(NamedTuple):
    """Images with their classes.

    Attributes
    ----------
    pixels : ndarray (n, channels, height, width) of uint8
        From 0 to `top`.
    label : ndarray (n,) of int64
        From 0.
    classes : tuple of str
    top : int
    train : int
        The first rows are the set's own training part, the others its test part; n where the set has no parts.
    """

    pixels: np.ndarray
    label: np.ndarray
    classes: tuple[str, ...]
    top: int
    train: int


def images(name: str, folder: Path | None = None) -> Images:
    """Load a set of images.

    Parameters
    ----------
    name : str
        "digits", "mnist-5000", "fashion-mnist" or "cifar-10".
    folder : Path, optional
        Where the user keeps files that no package brings.

    Raises
    ------
    ValueError
        For an unknown name, or a file that is damaged or not the published one.
    FileNotFoundError
        If a file is nowhere; the message names the command that brings it.

    Examples
    --------
    >>> images("digits").pixels.shape
    (1797, 1, 8, 8)
    """
    if name not in READERS:
        raise ValueError(f"no set of images is called {name!r}: choose one of {', '.join(READERS)}")
    return READERS[name](contents(source(name), folder))


def table_of_pixels(content: bytes, side: int) -> tuple[np.ndarray, np.ndarray]:
    """Return images ``(n, 1, side, side)`` and labels of lines of numbers with the label last."""
    rows = np.loadtxt(content.decode("ascii").splitlines(), dtype=np.int64, delimiter=",", ndmin=2)
    if rows.shape[1] != side * side + 1:
        raise ValueError(f"lines of {rows.shape[1]} numbers: {side} x {side} pixels and a label are {side * side + 1}")
    if rows.min() < 0 or rows.max() > 255:
        raise ValueError(f"numbers from {rows.min()} to {rows.max()}: pixels are from 0 to 255")
    return rows[:, :-1].astype(np.uint8).reshape(-1, 1, side, side), rows[:, -1]


def read_idx(content: bytes) -> np.ndarray:
    """Return the array of unsigned bytes of an IDX file: two zeros, the code 8, the number of axes, their lengths.

    Raises
    ------
    ValueError
        If the file is of another kind, or shorter or longer than its head says.
    """
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] != BYTES or len(content) < 4 + 4 * content[3]:
        raise ValueError(f"the file begins by {content[:4]!r}: an IDX file of bytes begins by two zeros, 8, and axes")
    shape = struct.unpack_from(f">{content[3]}I", content, 4)
    values = np.frombuffer(content, np.uint8, offset=4 + 4 * content[3])
    if len(values) != prod(shape):
        raise ValueError(
            f"the IDX file has {len(values)} bytes for the shape {shape}: it is truncated or its header is wrong"
        )
    return values.reshape(shape)


def read_cifar_bin(content: bytes) -> tuple[np.ndarray, np.ndarray]:
    """Return images ``(n, 3, 32, 32)`` and labels of a binary batch: rows of a label and 3072 bytes, red first."""
    width = 1 + 3 * SIDE * SIDE
    if not content or len(content) % width:
        raise ValueError(f"a batch of {len(content)} bytes: CIFAR-10 has {width} bytes per image")
    rows = np.frombuffer(content, np.uint8).reshape(-1, width)
    return rows[:, 1:].reshape(-1, 3, SIDE, SIDE), rows[:, 0].astype(np.int64)


def read_cifar_pickle(content: bytes) -> tuple[np.ndarray, np.ndarray]:
    """Return images ``(n, 3, 32, 32)`` and labels of a python batch, a pickle of which no code is run."""
    found = read_pickle(content)
    if not isinstance(found, dict) or not {"data", "labels"} <= found.keys():
        raise ValueError("the pickle has no 'data' and 'labels': this is not a CIFAR-10 batch")
    pixels, given = np.asarray(found["data"]), found["labels"]
    if not isinstance(given, list) or any(type(one) is not int or not 0 <= one < len(THINGS) for one in given):
        raise ValueError(f"the pickle has the labels {given!r:.60}: a list of whole numbers from 0 to 9 was expected")
    label = np.array(given, dtype=np.int64)
    if pixels.dtype != np.uint8 or pixels.shape != (len(label), 3 * SIDE * SIDE):
        raise ValueError(f"the pickle has {len(label)} labels and data of {pixels.dtype} {pixels.shape}: not CIFAR-10")
    return pixels.reshape(-1, 3, SIDE, SIDE), label


def _checked(pixels: np.ndarray, label: np.ndarray, classes: tuple[str, ...], top: int, train: int) -> Images:
    """Return images whose parts fit together."""
    if len(pixels) != len(label):
        raise ValueError(f"{len(pixels)} images and {len(label)} labels: the files do not belong together")
    if label.min() < 0 or label.max() >= len(classes):
        raise ValueError(f"labels from {label.min()} to {label.max()}: there are {len(classes)} classes from 0")
    return Images(pixels, label, classes, top, train)


def _digits(files: dict[str, bytes]) -> Images:
    pixels, label = table_of_pixels(files["digits.csv.gz"], 8)
    return _checked(pixels, label, DIGITS, 16, len(label))


def _mnist(files: dict[str, bytes]) -> Images:
    pixels, label = table_of_pixels(files["mnist_5k.csv.gz"], 28)
    return _checked(pixels, label, DIGITS, 255, len(label))


def _fashion(files: dict[str, bytes]) -> Images:
    parts = []
    for part in ("train", "t10k"):
        pixels, label = (read_idx(files[f"{part}-{what}-ubyte.gz"]) for what in ("images-idx3", "labels-idx1"))
        parts.append(_checked(pixels[:, None], label.astype(np.int64), CLOTHES, 255, len(label)))
    pixels, label = (np.concatenate([getattr(part, what) for part in parts]) for what in ("pixels", "label"))
    return Images(pixels, label, CLOTHES, 255, parts[0].train)


def _cifar(files: dict[str, bytes]) -> Images:
    batches = [(read_cifar_bin if name.endswith(".bin") else read_cifar_pickle)(one) for name, one in files.items()]
    pixels, labels = zip(*batches, strict=True)
    train = sum(len(label) for label in labels[:-1])
    return _checked(np.concatenate(pixels), np.concatenate(labels), THINGS, 255, train)


READERS: dict[str, Callable[[dict[str, bytes]], Images]] = {
    "digits": _digits,
    "mnist-5000": _mnist,
    "fashion-mnist": _fashion,
    "cifar-10": _cifar,
}
