"""Results of inference print as what they say."""

import warnings
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.exceptions import ConvergenceWarning

from gatewise import Expert, Gate, MixtureOfExpertsRegressor, Parameter, Score, affine
from gatewise.core.families import Poisson
from gatewise.infer.bands import mean_band
from gatewise.infer.delta import delta
from gatewise.infer.identifiability import identify
from gatewise.infer.intervals import wald
from gatewise.infer.text import SHOWN, listing, p_text, z_value
from gatewise.objective.columns import columns


@pytest.fixture(scope="module")
def fitted():
    rng = np.random.default_rng(7)
    x = rng.normal(size=(300, 2))
    first = rng.random(300) < 1 / (1 + np.exp(-1.5 * x[:, 0]))
    y = np.where(first, 1 + x[:, 1], -1 - x[:, 1]) + 0.3 * rng.normal(size=300)
    return x, y, MixtureOfExpertsRegressor(2, n_init=5, random_state=0).fit(x, y)


def line_of(text, start, words=1):
    """Return the cells of the line that starts so, the first of several words."""
    cells = next(line for line in text.split("\n") if line.strip().startswith(start)).split()
    return [" ".join(cells[:words]), *cells[words:]]


def test_an_inference_is_a_table(fitted):
    x, y, model = fitted
    found = model.inference(x, y)
    text = repr(found)
    assert text == found.text() == str(found)
    assert text.startswith("Observed information, n = 300\nNormal 95 % intervals\n")
    assert max(map(len, text.split("\n"))) <= 90
    name, *cells = line_of(text, "x0[expert 1]", 2)
    intervals = found.wald()
    at = intervals.names.index(name)
    values = [float(part[at]) for part in (intervals.estimate, intervals.error, intervals.z)]
    np.testing.assert_allclose([float(cell) for cell in cells[:3]], values, atol=0.005)
    assert line_of(text, "gate weight x0[branch 1]", 4) == ["gate weight x0[branch 1]", "0", "fixed"]
    assert repr(intervals) == "\n".join(text.split("\n")[1:])
    assert "sandwich" in repr(model.inference(x, y, kind="sandwich")).lower()
    assert "std. error" in repr(found.information)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        flat = MixtureOfExpertsRegressor(2, expert="relu-unit", n_init=5, random_state=0).fit(x, y)
    refused = repr(flat.inference(x, y))
    assert "no errors, because the likelihood does not change along" in refused


def test_values_profiles_and_bands_are_lines(fitted):
    x, y, model = fitted
    found = model.inference(x, y)
    one = found.delta(lambda measure: measure.experts["coef"][0, 0, 0])
    assert repr(one) == one.text()
    assert repr(one).startswith(f"{float(one.estimate):.6g}, std. error {float(one.error):.6g}, normal 95 % interval")
    assert line_of(repr(found.delta("experts.coef")), "[1,0,1]")[0] == "[1,0,1]"
    profile = found.profile("experts.coef[1,0,0]", 0.9)
    assert repr(profile).startswith(f"x0[expert 1]: {profile.estimate:.6g}, 90 % profile interval ")
    band = repr(mean_band(found.information, columns(x)))
    assert band.startswith("Pointwise 95 % band of 1 curve at 300 rows: estimate ")


def test_a_path_or_a_name_stands_for_its_function(fitted):
    x, y, model = fitted
    found = model.inference(x, y).information
    whole = delta(found, "experts.coef")
    np.testing.assert_array_equal(whole.estimate, model.measure_.experts["coef"])
    np.testing.assert_allclose(whole.error, model.standard_errors_["experts.coef"], rtol=1e-12)
    intervals = wald(found)
    for name in ("experts.coef[1,0,1]", "gates.0.bias[0]", "family.scale[1,0]"):
        at = intervals.names.index(name)
        one = delta(found, name)
        assert (float(one.estimate), float(one.error)) == (float(intervals.estimate[at]), float(intervals.error[at]))
    with pytest.raises(ValueError, match=r"'coef' is not a parameter of this mixture: the paths are .*experts\.coef"):
        delta(found, "coef")
    with pytest.raises(TypeError, match="function is a int: give a function of the measure"):
        delta(found, 3)


def test_long_tables_are_cut_and_numbers_stay_short():
    values = torch.arange(60, dtype=torch.float64)
    lines = listing([str(i) for i in range(60)], {"estimate": values}, values + 1)
    assert lines[-1] == f"  and {60 - SHOWN} more"
    assert len(lines) == SHOWN + 2
    words = listing(["a", "b"], {"estimate": values[:2], "z": values[:2]}, torch.tensor([torch.nan, 1.0]))
    assert words[1].split() == ["a", "0", "not", "unique"]
    assert words[2].split() == ["b", "1", "1.00"]
    assert (z_value(-123.456), z_value(12345.6), p_text(0.0004), p_text(0.25)) == (
        "-123.5",
        "1.235e+04",
        "<0.001",
        "0.250",
    )


def test_identifiability_prints_and_takes_families_by_name():
    named = identify("softmax", "linear", family="poisson", d=1)
    assert named == identify("softmax", "linear", family=Poisson(), d=1)
    assert repr(named) == named.text()
    with pytest.raises(ValueError, match=r"family 'poison' is unknown: did you mean 'poisson'"):
        identify("softmax", "linear", family="poison")


@dataclass(frozen=True)
class Scaled(Expert):
    """A line times a scale of its own, which is held."""

    def parameters(self, d):
        return {
            "coef": Parameter((d,), "slope"),
            "scale": Parameter((), "output", free=False, initial=1.0),
            "intercept": Parameter((), "intercept"),
        }

    def __call__(self, params, x):
        return params["scale"][..., None] * affine(params["coef"], params["intercept"], x)


@dataclass(frozen=True)
class Sized(Score):
    """An affine score with a scale, which is held."""

    def parameters(self, d):
        own = {"weight": Parameter((d,), "slope"), "bias": Parameter((), "intercept")}
        return {**own, "scale": Parameter((), "", "node", free=False, initial=1.0)}

    def translation(self):
        return ("weight", "bias")

    def __call__(self, params, x):
        return affine(params["weight"], params["bias"], x) * params["scale"][..., None, None]


def test_parameters_with_one_name_are_shown_by_their_paths(fitted):
    x, y, plain = fitted
    model = MixtureOfExpertsRegressor(2, expert=Scaled(), gate=Gate(Sized()), n_init=2, random_state=0)
    rows = model.fit(x, y).summary().to_frame()
    names = rows[rows["owner"].isin(["0", ""])]["parameter"].tolist()
    assert {"experts.scale", "family.scale", "gates.0.scale"} <= set(names)
    assert "scale" not in names
    assert len(names) == len(set(names))
    assert "scale" in plain.summary().experts["parameter"].tolist()
    frame = pd.DataFrame(x, columns=["scale", "dose"])
    with_column = MixtureOfExpertsRegressor(2, n_init=2, random_state=0).fit(frame, y).summary().experts
    assert with_column["parameter"].tolist()[:4] == ["intercept", "scale", "dose", "family.scale"]
