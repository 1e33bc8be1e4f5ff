"""Adding a part touches one file and one catalogue line.

The parts below are what the new file would hold, and `added` is the line. Everything that takes a name takes the new
one: estimators, summaries, checks, layers, the command line, identifiability, experiments, files.
"""

import json
from dataclasses import dataclass
from math import pi

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from gatewise import MixtureOfExpertsRegressor, identify, load_model, save_model
from gatewise.cli import app
from gatewise.core.experts import EXPERTS, Expert
from gatewise.core.families import FAMILIES, Family
from gatewise.core.gates import GATES, Gate
from gatewise.core.links import Link, Logits
from gatewise.core.parameters import Parameter
from gatewise.core.predictors import affine
from gatewise.core.scores import Score, Tempered
from gatewise.experiments import gates_of
from gatewise.nn import BALANCE_METHODS, BalanceMethod, FusionMoE, MoE, ShareSlopes, load_layer, save_layer
from gatewise.testing import check_expert, check_family, check_gate, check_layer_gate

from .covering import slow_rest


@dataclass(frozen=True)
class Cone(Score):
    """``offset - sqrt(1 + ||x - peak||^2)``."""

    def parameters(self, d):
        return {"peak": Parameter((d,), "location"), "offset": Parameter((), "intercept")}

    def __call__(self, params, x):
        difference = params["peak"][..., None] - x.unsqueeze(-3)
        return params["offset"][..., None] - torch.sqrt(1 + (difference**2).sum(-2))


@dataclass(frozen=True)
class Cauchit(Link):
    """Weights in proportion to ``1/2 + arctan(s) / pi``."""

    translation_invariant = False

    def log_weights(self, scores):
        return self.logits(scores).value.log_softmax(-2)

    def logits(self, scores):
        share, slope = 0.5 + torch.atan(scores) / pi, 1 / (pi * (1 + scores**2))
        first = slope / share
        return Logits(torch.log(share), first, -2 * pi * scores * slope * first - first**2)


@dataclass(frozen=True)
class Ripple(Expert):
    """``height * sin(pitch . x + phase) + level``."""

    def parameters(self, d):
        own = {"pitch": Parameter((d,), "slope"), "phase": Parameter((), "threshold")}
        return own | {"height": Parameter((), "output", initial=1.0), "level": Parameter((), "intercept")}

    def __call__(self, params, x):
        wave = torch.sin(affine(params["pitch"], params["phase"], x))
        return params["height"][..., None] * wave + params["level"][..., None]


@dataclass(frozen=True)
class Logistic(Family):
    """The logistic law around eta with the standard deviation ``width pi / sqrt(3)``."""

    location_scale = True

    def parameters(self, q):
        return {"width": Parameter((q,), "scale", transform="log", bounds=(0.0, float("inf")), initial=1.0)}

    def log_prob(self, params, y, eta):
        width = params["width"][..., None]
        z = (y - eta) / width
        return (torch.nn.functional.logsigmoid(z) + torch.nn.functional.logsigmoid(-z) - torch.log(width)).sum(-2)

    def mean(self, params, eta):
        return eta

    def variance(self, params, eta):
        return (params["width"][..., None] ** 2 * pi**2 / 3).expand_as(eta)

    def cdf(self, params, y, eta):
        return torch.sigmoid((y - eta) / params["width"][..., None])

    def sample(self, params, eta, generator):
        u = torch.rand(eta.shape, generator=generator, dtype=eta.dtype).clamp_min(1e-12)
        return eta + params["width"][..., None] * torch.logit(u)


@dataclass(frozen=True)
class Peak(BalanceMethod):
    """``K^2 sum_j s_j^3`` of the shares of the weights."""

    description = "lowers the sum of the cubes of the weights' shares"
    settings = ("weight",)

    def loss(self, shares):
        return ShareSlopes([3 * (s.shape[-1] * s) ** 2 for s in shares.importance])


PARTS = {
    "gate": (GATES, Gate(Cone(), Cauchit()), check_gate),
    "expert": (EXPERTS, Ripple(), check_expert),
    "family": (FAMILIES, Logistic(), check_family),
}


@pytest.fixture(params=PARTS)
def added(request, monkeypatch):
    """Add a part to its catalogue; give its kind and the options that choose it by name."""
    catalogue, part, _ = PARTS[request.param]
    monkeypatch.setitem(catalogue, "mine", part)
    return {request.param: "mine"}


@pytest.fixture(scope="module")
def table():
    rng = np.random.default_rng(0)
    X = rng.uniform(-2, 2, (150, 2))
    y = np.where(rng.uniform(size=150) < 1 / (1 + X[:, 0] ** 4), 2 * X[:, 0], np.sin(2 * X[:, 1])) + 0.3 * rng.normal(
        size=150
    )
    return X, y


