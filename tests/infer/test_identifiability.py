"""The check of identifiability: derivatives, ranks, equations, verdicts, one's own objects, refusals."""

import json
import re
from dataclasses import dataclass

import pytest
import torch
from torch.func import vmap
from typer.testing import CliRunner

from gatewise.cli import app
from gatewise.core.experts import EXPERTS, Expert
from gatewise.core.families import FAMILIES, Gaussian
from gatewise.core.gates import GATES, Gate
from gatewise.core.links import Softmax
from gatewise.core.mixture import Mixture, log_density
from gatewise.core.parameters import Parameter
from gatewise.core.predictors import affine
from gatewise.core.scores import Affine, Score, Tempered
from gatewise.infer.identifiability import (
    Atom,
    IdentifiabilityVerdict,
    Relation,
    assess,
    identify,
    identify_atom,
    leaf_atom,
)
from gatewise.infer.identifiability.atoms import points
from gatewise.infer.identifiability.columns import BLOCK, columns_of, derivatives, free_entries, triangle
from gatewise.infer.identifiability.rank import rank
from gatewise.infer.identifiability.relations import equations
from gatewise.objective.parameterization import make_parameterization
from gatewise.testing.problems import draw_inputs, draw_measure, draw_parameters


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def matrix(*rows):
    return torch.tensor(rows, dtype=torch.float64)


def drawn(size):
    return lambda g: torch.randn(size, generator=g, dtype=torch.float64)


# ---- atoms


@pytest.mark.parametrize("name", [name for name in GATES if name != "top-k"])
def test_atoms_over_their_sum_are_the_weights_of_the_gate(name):
    gate, x = GATES[name], draw_inputs(2, 6, generator(1))
    params = draw_parameters(gate.score, 2, (), 3, generator())
    specs = gate.score.parameters(2)
    weights = []
    for k in range(3):
        own = {key: v[k : k + 1] if specs[key].per == "branch" else v for key, v in params.items()}
        weights.append(gate.numerators(own, x)[0])
    found = torch.stack(weights)
    found = found / found.sum(0) if gate.link.normalised else found
    torch.testing.assert_close(found, gate.weights(params, x))


def test_the_atom_is_the_product_of_gates_and_density():
    atom = leaf_atom((GATES["softmax"], GATES["laplace"]), EXPERTS["linear"], Gaussian(), 2)
    assert atom.names[-1] == "variance"
    assert atom.held == ("gates.0.bias", "gates.1.bias")
    theta, x = atom.draw(generator()), draw_inputs(2, 6, generator(1))
    y = atom.response(generator(2), 6)
    value = dict(zip(atom.names, theta, strict=True))
    score = sum(value[f"gates.0.weight[{i}]"] * x[i] for i in range(2))
    distance = sum((value[f"gates.1.center[{i}]"] - x[i]) ** 2 for i in range(2)).sqrt()
    mean = sum(value[f"coef[{i}]"] * x[i] for i in range(2)) + value["intercept"]
    density = torch.distributions.Normal(mean, value["variance"].sqrt()).log_prob(y)
    torch.testing.assert_close(atom.function(x, y, theta), (score - distance + density).exp())
    least = leaf_atom((GATES["softmax"],), EXPERTS["linear"], None, 2)
    outer = {name.removeprefix("gates.0."): one for name, one in value.items()}
    part = torch.stack([outer[name] for name in least.names])
    torch.testing.assert_close(least.function(x, y, part), score.exp() * mean)


# ---- derivatives


CORE = [
    (("softmax",), "linear", Gaussian()),
    (("laplace", "tanh-dense-to-sparse"), "gelu-unit", Gaussian()),
    (("euclidean-sigmoid",), "polynomial", FAMILIES["student-t"]),
    (("cosine", "sigmoid"), "tanh", None),
    (("quadratic",), "cubic", FAMILIES["poisson"]),
]


