"""Every law can fail: each row changes one formula, and the law that guards it must say so.

A row is (law, what it is about, where the formula lives, its name, the wrong formula). A wrong formula is written as a
function of the right one.
"""

import pytest
import torch

from gatewise import testing
from gatewise.core import mixture
from gatewise.core.experts import EXPERTS, Activation, HiddenUnit, Linear, Polynomial
from gatewise.core.families import Binomial, FullGaussian, Gaussian, LeafDerivatives, Poisson, StudentT
from gatewise.core.gates import GATES, Gate
from gatewise.core.links import Logits, NormalisedSigmoid, Sigmoid, Softmax
from gatewise.core.mixture import Measure, Mixture
from gatewise.core.scores import Activated, Affine, Cosine, Distance, Quadratic, Score, Tempered
from gatewise.objective import entries, likelihood, parameterization, squares, terms
from gatewise.objective.parameterization import Parameterization
from gatewise.objective.rows import Rows
from gatewise.testing import make_problem


def tree(*names, branching=None, **parts):
    branching = branching or (3, 2, 2)[: len(names)]
    return make_problem(Mixture(tuple(GATES[n] for n in names), branching, **parts))


FLAT, NESTED = tree("softmax"), tree("laplace", "softmax")


def always(value):
    return lambda right: lambda *args, **kwargs: value


def first_argument(right):
    return lambda self, params, *rest: (self, dict(params))


def itself(right):
    return lambda self, *rest: self


def flipped_curvature(right):
    def value_and_derivatives(self, params, x):
        found = right(self, params, x)
        return found._replace(curvature=lambda weights: -found.curvature(weights))

    return value_and_derivatives


def no_curvature(right):
    return lambda self, params, x: right(self, params, x)._replace(curvature=None)


def longer_jacobian(right):
    def value_and_derivatives(self, params, x):
        found = right(self, params, x)
        return found._replace(jacobian=1.01 * found.jacobian)

    return value_and_derivatives


def flipped_second(right):
    def value_and_derivatives(self, params, y, eta, order=2):
        value, first, second = right(self, params, y, eta, order)
        return LeafDerivatives(value, first, None if second is None else -second)

    return value_and_derivatives


def longer_sum(right):
    """A sum of second derivatives with a wrong block of the family's own parameters."""

    def summed_second(self, params, y, eta):
        def summed(weight, jacobian):
            total = right(self, params, y, eta)(weight, jacobian)
            total[..., -1, -1] *= 1.01
            return total

        return summed

    return summed_second


def flipped_first(right):
    def value_and_derivatives(self, params, y, eta, order=2):
        value, first, second = right(self, params, y, eta, order)
        return LeafDerivatives(value, -first, second)

    return value_and_derivatives


def without_mixed_derivatives(right):
    def value_and_derivatives(self, params, y, eta, order=2):
        value, first, second = right(self, params, y, eta, order)
        if second is None:
            return LeafDerivatives(value, first, None)
        eye = torch.eye(second.shape[-2], dtype=second.dtype)[..., None]
        return LeafDerivatives(value, first, second * eye)

    return value_and_derivatives


def forgets(name, whole=True):
    """A change of units (`whole`: with the part in those units) that leaves one parameter as it was."""

    def wrong(right):
        def rescale(self, params, *rest):
            found = right(self, params, *rest)
            moved = {**(found[1] if whole else found), name: params[name]}
            return (found[0], moved) if whole else moved

        return rescale

    return wrong


def turned_output(right):
    """Tangents along which slopes and output weight grow together."""

    def tangents(self, params):
        found = right(self, params)
        return {**found, "output": -found["output"]}

    return tangents


def without_outer_product_of_the_score(right):
    """The Hessian of log p without its -g g'."""

    def hessian(model, measure, block):
        value, slope, bend = right(model, measure, block)
        rows = likelihood.scores(terms.mixture_terms(model, measure, block, 1), block).rows()
        weighed = rows if block.weight is None else rows * block.weight
        return value, slope, bend + weighed @ rows.mT

    return hessian