@pytest.mark.filterwarnings("ignore::gatewise.estimators.warnings.FitWarning")
@pytest.mark.parametrize("branching", [2, (2, 2)])
def test_an_estimator_takes_its_name(added, branching, table):
    X, y = table
    model = MixtureOfExpertsRegressor(branching, **added, n_init=2, max_time=2.0, random_state=0).fit(X, y)
    part = PARTS[next(iter(added))][1]
    assert part in (*model.mixture_.gates, model.mixture_.expert, model.mixture_.family)
    names = {name for own in (part.score if isinstance(part, Gate) else part,) for name in own.parameters(2)}
    text = str(model.summary())
    shown = names - {"pitch"}  # slopes stand under the names of their columns
    assert all(name in text for name in shown)
    assert ("gate    mine" in text) == ("gate" in added)
    assert np.isfinite(model.predict(X)).all()
    assert np.isfinite(model.predict_interval(X[:5])).all()


# tests/test_docs.py checks an expert and a family of the contributors' guide
@pytest.mark.parametrize("kind", slow_rest(PARTS, ["gate"]))
def test_its_check_holds(kind):
    _, part, check = PARTS[kind]
    check(part)


def test_its_scores_compose():
    check_layer_gate(Gate(Tempered(Cone())))


def test_the_check_of_what_can_be_identified_takes_its_name(added):
    found = identify(**added)
    assert found.verdict != "undecided"
    names = {"gate": "peak", "expert": "pitch", "family": "width"}
    assert any(names[next(iter(added))] in name for name in (*found.columns, *found.parameters))


def csv(table, folder):
    X, y = table
    path = folder / "rows.csv"
    np.savetxt(path, np.c_[X, y], delimiter=",", header="a,b,y", comments="")
    return str(path)


def run(*words):
    found = CliRunner().invoke(app, words)
    assert found.exit_code == 0, found.output
    return found.stdout


@pytest.mark.filterwarnings("ignore::gatewise.estimators.warnings.FitWarning")
def test_the_command_line_takes_its_name(added, table, tmp_path):
    ((kind, name),) = added.items()
    options = ("--target", "y", "--starts", "2", "--max-time", "2", "--json")
    page = tmp_path / "page.html"
    found = json.loads(run("fit", csv(table, tmp_path), *options, f"--{kind}", name, "--report", str(page)))
    assert found["rows"] == 150
    part = PARTS[kind][1]
    assert (name if kind == "gate" else type(part).__name__) in page.read_text()
    if kind != "family":
        assert "verdict" in run("identify", f"--{kind}", name, "--json")


def test_layers_and_experiments_take_the_name_of_a_gate(monkeypatch, tmp_path):
    monkeypatch.setitem(GATES, "mine", PARTS["gate"][1])
    layer = MoE(6, 8, (2, 3), gate=("mine", "softmax"))
    assert "peak" in dict(layer.router.gates[0].named_parameters())
    FusionMoE({"a": 3, "b": 4}, 6, 8, 4, gate="mine")
    save_layer(layer, tmp_path)
    x = torch.randn(5, 6, generator=torch.Generator().manual_seed(0))
    assert torch.equal(load_layer(tmp_path)(x), layer(x))
    assert gates_of("mine") == ("mine",)
    assert gates_of("mine/laplace") == ("mine", "laplace")


def test_a_method_of_balancing_is_one_class_and_one_line(monkeypatch, tmp_path):
    monkeypatch.setitem(BALANCE_METHODS, "mine", Peak())
    layer = MoE(6, 8, 4, balance="mine", balance_weight=10.0)
    x = torch.randn(40, 6, generator=torch.Generator().manual_seed(0))
    optimizer = torch.optim.SGD(layer.router.parameters(), lr=0.0)
    gradients = []
    for _ in range(2):
        optimizer.zero_grad()
        (0 * layer(x)).sum().backward()
        optimizer.step()
        gradients.append(sum(float(p.grad.abs().sum()) for p in layer.router.parameters()))
    assert gradients[0] == 0 < gradients[1]
    assert "mine, weight=10.0" in repr(layer.balancer)
    save_layer(layer, tmp_path)
    assert load_layer(tmp_path).balancer.rule == Peak()


@pytest.mark.filterwarnings("ignore::gatewise.estimators.warnings.FitWarning")
def test_a_model_is_saved_and_loaded_once_its_parts_are_in_the_catalogue(added, table, tmp_path):
    X, y = table
    model = MixtureOfExpertsRegressor(2, **added, n_init=2, max_time=2.0, random_state=0).fit(X, y)
    save_model(model, tmp_path / "model.json")
    assert np.array_equal(load_model(tmp_path / "model.json").predict(X), model.predict(X))
