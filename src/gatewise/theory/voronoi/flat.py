"""The Voronoi loss of mixtures with one level of gates."""

from __future__ import annotations

from gatewise.core.mixture import Measure, Mixture
from gatewise.theory.voronoi.atoms import atoms
from gatewise.theory.voronoi.compare import compare
from gatewise.theory.voronoi.losses import Loss
from gatewise.theory.voronoi.result import Voronoi


def voronoi_loss(
    loss: Loss,
    mixture: Mixture,
    fitted: Measure,
    truth_mixture: Mixture,
    truth: Measure,
    *,
    metric: str = "euclidean",
    align: bool = True,
    rbar: float | None = None,
) -> Voronoi:
    """Return the loss between fitted measures and a truth with one level of gates.

    A cell ``A_j`` holds the fitted atoms closest to the true atom j in gate location, expert and family parameters,
    bias excluded (2305.03288). Scales are variances. True atoms that coincide are merged; temperatures and lengths
    that no data identify are set to one before; a truth of two atoms with a mirror image takes the closer one.

    Parameters
    ----------
    loss : Loss
        One of `LOSSES` or your own.
    mixture : Mixture
    fitted : Measure
        With any leading batch dimensions ``*B``.
    truth_mixture : Mixture
    truth : Measure
        Without batch. For projections (dense and Regime 2 losses) one member of the set.
    metric : "euclidean" | "sum"
        Distance of two atoms: norm of the stacked difference, or sum of the norms of the parameters.
    align : bool
        Take the infimum over translations of the gate. False: the published formula for a fixed gauge, which depends
        on how the fit is anchored.
    rbar : float, optional
        Order of the polynomial system for cells of four and more atoms. A cell of that size beside an empty cell, which
        the theory does not cover, takes the lower bound 7 if none is given.

    Returns
    -------
    Voronoi

    Raises
    ------
    ValueError
        For mixtures with other parameters than the truth, paths the loss says nothing of, a missing `rbar`, fewer
        fitted than true atoms, a loss for sigmoid gates with a gate that has translations, an unknown metric.

    Examples
    --------
    The truth against itself with all gates shifted:

    >>> import torch
    >>> from gatewise.core.gates import GATES
    >>> from gatewise.theory.voronoi.losses import LOSSES
    >>> model = Mixture((GATES["softmax"],), (2,))
    >>> def measure(shift):
    ...     gate = {"weight": torch.tensor([[25.0], [0.0]]) + shift, "bias": torch.tensor([-8.0, 0.0]) + shift}
    ...     experts = {"coef": torch.tensor([[[-20.0]], [[20.0]]]), "intercept": torch.tensor([[15.0], [-5.0]])}
    ...     return Measure((gate,), experts, {"scale": torch.tensor([[0.3], [0.4]])})
    >>> found = voronoi_loss(LOSSES["exact"], model, measure(0.5), model, measure(0.0))
    >>> f"{float(found.value):.6f} {found.cells.tolist()}"
    '0.000000 [0, 1]'
    """
    own, true = atoms(mixture, fitted), atoms(truth_mixture, truth)
    return compare(loss, own, true, metric=metric, align=align, rbar=rbar)
