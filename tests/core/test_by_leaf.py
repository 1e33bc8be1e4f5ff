"""Leaves of different kinds: derivatives, units, and fits that equal those of one kind with parts held."""

import numpy as np
import pytest
import torch

from gatewise.core.by_leaf import ExpertsByLeaf, FamiliesByLeaf
from gatewise.core.experts import EXPERTS, Constant, Linear
from gatewise.core.families import FAMILIES, Gaussian, Poisson, StudentT, autograd_leaf_local
from gatewise.core.gates import GATES
from gatewise.core.mixture import Mixture
from gatewise.fit.least_squares import least_squares
from gatewise.fit.maximum_likelihood import maximum_likelihood
from gatewise.fit.spec import FitSpec
from gatewise.infer.covariance.information import information, standard_errors
from gatewise.objective.rows import make_rows
from gatewise.testing import (
    assert_close,
    draw_frame,
    draw_inputs,
    draw_parameters,
    generator,
    law_batched,
    law_blocks,
    law_complete,
    law_derivatives,
    law_expected_score,
    law_frequencies,
    law_parameterization,
    law_rescale,
    law_sample,
    law_squares,
    make_problem,
)
from gatewise.testing.problems import draw_parameter

from ..covering import slow_rest

LAWS = (law_batched, law_derivatives, law_complete, law_expected_score, law_sample, law_squares, law_parameterization)
LAWS += (law_rescale, law_blocks, law_frequencies)
KINDS = {
    "linear, constant": (Linear(), Constant()),
    "constant, tanh": (Constant(), EXPERTS["tanh-unit"]),
    "three": (EXPERTS["gelu-unit"], Linear(), Constant()),
}


@pytest.mark.parametrize("parts", KINDS.values(), ids=KINDS)
@pytest.mark.parametrize("d", [1, 3])
def test_derivatives_of_experts_by_leaf(parts, d):
    expert, g = ExpertsByLeaf(parts), generator(d)
    params = draw_parameters(expert, d, (2, 2 * len(parts)), 2, g)  # two nodes, two outputs
    x = draw_inputs(d, 5, g)
    local = expert.value_and_derivatives(params, x)
    weights = torch.randn(local.value.shape, generator=g, dtype=torch.float64)
    curved = torch.zeros(1) if local.curvature is None else local.curvature(weights)
    joined = list(expert.parameters(d))
    for leaf in range(2 * len(parts)):
        part = parts[leaf % len(parts)]
        alone = part.value_and_derivatives(
            {name: params[_title(name, part, expert)][:, leaf] for name in part.parameters(d)}, x
        )
        assert_close(local.value[:, leaf], alone.value, "a leaf has the value of its part")
        places = [k for name in part.parameters(d) for k in _places(_title(name, part, expert), joined, expert, d)]
        others = [k for k in range(local.jacobian.shape[-2]) if k not in places]
        shape = (*alone.value.shape[:-1], len(places), 5)
        assert_close(local.jacobian[:, leaf][..., places, :], alone.jacobian.expand(shape), "and its Jacobian")
        assert not local.jacobian[:, leaf][..., others, :].any()
        if local.curvature is not None and alone.curvature is not None:
            block = curved[:, leaf][..., places, :][..., places]
            assert_close(block, alone.curvature(weights[:, leaf]), "and its curvature")
            assert not curved[:, leaf][..., others, :].any()


def _title(name, part, expert):
    """The name that a parameter of a part has among those of all: of its own kind, with a number if need be."""
    spec = part.parameters(1)[name]
    found = expert.parameters(1)
    return next(t for t in found if t.partition("_")[0] == name and found[t].role == spec.role)


def _places(title, joined, expert, d):
    sizes = [max(1, d * len(expert.parameters(d)[name].shape)) for name in joined]
    at = sum(sizes[: joined.index(title)])
    return range(at, at + sizes[joined.index(title)])


@pytest.mark.parametrize("q", [1, 2])
def test_derivatives_of_families_by_leaf(q):
    family, g = FamiliesByLeaf((Gaussian(), StudentT())), generator(q)
    specs = family.parameters(q)
    assert list(specs) == ["scale", "dof"]
    assert specs["dof"].only == (1,)
    params = {name: draw_parameter(spec, (3, 4, *spec.shape), g) for name, spec in specs.items()}
    eta, y = torch.randn(3, 4, q, 6, generator=g).double(), torch.randn(q, 6, generator=g).double()
    exact, automatic = family.value_and_derivatives(params, y, eta), autograd_leaf_local(family, params, y, eta)
    for name, one, other in zip(exact._fields, exact, automatic, strict=True):
        assert_close(one, other, f"{name} of families by leaf")


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
@pytest.mark.parametrize("branching", [(2,), (3, 2)])
def test_laws_of_mixtures_hold_with_leaves_of_different_kinds(law, branching):
    gates = (GATES["laplace"], GATES["softmax"])[: len(branching)]
    mixture = Mixture(gates, branching, (Linear(), Constant()), (Gaussian(), StudentT()))
    law(make_problem(mixture, d=3, columns=2))