@pytest.mark.parametrize(("gates", "expert", "family"), CORE)
def test_derivatives_are_those_of_the_atom(gates, expert, family):
    atom = leaf_atom([GATES[name] for name in gates], EXPERTS[expert], family, 2, include_bias=True)
    theta, x, y = atom.draw(generator()), draw_inputs(2, 7, generator(1)), atom.response(generator(2), 7)
    found = derivatives(atom, theta, x, y, 2)
    free = torch.tensor(free_entries(atom))
    assert len(free) == len(theta)
    i, j = torch.triu_indices(len(free), len(free))
    for row in range(7):

        def value(at, row=row):
            return atom.function(x[:, row : row + 1], y[row : row + 1], at)[0]

        first = torch.autograd.functional.jacobian(value, theta)
        second = torch.autograd.functional.hessian(value, theta)
        expected = torch.cat([first, second[i, j]])
        torch.testing.assert_close(found[row], expected, rtol=1e-11, atol=1e-12)
    torch.testing.assert_close(derivatives(atom, theta, x, y, 1), found[:, : len(free)], rtol=0, atol=0)


def test_a_function_that_looks_at_values_is_differentiated_direction_by_direction():
    def smooth(x, y, theta):
        return torch.exp(theta[0] * x[0]) * torch.tanh(theta[1] * y + theta[2] * x[0]) + theta[2]

    def looking(x, y, theta):
        return smooth(x, y, theta) if float(theta.detach().sum()) < 1e6 else theta.sum().expand(len(y))

    names = ("a", "b", "c")
    plain, strange = (Atom(f, names, drawn(3), 1, held=("c",)) for f in (smooth, looking))
    theta, x, y = drawn(3)(generator()), draw_inputs(1, 9, generator(1)), torch.linspace(-1, 1, 9).double()
    with pytest.raises(RuntimeError):
        vmap(lambda t: looking(x, y, t))(theta[None])
    for order, columns in ((1, 2), (2, 5)):
        expected = derivatives(plain, theta, x, y, order)
        assert expected.shape == (9, columns)
        torch.testing.assert_close(derivatives(strange, theta, x, y, order), expected, rtol=1e-12, atol=1e-14)
    assert identify_atom(strange).nullity == identify_atom(plain).nullity


def test_many_features_use_another_formula_of_the_distance():
    found = identify("laplace", order=1, d=18)
    assert (found.n_atoms, found.nullity) == (38, 0)


def test_a_parameter_without_effect_has_derivatives_that_vanish():
    atom = Atom(lambda x, y, theta: theta[0] * x[0] ** 2, ("a", "idle"), drawn(2), 1)
    found = identify_atom(atom)
    assert found.columns == ("du/da",)
    assert found.zero == ("du/didle", "d2u/da2", "d2u/da didle", "d2u/didle2")
    assert found.nullity == 0


def test_the_triangle_has_the_norms_and_singular_values_of_the_columns():
    atom = leaf_atom((GATES["softmax"],), EXPERTS["linear"], Gaussian(), 2)
    n, theta = BLOCK + 100, atom.draw(generator())
    upper = triangle(atom, [theta], 2, n, generator(3))
    again, blocks = generator(3), []
    for rows in (BLOCK, 100):
        x = draw_inputs(2, rows, again)
        blocks.append(derivatives(atom, theta, x, atom.response(again, rows), 2))
    whole = torch.cat(blocks)
    assert upper.shape == (28, 28)
    upper = upper[:, :27]  # without the atom itself
    torch.testing.assert_close(upper.norm(dim=0), whole.norm(dim=0))
    torch.testing.assert_close(rank(upper).kept, rank(whole).kept, rtol=1e-9, atol=0)
    assert rank(whole).nullity == rank(upper).nullity == 6


# ---- ranks


def test_rank_leaves_zero_columns_out_and_finds_the_relation():
    found = rank(matrix([1, 2, 0, 3], [1, 2, 0, -1], [4, 8, 0, 0]))
    assert found.zero.tolist() == [False, False, True, False]
    assert found.nullity == 1
    assert found.decided
    assert found.involved.tolist() == [True, True, False, False]
    scaled = found.null[0] / found.norms.clamp_min(1e-300)
    torch.testing.assert_close(scaled[0] / scaled[1], matrix(-2.0)[0])


