"""gatewise: mixtures of experts with any gate, in one or several levels, with certified optima.

The public names are those in `__all__` here and in `gatewise.nn`, `gatewise.theory`, `gatewise.experiments`,
`gatewise.data`, `gatewise.plots` and `gatewise.testing`; everything else is private. Names are imported on first
use: ``import gatewise`` alone loads neither torch nor scikit-learn.
"""

from __future__ import annotations

import logging
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # what type checkers and editors read; `_HOMES` says the same to Python
    from gatewise import data as data
    from gatewise import experiments as experiments
    from gatewise import nn as nn
    from gatewise import plots as plots
    from gatewise import testing as testing
    from gatewise import theory as theory
    from gatewise.core.experts import EXPERTS, Activation, Constant, Expert, HiddenUnit, Linear, Polynomial
    from gatewise.core.families import (
        FAMILIES,
        Beta,
        Binomial,
        Categorical,
        Family,
        FullGaussian,
        Gamma,
        Gaussian,
        InverseGaussian,
        LogNormal,
        NegativeBinomial,
        OrderedLogit,
        Poisson,
        StudentT,
        Weibull,
    )
    from gatewise.core.gates import GATES, Gate
    from gatewise.core.links import Link, NormalisedSigmoid, ReLU, Sigmoid, Softmax, SqrtSoftplus, TopK
    from gatewise.core.mixture import Measure, Mixture
    from gatewise.core.parameters import Parameter
    from gatewise.core.predictors import affine
    from gatewise.core.scores import Activated, Affine, Bias, Cosine, Distance, Quadratic, Score, Tempered
    from gatewise.estimators.bootstrap import BootstrapTest, bootstrap_test
    from gatewise.estimators.bootstrap_errors import Bootstrap, bootstrap
    from gatewise.estimators.candidates import compare
    from gatewise.estimators.classification import Classification
    from gatewise.estimators.classifier import MixtureOfExpertsClassifier
    from gatewise.estimators.formula import moe
    from gatewise.estimators.inference import Inference
    from gatewise.estimators.regressor import MixtureOfExpertsRegressor
    from gatewise.estimators.sample_size import sample_size
    from gatewise.estimators.scoring import log_likelihood_scorer
    from gatewise.estimators.selection import Selection, select
    from gatewise.estimators.serialise import ModelFileError, load_model, save_model
    from gatewise.estimators.summary_value import Summary
    from gatewise.estimators.warnings import (
        BoundWarning,
        CollinearWarning,
        FitWarning,
        RefusedWarning,
        RidgeWarning,
        SeparatedWarning,
        StalledWarning,
        StartsDisagreeWarning,
        UnidentifiedWarning,
        UnsoundWarning,
    )
    from gatewise.fit.em import expectation_maximisation
    from gatewise.fit.least_squares import least_squares
    from gatewise.fit.many import Plan, many_fits
    from gatewise.fit.maximum_likelihood import maximum_likelihood
    from gatewise.fit.result import Certificate, Fit, Starts
    from gatewise.fit.spec import FitSpec
    from gatewise.fit.status import Status
    from gatewise.infer.covariance.information import information
    from gatewise.infer.covariance.value import Information
    from gatewise.infer.delta import Derived, delta
    from gatewise.infer.hypotheses import HypothesisTest
    from gatewise.infer.identifiability import Identifiability, identify
    from gatewise.infer.intervals import Intervals, wald
    from gatewise.infer.planning.value import SampleSize
    from gatewise.infer.profile.likelihood import Profile, profile
    from gatewise.objective.rows import Rows, make_rows
    from gatewise.report.card import model_card
    from gatewise.report.experiment.write import write_experiment

__version__ = "0.1.0"

