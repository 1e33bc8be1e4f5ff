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
    """Compute a Voronoi loss between fitted measures and a truth with one level of gates.

    A cell ``A_j`` holds the fitted atoms that are closest to the true atom j in gate location, expert and family
    parameters; biases are not compared (2305.03288). Scales are compared as variances. Before the comparison,
    coinciding true atoms are merged, and temperatures and lengths that are not identified are set to one. If a truth
    with two atoms has a mirror image, the closer of the two is used.

    Parameters
    ----------
    loss : Loss
        One of `LOSSES`, or your own.
    mixture : Mixture
    fitted : Measure
        With any leading batch axes ``*B``.
    truth_mixture : Mixture
    truth : Measure
        Without batch axes. If the truth is a set of measures (dense gates, regime 2), one of them.
    metric : "euclidean" | "sum"
        Distance between two atoms: the norm of the stacked difference, or the sum of the norms of the parameters.
    align : bool
        Whether to minimise over translations of the gate: all those that leave some cell at least its true mass. Biases
        shifted to minus infinity would make every loss the mass of the truth; where that is less, the result says
        `vanishing`. The minimum is found for measures near the truth and for one location entry; else an optimum on
        the edge of cells may be missed, so that the value is an upper bound. False: the published formula in a fixed
        gauge, which depends on the reference branch of the fit.
    rbar : float, optional
        Order of the polynomial system for cells with four or more atoms. Default: the lower bound 7 if there is also an
        empty cell, a case that the theory does not cover; otherwise required.

    Returns
    -------
    Voronoi
        Values ``(*B,)``, and the cell of every fitted atom.

    Raises
    ------
    ValueError
        If fitted model and truth have different parameters, the loss does not cover a path, `rbar` is missing, there
        are fewer fitted than true atoms, a loss for sigmoid gates is used with a translation-invariant gate, or the
        metric is unknown.

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