def test_rank_of_nothing():
    found = rank(torch.zeros(3, 2, dtype=torch.float64))
    assert (found.nullity, found.zero.all(), found.decided) == (0, True, True)


@pytest.mark.parametrize(("near", "decided"), [(1e-3, True), (1e-9, False), (1e-11, False), (0.0, True)])
def test_a_near_relation_is_neither_kept_nor_dropped(near, decided):
    found = rank(matrix([1, 1, 0], [0, near, 0], [0, 0, 1]))
    assert found.decided is decided


@pytest.mark.parametrize(("small", "smaller", "decided"), [(3e-8, 3e-13, True), (3e-8, 3e-11, False)])
def test_the_gap_between_kept_and_dropped(small, smaller, decided):
    columns = torch.zeros(4, 4, dtype=torch.float64)
    columns[0, :2], columns[1, 1], columns[2, 2:], columns[3, 3] = 1.0, small, 1.0, smaller
    found = rank(columns)
    assert found.nullity == 1
    assert found.kept == pytest.approx(small / 2, rel=1e-3)
    assert found.dropped == pytest.approx(smaller / 2, rel=1e-2)
    assert found.decided is decided


# ---- equations


def test_the_identities_of_the_softmax_gate():
    found = identify("softmax", "linear")
    assert found.equations == (
        "d2u/dweight dintercept = du/dcoef",
        "d2u/dweight[1] dcoef[0] = d2u/dweight[0] dcoef[1]",
        "d2u/dcoef dintercept = 2 d2u/dweight dvariance",
        "d2u/dintercept2 = 2 du/dvariance",
    )
    assert found.unread == ()


def test_the_heat_equation_is_all_that_a_laplace_gate_has_with_a_first_derivative():
    found = identify("laplace", "linear")
    heat = [relation for relation in found.relations if any(term.startswith("du") for term in relation.terms)]
    assert [relation.equation for relation in heat] == ["d2u/dintercept2 = 2 du/dvariance"]
    mixed = "d2u/dcenter[0] dcoef[1] - center[1] d2u/dcenter[0] dintercept + center[0] d2u/dcenter[1] dintercept"
    assert f"d2u/dcenter[1] dcoef[0] = {mixed}" in found.equations


@pytest.mark.parametrize("d", [1, 3])
def test_an_equation_without_indices_holds_for_every_feature(d):
    found = identify("softmax", "linear", d=d)
    assert "d2u/dweight dintercept = du/dcoef" in found.equations
    assert found.nullity == 1 + 2 * d + d * (d - 1) // 2


def test_coefficients_are_formulas_in_the_parameters():
    found = identify("dense-to-sparse", order=1)
    (equation,) = found.equations
    assert (
        equation == "du/dtemperature = -(weight[0]/temperature) du/dweight[0] - (weight[1]/temperature) du/dweight[1]"
    )
    atom = leaf_atom((GATES["dense-to-sparse"],), EXPERTS["linear"], Gaussian(), 2)
    theta, x = atom.draw(generator(8)), draw_inputs(2, 50, generator(9))
    column = dict(
        zip(
            [one.label for one in columns_of(atom, 1, 1)],
            derivatives(atom, theta, x, atom.response(generator(7), 50), 1).T,
            strict=True,
        )
    )
    value = dict(zip(atom.names, theta, strict=True))
    right = sum(-(value[f"weight[{i}]"] / value["temperature"]) * column[f"du/dweight[{i}]"] for i in range(2))
    torch.testing.assert_close(column["du/dtemperature"], right)


def test_a_standard_deviation_has_another_heat_equation():
    found = identify("laplace", family=FAMILIES["full-gaussian"])
    assert "d2u/dintercept2 = (1/cholesky) du/dcholesky" in found.equations


