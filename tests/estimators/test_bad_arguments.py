"""Constructor arguments that cannot be used, each refused with the cause and the remedy."""

import numpy as np
import pytest

from gatewise import Linear, MixtureOfExpertsRegressor


def small(**changed):
    return MixtureOfExpertsRegressor(**{"n_init": 5, "random_state": 0, **changed})


ARGUMENTS = [
    ({"n_experts": 0}, ValueError, "n_experts=0: give a whole number from 1"),
    ({"n_experts": 2.0}, ValueError, "n_experts=2.0: give a whole number"),
    ({"n_experts": []}, ValueError, "or one such number per level"),
    ({"n_experts": True}, ValueError, "n_experts=True"),
    ({"n_experts": (2, "a")}, ValueError, "one such number per level"),
    ({"gate": "sotfmax"}, ValueError, "'sotfmax' is unknown: did you mean 'softmax'"),
    ({"gate": "zzz"}, ValueError, "'zzz' is unknown: the names are"),
    ({"gate": 3}, TypeError, r"give a name of GATES or a Gate"),
    ({"gate": ["softmax", "laplace"]}, ValueError, "gate has 2 entries for 1 level: give one gate"),
    ({"n_experts": (2, 2), "gate": ["softmax"]}, ValueError, "gate has 1 entries for 2 levels"),
    ({"gate": "sigmoid"}, ValueError, "do not sum to one.*'normalised-sigmoid'"),
    ({"gate": "top-k"}, ValueError, "the objective jumps"),
    ({"expert": "liner"}, ValueError, "did you mean 'linear'"),
    ({"family": "gausian"}, ValueError, "did you mean 'gaussian'"),
    ({"family": 3}, TypeError, "give a name of FAMILIES"),
    ({"family": "normal"}, ValueError, "'normal' is unknown: did you mean 'gaussian'"),
    ({"family": "multinomial"}, ValueError, "did you mean 'categorical'"),
    *(
        ({"gate": name}, ValueError, f"gate '{name}' is unknown: did you mean 'softmax'")
        for name in ("multinomial", "Multinomial-Logit", "multinomial logit", "logit", "logistic", "concomitant")
    ),
    ({"gate": ["softmax", "multinomial"], "n_experts": (2, 2)}, ValueError, "did you mean 'softmax'"),
    ({"family": "Bernoulli"}, ValueError, "did you mean 'binomial'"),
    (
        {"expert": Linear},
        TypeError,
        r"expert=Linear is a class: give an instance, such as Linear\(\), or a name of EXP",
    ),
    ({"gate": Linear}, TypeError, "gate=Linear is a class: give an instance of Gate, or a name of GATES"),
    ({"gauge": None}, ValueError, "gauge=None is unknown: did you mean 'none'"),
    ({"scale": "fre"}, ValueError, "did you mean 'free'"),
    ({"scale": "shared", "family": "poisson"}, ValueError, "it has no scale; leave scale='free'"),
    (
        {"covariance": "full", "family": "poisson"},
        ValueError,
        "which has none: the families gaussian, full-gaussian have one",
    ),
    ({"method": "ls", "family": "poisson"}, ValueError, "least squares fits only the mean"),
    ({"method": "ls", "min_scale": 0.1}, ValueError, "least squares fits only the mean"),
    ({"method": "lsq"}, ValueError, "the choices are 'ml', 'em', 'ls'"),
    ({"method": "sgd"}, ValueError, "the choices are 'ml', 'em'"),
    ({"n_init": 0}, ValueError, "n_init=0: give a whole number from 1"),
    ({"max_iter": 2.5}, ValueError, "max_iter=2.5"),
    ({"max_time": 0}, ValueError, "seconds above 0"),
    ({"alpha": -1}, ValueError, "the ridge penalty is a number from 0"),
    ({"alpha": np.nan}, ValueError, "the ridge penalty is a number from 0"),
    ({"min_scale": 0.0}, ValueError, "give a positive number, or one per column of y"),
    ({"min_scale": [1.0, 2.0]}, ValueError, r"one per column of y \(1\)"),
    ({"min_scale": "a"}, ValueError, "min_scale='a': give a number"),
    ({"random_state": -1}, ValueError, "random_state=-1: give None"),
    ({"device": "tpu"}, ValueError, "device='tpu': fits run on the CPU or, by CUDA, on a GPU"),
    ({"gauge": "free"}, ValueError, "the choices are 'fixed', 'none'"),
    ({"standardize": "yes"}, TypeError, "give True or False"),
    ({"gate_features": ["w"]}, ValueError, "X has no column names"),
    ({"gate_features": [5]}, ValueError, "positions from 0 to 1"),
    ({"gate_features": []}, ValueError, "at least one column"),
    ({"gate_features": [0, 0]}, ValueError, "each one once"),
    ({"gate_features": 1.5}, ValueError, "gate_features has 1.5"),
    ({"bounds": {"family.scal": (0, 1)}}, ValueError, "did you mean 'family.scale'"),
    ({"bounds": {"family.scale": 3}}, ValueError, r"give a pair \(lower, upper\)"),
    ({"bounds": {"family.scale": (2, 1)}}, ValueError, "lower limit must not be above"),
    ({"bounds": [1]}, TypeError, "give a dict"),
    ({"fixed": {"experts.coef": [1.0, 2.0, 3.0]}}, ValueError, r"has shape \(3,\)"),
    ({"fixed": {"experts.coef": "a"}}, ValueError, "give a number or an array"),
    ({"fixed": {"family.scale": -1.0}}, ValueError, "inside the parameter's range"),
]


@pytest.mark.parametrize(
    ("arguments", "error", "words"), ARGUMENTS, ids=lambda v: str(v) if isinstance(v, dict) else ""
)
def test_unusable_arguments_are_refused(lines, arguments, error, words):
    with pytest.raises(error, match=words):
        small(**arguments).fit(*lines)


def test_too_many_experts_are_refused(lines):
    with pytest.raises(ValueError, match="n_samples=4 for 6 experts: give at least one row per expert"):
        small(n_experts=(2, 3)).fit(lines[0][:4], lines[1][:4])


@pytest.mark.parametrize("start", ["x", Linear])
def test_a_start_that_is_none_is_told_in_words(start):
    x = np.arange(20.0)[:, None]
    with pytest.raises(TypeError, match=r"start=.*: give a fitted model, its fit_, a Measure, or responsibilities"):
        small(n_experts=1).fit(x, np.sin(x[:, 0]), start=start)