def test_units_of_every_leaf_are_those_of_its_part():
    expert, g = ExpertsByLeaf((Constant(), Linear())), generator(3)
    params = draw_parameters(expert, 3, (2,), 2, g)
    x, frame, response = draw_inputs(3, 6, g), draw_frame(3, g), draw_frame(2, g)
    moved, values = expert.rescale(params, frame)
    assert_close(moved(values, (x - frame.shift[:, None]) / frame.scale[:, None]), expert(params, x), "other inputs")
    moved, values = expert.rescale_response(params, response)
    expected = (expert(params, x) - response.shift[:, None]) / response.scale[:, None]
    assert_close(moved(values, x), expected, "other responses")


def data(seed=0, n=250):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 3)) * [1.0, 5.0, 0.2] + [0, 10, 0]
    first = rng.random(n) < 1 / (1 + np.exp(-2 * x[:, 0]))
    return rng, x, first


WAYS = [(estimate, gate) for estimate in (maximum_likelihood, least_squares) for gate in ("softmax", "laplace")]
USUAL = ((maximum_likelihood, "softmax"), (least_squares, "laplace"))


@pytest.mark.parametrize(("estimate", "gate"), slow_rest(WAYS, USUAL))
def test_a_linear_and_a_constant_expert_are_two_linear_ones_with_a_slope_held_at_zero(estimate, gate):
    rng, x, first = data()
    y = np.where(first, 2 + x[:, 0] - 0.4 * x[:, 1], 7.0) + 0.5 * rng.normal(size=len(x))
    rows = make_rows(x, y[:, None])
    mixed = estimate(Mixture((GATES[gate],), (2,), (Constant(), Linear())), rows, starts=10)
    held = torch.full((2, 1, 3), torch.nan, dtype=torch.float64)
    held[0] = 0.0
    plain = estimate(Mixture((GATES[gate],), (2,)), rows, FitSpec(fixed={"experts.coef": held}), starts=10)
    assert mixed.log_likelihood == pytest.approx(plain.log_likelihood, abs=1e-5)
    assert mixed.df == plain.df
    assert_close(
        mixed.measure.experts["coef"][1], plain.measure.experts["coef"][1], "slopes of the linear expert", 1e-3
    )
    found = information(mixed, rows)
    if not found.refused:
        assert bool((standard_errors(found)["experts.coef"][0] == 0).all())


def test_a_gaussian_and_a_student_leaf():
    rng, x, first = data(3, 400)
    noise = np.where(first, 0.3 * rng.normal(size=len(x)), rng.standard_t(3, size=len(x)))
    y = np.where(first, 1 + x[:, 0], 30 - x[:, 1]) + noise
    rows = make_rows(x, y[:, None])
    mixed = maximum_likelihood(Mixture((GATES["softmax"],), (2,), family=(Gaussian(), StudentT())), rows, starts=8)
    limit = torch.tensor([[1e8], [torch.nan]], dtype=torch.float64)
    student = Mixture((GATES["softmax"],), (2,), family=StudentT())
    plain = maximum_likelihood(student, rows, FitSpec(fixed={"family.dof": limit}), starts=8)
    assert mixed.log_likelihood == pytest.approx(plain.log_likelihood, abs=1e-4)
    assert 1.5 < float(mixed.measure.family["dof"][1, 0]) < 8


def test_parts_are_counted_and_names_that_differ_in_kind_are_told_apart():
    with pytest.raises(ValueError, match=r"expert has 3 parts for branching \(2, 2\): give 2"):
        Mixture((GATES["softmax"],) * 2, (2, 2), (Linear(), Linear(), Constant()))
    joined = ExpertsByLeaf((Linear(), EXPERTS["gelu-unit"])).parameters(3)
    roles = [joined[name].role for name in joined if name.startswith("intercept")]
    assert sorted(roles) == ["intercept", "threshold"]
    both = FamiliesByLeaf((Poisson(), FAMILIES["binomial"]))
    assert both.parameters(1) == {}
    assert both.discrete
