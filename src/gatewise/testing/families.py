"""Laws of families: derivatives, total mass, moments, samples, changes of units of the response."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from gatewise.core.families import Family, autograd_leaf_local
from gatewise.core.gates import GATES
from gatewise.core.mixture import Mixture, log_density
from gatewise.core.predictors import Params
from gatewise.fit import maximum_likelihood
from gatewise.testing.compare import NUMERICAL, assert_close, assert_unbiased
from gatewise.testing.fits.laws import fitting_problem, rows_of
from gatewise.testing.problems import draw_frame, draw_parameter, framed, generator

LEAVES, ROWS = 3, 6


def _drawn(family: Family, q: int, n: int, lead: tuple[int, ...], seed: int) -> tuple[dict[str, Tensor], Tensor]:
    """Draw the family's parameters of every leaf and predictors ``(*lead, q, n)`` that are the same in all rows."""
    g = generator(seed)
    params = {name: draw_parameter(spec, lead + spec.shape, g) for name, spec in family.parameters(q).items()}
    eta = 0.7 * torch.randn(lead + (q, 1), generator=g, dtype=torch.float64)
    return params, eta.expand(lead + (q, n)).clone()


def _responses(family: Family, params: Params, eta: Tensor, seed: int) -> Tensor:
    """Draw a response ``(q, n)`` that is possible under every leaf: that of the first one."""
    drawn = family.sample(params, eta, generator(seed))
    return drawn[(0,) * (drawn.ndim - 2)]


def law_family_local(family: Family, q: int = 2, seed: int = 0) -> None:
    """`value_and_derivatives` gives value, gradient and Hessian of `log_prob` in outputs and the family's parameters.

    Against automatic and numerical derivatives, with two batch dimensions before the leaves.

    Parameters
    ----------
    family : Family
    q : int
        Number of outputs.
    seed : int
        Of what is drawn.

    Raises
    ------
    AssertionError

    Examples
    --------
    >>> from gatewise import Gaussian
    >>> from gatewise.testing import law_family_local
    >>> law_family_local(Gaussian())
    """
    lead = (2, LEAVES)
    params, eta = _drawn(family, q, ROWS, lead, seed)
    eta = eta + 0.3 * torch.randn(eta.shape, generator=generator(seed + 1), dtype=eta.dtype)
    y = _responses(family, params, eta, seed + 2)
    value, first, second = family.value_and_derivatives(params, y, eta)
    assert_close(value, family.log_prob(params, y, eta), "local gives log_prob")
    shorter = family.value_and_derivatives(params, y, eta, 1)
    assert_close(shorter.first, first, "local gives the same first derivatives at order 1")
    oracle = autograd_leaf_local(family, params, y, eta)
    assert second is not None
    assert oracle.second is not None
    assert_close(first, oracle.first, "the first derivatives are the automatic ones")
    assert_close(second, oracle.second, "the second derivatives are the automatic ones")
    for t, (up, down, step) in enumerate(_neighbours(family, params, eta)):
        slope = (family.log_prob(up[0], y, up[1]) - family.log_prob(down[0], y, down[1])) / step
        assert_close(first[..., t, :], slope, "the first derivatives are numerical ones", NUMERICAL)
        bend = (
            family.value_and_derivatives(up[0], y, up[1]).first
            - family.value_and_derivatives(down[0], y, down[1]).first
        ) / step
        assert_close(second[..., t, :], bend, "the second derivatives are numerical ones", NUMERICAL)


def _neighbours(family: Family, params: Params, eta: Tensor):  # type: ignore[no-untyped-def]
    """Yield ``(params, eta)`` a little above and below in each predictor, and the distance between the two."""
    step, q = 1e-5, eta.shape[-2]
    for k in range(q):
        move = step * torch.eye(q, dtype=eta.dtype)[k][:, None]
        yield (params, eta + move), (params, eta - move), 2 * step
    for name, spec in family.parameters(q).items():
        for i in range(spec.size):
            move = torch.zeros(spec.size, dtype=eta.dtype)
            move[i] = step
            move = move.reshape(spec.shape)
            yield ({**params, name: params[name] + move}, eta), ({**params, name: params[name] - move}, eta), 2 * step