def test_coefficients_that_cannot_be_read_leave_the_names():
    def curve(x, y, theta):
        return theta[0] * x[0] + theta[1] * (torch.sin(theta[2]) + theta[2]) * x[0] + theta[2] * x[0] ** 2

    found = identify_atom(Atom(curve, ("a", "b", "c"), drawn(3), 1, held=("c",)), order=1)
    assert (found.nullity, found.equations, found.unread) == (1, (), (("du/db", "du/da"),))
    assert "a relation between du/db, du/da" in found.text()


def test_equations_are_written_as_one_reads_them():
    assert Relation(("a", "b"), ("1", "2")).equation == "a = -2 b"
    assert Relation(("a", "b", "c"), ("1", "-1", "w/t")).equation == "a = b - (w/t) c"
    assert Relation(("a", "b"), None).equation is None
    assert Relation(tuple("abcdefg"), ("1",) * 7).equation is None
    part = [Relation((f"d2u/dw[{i}] db", f"du/da[{i}]"), ("1", "-1")) for i in range(2)]
    other = Relation(("d2u/dw[2] db", "du/da[2]"), ("1", "-2"))
    assert equations([*part, other])[0] == "d2u/dw[0] db = du/da[0]"


# ---- verdicts


@pytest.mark.parametrize(
    ("settings", "verdict", "parameters"),
    [
        ({}, "interaction", ("coef", "variance")),
        ({"order": 1}, "weak", ()),
        ({"gate": "dense-to-sparse", "order": 1}, "ridge", ("weight", "temperature")),
        ({"gate": "dense-to-sparse", "order": 1, "held": "temperature"}, "weak", ()),
        ({"expert": "gelu-no-bias", "estimator": "ls"}, "strong", ()),
        ({"expert": "bare-gelu", "estimator": "ls"}, "interaction", ("coef",)),
        ({"gate": "sigmoid", "expert": "linear", "estimator": "ls"}, "weak", ("weight", "bias")),
        ({"gate": "sigmoid", "expert": "linear", "estimator": "ls", "regime": 1}, "interaction", ("weight", "coef")),
        ({"gate": "softmax", "estimator": "ls", "atoms": 2, "shared_gate": True, "order": 1}, "ridge", None),
        ({"gate": "laplace", "family": FAMILIES["poisson"]}, "strong", ()),
    ],
)
def test_verdicts(settings, verdict, parameters):
    found = identify(**settings)
    assert found.verdict == verdict
    assert parameters in (None, found.parameters)
    assert found.words.split(":")[0].lower().startswith(verdict[:5])
    assert found.doubt == ""


def test_the_words_name_what_is_slowed():
    words = identify("softmax", "linear").words
    assert "coef and variance (and, through second derivatives, weight and intercept)" in words
    assert (
        "where two experts have equal gates"
        in identify("sigmoid", "constant", "ls", atoms=2, shared_gate=True, order=1).words
    )


def whole_model_rank(mixture, gauge):
    """Rank deficiency of the Jacobian of log p in all free coordinates, translation of gates taken out."""
    parameterization = make_parameterization(mixture, 2, 2, 1, gauge=gauge)
    g = generator(4)
    free = parameterization.free(draw_measure(mixture, 2, 2, 1, g))
    x, y = draw_inputs(2, 600, g), 2 * torch.randn(1, 600, generator=g, dtype=torch.float64)
    jacobian = torch.autograd.functional.jacobian(
        lambda at: log_density(mixture, parameterization.measure(at), x, x, y), free, vectorize=True
    )
    values = torch.linalg.svdvals(jacobian / jacobian.norm(dim=0))
    assert not bool(((values > 1e-12 * values[0]) & (values < 1e-7 * values[0])).any())
    return int((values < 1e-10 * values[0]).sum())


