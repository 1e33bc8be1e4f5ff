"""Every law of fits can fail: each row changes one formula, and the law that guards it must say so.

A row is (law, what it is about, where the formula lives, its name, the wrong formula). A wrong formula is written as a
function of the right one.
"""

import functools
import importlib
from dataclasses import replace

import pytest
import torch

from gatewise import testing
from gatewise.core.families import Gaussian
from gatewise.core.gates import GATES
from gatewise.core.mixture import Mixture
from gatewise.core.scores import Affine
from gatewise.fit import certify, em, finalize, frames, model, pipeline
from gatewise.fit.flat import FlatDirections
from gatewise.fit.search import kinks, moves, partitions
from gatewise.fit.spec import FitSpec
from gatewise.objective import compiled, entries, likelihood, terms
from gatewise.objective.columns import Columns
from gatewise.objective.rows import Rows
from gatewise.testing import fitting_problem

room = importlib.import_module("gatewise.fit.problem")


def without_frame(right):
    return lambda self, values, out: right(replace(self, frame=None), values, out)


def gated(*names, branching=(2, 2), **parts):
    return Mixture(tuple(GATES[name] for name in names), branching[: len(names)], **parts)


SOFT = fitting_problem(gated("softmax"), n=120, seed=1)
TIED = fitting_problem(gated("softmax", shared=("family.scale",)), n=120, columns=2, seed=1)
THREE = fitting_problem(gated("softmax", branching=(3,)), n=120, seed=1)
CONSTANT = fitting_problem(gated("constant"), n=120, seed=1)
larger = functools.partial(testing.law_fit_nested, larger=gated("softmax"), starts=4)
larger.__name__ = "law_fit_nested"


def last_row_lost(right):
    def blocks(self, size):
        for block in right(self, size):
            yield block._replace(x=block.x[:, :-1], gate_x=block.gate_x[:, :-1], y=block.y[:, :-1])

    return blocks


def scaled_solution(factor):
    return lambda right: lambda matrix, rhs: factor * right(matrix, rhs)


def gates_stay(right):
    """The gate's step is lost, as when a failed factorisation is swallowed."""

    def solve(matrix, rhs):
        step = right(matrix, rhs)
        step[..., :3] = 0.0
        return step

    return solve


def lying_value(right):
    def expect(self, free):
        step = right(self, free)
        return step._replace(value=step.value - 0.01 * free.square().sum(-1))

    return expect


def wider(right):
    """A scale with another divisor than n."""
    return lambda self, params, frame: (self, {**params, "scale": 1.01 * params["scale"] / frame.scale})


def flipped_slope(right):
    def value_and_derivatives(self, params, x):
        found = right(self, params, x)
        return found._replace(jacobian=-found.jacobian)

    return value_and_derivatives


def beside_the_optimum(right):
    def settle_best(problem, points, deadline):
        rest = right(problem, points, deadline)
        return rest._replace(point=rest.point + 1e-4)

    return settle_best


def made_up(right):
    return lambda *a: FlatDirections(("made up",), (), lost=1)


def without_scale(right):
    """Slopes that stay as they are in other units; a lost shift alone would be noticed and mended by an origin."""
    return lambda self, params, frame: (self, {**right(self, params, frame)[1], "weight": params["weight"]})


def by_position(right):
    """Rows drawn by their place in the data."""
    return lambda self, generator, count, mass=None: torch.argsort(self.order).repeat(count)[:count]


def every_row_once(right):
    def regress(self, share):
        weight, self.weight = self.weight, torch.ones_like(self.weight)
        try:
            return right(self, share)
        finally:
            self.weight = weight

    return regress


def nearest_by_row(right):
    def neighbours(scene, generator):
        right(scene, generator)
        return (scene.cloud.order < 9).to(torch.float64)

    return neighbours


def no_ties(right):
    return lambda mixture, path, free: right(Mixture(mixture.gates, mixture.branching), path, free)


def mean_by_unit(right):
    def by_unit(values, block):
        total = right(values, block)
        return total if block.unit is None else total / right(torch.ones_like(values), block)

    return by_unit


