"""Data with domains: three sources of digits, and windows of a watch by wearer."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from gatewise.data.images import images
from gatewise.data.views import mfeat, watch
from gatewise.experiments.train import DataSplit, split_rows, standard

SIDE = 12  # pixels of the digits
WINDOW, BLOCK = 100, 5  # time points of two seconds, and windows of ten seconds


class DomainRows(NamedTuple):
    """Rows ``(n, d)`` with classes and domains ``(n,)``.

    `block` says which rows are neighbours in time and stay together, where rows have a time; `units` whether the
    columns have units of their own.
    """

    x: Tensor
    y: Tensor
    domain: Tensor
    block: Tensor | None = None
    units: bool = False

    @property
    def domains(self) -> int:
        """How many domains there are."""
        return int(self.domain.max()) + 1

    @property
    def classes(self) -> int:
        """How many classes there are."""
        return int(self.y.max()) + 1

    def split(self, inside: Tensor, seed: int, test: float) -> DataSplit:
        """Return random parts of some rows, whole blocks in each."""
        if self.block is None:
            return DataSplit(*(inside[part] for part in split_rows(len(inside), seed, test=test)))
        every = self.block[inside].unique()
        parts = split_rows(len(every), seed, test=test)
        return DataSplit(*(inside[torch.isin(self.block[inside], every[part])] for part in parts))

    def scaled(self, rows: Tensor) -> DomainRows:
        """Return the data with columns of mean 0 and deviation 1 over some rows, if they have units of their own."""
        return self._replace(x=standard(self.x, rows)) if self.units else self


def three_sources(folder: Path | None) -> DomainRows:
    """Return the digits of three sources, all as 12 x 12 pixels from 0 to 1."""
    own, mnist, features = images("digits", folder), images("mnist-5000", folder), mfeat(folder)
    parts = (
        (own.pixels / own.top, own.label),
        (mnist.pixels / mnist.top, mnist.label),
        (features.views["pixels"].reshape(-1, 1, 16, 15) / 6, features.label),
    )
    x = torch.cat([_resized(pixels) for pixels, _ in parts])
    y = torch.cat([torch.as_tensor(label) for _, label in parts])
    return DomainRows(x, y, torch.cat([torch.full((len(label),), i) for i, (_, label) in enumerate(parts)]))


def _resized(pixels: np.ndarray) -> Tensor:
    values = torch.as_tensor(pixels, dtype=torch.float32)
    return F.interpolate(values, (SIDE, SIDE), mode="bilinear", antialias=True, align_corners=False).flatten(1)


def wearers(folder: Path | None) -> DomainRows:
    """Return two-second windows of the watch: mean, deviation, extremes and mean step of six channels; by wearer."""
    recordings = watch(folder)
    parts, label, wearer = recordings.windows(WINDOW)
    step = np.abs(np.diff(parts, axis=1)).mean(1)
    features = np.concatenate([parts.mean(1), parts.std(1), parts.min(1), parts.max(1), step], 1)
    domain = torch.as_tensor(np.unique(wearer, return_inverse=True)[1])
    count = [len(series) // WINDOW for series in recordings.series]
    numbers = [[(series, window // BLOCK) for window in range(many)] for series, many in enumerate(count)]
    block = np.unique(np.concatenate([one for one in numbers if one]), axis=0, return_inverse=True)[1].ravel()
    x, y = torch.as_tensor(features, dtype=torch.float32), torch.as_tensor(label)
    return DomainRows(x, y, domain, torch.as_tensor(block), units=True)


SETS = {"digits": three_sources, "watch": wearers}
