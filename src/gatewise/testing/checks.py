"""All laws of a gate, an expert, a family or a problem at once."""

from __future__ import annotations

from collections.abc import Callable

from gatewise.core.experts import Expert
from gatewise.core.families import Family
from gatewise.core.gates import GATES, Gate
from gatewise.core.mixture import Mixture
from gatewise.core.scores import Score
from gatewise.testing import families, mixtures, parameterizations, predictors, squares
from gatewise.testing.estimators import check_estimator_parts
from gatewise.testing.layers import law_layer_moves, make_layer
from gatewise.testing.problems import ExampleProblem, make_problem, tree_problems

PREDICTOR_LAWS: tuple[Callable[[Score | Expert], None], ...] = (
    predictors.law_local,
    predictors.law_children,
    predictors.law_rescale_inputs,
    predictors.law_slopes,
    predictors.law_smoothed,
)
SCORE_LAWS: tuple[Callable[[Score], None], ...] = (
    *PREDICTOR_LAWS,
    predictors.law_standardised_score,
    predictors.law_start,
)
GATE_LAWS: tuple[Callable[[Gate], None], ...] = (
    predictors.law_weights,
    predictors.law_translation,
)
SMOOTH_GATE_LAWS: tuple[Callable[[Gate], None], ...] = (predictors.law_gate_local, predictors.law_gauge)
EXPERT_LAWS: tuple[Callable[[Expert], None], ...] = (
    *PREDICTOR_LAWS,
    predictors.law_rescale_response,
    predictors.law_standardised_expert,
    predictors.law_expert_tangents,
)
FAMILY_LAWS: tuple[Callable[[Family], None], ...] = (
    families.law_family_local,
    families.law_family_summed_second,
    families.law_family_moments,
    families.law_family_cdf,
    families.law_family_support,
    families.law_family_samples,
    families.law_family_generator,
    families.law_family_rescale,
    families.law_family_start,
    families.law_family_floor,
    families.law_family_columns,
    families.law_family_fit,
)
MIXTURE_LAWS: tuple[Callable[[ExampleProblem], None], ...] = (
    mixtures.law_batched,
    mixtures.law_tree,
    mixtures.law_permutation,
    mixtures.law_shift,
    mixtures.law_leaf_weights,
    mixtures.law_one_expert,
    mixtures.law_derivatives,
    mixtures.law_complete,
    mixtures.law_expected_score,
    mixtures.law_sample,
    squares.law_squares,
    parameterizations.law_paths,
    parameterizations.law_parameterization,
    parameterizations.law_fixed,
    parameterizations.law_bounds,
    parameterizations.law_ties,
    parameterizations.law_rescale,
    parameterizations.law_blocks,
    parameterizations.law_frequencies,
    parameterizations.law_units,
)


def check_problem(problem: ExampleProblem) -> None:
    """Check all laws of mixtures on one problem.

    Parameters
    ----------
    problem : ExampleProblem

    Raises
    ------
    AssertionError
        Naming the law that is broken.

    Examples
    --------
    >>> from gatewise import GATES, Mixture
    >>> from gatewise.testing import check_problem, make_problem
    >>> problem = make_problem(Mixture((GATES["softmax"],), (2,)), d=3, gate_d=2)
    >>> check_problem(problem)
    """
    for law in MIXTURE_LAWS:
        law(problem)


def check_gate(gate: Gate) -> None:
    """Check all laws of a gate, of its score, of mixtures with it at depth 1, 2 and 3, of estimators and of layers.

    An estimator with the gate is fitted, summarised, inferred, predicted, saved and made a layer
    (`check_estimator_parts`), and a layer of experts behind the gate takes a training step; all laws of layers are
    in `check_layer_gate`.

    Parameters
    ----------
    gate : Gate

    Raises
    ------
    AssertionError
        Naming the law that is broken.

    Examples
    --------
    >>> check_gate(GATES["constant"])
    """
    for score_law in SCORE_LAWS:
        score_law(gate.score)
    smooth = gate.link.normalised and gate.link.smooth
    for gate_law in GATE_LAWS + SMOOTH_GATE_LAWS * smooth:
        gate_law(gate)
    for problem in tree_problems(gate).values():
        check_problem(problem)
    check_estimator_parts(Mixture((gate,), (2,)))
    for d in (2, 4):
        law_layer_moves(make_layer(gate, dim=d))


def check_expert(expert: Expert) -> None:
    """Check all laws of an expert, of mixtures of it at depth 1, 2 and 3, and of estimators with it.

    Parameters
    ----------
    expert : Expert

    Raises
    ------
    AssertionError
        Naming the law that is broken.

    Examples
    --------
    >>> from gatewise import Constant
    >>> from gatewise.testing import check_expert
    >>> check_expert(Constant())
    """
    for law in EXPERT_LAWS:
        law(expert)
    for problem in tree_problems(GATES["softmax"], expert=expert).values():
        check_problem(problem)
    check_estimator_parts(Mixture((GATES["softmax"],), (2,), expert))


def check_family(family: Family) -> None:
    """Check all laws of a family, fits of it among them, of mixtures of it at depth 1 and 2, and of estimators.

    Parameters
    ----------
    family : Family

    Raises
    ------
    AssertionError
        Naming the law that is broken.

    Examples
    --------
    >>> from gatewise import Gaussian
    >>> from gatewise.testing import check_family
    >>> check_family(Gaussian())
    """
    for law in FAMILY_LAWS:
        law(family)
    for branching in ((3,), (2, 3)):
        mixture = Mixture((GATES["softmax"],) * len(branching), branching, family=family)
        check_problem(make_problem(mixture, columns=family.columns(len(branching))))
    check_estimator_parts(Mixture((GATES["softmax"],), (2,), family=family))