@pytest.mark.parametrize(
    "gates",
    [
        ("softmax",),
        ("laplace",),
        ("cosine",),
        ("dense-to-sparse",),
        ("relu-dense-to-sparse",),
        ("tanh-dense-to-sparse",),
        ("normalised-sigmoid",),
        ("softmax", "softmax"),
        ("softmax", "laplace"),
        ("laplace", "laplace"),
        ("softmax", "dense-to-sparse"),
    ],
)
def test_a_ridge_is_one_of_the_whole_model_and_nothing_else_is(gates):
    """A leaf of two softmax levels sees the sum of their slopes, yet the model has no ridge there."""
    mixture = Mixture(tuple(GATES[name] for name in gates), (2, 3)[: len(gates)])
    found = identify(gates, order=1)
    assert (found.verdict is IdentifiabilityVerdict.ridge) == (whole_model_rank(mixture, "none") > 0)


def test_levels_that_only_a_leaf_confuses_are_told_apart():
    found = identify(("softmax", "softmax"), order=1)
    assert found.first_nullity == 2
    assert (found.dependent, found.unidentified) == (("gates.0.weight", "gates.1.weight"), ())
    assert "tells the levels apart" in found.words
    inner = identify(("softmax", "dense-to-sparse"), order=1)
    assert inner.unidentified == ("gates.1.weight", "gates.1.temperature")


# ---- undecided


def nearly(close):
    """u = a x + b (x + close x^2): the first derivatives are dependent but for `close`."""
    return Atom(lambda x, y, t: t[0] * x[0] + t[1] * (x[0] + close * x[0] ** 2), ("a", "b"), drawn(2), 1)


def test_a_near_relation_is_undecided():
    found = identify_atom(nearly(1e-10), order=1)
    assert found.verdict is IdentifiabilityVerdict.undecided
    assert (found.relations, found.replaced) == ((), 6)
    assert found.words.startswith("Undecided: only 0 of 6 draws of the parameters gave singular values with a")
    assert identify_atom(nearly(0.0), order=1).verdict is IdentifiabilityVerdict.ridge
    assert identify_atom(nearly(1e-2), order=1).verdict is IdentifiabilityVerdict.weak


def two_levels_of_one_input(score):
    return assess(Mixture((GATES[f"{score}-dense-to-sparse"],) * 2, (2, 2), EXPERTS["constant"]), d=1)


@pytest.mark.parametrize("score", ["activation", "tanh", "gelu"])
def test_smooth_gates_of_one_input_are_decided_at_points_that_reach_far(score):
    """Near ones leave singular values of all sizes: 1e-7, 3e-8, 1e-9, 1e-10, 5e-13."""
    found = two_levels_of_one_input(score)
    assert found.verdict is IdentifiabilityVerdict.interaction
    assert set(found.nullities) == {1}
    assert found.equations == ("d2u/dintercept2 = 2 du/dvariance",)
    assert found.dropped < 1e-14 < 1e-8 < found.kept


def test_slopes_behind_two_relus_of_one_input_are_tied_only_where_their_signs_agree():
    """Both kinks are at zero: scores are lines on one side, or nowhere both at once. No one verdict holds."""
    found = two_levels_of_one_input("relu")
    assert found.doubt == "the draws disagree (14 derivatives with 6 relations or 13 derivatives with 1 relations)"
    atom = leaf_atom((GATES["relu-dense-to-sparse"],) * 2, EXPERTS["constant"], Gaussian(), 1)
    x, slopes = matrix([-1.0, -0.5, 0.5, 1.0]), [i for i, name in enumerate(atom.names) if "weight" in name]
    for seed in range(8):
        theta = atom.draw(generator(seed))
        free = [free_entries(atom).index(i) for i in slopes]
        columns = derivatives(atom, theta, x, torch.zeros(4, dtype=torch.float64), 1)[:, free]
        assert rank(columns).nullity == int(theta[slopes].prod() > 0)


def test_points_that_reach_far_have_every_scale():
    far = points(generator(), 2, 4000, 16.0).abs().amax(0)
    assert torch.equal(points(generator(), 2, 50), points(generator(), 2, 50, 1.0))
    assert far.max() > 20
    assert (far < 1.5).double().mean() > 0.1