def law_family_summed_second(family: Family, q: int = 2, seed: int = 0) -> None:
    """`summed_second`, where a family has it, is the weighted sum of second derivatives in the columns of the outputs.

    With a design of three columns that all outputs share, and with one for each.

    Parameters
    ----------
    family : Family
    q : int
        Number of outputs.
    seed : int
        Of what is drawn.

    Examples
    --------
    >>> from gatewise import Gaussian
    >>> from gatewise.testing import law_family_summed_second
    >>> law_family_summed_second(Gaussian())
    """
    params, eta = _drawn(family, q, ROWS, (2, LEAVES), seed)
    y = _responses(family, params, eta, seed + 1)
    summed, second = family.summed_second(params, y, eta), family.value_and_derivatives(params, y, eta).second
    if summed is None or second is None:
        return
    g, own = generator(seed + 2), second.shape[-2] - q
    weight = torch.rand((2, LEAVES, ROWS), generator=g, dtype=torch.float64)
    for sides in (1, q):
        design = torch.randn((2, LEAVES, sides, 3, ROWS), generator=g, dtype=torch.float64)
        columns = torch.zeros(2, LEAVES, q + own, 3 * q + own, ROWS, dtype=torch.float64)
        for k in range(q):
            columns[:, :, k, 3 * k : 3 * k + 3] = design[:, :, min(k, sides - 1)]
        columns[:, :, q:, 3 * q :] = torch.eye(own, dtype=torch.float64)[..., None]
        total = torch.einsum("sln,sltan,sltun,slubn->slab", weight, columns, second, columns)
        assert_close(summed(weight, design), total, "summed_second is the sum of the second derivatives")


def law_family_moments(family: Family, seed: int = 0) -> None:
    """The density of one output has mass one, and `mean` and `variance` are its first two moments.

    Counts are summed from 0 to 2000; other responses are integrated by the trapezoidal rule in ``y = sinh(u)``, in
    ``y = exp(u)`` where the family calls negative responses invalid, or in ``y = 1 / (1 + exp(-u))`` where it calls 1.5
    invalid too. Of discrete responses with several columns those that are drawn are all there are; of others the first
    column is moved, and the rest is as it was drawn.

    Parameters
    ----------
    family : Family
    seed : int
        Of what is drawn.

    Examples
    --------
    >>> from gatewise import Gaussian
    >>> from gatewise.testing import law_family_moments
    >>> law_family_moments(Gaussian())
    """
    params, eta = _drawn(family, 1, 1, (LEAVES,), seed)
    y, step = _grid(family, _responses(family, params, eta.expand(LEAVES, 1, 200), seed))
    mass = torch.exp(family.log_prob(params, y, eta.expand(LEAVES, 1, len(step)))) * step
    y = family.observed(y)
    mean, variance = family.mean(params, eta)[:, 0, 0], family.variance(params, eta)[:, 0, 0]
    assert_close(mass.sum(-1), torch.ones_like(mean), "the density has mass one", NUMERICAL)
    assert_close(mean, (mass * y).sum(-1), "mean is the first moment of the density", NUMERICAL)
    centred = (mass * (y - mean[:, None]) ** 2).sum(-1)
    assert_close(variance, centred, "variance is the second central moment of the density", NUMERICAL)


