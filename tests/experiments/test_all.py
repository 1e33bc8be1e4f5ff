"""What holds for every experiment."""

import inspect

import pytest

from gatewise.data import sources
from gatewise.experiments import EXPERIMENTS, gates_of

EVERY = pytest.mark.parametrize("experiment", EXPERIMENTS.values(), ids=EXPERIMENTS)


@EVERY
def test_names_gates_and_needs_are_known(experiment):
    assert EXPERIMENTS[experiment.name] is experiment
    assert all(gates_of(gate) for gate in experiment.gates)
    assert not set(experiment.baselines) & set(experiment.gates)
    assert set(experiment.needs) <= {one.name for one in sources()}
    assert set(experiment.claim[:2]) <= set(experiment.gates)
    assert sorted(set(experiment.rates)) == list(experiment.rates)
    assert len(set(experiment.variants)) == len(experiment.variants)


@EVERY
def test_every_experiment_says_what_it_compares(experiment):
    assert len(experiment.why) > 200
    assert all(measure.title for measure in experiment.measures.values())
    assert next(iter(experiment.measures.values())).more is not None


@EVERY
def test_running_takes_one_job(experiment):
    assert list(inspect.signature(experiment.run).parameters)[-1] == "job"