__all__ = [
    "EXPERTS",
    "FAMILIES",
    "GATES",
    "Activated",
    "Activation",
    "Affine",
    "Beta",
    "Bias",
    "Binomial",
    "Bootstrap",
    "BootstrapTest",
    "BoundWarning",
    "Categorical",
    "Certificate",
    "Classification",
    "CollinearWarning",
    "Constant",
    "Cosine",
    "Derived",
    "Distance",
    "Expert",
    "Family",
    "Fit",
    "FitSpec",
    "FitWarning",
    "FullGaussian",
    "Gamma",
    "Gate",
    "Gaussian",
    "HiddenUnit",
    "HypothesisTest",
    "Identifiability",
    "Inference",
    "Information",
    "Intervals",
    "InverseGaussian",
    "Linear",
    "Link",
    "LogNormal",
    "Measure",
    "Mixture",
    "MixtureOfExpertsClassifier",
    "MixtureOfExpertsRegressor",
    "ModelFileError",
    "NegativeBinomial",
    "NormalisedSigmoid",
    "OrderedLogit",
    "Parameter",
    "Plan",
    "Poisson",
    "Polynomial",
    "Profile",
    "Quadratic",
    "ReLU",
    "RefusedWarning",
    "RidgeWarning",
    "Rows",
    "SampleSize",
    "Score",
    "Selection",
    "SeparatedWarning",
    "Sigmoid",
    "Softmax",
    "SqrtSoftplus",
    "StalledWarning",
    "Starts",
    "StartsDisagreeWarning",
    "Status",
    "StudentT",
    "Summary",
    "Tempered",
    "TopK",
    "UnidentifiedWarning",
    "UnsoundWarning",
    "Weibull",
    "__version__",
    "affine",
    "bootstrap",
    "bootstrap_test",
    "compare",
    "delta",
    "expectation_maximisation",
    "identify",
    "information",
    "least_squares",
    "load_model",
    "log_likelihood_scorer",
    "make_rows",
    "many_fits",
    "maximum_likelihood",
    "model_card",
    "moe",
    "profile",
    "sample_size",
    "save_model",
    "select",
    "wald",
    "write_experiment",
]

_HOMES = {
    "core.experts": "EXPERTS Activation Constant Expert HiddenUnit Linear Polynomial",
    "core.families": (
        "FAMILIES Beta Binomial Categorical Family FullGaussian Gamma Gaussian InverseGaussian LogNormal "
        "NegativeBinomial OrderedLogit Poisson StudentT Weibull"
    ),
    "core.gates": "GATES Gate",
    "core.links": "Link NormalisedSigmoid ReLU Sigmoid Softmax SqrtSoftplus TopK",
    "core.mixture": "Measure Mixture",
    "core.parameters": "Parameter",
    "core.predictors": "affine",
    "objective.rows": "Rows make_rows",
    "core.scores": "Activated Affine Bias Cosine Distance Quadratic Score Tempered",
    "estimators.warnings": "BoundWarning CollinearWarning FitWarning RefusedWarning RidgeWarning SeparatedWarning "
    "StalledWarning StartsDisagreeWarning UnidentifiedWarning UnsoundWarning",
    "estimators.bootstrap": "BootstrapTest bootstrap_test",
    "estimators.bootstrap_errors": "Bootstrap bootstrap",
    "estimators.classification": "Classification",
    "estimators.classifier": "MixtureOfExpertsClassifier",
    "estimators.inference": "Inference",
    "estimators.formula": "moe",
    "estimators.regressor": "MixtureOfExpertsRegressor",
    "estimators.sample_size": "sample_size",
    "estimators.scoring": "log_likelihood_scorer",
    "estimators.candidates": "compare",
    "estimators.selection": "Selection select",
    "estimators.serialise": "ModelFileError load_model save_model",
    "estimators.summary_value": "Summary",
    "fit.em": "expectation_maximisation",
    "fit.least_squares": "least_squares",
    "fit.many": "Plan many_fits",
    "fit.maximum_likelihood": "maximum_likelihood",
    "fit.result": "Certificate Fit Starts",
    "fit.spec": "FitSpec",
    "fit.status": "Status",
    "infer.hypotheses": "HypothesisTest",
    "infer.identifiability": "Identifiability identify",
    "infer.covariance.information": "information",
    "infer.covariance.value": "Information",
    "infer.delta": "Derived delta",
    "infer.intervals": "Intervals wald",
    "infer.profile.likelihood": "Profile profile",
    "infer.planning.value": "SampleSize",
    "report.card": "model_card",
    "report.experiment.write": "write_experiment",
}
_ROOMS = {name: f"gatewise.{home}" for home, names in _HOMES.items() for name in names.split()}
_DOORS = ("data", "experiments", "nn", "plots", "testing", "theory")

logging.getLogger("gatewise").addHandler(logging.NullHandler())

if not TYPE_CHECKING:  # a function of this name would make every name a known one

    def __getattr__(name: str) -> object:
        """Import a public name from its room."""
        if name in _DOORS:
            return import_module(f"gatewise.{name}")
        if name not in _ROOMS:
            raise AttributeError(f"module 'gatewise' has no attribute {name!r}: its names are {', '.join(__all__)}")
        value = globals()[name] = getattr(import_module(_ROOMS[name]), name)
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_DOORS})
