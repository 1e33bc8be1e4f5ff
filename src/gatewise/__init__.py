"""gatewise: mixtures of experts in which the gate is a choice and the estimate comes with a certificate.

Names are imported when they are first used: ``import gatewise`` alone loads neither torch nor scikit-learn.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_HOMES = {
    "EXPERTS": "gatewise.core.experts",
    "FAMILIES": "gatewise.core.families",
    "GATES": "gatewise.core.gates",
    "Fit": "gatewise.fit",
    "Gate": "gatewise.core.gates",
    "MixtureOfExpertsRegressor": "gatewise.estimators",
    "Status": "gatewise.fit",
    "load_model": "gatewise.estimators",
    "log_likelihood_scorer": "gatewise.estimators",
    "maximum_likelihood": "gatewise.fit",
    "save_model": "gatewise.estimators",
}

__all__ = ["EXPERTS", "FAMILIES", "GATES", "Fit", "Gate", "MixtureOfExpertsRegressor", "Status", "__version__"]
__all__ += ["load_model", "log_likelihood_scorer", "maximum_likelihood", "save_model"]


def __getattr__(name: str) -> Any:
    """Import a public name from its room."""
    if name not in _HOMES:
        raise AttributeError(f"module 'gatewise' has no attribute {name!r}: its names are {', '.join(__all__)}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
