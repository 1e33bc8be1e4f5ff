"""How well the experts of a fit are told apart: sizes, posterior probabilities, entropy, confusion."""

from __future__ import annotations

from dataclasses import dataclass
from math import log
from typing import TYPE_CHECKING

import numpy as np

from gatewise.markup import lines, page, table

if TYPE_CHECKING:
    from pandas import DataFrame

SURE = 0.8  # posterior probability from which a row counts as clearly of one expert


@dataclass(frozen=True)
class Classification:
    """Posterior classification of rows by the experts, returned by the method `classification`.

    Attributes
    ----------
    posterior : ndarray (n, L)
        Probability of every expert given x and y, of every row or group of rows.
    names : tuple of str
        Of the experts.
    unit : {"rows", "groups"}
        What is counted.
    weight : ndarray (n,), optional
        How often every row or group counts; default: once.

    Examples
    --------
    >>> from gatewise import MixtureOfExpertsRegressor
    >>> from gatewise.data import load
    >>> tone = load("tone")
    >>> model = MixtureOfExpertsRegressor(n_experts=2, gate="constant", n_init=1, random_state=0).fit(tone.X, tone.y)
    >>> found = model.classification(tone.X, tone.y)
    >>> found.posterior.shape, found.names
    ((150, 2), ('0', '1'))
    """

    posterior: np.ndarray
    names: tuple[str, ...]
    unit: str = "rows"
    weight: np.ndarray | None = None

    @property
    def assigned(self) -> np.ndarray:
        """The most probable expert of every row or group ``(n,)``."""
        return self.posterior.argmax(1)

    @property
    def entropy(self) -> float:
        """Relative entropy ``1 - sum -p log p / (n log L)``: 1 if every row is certain, 0 if none is; NaN for L = 1.

        Rows count as often as their weight says, here as in the table.
        """
        count = self.posterior.shape[1]
        if count == 1:
            return float("nan")
        p = np.clip(self.posterior, 1e-300, 1.0)
        return float(1.0 + self._weights @ (p * np.log(p)).sum(1) / (self._weights.sum() * log(count)))

    def to_frame(self) -> DataFrame:
        """Return a row per expert.

        ``share`` is the mean posterior probability, ``rows`` the number of rows that have the expert as the most
        probable one (``groups``: of groups), ``mean posterior`` their mean probability of it, and ``above 0.8`` the
        share of them for which that is above .8.
        """
        import pandas as pd

        return pd.DataFrame(self._columns()).set_index("expert")

    @property
    def confusion(self) -> DataFrame:
        """Mean posterior probability of every expert (columns) over the rows assigned to each (rows)."""
        import pandas as pd

        means = [self._means(self.posterior, k) for k in self._all()]
        return pd.DataFrame(means, index=pd.Index(self.names, name="assigned to"), columns=list(self.names))

    @property
    def _weights(self) -> np.ndarray:
        """The weight of every row, 1 without weights."""
        return np.ones(len(self.posterior)) if self.weight is None else self.weight

    def _all(self) -> range:
        return range(len(self.names))

    def _means(self, values: np.ndarray, expert: int) -> np.ndarray:
        """Return the weighted mean of values ``(n, L)`` over the rows assigned to an expert, NaN if there are none."""
        own = np.where(self.assigned == expert, self._weights, 0.0)
        return own @ values / own.sum() if own.any() else np.full(values.shape[1], np.nan)

    def _columns(self) -> dict[str, list[object]]:
        counts = np.bincount(self.assigned, self._weights, len(self.names))
        whole = bool((counts == counts.round()).all())
        return {
            "expert": list(self.names),
            "share": (self._weights @ self.posterior / self._weights.sum()).tolist(),
            self.unit: [round(one) if whole else one for one in counts.tolist()],
            "mean posterior": [float(self._means(self.posterior, k)[k]) for k in self._all()],
            f"above {SURE:g}": [float(self._means(self.posterior > SURE, k)[k]) for k in self._all()],
        }

    def text(self) -> str:
        """Return the table of the experts and the relative entropy."""
        return f"{self.to_frame().to_string(float_format=lambda v: f'{v:.4f}')}\nrelative entropy {self.entropy:.4f}"

    def __str__(self) -> str:
        return self.text()

    def __repr__(self) -> str:
        return self.text()

    def _repr_html_(self) -> str:
        return page("Classification", table(self._columns()), lines([f"relative entropy {self.entropy:.4f}"]))
