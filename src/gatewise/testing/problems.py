"""Problems: a mixture with a measure and data, the values that the laws are stated about; tables of them."""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite, prod
from typing import NamedTuple

import torch
from torch import Tensor

from gatewise.core.experts import EXPERTS
from gatewise.core.families import FAMILIES, Family
from gatewise.core.gates import GATES, Gate
from gatewise.core.mixture import Measure, Mixture, leaf_family, leaf_predictors, sample
from gatewise.core.parameters import Parameter
from gatewise.core.predictors import AffineTransform, Predictor
from gatewise.objective.parameterization import from_paths, specifications
from gatewise.objective.rows import Block

BRANCHINGS = ((3,), (2, 3), (2, 3, 2))
UNIT_ENDS = (1, 4, 6, 8)  # independent units of 1, 3, 2 and 2 rows


class ExampleProblem(NamedTuple):
    """A mixture with a measure (no batch) and n rows of data drawn from it.

    Attributes
    ----------
    mixture : Mixture
    measure : Measure
    x : Tensor (d, n)
    gate_x : Tensor (g, n)
    y : Tensor (c, n)
    seed : int
        Of everything that was drawn.

    Examples
    --------
    >>> from gatewise import GATES, Mixture
    >>> from gatewise.testing import make_problem
    >>> problem = make_problem(Mixture((GATES["softmax"],), (2,)), d=3, gate_d=2)
    >>> problem.x.shape, problem.gate_x.shape, problem.y.shape
    (torch.Size([3, 8]), torch.Size([2, 8]), torch.Size([1, 8]))
    """

    mixture: Mixture
    measure: Measure
    x: Tensor
    gate_x: Tensor
    y: Tensor
    seed: int = 0


def generator(seed: int) -> torch.Generator:
    """Return a seeded generator.

    Parameters
    ----------
    seed : int

    Returns
    -------
    torch.Generator

    Examples
    --------
    >>> import torch
    >>> from gatewise.testing import generator
    >>> bool(torch.rand(1, generator=generator(3)) == torch.rand(1, generator=generator(3)))
    True
    """
    return torch.Generator().manual_seed(seed)


def dense(mixture: Mixture) -> bool:
    """Return whether the mixture has a density that is continuous in its parameters.

    Parameters
    ----------
    mixture : Mixture

    Returns
    -------
    bool

    Examples
    --------
    >>> from gatewise import GATES, Mixture
    >>> from gatewise.testing import dense
    >>> dense(Mixture((GATES["softmax"],), (2,))), dense(Mixture((GATES["sigmoid"],), (2,)))
    (True, False)
    """
    return all(gate.link.normalised and gate.link.smooth for gate in mixture.gates)


def sizes(problem: ExampleProblem) -> tuple[int, int, int]:
    """Return the numbers of expert inputs d, gate inputs g and outputs q.

    Parameters
    ----------
    problem : ExampleProblem

    Returns
    -------
    (int, int, int)
        d, g and q.

    Examples
    --------
    >>> from gatewise import GATES, Mixture
    >>> from gatewise.testing import make_problem, sizes
    >>> problem = make_problem(Mixture((GATES["softmax"],), (2,)), d=3, gate_d=2)
    >>> sizes(problem)
    (3, 2, 1)
    """
    return problem.x.shape[0], problem.gate_x.shape[0], problem.mixture.family.outputs(problem.y.shape[0])


def whole(problem: ExampleProblem) -> Block:
    """Return all rows as one block."""
    return Block(problem.x, problem.gate_x, problem.y)


def draw_inputs(d: int, n: int, g: torch.Generator) -> Tensor:
    """Draw inputs ``(d, n)``, uniform on [-1.5, 1.5].

    Parameters
    ----------
    d, n : int
        Numbers of features and rows.
    g : torch.Generator

    Returns
    -------
    Tensor (d, n)

    Examples
    --------
    >>> from gatewise.testing import draw_inputs, generator
    >>> draw_inputs(3, 5, generator(0)).shape
    torch.Size([3, 5])
    """
    return 3 * torch.rand(d, n, generator=g, dtype=torch.float64) - 1.5


def draw_frame(d: int, g: torch.Generator) -> AffineTransform:
    """Draw an affine change of units.

    Parameters
    ----------
    d : int
        Number of columns.
    g : torch.Generator

    Returns
    -------
    AffineTransform
        With a shift and a positive scale per column.

    Examples
    --------
    >>> from gatewise.testing import draw_frame, generator
    >>> draw_frame(3, generator(0)).scale.shape
    torch.Size([3])
    """
    shift = torch.randn(d, generator=g, dtype=torch.float64)
    return AffineTransform(shift, torch.exp(torch.randn(d, generator=g, dtype=torch.float64)))