def _grid(family: Family, drawn: Tensor) -> tuple[Tensor, Tensor]:
    """Return the points ``(c, m)`` at which a density is summed, and their weights ``(m,)``."""
    if len(drawn) > 1 and family.discrete:
        y = torch.unique(drawn, dim=-1)
        return y[:, family.observed(y)[0].argsort()], torch.ones_like(y[0])
    if family.discrete:
        y = torch.arange(2001, dtype=torch.float64)
        y = y[[family.validate(v.reshape(1, 1)) is None for v in y]]
        return y[None], torch.ones_like(y)
    step = 0.005

    def beside(first: Tensor) -> Tensor:
        return torch.cat([first[None], drawn[1:, :1].expand(len(drawn) - 1, len(first))])

    able = {value: family.validate(beside(drawn.new_tensor([value]))) is None for value in (-1.0, 1.5)}
    if able[-1.0]:
        u = step * torch.arange(-3600, 3601, dtype=torch.float64)
        return beside(torch.sinh(u)), step * torch.cosh(u)
    if able[1.5]:
        u = step * torch.arange(-16_000, 8001, dtype=torch.float64)
        return beside(torch.exp(u)), step * torch.exp(u)
    u = step * torch.arange(-16_000, 7001, dtype=torch.float64)
    return beside(torch.sigmoid(u)), step * torch.sigmoid(u) * torch.sigmoid(-u)


def law_family_cdf(family: Family, seed: int = 0) -> None:
    """`cdf` is the integral of the density of one output up to y, or of the masses of counts up to and including y.

    The points are those of `law_family_moments`. A family without `cdf` is left alone: it has no quantiles.

    Parameters
    ----------
    family : Family
    seed : int
        Of what is drawn.

    Examples
    --------
    >>> from gatewise import Gaussian
    >>> from gatewise.testing import law_family_cdf
    >>> law_family_cdf(Gaussian())
    """
    params, eta = _drawn(family, 1, 1, (LEAVES,), seed)
    y, step = _grid(family, _responses(family, params, eta.expand(LEAVES, 1, 200), seed))
    eta = eta.expand(LEAVES, 1, len(step))
    try:
        seen = family.observed(y)
        found = family.cdf(params, seen, eta)[:, 0]
    except NotImplementedError:
        return
    mass = torch.exp(family.log_prob(params, y, eta)) * step
    summed = mass.cumsum(-1)
    if not family.discrete:  # the trapezoidal rule, with the first term of its error
        slope = torch.gradient(mass, dim=-1)[0]
        summed = summed - 0.5 * mass - slope / 12
    assert_close(found, summed, "cdf is the integral of the density", NUMERICAL)
    if family.discrete:
        between = family.cdf(params, seen + 0.5, eta)[:, 0]
        assert_close(between, found, "cdf is constant between the counts", NUMERICAL)


def law_family_support(family: Family, seed: int = 0) -> None:
    """`discrete` tells whether draws are counts, and a response that `validate` accepts has a finite log density.

    Asked are fractions, negative numbers and numbers far from the draws, each in all columns of a row. What is drawn
    is valid (`law_family_start`), and of a discrete family no fraction is.

    Parameters
    ----------
    family : Family
    seed : int
        Of what is drawn.

    Examples
    --------
    >>> from gatewise import Gaussian
    >>> from gatewise.testing import law_family_support
    >>> law_family_support(Gaussian())
    """
    params, eta = _drawn(family, 1, 500, (LEAVES,), seed)
    drawn = family.sample(params, eta, generator(seed + 1))
    counts = bool(((drawn == drawn.round()) & (drawn >= 0)).all())
    if counts != family.discrete:
        words = "whole numbers from 0" if counts else "other numbers than 0, 1, 2, ..."
        raise AssertionError(f"broken: discrete says what is drawn (it is {family.discrete}, drawn are {words})")
    for value in (-1000.0, -1.0, -0.5, 0.0, 0.5, 1.0, 1.5, 2.0, 1000.0):
        y = torch.full((drawn.shape[-2], 1), value, dtype=torch.float64)
        if family.validate(y) is not None:
            continue
        if family.discrete and value != round(value):
            raise AssertionError(f"broken: validate refuses a response that is no count ({value:g})")
        height = family.log_prob(params, y, eta[..., :1])
        if not bool(height.isfinite().all()):
            raise AssertionError(f"broken: validate refuses a response without a density ({value:g})")