def shared_inner_gate(right):
    """All groups use the inner gate of the first."""

    def path_log_weights(gates, params, x):
        inner = [params[0], *({k: v[:1].expand_as(v) for k, v in level.items()} for level in params[1:])]
        return right(gates, inner, x)

    return path_log_weights


def favours_later_branches(right):
    def weights(self, params, x):
        found = right(self, params, x)
        rising = torch.arange(1, found.shape[-2] + 1, dtype=found.dtype)[:, None]
        return found * rising / (found * rising).sum(-2, keepdim=True)

    return weights


def undivided_bias(right):
    def call(self, params, x):
        bias = params["bias"][..., None]
        return (self.inner(params, x) - bias) / params["temperature"][..., None, None] + bias

    return call


def leaves_rolled(right):
    def sample(*args):
        y, leaf = right(*args)
        return y, leaf.roll(1)

    return sample


def responses_raised(right):
    def sample(*args):
        y, leaf = right(*args)
        return y + 0.3, leaf

    return sample


def last_row_lost(right):
    def blocks(self, size):
        for block in right(self, size):
            lost = block.weight if block.weight is not None else torch.ones(block.gate_x.shape[-1]).double()
            yield block._replace(weight=torch.cat([lost[:-1], 0 * lost[-1:]]) if len(lost) > 2 else lost)

    return blocks


def gate_inputs_of_the_last_row(right):
    def read(self, first, last):
        block = right(self, first, last)
        if self.ends is None:
            return block
        return block._replace(gate_x=self.gate_x.read(0, self.n)[:, self.ends[first:last] - 1])

    return read


def mean_by_unit(right):
    def by_unit(values, block):
        total = right(values, block)
        return total if block.unit is None else total / right(torch.ones_like(values), block)

    return by_unit


def no_ties(right):
    return lambda mixture, path, free: right(Mixture(mixture.gates, mixture.branching), path, free)


def raised_tangents(right):
    return lambda *args: {name: move + 0.01 for name, move in right(*args).items()}


def squared_scale(right):
    return lambda self, params, eta: params["scale"][..., None] ** 2


def without_log_scale(right):
    def log_prob(self, params, y, eta):
        return right(self, params, y, eta) + params["scale"].log().sum(-1)[..., None]

    return log_prob


def noisier(right):
    return lambda self, params, eta, generator: eta + 1.2 * (right(self, params, eta, generator) - eta)


def without_floor(right):
    return lambda self, floor: (self, right(self, floor)[1])