def test_rows_of_far_points_that_overflow_are_left_out():
    def steep(x, y, theta):
        return torch.exp(torch.exp(theta[0] + theta[1] * x[0]))

    atom = Atom(steep, ("height", "slope"), lambda g: matrix(1.0, 2.0), d=1)
    upper = triangle(atom, [matrix(1.0, 2.0)], 1, 500, generator(), 16.0)
    assert upper.isfinite().all()
    assert rank(upper[:, :2]).nullity == 0


def test_draws_that_disagree_are_undecided():
    atom = Atom(lambda x, y, t: torch.relu(t[0]) * x[0] + t[1] * x[0] ** 2, ("a", "b"), drawn(2), 1)
    found = identify_atom(atom, order=1, draws=8)
    assert found.verdict is IdentifiabilityVerdict.undecided
    assert "the draws disagree" in found.words
    assert "2 derivatives with 0 relations" in found.doubt
    assert "1 derivatives with 0 relations" in found.doubt


def test_a_draw_without_a_clear_gap_is_replaced_and_counted():
    def draw(g):
        coin = float(torch.rand((), generator=g))
        return torch.tensor([1.0, 1.0, 1e-10 if coin < 0.4 else 0.7], dtype=torch.float64)

    def curve(x, y, t):
        return t[0] * x[0] + t[1] * (x[0] + t[2] * x[0] ** 2)

    found = identify_atom(Atom(curve, ("a", "b", "c"), draw, 1, held=("c",)), order=1, draws=6)
    assert found.verdict is IdentifiabilityVerdict.weak
    assert 0 < found.replaced <= 6
    assert f"{found.replaced} draws without a clear gap left out" in found.text()


# ---- objects of one's own


@dataclass(frozen=True)
class Cauchy(Score):
    """``bias - log(1 + ||x - center||^2)``."""

    def parameters(self, d):
        return {"center": Parameter((d,), "location"), "bias": Parameter((), "intercept")}

    def __call__(self, params, x):
        difference = params["center"][..., None] - x.unsqueeze(-3)
        return params["bias"][..., None] - torch.log1p((difference**2).sum(-2))


@dataclass(frozen=True)
class Product(Score):
    """``first * second * sum(x) + bias``: only the product counts."""

    def parameters(self, d):
        return {
            "first": Parameter(),
            "second": Parameter(bounds=(0.5, 2.0)),
            "bias": Parameter((), "intercept"),
        }

    def __call__(self, params, x):
        slope = (params["first"] * params["second"])[..., None]
        return slope * x.sum(-2, keepdim=True) + params["bias"][..., None]


@dataclass(frozen=True)
class Wave(Expert):
    """``height * sin(coef . x + intercept)``."""

    def parameters(self, d):
        return {
            "coef": Parameter((d,), "slope"),
            "intercept": Parameter((), "threshold"),
            "height": Parameter((), "output", initial=1.0),
        }

    def __call__(self, params, x):
        return params["height"][..., None] * torch.sin(affine(params["coef"], params["intercept"], x))


def test_a_gate_of_ones_own():
    found = identify(Gate(Cauchy()), "linear")
    assert (found.n_atoms, found.parameters, found.verdict) == (27, ("variance",), "interaction")
    assert identify((Gate(Cauchy()), "softmax"), "linear").estimated[:2] == ("gates.0.center", "gates.1.weight")


def test_the_ridge_of_a_gate_of_ones_own():
    found = identify(Gate(Product()), order=1)
    assert (found.verdict, found.unidentified) == ("ridge", ("first", "second"))
    assert found.equations == ("du/dsecond = (first/second) du/dfirst",)


def test_an_expert_of_ones_own():
    found = identify("laplace", Wave(), "ls")
    assert "d2u/dintercept2 = -height du/dheight" in found.equations
    assert "d2u/dcoef dheight = (1/height) du/dcoef" in found.equations