def law_family_generator(family: Family, q: int = 2, seed: int = 0) -> None:
    """`sample` draws from the generator it is given and from nothing else.

    Equal seeds give equal draws whatever the global generator of torch holds, whose state stays as it is; other seeds,
    and a second draw from one generator, give others.

    Parameters
    ----------
    family : Family
    q : int
        Number of outputs.
    seed : int
        Of what is drawn.

    Examples
    --------
    >>> from gatewise import Gaussian
    >>> from gatewise.testing import law_family_generator
    >>> law_family_generator(Gaussian())
    """
    params, eta = _drawn(family, q, 50, (LEAVES,), seed)
    state = torch.get_rng_state()
    try:
        torch.manual_seed(seed)
        used = generator(seed)
        first, second = family.sample(params, eta, used), family.sample(params, eta, used)
        torch.manual_seed(seed + 1)
        before = torch.get_rng_state()
        again, other = (family.sample(params, eta, generator(seed + k)) for k in (0, 1))
        moved = not torch.equal(before, torch.get_rng_state())
    finally:
        torch.set_rng_state(state)
    if moved or not torch.equal(first, again):
        raise AssertionError("broken: sample draws from its generator alone (equal seeds give equal draws)")
    if torch.equal(first, other) or torch.equal(first, second):
        raise AssertionError("broken: sample draws anew (other seeds, and later draws, are others)")


def law_family_samples(family: Family, q: int = 2, seed: int = 0, n: int = 20_000) -> None:
    """The mean and variance of samples are `mean` and `variance`, within five standard errors.

    Parameters
    ----------
    family : Family
    q : int
        Number of outputs.
    seed : int
        Of what is drawn.
    n : int
        Number of rows that are drawn.

    Examples
    --------
    >>> from gatewise import Gaussian
    >>> from gatewise.testing import law_family_samples
    >>> law_family_samples(Gaussian())
    """
    params, eta = _drawn(family, q, n, (LEAVES,), seed)
    drawn = family.observed(family.sample(params, eta, generator(seed + 1)))
    centred = drawn - family.mean(params, eta)
    assert_unbiased(centred, "samples have the family's mean")
    assert_unbiased(centred**2 - family.variance(params, eta), "samples have the family's variance")


def law_family_rescale(family: Family, q: int = 2, seed: int = 0) -> None:
    """For a `location_scale` family, ``log p(y) = log p'((y - shift) / scale) - sum log scale``, and back.

    Parameters
    ----------
    family : Family
    q : int
        Number of outputs.
    seed : int
        Of what is drawn.

    Examples
    --------
    >>> from gatewise import Gaussian
    >>> from gatewise.testing import law_family_rescale
    >>> law_family_rescale(Gaussian())
    """
    if not family.location_scale:
        return
    params, eta = _drawn(family, q, ROWS, (LEAVES,), seed)
    frame = draw_frame(q, generator(seed + 1))
    y = _responses(family, params, eta, seed + 2)
    other, own = family.rescale_response(params, frame)
    moved = other.log_prob(own, framed(y, frame), framed(eta, frame)) - torch.log(frame.scale).sum()
    value = family.log_prob(params, y, eta)
    assert_close(moved, value, "rescale_response keeps the law in other units of y")
    back, again = other.rescale_response(own, frame.inverse())
    assert_close(back.log_prob(again, y, eta), value, "rescaling the response there and back keeps the law")


def law_family_start(family: Family, seed: int = 0) -> None:
    """Sampled responses are valid, their `working_response` is finite, `start` gives every parameter.

    Parameters
    ----------
    family : Family
    seed : int
        Of what is drawn.

    Examples
    --------
    >>> from gatewise import Gaussian
    >>> from gatewise.testing import law_family_start
    >>> law_family_start(Gaussian())
    """
    params, eta = _drawn(family, 1, 200, (LEAVES,), seed)
    y = _responses(family, params, eta, seed + 1)
    fault = family.validate(y)
    if fault is not None:
        raise AssertionError(f"broken: a sampled response is valid ({fault})")
    start = family.working_response(y)
    if start.shape != family.observed(y).shape or not bool(start.isfinite().all()):
        raise AssertionError("broken: link_start gives one finite predictor for every response")
    begun = family.start(torch.ones(2, LEAVES, 2, dtype=torch.float64))
    shapes = {name: (2, LEAVES, *spec.shape) for name, spec in family.parameters(2).items()}
    if {name: tuple(value.shape) for name, value in begun.items()} != shapes:
        raise AssertionError(f"broken: start gives every parameter of the family in its shape ({', '.join(shapes)})")


