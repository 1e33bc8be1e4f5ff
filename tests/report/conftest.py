import warnings

import pytest

from gatewise import data
from gatewise.estimators.alerts import FitWarning
from gatewise.report import demo


@pytest.fixture(scope="session")
def section():
    """One small section: counts, two gates."""
    case = next(case for case in demo.CASES if case.name == "npreg")
    case = case._replace(choices=((2, "softmax"), (2, "dense-to-sparse")))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FitWarning)
        return demo.run_case(case, data.load("npreg"), 2, lambda label: None)
