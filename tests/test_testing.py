"""`gatewise.testing` itself: comparisons, tables of problems, and what is public."""

import inspect

import pytest
import torch

from gatewise import testing
from gatewise.core.experts import EXPERTS
from gatewise.core.families import FAMILIES
from gatewise.core.gates import GATES
from gatewise.core.mixture import Mixture


@pytest.mark.parametrize(
    ("found", "expected", "words"),
    [
        ([1.0, 2.0], [1.0, 2.5], r"off by 0.5 at \[1\]: 2, expected 2.5"),
        ([1.0, torch.nan], [1.0, 2.0], r"off by inf at \[1\]: nan, expected 2"),
        ([1.0, torch.inf], [1.0, -torch.inf], r"off by inf at \[1\]"),
        ([1.0], [1.0, 2.0], r"shape \(1,\), expected \(2,\)"),
    ],
)
def test_a_difference_is_told_in_words(found, expected, words):
    with pytest.raises(AssertionError, match=f"^broken: a and b agree .*{words}"):
        testing.assert_close(torch.tensor(found), torch.tensor(expected), "a and b agree")


def test_equal_infinities_and_empty_tensors_agree():
    ends = torch.tensor([torch.inf, -torch.inf])
    testing.assert_close(ends, ends.clone(), "ends")
    testing.assert_close(torch.zeros(0, 3), torch.zeros(0, 3), "nothing")


def test_a_bias_of_draws_is_told_in_standard_errors():
    noise = torch.randn(2, 10_000, generator=testing.generator(0), dtype=torch.float64)
    testing.assert_unbiased(noise, "noise")
    testing.assert_unbiased(torch.zeros(2, 5), "no noise at all")
    with pytest.raises(AssertionError, match=r"broken: noise \(a mean of 10000 draws is [89]\.\d standard errors"):
        testing.assert_unbiased(noise + 0.1, "noise")
    with pytest.raises(AssertionError, match=r"inf standard errors|[\d.]+ standard errors"):
        testing.assert_unbiased(torch.ones(3), "a constant that is not zero")


def test_derivatives_by_hand_are_those_of_a_known_function():
    matrix = torch.tensor([[2.0, 1.0], [1.0, -3.0]], dtype=torch.float64)
    at = torch.tensor([0.3, -1.2], dtype=torch.float64)

    def form(z):
        return 0.5 * (z @ matrix * z).sum(-1)

    value, gradient, hessian = testing.batched_derivatives(form, at)
    testing.assert_close(value, form(at), "value")
    testing.assert_close(gradient, matrix @ at, "gradient")
    testing.assert_close(hessian, matrix, "Hessian")
    testing.assert_close(testing.quotient(form, at), matrix @ at, "quotient", 1e-8)
    flat = testing.batched_derivatives(lambda z: z.sum(-1), at)
    testing.assert_close(flat[2], torch.zeros_like(matrix), "no curvature")


def test_the_tables_hold_every_gate_expert_and_family_at_every_depth():
    gates, leaves = testing.gate_problems(), testing.leaf_problems()
    seen = {(gate, problem.mixture.depth) for problem in gates.values() for gate in problem.mixture.gates}
    assert seen >= {(gate, depth) for gate in GATES.values() for depth in (1, 2, 3)}
    pairs = {(problem.mixture.expert, problem.mixture.family) for problem in leaves.values()}
    assert pairs == {(expert, family) for expert in EXPERTS.values() for family in FAMILIES.values()}
    assert {problem.mixture.branching for problem in gates.values()} == {*testing.BRANCHINGS}
    assert any(problem.mixture.shared for problem in gates.values())
    assert {problem.mixture.outputs(problem.measure) for problem in gates.values()} == {1, 2}


def test_problems_repeat_and_do_not_touch_the_global_generator():
    mixture = Mixture((GATES["softmax"],), (2,))
    before = torch.random.get_rng_state()
    one, other, third = (testing.make_problem(mixture, seed=seed) for seed in (4, 4, 5))
    assert torch.equal(before, torch.random.get_rng_state())
    assert torch.equal(one.y, other.y)
    assert not torch.equal(one.y, third.y)


def test_laws_are_public_documented_and_told_apart_by_their_first_line():
    laws = [value for key, value in vars(testing).items() if key.startswith("law_")]
    assert {law.__name__ for law in laws} <= {*testing.__all__}
    first_lines = {inspect.getdoc(law).splitlines()[0] for law in laws}
    assert len(first_lines) == len(laws)


def test_every_law_is_called_by_a_check_or_named_as_optional():
    called = {
        *testing.SCORE_LAWS,
        *testing.GATE_LAWS,
        *testing.EXPERT_LAWS,
        *testing.FAMILY_LAWS,
        *testing.MIXTURE_LAWS,
        *testing.EM_LAWS,
        *testing.FIT_LAWS,
        *testing.ESTIMATOR_LAWS,
        *testing.LAYER_LAWS,
    }
    laws = {value for key, value in vars(testing).items() if key.startswith("law_")}
    by_condition = {testing.law_gauge, testing.law_gate_local}  # where the weights are a smooth density's
    optional = {testing.law_temperature, testing.law_zero_slopes}  # not about every score
    optional |= {  # about some mixtures, or about two
        testing.law_em_optimum,
        testing.law_em_step,
        testing.law_fit_fixed,
        testing.law_fit_groups,
        testing.law_fit_nested,
        testing.law_fit_one_expert,
        testing.law_fit_ridge,
        testing.law_fit_ties,
    }
    assert laws == called | by_condition | optional