def law_family_columns(family: Family) -> None:
    """`columns` and `outputs` undo each other, and every row tells of at least one response per output.

    Parameters
    ----------
    family : Family

    Examples
    --------
    >>> from gatewise import Gaussian
    >>> from gatewise.testing import law_family_columns
    >>> law_family_columns(Gaussian())
    """
    for q in (1, 2, 3):
        params, eta = _drawn(family, q, ROWS, (LEAVES,), 0)
        y = _responses(family, params, eta, 1)
        if len(y) != family.columns(q) or family.outputs(len(y)) != q:
            raise AssertionError(
                f"broken: a response with {q} outputs has {family.columns(q)} columns (drawn {len(y)})"
            )
        if family.responses(y).shape != y.shape[-1:] or not bool((family.responses(y) >= q).all()):
            raise AssertionError("broken: every row tells of at least one response per output")


def law_family_fit(family: Family, seed: int = 0, sizes: Sequence[tuple[int, int]] = ((1, 1), (4, 2))) -> None:
    """Fits of two experts, by Newton's method and by EM, are at least as likely as the measure that drew the data.

    Parameters
    ----------
    family : Family
    seed : int
        Of what is drawn.
    sizes : sequence of (int, int)
        Numbers of inputs and of outputs.

    Examples
    --------
    >>> from gatewise import Gaussian
    >>> from gatewise.testing import law_family_fit
    >>> law_family_fit(Gaussian(), sizes=((3, 1),))
    """
    for d, q in sizes:
        mixture = Mixture((GATES["softmax"],), (2,), family=family)
        problem = fitting_problem(mixture, d=d, gate_d=d, columns=family.columns(q), n=200, seed=seed)
        truth = log_density(mixture, problem.measure, problem.x, problem.gate_x, problem.y).sum()
        for method in ("newton", "em"):
            fit = maximum_likelihood(mixture, rows_of(problem), starts=4, seed=seed, method=method)
            if not fit.log_likelihood >= float(truth):
                raise AssertionError(
                    f"broken: a fit by {method} with {d} inputs and {q} outputs is at least as likely as the truth "
                    f"(log-likelihood {fit.log_likelihood:.6g}, truth {float(truth):.6g})"
                )


def law_family_floor(family: Family, q: int = 2, seed: int = 0) -> None:
    """Inside the bounds of `with_scale_floor` no standard deviation is below the floor, whatever the parameters.

    Parameters
    ----------
    family : Family
    q : int
        Number of outputs.
    seed : int
        Of what is drawn.

    Examples
    --------
    >>> from gatewise import Gaussian
    >>> from gatewise.testing import law_family_floor
    >>> law_family_floor(Gaussian())
    """
    if not family.location_scale:
        return
    params, eta = _drawn(family, q, 1, (LEAVES,), seed)
    floor = torch.tensor([0.3, 2.0], dtype=torch.float64)[:q]
    other, bounds = family.with_scale_floor(floor)
    small = {}
    for name, spec in family.parameters(q).items():
        low, high = bounds.get(name, spec.bounds)
        value = params[name] if spec.transform == "reciprocal" else 1e-6 * params[name]
        small[name] = torch.clamp(value, torch.as_tensor(low), torch.as_tensor(high))
    spread = torch.sqrt(other.variance(small, eta))[..., 0]
    if not bool((spread >= floor * (1 - 1e-12)).all()):
        raise AssertionError(f"broken: the floor holds every standard deviation up (least {float(spread.min()):.3g})")
