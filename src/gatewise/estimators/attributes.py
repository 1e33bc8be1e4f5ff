"""Fitted attributes in numpy: parameters in the shape of the tree, without output axis when y had one dimension."""

from __future__ import annotations

import numpy as np
import torch

from gatewise.core.mixture import Measure, Mixture
from gatewise.fit.torch_state import standard_torch


@standard_torch()
def reported_values(mixture: Mixture, measure: Measure, flat: bool) -> dict[str, object]:
    """Return the attributes by name.

    Returns
    -------
    dict
        `coef_` (*branching, q, d), `intercept_` (*branching, q), `scale_` (*branching, q), `covariance_`
        (*branching, q, q) with a full covariance, `dof_` with Student's t, and `gate_params_`, a dict of arrays per
        level. Parameters that expert or family lack are left out; those that some leaves lack are NaN there.
    """
    depth = mixture.depth
    gates = tuple({name: value.numpy().copy() for name, value in level.items()} for level in measure.gates)
    out: dict[str, object] = {}
    packed = mixture.family.names("covariance")
    for path, value in measure.paths().items():
        room, _, name = path.rpartition(".")
        if room in ("experts", "family") and name not in packed:
            own = mixture.owners(path).reshape(mixture.branching + (1,) * (value.ndim - depth))
            out[f"{name}_"] = _squeezed(torch.where(own, value, torch.nan).numpy(), depth, flat)
    covariance = mixture.family.covariance(measure.family, mixture.outputs(measure))
    if covariance is not None:
        out["covariance_"] = covariance.numpy()
        spread = torch.sqrt(covariance.diagonal(dim1=-2, dim2=-1))
        out["scale_"] = _squeezed(spread.numpy(), depth, flat)
    return {**out, "gate_params_": gates}


def _squeezed(value: np.ndarray, depth: int, flat: bool) -> np.ndarray:
    return (value.squeeze(depth) if flat else value).copy()