def framed(values: Tensor, frame: AffineTransform) -> Tensor:
    """Return ``(values - shift) / scale`` for values ``(..., d, n)``."""
    return (values - frame.shift[:, None]) / frame.scale[:, None]


def draw_parameter(spec: Parameter, shape: tuple[int, ...], g: torch.Generator) -> Tensor:
    """Draw natural values of one parameter inside its bounds, positive ones about its initial value.

    `shape` includes owners and entries.
    """
    if not spec.free:
        return torch.full(shape, float(spec.initial), dtype=torch.float64)
    kinds = spec.transforms
    normal = 0.5 * torch.randn((prod(shape) // max(len(kinds), 1), len(kinds)), generator=g).double()
    low, high = spec.bounds
    drawn = []
    for kind, value in zip(kinds, normal.unbind(-1), strict=True):
        if kind == "log":
            drawn.append(spec.initial * torch.exp(value))
        elif kind == "reciprocal":
            drawn.append(1 / (0.05 + 0.07 * torch.sigmoid(value)))
        elif isfinite(low) and isfinite(high):
            drawn.append(low + (high - low) * torch.sigmoid(value))
        elif isfinite(low):
            drawn.append(low + torch.exp(value))
        else:
            drawn.append(high - torch.exp(value) if isfinite(high) else value)
    return torch.stack(drawn, -1).clamp(low, high).reshape(shape)


def draw_parameters(
    predictor: Predictor, d: int, lead: tuple[int, ...], children: int, g: torch.Generator
) -> dict[str, Tensor]:
    """Draw the parameters of a score or an expert with batch dimensions `lead` and some children.

    Parameters
    ----------
    predictor : Score or Expert
    d : int
        Number of inputs.
    lead : tuple of int
        Batch dimensions.
    children : int
        Number of branches, or of outputs.
    g : torch.Generator

    Returns
    -------
    dict of str to Tensor

    Examples
    --------
    >>> from gatewise import Affine
    >>> from gatewise.testing import draw_parameters, generator
    >>> {name: tuple(value.shape) for name, value in draw_parameters(Affine(), 3, (), 2, generator(0)).items()}
    {'weight': (2, 3), 'bias': (2,)}
    """
    specs: Mapping[str, Parameter] = predictor.parameters(d)
    return {
        name: draw_parameter(spec, lead + (children,) * (spec.per == "branch") + spec.shape, g)
        for name, spec in specs.items()
    }


def draw_measure(mixture: Mixture, d: int, gate_d: int, q: int, g: torch.Generator) -> Measure:
    """Draw a measure without batch; shared parameters are equal over the leaves.

    Parameters
    ----------
    mixture : Mixture
    d, gate_d, q : int
        Numbers of expert inputs, gate inputs and outputs.
    g : torch.Generator

    Returns
    -------
    Measure

    Examples
    --------
    >>> from gatewise import GATES, Mixture
    >>> from gatewise.testing import draw_measure, generator
    >>> draw_measure(Mixture((GATES["softmax"],), (2,)), 3, 3, 1, generator(0)).experts["coef"].shape
    torch.Size([2, 1, 3])
    """
    drawn = {}
    for path, (spec, shape) in specifications(mixture, d, gate_d, q).items():
        own = shape[mixture.depth :]
        if path in mixture.shared:
            drawn[path] = draw_parameter(spec, own, g).expand(shape).clone()
        else:
            drawn[path] = draw_parameter(spec, shape, g)
    return from_paths(drawn, mixture.depth)


def make_problem(
    mixture: Mixture, *, d: int = 2, gate_d: int = 3, columns: int = 1, n: int = 8, seed: int = 0
) -> ExampleProblem:
    """Draw a measure and n rows from it.

    Parameters
    ----------
    mixture : Mixture
    d, gate_d, columns : int
        Numbers of expert inputs, gate inputs and response columns.
    n : int
        Number of rows.
    seed : int

    Returns
    -------
    ExampleProblem

    Examples
    --------
    >>> from gatewise import GATES
    >>> make_problem(Mixture((GATES["laplace"],), (3,))).y.shape
    torch.Size([1, 8])
    """
    g = generator(seed)
    measure = draw_measure(mixture, d, gate_d, mixture.family.outputs(columns), g)
    return drawn_rows(mixture, measure, d, gate_d, n, seed + 1)


def drawn_rows(mixture: Mixture, measure: Measure, d: int, gate_d: int, n: int, seed: int) -> ExampleProblem:
    """Draw n rows from a measure; where there is no density, the responses are those of the first leaf."""
    g = generator(seed)
    x, gate_x = draw_inputs(d, n, g), draw_inputs(gate_d, n, g)
    if dense(mixture):
        y, _ = sample(mixture, measure, x, gate_x, g)
    else:
        eta = leaf_predictors(mixture, measure, x)
        y = mixture.family.sample(leaf_family(mixture, measure), eta, g)[0]
    return ExampleProblem(mixture, measure, x, gate_x, y, seed)


def _rolled(items: list[str], at: int) -> str:
    return items[at % len(items)]


def _columns(family: Family, at: int) -> int:
    return family.columns(2 if at % 2 or family == FAMILIES["full-gaussian"] else 1)


def gate_problems() -> dict[str, ExampleProblem]:
    """Return problems with every gate of GATES at depth 1, 2 and 3, unequal branching.

    The other levels, experts, families, numbers of outputs and shared parameters rotate.

    Returns
    -------
    dict of str to ExampleProblem

    Examples
    --------
    >>> from gatewise.testing import gate_problems
    >>> sorted({len(problem.mixture.branching) for problem in gate_problems().values()})
    [1, 2, 3]
    """
    experts, families = list(EXPERTS), list(FAMILIES)
    partners = [name for name, gate in GATES.items() if gate.link.normalised and gate.link.smooth]
    out = {}
    for i, name in enumerate(GATES):
        for depth, branching in enumerate(BRANCHINGS, 1):
            names = [name, _rolled(partners, i + 4), _rolled(partners, i + 9)][:depth]
            names = names[i % depth :] + names[: i % depth]
            expert, family = _rolled(experts, i + 5 * depth), _rolled(families, i + 2 * depth)
            parts = tuple(GATES[n] for n in names), branching, EXPERTS[expert], FAMILIES[family]
            shared = _shareable(Mixture(*parts))[:1] if i % 3 == 0 else ()
            mixture = Mixture(*parts, shared)
            label = f"{'+'.join(names)}-{expert}-{family}{'-shared' * bool(shared)}"
            out[label] = make_problem(mixture, columns=_columns(FAMILIES[family], i + depth), seed=100 * i + depth)
    return out


def added(mixture: Mixture) -> tuple[str, ...]:
    """Return the path of the number that an expert adds last, outside its activation or else inside."""
    return mixture.paths("experts", "intercept") or mixture.paths("experts", "threshold")


def _shareable(mixture: Mixture) -> tuple[str, ...]:
    """Return the paths that leaves of this mixture may share in a problem, the likeliest first."""
    return (*mixture.paths("family", "scale"), *added(mixture))


def leaf_problems() -> dict[str, ExampleProblem]:
    """Return problems with every expert of EXPERTS in every family of FAMILIES, behind three Laplace branches.

    Returns
    -------
    dict of str to ExampleProblem

    Examples
    --------
    >>> from gatewise.testing import leaf_problems
    >>> {problem.mixture.branching for problem in leaf_problems().values()}
    {(3,)}
    """
    gates = (GATES["laplace"],)
    out = {}
    for i, (expert, chosen) in enumerate(EXPERTS.items()):
        for j, (family, law) in enumerate(FAMILIES.items()):
            mixture = Mixture(gates, (3,), chosen, law)
            out[f"{expert}-{family}"] = make_problem(mixture, columns=_columns(law, i + j), seed=7 * i + j)
    return out


def tree_problems(gate: Gate, **parts: object) -> dict[str, ExampleProblem]:
    """Return problems with one gate at all levels of trees of depth 1, 2 and 3; `parts` go to Mixture.

    Parameters
    ----------
    gate : Gate
    **parts
        Other fields of `Mixture`, such as its expert.

    Returns
    -------
    dict of str to ExampleProblem

    Examples
    --------
    >>> from gatewise import GATES
    >>> from gatewise.testing import tree_problems
    >>> [problem.mixture.branching for problem in tree_problems(GATES["laplace"]).values()]
    [(3,), (2, 3), (2, 3, 2)]
    """
    return {
        str(branching): make_problem(
            Mixture((gate,) * len(branching), branching, **parts),  # type: ignore[arg-type]
            seed=depth,
        )
        for depth, branching in enumerate(BRANCHINGS)
    }
