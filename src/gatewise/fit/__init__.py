"""Estimation: many starts, maximum likelihood, EM and least squares, and the certificate of a local optimum."""

from gatewise.fit.em import expectation_maximisation
from gatewise.fit.least_squares import least_squares
from gatewise.fit.maximum_likelihood import maximum_likelihood
from gatewise.fit.result import Certificate, Fit, Starts
from gatewise.fit.status import Status

__all__ = ["Certificate", "Fit", "Starts", "Status", "expectation_maximisation", "least_squares", "maximum_likelihood"]
