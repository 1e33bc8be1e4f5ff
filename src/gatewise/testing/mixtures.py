"""Laws of whole mixtures: batches, trees, permutations, gauge, special cases, derivatives, samples."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import torch
from torch import Tensor

from gatewise.core import mixture as models
from gatewise.core.gates import Gate
from gatewise.core.mixture import Measure, Mixture
from gatewise.core.scores import Bias
from gatewise.core.tree import expand_nodes
from gatewise.objective import likelihood, terms
from gatewise.objective.parameterization import from_paths, make_parameterization, specifications
from gatewise.objective.rows import Block
from gatewise.testing.compare import (
    NUMERICAL,
    assert_close,
    assert_unbiased,
    batched_derivatives,
    quotient,
)
from gatewise.testing.problems import (
    UNIT_ENDS,
    ExampleProblem,
    dense,
    draw_measure,
    drawn_rows,
    generator,
    sizes,
    whole,
)

Readings = dict[str, Callable[[Measure], Tensor]]


def readings(problem: ExampleProblem) -> Readings:
    """Return everything a mixture says about the rows, as functions of the measure."""
    mixture, _, x, gate_x, y, _ = problem
    out: Readings = {
        "leaf weights": lambda m: models.leaf_log_weights(mixture, m, gate_x).exp(),
        "regression": lambda m: models.regression(mixture, m, x, gate_x),
    }
    if dense(mixture):
        out["log density"] = lambda m: models.log_density(mixture, m, x, gate_x, y)
        out["responsibilities"] = lambda m: models.responsibilities(mixture, m, x, gate_x, y)
    return out


def _assert_same(problem: ExampleProblem, measure: Measure, why: str) -> None:
    for what, read in readings(problem).items():
        assert_close(read(measure), read(problem.measure), f"{why}: {what}")


def _stack(measures: list[Measure]) -> Measure:
    paths = [m.paths() for m in measures]
    depth = len(measures[0].gates)
    return from_paths({k: torch.stack([p[k] for p in paths]) for k in paths[0]}, depth)


def law_batched(problem: ExampleProblem) -> None:
    """A batch of measures gives what a loop over its members and `torch.func.vmap` give; two batch dimensions too.

    Also for gradient and Hessian, batched against a loop.

    Parameters
    ----------
    problem : ExampleProblem

    Examples
    --------
    >>> from gatewise import GATES, Mixture
    >>> from gatewise.testing import law_batched, make_problem
    >>> problem = make_problem(Mixture((GATES["softmax"],), (2,)), d=3)
    >>> law_batched(problem)
    """
    mixture, block = problem.mixture, whole(problem)
    g = generator(problem.seed + 10)
    members = [problem.measure] + [draw_measure(mixture, *sizes(problem), g) for _ in range(3)]
    batch = _stack(members)
    square = batch.map(lambda v: v.unflatten(0, (2, 2)))
    for what, read in readings(problem).items():
        loop = torch.stack([read(m) for m in members])
        assert_close(read(batch), loop, f"a batch is a loop over its members: {what}")
        assert_close(read(square).flatten(0, 1), loop, f"two batch dimensions are a loop: {what}")
        assert_close(torch.func.vmap(read)(batch), loop, f"vmap is a loop: {what}")
    if dense(mixture):
        together = likelihood.hessian(mixture, batch, block)
        apart = [likelihood.hessian(mixture, m.map(lambda v: v[None]), block) for m in members]
        for k, what in enumerate(("value", "gradient", "Hessian")):
            loop = torch.cat([a[k] for a in apart])
            assert_close(together[k], loop, f"a batch is a loop over its members: {what}")


def _nested(problem: ExampleProblem, node: tuple[int, ...]) -> Iterator[tuple[Tensor, Tensor, Tensor | None]]:
    """Yield weight (n,), mean (q, n) and density (n,) of every leaf below a node, one gate at a time."""
    mixture, measure, x, gate_x, y, _ = problem
    if len(node) == mixture.depth:
        expert = {k: v[node] for k, v in measure.experts.items()}
        family = {k: v[node].unsqueeze(0) for k, v in measure.family.items()}
        eta = mixture.expert(expert, x).unsqueeze(0)
        density = mixture.family.log_prob(family, y, eta)[0].exp() if dense(mixture) else None
        yield x.new_ones(x.shape[-1]), mixture.family.mean(family, eta)[0], density
        return
    level = len(node)
    weights = mixture.gates[level].weights({k: v[node] for k, v in measure.gates[level].items()}, gate_x)
    for branch in range(mixture.branching[level]):
        for below, mean, density in _nested(problem, (*node, branch)):
            yield weights[branch] * below, mean, density


def law_tree(problem: ExampleProblem) -> None:
    """Weights, regression, density and responsibilities are those of a nested loop over nodes and leaves.

    Parameters
    ----------
    problem : ExampleProblem

    Examples
    --------
    >>> from gatewise import GATES, Mixture
    >>> from gatewise.testing import law_tree, make_problem
    >>> problem = make_problem(Mixture((GATES["softmax"],), (2,)), d=3)
    >>> law_tree(problem)
    """
    weights, means, densities = zip(*_nested(problem, ()), strict=True)
    read = {what: fn(problem.measure) for what, fn in readings(problem).items()}
    assert_close(read["leaf weights"], torch.stack(weights), "the tree is a nested loop: leaf weights")
    mean = sum(w * m for w, m in zip(weights, means, strict=True))
    assert_close(read["regression"], mean, "the tree is a nested loop: regression")
    if dense(problem.mixture):
        joint = torch.stack([w * p for w, p in zip(weights, densities, strict=True)])
        density = joint.sum(0)
        assert_close(read["log density"], density.log(), "the tree is a nested loop: log density", 1e-9)
        assert_close(read["responsibilities"], joint / density, "the tree is a nested loop: responsibilities")


def law_permutation(problem: ExampleProblem) -> None:
    """Permuting the branches of one node, at any level, permutes the leaves and nothing else.

    Weights and responsibilities move with their leaves; density and regression stay.

    Parameters
    ----------
    problem : ExampleProblem

    Examples
    --------
    >>> from gatewise import GATES, Mixture
    >>> from gatewise.testing import law_permutation, make_problem
    >>> problem = make_problem(Mixture((GATES["softmax"],), (2,)), d=3)
    >>> law_permutation(problem)
    """
    mixture = problem.mixture
    g = generator(problem.seed + 20)
    for level, branches in enumerate(mixture.branching):
        node = tuple(int(torch.randint(k, (1,), generator=g)) for k in mixture.branching[:level])
        order = torch.arange(branches).roll(1)

        def moved(value: Tensor, owners: int, node: tuple[int, ...] = node, order: Tensor = order) -> Tensor:
            if owners <= len(node):
                return value
            out = value.clone()
            out[node] = value[node][order]
            return out

        specs = specifications(mixture, *sizes(problem))
        owned = {path: _owners(path, mixture, spec.per) for path, (spec, _) in specs.items()}
        paths = {path: moved(v, owned[path]) for path, v in problem.measure.paths().items()}
        leaves = torch.arange(mixture.n_leaves).reshape(mixture.branching)
        leaf_order = moved(leaves, mixture.depth).flatten()
        other = from_paths(paths, mixture.depth)
        for what, read in readings(problem).items():
            expected = read(problem.measure)
            if what in ("leaf weights", "responsibilities"):
                expected = expected[leaf_order]
            assert_close(read(other), expected, f"permuted branches of level {level} permute leaves: {what}")


def _owners(path: str, mixture: Mixture, per: str) -> int:
    """Return the number of leading tree dimensions of the parameter under a path."""
    room, level, *_ = path.split(".")
    return int(level) + (per == "branch") if room == "gates" else mixture.depth


def law_shift(problem: ExampleProblem) -> None:
    """A common shift along `translation` over the branches of every node changes nothing.

    Parameters
    ----------
    problem : ExampleProblem

    Examples
    --------
    >>> from gatewise import GATES, Mixture
    >>> from gatewise.testing import law_shift, make_problem
    >>> problem = make_problem(Mixture((GATES["softmax"],), (2,)), d=3)
    >>> law_shift(problem)
    """
    mixture, measure = problem.mixture, problem.measure
    g = generator(problem.seed + 30)
    gates = []
    for level, gate in enumerate(mixture.gates):
        moved = dict(measure.gates[level])
        for name in gate.translation():
            shape = list(moved[name].shape)
            shape[level] = 1
            moved[name] = moved[name] + torch.randn(shape, generator=g, dtype=torch.float64)
        gates.append(moved)
    _assert_same(problem, measure._replace(gates=tuple(gates)), "a shift along the translation")


def law_leaf_weights(problem: ExampleProblem) -> None:
    """Leaf weights sum to one when every link is normalised and smooth.

    Parameters
    ----------
    problem : ExampleProblem

    Examples
    --------
    >>> from gatewise import GATES, Mixture
    >>> from gatewise.testing import law_leaf_weights, make_problem
    >>> problem = make_problem(Mixture((GATES["softmax"],), (2,)), d=3)
    >>> law_leaf_weights(problem)
    """
    if dense(problem.mixture):
        total = models.leaf_log_weights(problem.mixture, problem.measure, problem.gate_x).exp().sum(0)
        assert_close(total, torch.ones_like(total), "leaf weights sum to one")


def law_zero_slopes(problem: ExampleProblem) -> None:
    """With zero gate slopes the mixture is one of regressions: its gates are constant, ``Gate(Bias(), link)``.

    Slopes are the gate parameters with a shape of their own; the constant bias is ``bias / temperature``. What is left
    of the score must be the same for all branches; behind a link without translation invariance it must be zero, so a
    mixture with such a gate whose score keeps depending on x (a distance behind a sigmoid) has no such law.

    Parameters
    ----------
    problem : ExampleProblem

    Examples
    --------
    >>> from gatewise import GATES, Mixture
    >>> from gatewise.testing import law_zero_slopes, make_problem
    >>> problem = make_problem(Mixture((GATES["softmax"],), (2,)), d=3)
    >>> law_zero_slopes(problem)
    """
    mixture, measure, gate_d = problem.mixture, problem.measure, problem.gate_x.shape[0]
    zeroed, constant = [], []
    for level, gate in enumerate(mixture.gates):
        specs = gate.score.parameters(gate_d)
        params = {k: torch.zeros_like(v) if specs[k].shape else v for k, v in measure.gates[level].items()}
        name = gate.score.required_bias()
        bias = params[name]
        for heat in gate.score.names("temperature"):
            bias = bias / params[heat][..., None]
        rest = gate.score({**params, name: torch.zeros_like(bias)}, expand_nodes(problem.gate_x, level))
        if not gate.link.translation_invariant and bool((rest != 0).any()):
            return
        zeroed.append(params)
        constant.append({Bias().required_bias(): bias})
    plain = replace(mixture, gates=tuple(Gate(Bias(), gate.link) for gate in mixture.gates))
    ours = readings(problem)
    theirs = readings(problem._replace(mixture=plain))
    for what, read in ours.items():
        expected = theirs[what](measure._replace(gates=tuple(constant)))
        found = read(measure._replace(gates=tuple(zeroed)))
        assert_close(found, expected, f"zero slopes are a mixture of regressions: {what}")


def law_one_expert(problem: ExampleProblem) -> None:
    """With one branch at every level the density is the family's, and the regression its mean.

    Parameters
    ----------
    problem : ExampleProblem

    Examples
    --------
    >>> from gatewise import GATES, Mixture
    >>> from gatewise.testing import law_one_expert, make_problem
    >>> problem = make_problem(Mixture((GATES["softmax"],), (2,)), d=3)
    >>> law_one_expert(problem)
    """
    mixture, _, x, gate_x, y, seed = problem
    if not dense(mixture):
        return
    single = replace(mixture, branching=(1,) * mixture.depth, shared=())
    measure = draw_measure(single, *sizes(problem), generator(seed + 40))
    node = (0,) * mixture.depth
    eta = mixture.expert({k: v[node] for k, v in measure.experts.items()}, x).unsqueeze(0)
    own = {k: v[node].unsqueeze(0) for k, v in measure.family.items()}
    density = models.log_density(single, measure, x, gate_x, y)
    assert_close(density, mixture.family.log_prob(own, y, eta)[0], "one expert has the family's density")
    mean = models.regression(single, measure, x, gate_x)
    assert_close(mean, mixture.family.mean(own, eta)[0], "one expert has the family's mean")


def blocks_with_units(problem: ExampleProblem) -> dict[str, Block]:
    """Return the first eight rows three times: plain, with frequency weights, and weighted in unequal units."""
    x, gate_x, y = (v[:, : UNIT_ENDS[-1]] for v in (problem.x, problem.gate_x, problem.y))
    ends = torch.tensor(UNIT_ENDS)
    counts = ends.diff(prepend=ends.new_zeros(1))
    unit = torch.repeat_interleave(torch.arange(len(ends)), counts)
    weight = torch.tensor([1.0, 0.0, 2.0, 0.5, 1.0, 3.0, 0.25, 1.5], dtype=torch.float64)
    return {
        "rows": Block(x, gate_x, y),
        "weighted rows": Block(x, gate_x, y, weight),
        "weighted units": Block(x, gate_x[:, ends - counts], y, weight[: len(ends)], unit),
    }


def slow_log_likelihood(mixture: Mixture, measure: Measure, block: Block) -> Tensor:
    """Return ``sum_u w_u log sum_l pi_l(u) prod_{rows i of u} f_l(y_i)`` with a loop over units; batched measures."""
    logs = models.leaf_log_weights(mixture, measure, block.gate_x)
    eta = models.leaf_predictors(mixture, measure, block.x)
    rows = mixture.family.log_prob(models.leaf_family(mixture, measure), block.y, eta)
    total = logs.new_zeros(logs.shape[:-2])
    for u in range(block.gate_x.shape[-1]):
        inside = rows[..., u] if block.unit is None else rows[..., block.unit == u].sum(-1)
        weight = 1.0 if block.weight is None else float(block.weight[u])
        total = total + weight * torch.logsumexp(logs[..., u] + inside, -1)
    return total


def law_derivatives(problem: ExampleProblem) -> None:
    """Gradient and Hessian of the log-likelihood in free coordinates: automatic and numerical derivatives agree.

    `objective.likelihood` pulled back through `Parameterization`, for rows, weighted rows and weighted units of unequal
    size.

    Parameters
    ----------
    problem : ExampleProblem

    Examples
    --------
    >>> from gatewise import GATES, Mixture
    >>> from gatewise.testing import law_derivatives, make_problem
    >>> problem = make_problem(Mixture((GATES["softmax"],), (2,)), d=3)
    >>> law_derivatives(problem)
    """
    mixture = problem.mixture
    if not dense(mixture):
        return
    parameterization = make_parameterization(mixture, *sizes(problem), gauge="none")
    free = parameterization.free(problem.measure)

    for where, block in blocks_with_units(problem).items():

        def slow(at: Tensor, block: Block = block) -> Tensor:
            return slow_log_likelihood(mixture, parameterization.measure(at), block)

        def slope(at: Tensor, block: Block = block) -> Tensor:
            _, local = likelihood.gradient(mixture, parameterization.measure(at), block)
            return parameterization.pull_gradient(parameterization.constrained(at), local)

        measure, natural = parameterization.measure(free[None]), parameterization.constrained(free[None])
        value, local, curvature = likelihood.hessian(mixture, measure, block)
        gradient = parameterization.pull_gradient(natural, local)[0]
        hessian = parameterization.pull_hessian(natural, local, curvature)[0]
        expected = batched_derivatives(slow, free)
        assert_close(value[0], expected[0], f"the log-likelihood of {where} is its sum", 1e-9)
        assert_close(gradient, expected[1], f"the gradient of {where} is the automatic derivative", 1e-9)
        assert_close(slope(free[None])[0], gradient, f"gradient and hessian agree on the gradient of {where}")
        assert_close(hessian, expected[2], f"the Hessian of {where} is the automatic derivative", 1e-9)
        assert_close(gradient, quotient(slow, free), f"the gradient of {where} is numerical", NUMERICAL)
        assert_close(hessian, quotient(slope, free), f"the Hessian of {where} is numerical", NUMERICAL)


def law_complete(problem: ExampleProblem) -> None:
    """`complete` gives the Hessian of the EM objective ``sum_u w_u sum_l r_l log(pi_l f_l)`` with r held.

    Value and gradient are those of the log-likelihood. Responsibilities are those at the same measure.

    Parameters
    ----------
    problem : ExampleProblem

    Examples
    --------
    >>> from gatewise import GATES, Mixture
    >>> from gatewise.testing import law_complete, make_problem
    >>> problem = make_problem(Mixture((GATES["softmax"],), (2,)), d=3)
    >>> law_complete(problem)
    """
    mixture = problem.mixture
    if not dense(mixture):
        return
    parameterization = make_parameterization(mixture, *sizes(problem), gauge="none")
    free = parameterization.free(problem.measure)
    measure, natural = parameterization.measure(free[None]), parameterization.constrained(free[None])
    for where, block in blocks_with_units(problem).items():
        held = terms.unit_responsibilities(mixture, parameterization.measure(free), block)
        weight = torch.ones_like(held[0]) if block.weight is None else block.weight

        def complete(at: Tensor, block: Block = block, mass: Tensor = held * weight) -> Tensor:
            at_free = parameterization.measure(at)
            logs = models.leaf_log_weights(mixture, at_free, block.gate_x)
            eta = models.leaf_predictors(mixture, at_free, block.x)
            rows = mixture.family.log_prob(models.leaf_family(mixture, at_free), block.y, eta)
            return ((logs + terms.by_unit(rows, block)) * mass).sum((-1, -2))

        value, local, curvature = likelihood.expected_complete_hessian(mixture, measure, block)
        expected = batched_derivatives(complete, free)
        whole_sum = slow_log_likelihood(mixture, measure, block)
        assert_close(value, whole_sum, f"complete gives the log-likelihood of {where}", 1e-9)
        gradient = parameterization.pull_gradient(natural, local)[0]
        assert_close(gradient, expected[1], f"the EM gradient of {where} is the automatic derivative", 1e-9)
        hessian = parameterization.pull_hessian(natural, local, curvature)[0]
        assert_close(hessian, expected[2], f"the EM Hessian of {where} is the automatic derivative", 1e-9)


def law_expected_score(problem: ExampleProblem, n: int = 4000) -> None:
    """At the measure that drew the data the mean of the score is zero: every z-score of n new rows is below five.

    Parameters
    ----------
    problem : ExampleProblem
    n : int
        Number of rows that are drawn.

    Examples
    --------
    >>> from gatewise import GATES, Mixture
    >>> from gatewise.testing import law_expected_score, make_problem
    >>> problem = make_problem(Mixture((GATES["softmax"],), (2,)), d=3)
    >>> law_expected_score(problem)
    """
    mixture, measure = problem.mixture, problem.measure
    if not dense(mixture):
        return
    d, gate_d, q = sizes(problem)
    drawn = drawn_rows(mixture, measure, d, gate_d, n, problem.seed + 50)
    parameterization = make_parameterization(mixture, d, gate_d, q, gauge="none")
    at = parameterization.free(measure)
    block = whole(drawn)
    rows = likelihood.unit_scores(mixture, parameterization.measure(at[None]), block)[0].mT
    free = parameterization.pull_gradient(parameterization.constrained(at[None]).expand(n, -1), rows)
    assert_unbiased(free.mT, "the expected score at the truth is zero")


def law_sample(problem: ExampleProblem, n: int = 4000) -> None:
    """Sampled leaves have the gate's frequencies, sampled responses the regression as their mean; z below five.

    Parameters
    ----------
    problem : ExampleProblem
    n : int
        Number of rows that are drawn.

    Examples
    --------
    >>> from gatewise import GATES, Mixture
    >>> from gatewise.testing import law_sample, make_problem
    >>> problem = make_problem(Mixture((GATES["softmax"],), (2,)), d=3)
    >>> law_sample(problem)
    """
    mixture, measure = problem.mixture, problem.measure
    if not dense(mixture):
        return
    d, gate_d, _ = sizes(problem)
    drawn = drawn_rows(mixture, measure, d, gate_d, n, problem.seed + 60)
    g = generator(problem.seed + 61)  # not the stream that drew the inputs
    y, leaf = models.sample(mixture, measure, drawn.x, drawn.gate_x, g)
    weights = models.leaf_log_weights(mixture, measure, drawn.gate_x).exp()
    hits = torch.nn.functional.one_hot(leaf, mixture.n_leaves).mT - weights
    inputs = torch.cat([torch.ones_like(drawn.gate_x[:1]), drawn.gate_x])
    assert_unbiased(hits * inputs[:, None], "sampled leaves have the gate's frequencies")
    mean = models.regression(mixture, measure, drawn.x, drawn.gate_x)
    rest = mixture.family.observed(y) - mean
    assert_unbiased(rest * inputs[:, None], "sampled responses have the regression as their mean")