MUTATIONS = [
    (testing.law_em_monotone, SOFT, em, "_expect", lying_value),
    (testing.law_em_moves, SOFT, em, "solve_positive", scaled_solution(-1.0)),
    (testing.law_em_moves, SOFT, em, "solve_positive", gates_stay),
    (testing.law_em_step, SOFT, em, "solve_positive", scaled_solution(0.9)),
    (testing.law_em_step, SOFT, em, "_scale_of_coefficient", lambda right: lambda *a: 0 * right(*a)),
    (testing.law_em_step, TIED, em, "_scale_of_coefficient", lambda right: lambda *a: right(*a) / 2),
    (testing.law_em_step, SOFT, em, "_closed_scales", lambda right: lambda chart_: None),
    (testing.law_em_optimum, SOFT, em, "solve_positive", scaled_solution(-1.0)),
    (testing.law_fit_optimum, SOFT, finalize, "settle_best", beside_the_optimum),
    (testing.law_fit_optimum, SOFT, Gaussian, "rescale_response", wider),
    (testing.law_fit_optimum, SOFT, certify, "classify_flat_directions", made_up),
    (testing.law_fit_one_expert, SOFT, Gaussian, "rescale_response", wider),
    (larger, CONSTANT, Affine, "value_and_derivatives", flipped_slope),
    (testing.law_fit_starts, SOFT, partitions.Cloud, "draw", by_position),
    (testing.law_fit_starts, SOFT, partitions.Cloud, "regress", every_row_once),
    (testing.law_fit_starts, SOFT, moves, "_neighbours", nearest_by_row),
    (testing.law_fit_order, SOFT, Rows, "blocks", last_row_lost),
    (testing.law_fit_blocks, SOFT, Rows, "blocks", last_row_lost),
    (testing.law_fit_frequencies, SOFT, likelihood, "apply_weights", lambda right: lambda values, weight: values),
    (testing.law_fit_repeats, SOFT, pipeline, "seeds", lambda right: lambda seed, roles: right(None, roles)),
    (testing.law_fit_given_starts, THREE, pipeline, "_best", lambda right: lambda *a: (a[2].points[:1], 0)),
    (testing.law_fit_streamed, SOFT, Columns, "_moved", without_frame),
    (testing.law_fit_units, SOFT, Affine, "rescale", without_scale),
    (testing.law_fit_groups, SOFT, terms, "by_unit", mean_by_unit),
    (testing.law_fit_ties, TIED, entries, "_columns", no_ties),
    (testing.law_fit_fixed, SOFT, model, "_units", lambda right: lambda *a: {k: v**0 for k, v in right(*a).items()}),
    (
        testing.law_fit_ridge,
        SOFT,
        room,
        "ridge_of",
        lambda right: lambda chart_, alpha: right(chart_, 2 * alpha),
    ),
    (testing.law_fit_ridge, SOFT, room, "ridge_of", lambda right: lambda chart_, alpha: (None, None)),
]


def name(row):
    law, _, home, formula, _ = row
    return f"{law.__name__}-{home.__name__.rpartition('.')[2]}.{formula}"


@pytest.mark.parametrize("row", MUTATIONS, ids=name)
def test_a_wrong_formula_breaks_its_law(row, monkeypatch):
    law, subject, home, formula, wrong = row
    monkeypatch.setattr(compiled, "available", lambda: False)  # the formulas below are those of the reference
    law(subject)
    monkeypatch.setattr(home, formula, wrong(getattr(home, formula)))
    with pytest.raises(AssertionError, match=r"^broken: "):
        law(subject)


def test_every_law_of_fits_has_a_mutation():
    homes = ("gatewise.testing.fits.em", "gatewise.testing.fits.optimum", "gatewise.testing.fits.invariance")
    laws = {key for key, value in vars(testing).items() if getattr(value, "__module__", "") in homes}
    assert {law for law in laws if law.startswith("law_")} == {row[0].__name__ for row in MUTATIONS}


# What the other tests of this folder guard, in formulas of their own.


def test_a_kink_that_is_no_optimum_is_not_accepted(monkeypatch):
    """The test for a local optimum on a kink says no to a center moved to another input."""
    drawn = fitting_problem(gated("laplace"), d=1, gate_d=1, n=80, seed=4)
    made = model.prepare(drawn.mixture, testing.rows_of(drawn), FitSpec())
    whole = room.problem_of(made, made.rows)
    fit = testing.fit_from_truth(drawn)
    point = made.parameterization.free(frames.in_other_units(fit.mixture, fit.measure, made.framing)[1])
    center = kinks.find_centers(whole)[0]
    point[center.columns] = made.rows.gate_x.held[:, int(made.rows.gate_x.held[0].argmax())]
    assert not kinks.is_stationary(whole, center, point)