def test_an_expert_and_a_gate_with_a_name_in_common():
    @dataclass(frozen=True)
    class Tilted(Wave):
        def parameters(self, d):
            return {"weight": Parameter((d,))}

        def __call__(self, params, x):
            return torch.sin(params["weight"] @ x)

    found = identify("softmax", Tilted(), "ls", order=1)
    assert found.estimated == ("weight", "experts.weight")
    assert found.n_atoms == 4


# ---- a mixture as it is fitted


def test_assess_remembers_and_holds_what_fits_hold():
    sparse = Mixture((Gate(Tempered(Affine())),), (3,))
    assert assess(sparse) is assess(sparse)
    assert assess(sparse).estimated == ("weight", "coef", "intercept", "variance")
    assert assess(sparse).verdict == "interaction"
    assert assess(sparse, gauge="none").unidentified == ("weight", "temperature")
    tree = Mixture((GATES["laplace"], GATES["dense-to-sparse"]), (2, 2))
    assert "gates.1.temperature" not in assess(tree).estimated


def test_assess_looks_at_two_experts_too():
    constant = Mixture((GATES["constant"],), (2,))
    assert identify("constant", "linear", "ls").verdict == "strong"
    found = assess(constant, "ls")
    assert (found.verdict, found.atoms, found.unidentified) == ("ridge", 2, ("coef", "intercept"))
    assert assess(constant, "ml").verdict == "interaction"


def test_assess_takes_first_order_behind_general_sigmoids_and_the_family_of_the_mixture():
    assert assess(Mixture((GATES["sigmoid"],), (2,)), "ls").order == 1
    counts = assess(Mixture((GATES["softmax"],), (2,), family=FAMILIES["poisson"]))
    assert counts.estimated == ("weight", "coef", "intercept")
    with pytest.raises(ValueError, match="gauge='free'"):
        assess(Mixture((GATES["softmax"],), (2,)), gauge="free")


def test_equal_seeds_give_equal_findings():
    assert identify("laplace", seed=3) == identify("laplace", seed=3)
    assert identify("laplace", seed=3).kept != identify("laplace", seed=4).kept


# ---- refusals


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"gate": "laplas"}, "did you mean 'laplace'"),
        ({"gate": ()}, "gate is empty"),
        ({"gate": "sigmoid"}, "Use estimator='ls', or the gate 'normalised-sigmoid'"),
        ({"gate": "top-k"}, "which jumps"),
        ({"expert": "lin"}, "expert 'lin' is unknown"),
        ({"estimator": "mle"}, "the choices are 'ml', 'ls'"),
        ({"order": 3}, "order=3: give 1 or 2"),
        ({"atoms": 0}, "atoms=0: give 1 or 2"),
        ({"d": 0}, "d=0: give a whole number from 1"),
        ({"seed": -1}, "seed=-1: give a whole number from 0"),
        ({"draws": 0}, "draws=0"),
        ({"samples": True}, "samples=True"),
        ({"rows": 5}, "rows=5: give a whole number from 27"),
        ({"d": 40}, "at most 700 are compared"),
        ({"shared_gate": True}, "give atoms=2"),
        ({"held": ("speed",)}, "held='speed' is no parameter here: the parameters are weight, bias, coef"),
        ({"held": ("weight", "coef", "intercept", "variance")}, "leave one to differentiate in"),
        ({"regime": 1}, "regimes 1 and 2 are for gates whose scores have no free shift"),
        ({"gate": "sigmoid", "estimator": "ls", "regime": 3}, "regime=3"),
        ({"gate": "euclidean-sigmoid", "regime": 1}, "has none: leave regime out"),
    ],
)
def test_what_cannot_be_checked_is_refused_in_words(settings, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        identify(**settings)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda x, y, t: x * t[0], "return one float64 number per row"),
        (lambda x, y, t: (x[0] * t[0]).float(), "torch.float32"),
        (lambda x, y, t: torch.log(x[0]) * t[0], "du/da is not finite"),
    ],
)
def test_a_wrong_atom_is_refused_in_words(function, message):
    with pytest.raises(ValueError, match=message):
        identify_atom(Atom(function, ("a", "b"), drawn(2), 1))


