"""Progress follows what a fit reports."""

import io

import numpy as np
import pytest
from rich.console import Console
from rich.progress import Progress

from gatewise import MixtureOfExpertsRegressor
from gatewise.report.progress import Listener


@pytest.fixture
def listener():
    return Listener(Progress(console=Console(file=io.StringIO()), disable=True))


def test_the_bar_shows_stage_and_starts(listener):
    listener.begin("softmax")
    listener("Newton", 3, 20)
    task = listener.progress.tasks[0]
    assert (task.description, task.completed, task.total) == ("softmax: Newton", 3, 20)
    listener.begin("laplace")
    assert (task.description, task.completed) == ("laplace", 0)


def test_a_fit_reports_every_stage_and_ends_its_starts():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(100, 1))
    y = np.where(rng.uniform(size=100) < 0.5, 2 * x[:, 0], -2 * x[:, 0]) + 0.3 * rng.normal(size=100)
    heard = []
    MixtureOfExpertsRegressor(n_init=4, random_state=0, verbose=lambda *words: heard.append(words)).fit(x, y)
    assert {stage for stage, _, _ in heard} >= {"EM", "L-BFGS", "Newton"}
    assert all(0 <= done <= total for _, done, total in heard)
    assert any(done > 0 for _, done, _ in heard)