MUTATIONS = [
    (testing.law_squares, tree("sigmoid"), Sigmoid, "slopes", lambda right: lambda self, scores: torch.sigmoid(scores)),
    (testing.law_squares, FLAT, squares, "gradients_at_logits", lambda right: lambda t: [1.01 * g for g in right(t)]),
    (testing.law_squares, FLAT, squares, "_outer", lambda right: lambda *args: 2.0 * right(*args)),
    (testing.law_squares, NESTED, squares, "add_curvatures", lambda right: lambda *args: None),
    (testing.law_squares, FLAT, squares, "ungrouped", lambda right: lambda block: right(block)._replace(weight=None)),
    (testing.law_local, Distance(), Distance, "value_and_derivatives", flipped_curvature),
    (testing.law_local, Cosine(), Cosine, "value_and_derivatives", no_curvature),
    (testing.law_local, Activated(Affine(), "tanh"), Activated, "value_and_derivatives", flipped_curvature),
    (testing.law_local, Tempered(Distance()), Tempered, "value_and_derivatives", flipped_curvature),
    (testing.law_local, Quadratic(), Quadratic, "value_and_derivatives", longer_jacobian),
    (testing.law_local, EXPERTS["gelu-unit"], Activation, "value_and_derivatives", no_curvature),
    (testing.law_children, Affine(), Affine, "__call__", lambda right: lambda *a: right(*a).cumsum(-1)),
    (testing.law_children, Affine(), Affine, "__call__", lambda right: lambda *a: right(*a).cumsum(-2)),
    (testing.law_rescale_inputs, Affine(), Affine, "rescale", forgets("bias")),
    (testing.law_rescale_inputs, Quadratic(), Quadratic, "rescale", forgets("weight")),
    (testing.law_rescale_inputs, Distance(), Distance, "rescale", first_argument),
    (testing.law_rescale_inputs, Cosine(), Cosine, "rescale", first_argument),
    (testing.law_rescale_inputs, EXPERTS["bare-tanh"], Activation, "rescale", forgets("intercept")),
    (testing.law_rescale_inputs, EXPERTS["tanh"], HiddenUnit, "rescale", forgets("bias")),
    (testing.law_rescale_inputs, EXPERTS["cubic"], Polynomial, "rescale", forgets("powers")),
    (testing.law_standardised_score, Distance(), Distance, "standardised", itself),
    (testing.law_standardised_score, Activated(Distance()), Distance, "standardised", itself),
    (testing.law_rescale_response, Linear(), Linear, "rescale_response", forgets("coef")),
    (testing.law_rescale_response, EXPERTS["bare-relu"], Activation, "rescale_response", first_argument),
    (testing.law_rescale_response, EXPERTS["relu"], HiddenUnit, "rescale_response", forgets("output")),
    (testing.law_expert_tangents, EXPERTS["relu"], HiddenUnit, "tangents", always({})),
    (testing.law_expert_tangents, EXPERTS["relu"], HiddenUnit, "tangents", turned_output),
    (testing.law_expert_tangents, HiddenUnit("square"), HiddenUnit, "canonical", lambda right: lambda self, p: dict(p)),
    (testing.law_expert_tangents, HiddenUnit("cube"), HiddenUnit, "canonical", forgets("bias", whole=False)),
    (testing.law_standardised_expert, EXPERTS["relu-no-bias"], Activation, "standardised", itself),
    (testing.law_slopes, Affine(), Affine, "names", always(("weight", "bias"))),
    (testing.law_slopes, Distance(), Score, "names", always(("center",))),
    (testing.law_smoothed, Activated(Affine(), "relu"), Activated, "smoothed", itself),
    (testing.law_smoothed, Distance(), Distance, "smoothed", lambda right: lambda s, r: right(s, r + 0.1)),
    (testing.law_start, Tempered(Affine()), Tempered, "start", lambda right: lambda s, *rest: s.inner.start(*rest)),
    (testing.law_start, Distance(), Score, "start", lambda right: lambda s, x, p: right(s, x, p.flatten(0, 1))),
    (testing.law_temperature, Distance(), Tempered, "__call__", undivided_bias),
    (testing.law_weights, GATES["softmax"], Softmax, "weights", lambda right: lambda s, x: x.sigmoid()),
    (testing.law_weights, GATES["softmax"], Softmax, "log_weights", lambda right: lambda s, x: right(s, x) + 0.1),
    (
        testing.law_weights,
        GATES["normalised-sigmoid"],
        NormalisedSigmoid,
        "log_weights",
        lambda right: lambda s, x: torch.log(x.sigmoid() / x.sigmoid().sum(-2, keepdim=True)),
    ),
    (
        testing.law_gate_local,
        GATES["normalised-sigmoid"],
        NormalisedSigmoid,
        "logits",
        lambda right: lambda s, x: Logits(right(s, x).value, right(s, x).first, -right(s, x).second),
    ),
    (testing.law_translation, GATES["laplace"], Distance, "translation", always(("center", "bias"))),
    (
        testing.law_translation,
        GATES["normalised-sigmoid"],
        NormalisedSigmoid,
        "translation_invariant",
        lambda right: True,
    ),
    (testing.law_gauge, GATES["softmax"], Affine, "translation", always(("bias",))),
    (testing.law_gauge, GATES["quadratic"], Quadratic, "translation", always(("weight", "bias"))),
    (testing.law_gauge, GATES["dense-to-sparse"], Tempered, "held", always(())),
    (testing.law_gauge, GATES["cosine"], Cosine, "tangents", always({})),
    (testing.law_gauge, GATES["perturbed-cosine"], Cosine, "tangents", always({})),
    (testing.law_gauge, GATES["perturbed-cosine"], Cosine, "tangents", raised_tangents),
    (
        testing.law_gauge,
        Gate(Cosine(floor=0.1), NormalisedSigmoid()),
        Gate,
        "tangents",
        lambda right: lambda self, params: self.score.tangents(params, True),
    ),
    (testing.law_gauge, Gate(Activated(Cosine(), "silu")), Activated, "tangents", always({})),
    (testing.law_family_local, Gaussian(), Gaussian, "value_and_derivatives", without_mixed_derivatives),
    (testing.law_family_local, Poisson(), Poisson, "value_and_derivatives", flipped_second),
    (testing.law_family_summed_second, FullGaussian(), FullGaussian, "summed_second", longer_sum),
    (
        testing.law_family_moments,
        StudentT(),
        StudentT,
        "variance",
        lambda right: lambda s, p, e: p["scale"][..., None] ** 2,
    ),
    (
        testing.law_family_moments,
        Gaussian(),
        Gaussian,
        "log_prob",
        lambda right: lambda s, p, y, e: right(s, p, y, e) + p["scale"].log().sum(-1)[..., None],
    ),
    (testing.law_family_cdf, Gaussian(), Gaussian, "cdf", lambda right: lambda s, p, y, e: right(s, p, y + 0.01, e)),
    (testing.law_family_cdf, StudentT(), StudentT, "cdf", lambda right: lambda s, p, y, e: 1 - right(s, p, y, e)),
    (testing.law_family_cdf, Poisson(), Poisson, "cdf", lambda right: lambda s, p, y, e: right(s, p, y - 1, e)),
    (testing.law_family_cdf, Binomial(5), Binomial, "cdf", lambda right: lambda s, p, y, e: right(s, p, y + 0.6, e)),
    (testing.law_family_support, Poisson(), Poisson, "discrete", lambda right: False),
    (testing.law_family_support, Gaussian(), Gaussian, "discrete", lambda right: True),
    (testing.law_family_support, Poisson(), Poisson, "validate", always(None)),
    (testing.law_family_support, Binomial(5), Binomial, "validate", always(None)),
    (testing.law_family_samples, Gaussian(), Gaussian, "sample", noisier),
    (
        testing.law_family_generator,
        Gaussian(),
        Gaussian,
        "sample",
        lambda right: lambda s, p, e, g: e + p["scale"][..., None] * torch.randn_like(e),
    ),
    (
        testing.law_family_generator,
        Poisson(),
        Poisson,
        "sample",
        lambda right: lambda s, p, e, g: right(s, p, e, testing.generator(3)),
    ),
    (testing.law_family_samples, Poisson(), Poisson, "mean", lambda right: lambda s, p, e: e),
    (testing.law_family_rescale, Gaussian(), Gaussian, "rescale_response", first_argument),
    (testing.law_family_rescale, FullGaussian(), FullGaussian, "rescale_response", first_argument),
    (testing.law_family_start, Poisson(), Poisson, "working_response", lambda right: lambda s, y: y.log()),
    (testing.law_family_start, Poisson(), Poisson, "sample", lambda right: lambda *a: right(*a) - 1),
    (testing.law_family_floor, FullGaussian(), FullGaussian, "with_scale_floor", without_floor),
    (testing.law_family_floor, StudentT(), StudentT, "with_scale_floor", always((StudentT(), {}))),
    (testing.law_family_floor, Gaussian(), Gaussian, "with_scale_floor", always((Gaussian(), {}))),
    (testing.law_family_columns, Binomial(trials=None), Binomial, "columns", lambda right: lambda s, outputs: outputs),
    (testing.law_family_fit, StudentT(), StudentT, "value_and_derivatives", flipped_first),
    (testing.law_batched, FLAT, Softmax, "log_weights", lambda right: lambda s, x: x.log_softmax(0)),
    (testing.law_tree, NESTED, Softmax, "log_weights", lambda right: lambda s, x: x.log_softmax(0)),
    (testing.law_tree, NESTED, mixture, "path_log_weights", shared_inner_gate),
    (testing.law_permutation, NESTED, Gate, "weights", favours_later_branches),
    (testing.law_shift, NESTED, Distance, "translation", always(("center",))),
    (testing.law_leaf_weights, NESTED, Softmax, "log_weights", lambda right: lambda s, x: x),
    (testing.law_one_expert, NESTED, Softmax, "log_weights", lambda right: lambda s, x: x - 1),
    (testing.law_zero_slopes, tree("dense-to-sparse", "cosine"), Tempered, "__call__", undivided_bias),
    (testing.law_zero_slopes, NESTED, Distance, "__call__", lambda right: lambda s, p, x: 2 * right(s, p, x)),
    (testing.law_derivatives, FLAT, likelihood, "hessian", without_outer_product_of_the_score),
    (testing.law_derivatives, NESTED, Distance, "value_and_derivatives", flipped_curvature),
    (testing.law_derivatives, FLAT, likelihood, "apply_weights", lambda right: lambda values, weight: values),
    (testing.law_derivatives, FLAT, likelihood, "rows_from_units", lambda right: lambda values, block: values[..., :1]),
    (testing.law_derivatives, FLAT, Gaussian, "value_and_derivatives", without_mixed_derivatives),
    (
        testing.law_derivatives,
        FLAT,
        Parameterization,
        "_slopes",
        lambda right: lambda self, natural: (right(self, natural)[0], torch.zeros_like(natural)),
    ),
    (testing.law_complete, NESTED, likelihood, "expected_complete_hessian", lambda right: likelihood.hessian),
    (
        testing.law_complete,
        NESTED,
        likelihood,
        "pair_gram",
        lambda right: lambda rows, left, other: right(rows, left, other) * 0,
    ),
    (
        testing.law_expected_score,
        FLAT,
        Gaussian,
        "sample",
        lambda right: lambda s, p, e, g: e + 1.2 * (right(s, p, e, g) - e),
    ),
    (testing.law_expected_score, NESTED, Gate, "log_weights", favours_later_branches),
    (testing.law_sample, NESTED, mixture, "sample", leaves_rolled),
    (testing.law_sample, NESTED, mixture, "sample", responses_raised),
    (
        testing.law_paths,
        FLAT,
        Measure,
        "paths",
        lambda right: lambda self: {k.replace("experts.", "expert."): v for k, v in right(self).items()},
    ),
    (testing.law_parameterization, FLAT, Parameterization, "_gauged", lambda right: lambda self, working: working),
    (testing.law_parameterization, FLAT, parameterization, "LOG", lambda right: 9),
    (
        testing.law_parameterization,
        NESTED,
        Parameterization,
        "columns",
        lambda right: lambda self, path: right(self, path).clamp_min(0),
    ),
    (testing.law_fixed, FLAT, Parameterization, "constrained", lambda right: lambda self, free: free @ self.matrix.mT),
    (testing.law_bounds, FLAT, entries, "working", lambda right: lambda kind, natural: natural),
    (testing.law_ties, FLAT, entries, "_columns", no_ties),
    (testing.law_rescale, NESTED, Distance, "rescale", first_argument),
    (testing.law_rescale, FLAT, Gaussian, "rescale_response", first_argument),
    (testing.law_rescale, FLAT, Linear, "rescale", forgets("intercept")),
    (testing.law_blocks, FLAT, Rows, "blocks", last_row_lost),
    (testing.law_frequencies, FLAT, likelihood, "apply_weights", lambda right: lambda values, weight: values),
    (testing.law_units, FLAT, Rows, "read", gate_inputs_of_the_last_row),
    (testing.law_units, FLAT, terms, "by_unit", mean_by_unit),
]


def name(row):
    law, _, home, formula, _ = row
    return f"{law.__name__}-{home.__name__.rpartition('.')[2]}.{formula}"


@pytest.mark.parametrize("row", MUTATIONS, ids=name)
def test_a_wrong_formula_breaks_its_law(row, monkeypatch):
    law, subject, home, formula, wrong = row
    law(subject)
    right = getattr(home, formula)
    monkeypatch.setattr(home, formula, wrong(right))
    with pytest.raises(AssertionError, match=r"^broken: "):
        law(subject)


def test_every_law_has_a_mutation():
    laws = {value for key, value in vars(testing).items() if key.startswith("law_")}
    elsewhere = (
        "gatewise.testing.fits",
        "gatewise.testing.layers",
        "gatewise.testing.estimators",
    )  # tests of those rooms
    laws = {law for law in laws if not law.__module__.startswith(elsewhere)}
    assert laws == {row[0] for row in MUTATIONS}