def test_a_fault_in_a_function_comes_through():
    with pytest.raises(RuntimeError, match="must match the size"):
        identify_atom(Atom(lambda x, y, t: x[0] * torch.ones(3), ("a",), drawn(1), 1))
    with pytest.raises(ValueError, match="it names 2: draw one float64 number per name"):
        identify_atom(Atom(lambda x, y, t: x[0] * t[0], ("a", "b"), drawn(1), 1))
    with pytest.raises(TypeError, match="give a name of GATES"):
        identify(Softmax())


# ---- the command line


def run(*arguments, columns=80):
    environment = {"COLUMNS": str(columns), "NO_COLOR": "1"}
    result = CliRunner().invoke(app, ["identify", *arguments], env=environment)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def test_the_command_shows_parameters_equations_and_verdict():
    result = run("--gate", "softmax")
    assert result.exit_code == 0
    assert "Softmax gate, linear expert, maximum likelihood" in result.stdout
    assert re.search(r"coef +independent +tied\s", result.stdout)
    assert re.search(r"weight +independent +tied via second derivatives", result.stdout)
    assert "  d2u/dintercept2 = 2 du/dvariance\n" in result.stdout
    assert "Interaction: coef and variance" in result.stdout


@pytest.mark.parametrize("columns", [80, 120])
@pytest.mark.parametrize("gate", ["laplace,softmax", "dense-to-sparse", "quadratic", "softmax,softmax"])
def test_the_lines_fit_the_terminal_and_no_derivative_is_cut(gate, columns):
    result = run("--gate", gate, columns=columns)
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert max(map(len, lines)) <= columns
    assert not any(line.rstrip().endswith(("+", "=")) for line in lines)
    # no line ends, and none begins, within a derivative
    assert not any(re.search(r"d2u/d\S*[^2\s,]$", line.rstrip()) for line in lines)
    assert not any(re.match(r" +d[^2u]", line) for line in lines)


def test_many_relations_are_counted():
    assert re.search(r"and \d+ more; --json lists all", run("--gate", "quadratic").stdout)


def test_two_comma_separated_gates_are_a_hierarchy():
    found = json.loads(run("--gate", "laplace,softmax", "--held", "gates.0.center", "--json").stdout)
    expected = identify(("laplace", "softmax"), held=("gates.0.center",))
    assert (found["nullity"], found["verdict"]) == (6, "interaction")
    assert found["equations"] == list(expected.equations)
    assert found["columns"] == list(expected.columns)
    assert found["relations"][0]["terms"] == list(expected.relations[0].terms)


def test_the_options_reach_the_check():
    arguments = ["--gate", "sigmoid", "--expert", "constant", "--estimator", "ls", "--atoms", "2", "--shared-gate"]
    found = json.loads(run(*arguments, "--order", "1", "--seed", "5", "--d", "3", "--json").stdout)
    settings = {"atoms": 2, "shared_gate": True, "order": 1, "seed": 5, "d": 3}
    assert found["kept"] == identify("sigmoid", "constant", "ls", **settings).kept
    assert found["verdict"] == "ridge"
    regime = json.loads(run(*arguments[:6], "--regime", "1", "--json").stdout)
    assert regime["parameters"] == ["weight"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--gate", "laplas"], "error: gate 'laplas' is unknown: did you mean 'laplace'?"),
        (["--gate", ","], "error: gate is empty"),
        (["--order", "7"], "error: order=7: give 1 or 2"),
        (["--gate", "sigmoid"], "error: gate 'sigmoid' has the link Sigmoid"),
        (["--held", "speed"], "error: held='speed' is no parameter here"),
    ],
)
def test_the_command_refuses_in_one_line(arguments, message):
    result = run(*arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
