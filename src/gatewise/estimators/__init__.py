"""Estimators with scikit-learn's interface. They validate input and hold attributes; the mathematics is in `fit`."""

from gatewise.estimators.regressor import MixtureOfExpertsRegressor
from gatewise.estimators.scoring import log_likelihood_scorer
from gatewise.estimators.serialise import load_model, save_model

__all__ = ["MixtureOfExpertsRegressor", "load_model", "log_likelihood_scorer", "save_model"]
