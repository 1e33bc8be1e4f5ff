"""Laws of scores, experts and gates alone: derivatives, changes of units, weights, gauge, temperature."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor

from gatewise.core.experts import Expert
from gatewise.core.gates import Gate
from gatewise.core.mixture import Mixture, leaf_log_weights
from gatewise.core.predictors import Derivatives, Params, Predictor, autograd_local
from gatewise.core.scores import Score, Tempered
from gatewise.fit.directions import gauge_directions
from gatewise.objective.parameterization import make_parameterization
from gatewise.testing.compare import NUMERICAL, assert_close
from gatewise.testing.problems import draw_frame, draw_inputs, draw_parameters, framed, generator

LEAD, CHILDREN, ROWS = (2, 2), 3, 6


def _drawn(predictor: Predictor, d: int, seed: int) -> tuple[dict[str, Tensor], Tensor]:
    g = generator(seed)
    return draw_parameters(predictor, d, LEAD, CHILDREN, g), draw_inputs(d, ROWS, g)


def _full(local: Derivatives) -> Tensor:
    """Return the Jacobian with all its dimensions ``(*B, K, P, n)``."""
    shape = local.value.shape[:-1] + local.jacobian.shape[-2:]
    return local.jacobian.expand(shape)


def _bend(local: Derivatives, weights: Tensor) -> Tensor:
    size = local.jacobian.shape[-2]
    if local.curvature is None:
        return weights.new_zeros(weights.shape[:-1] + (size, size))
    return local.curvature(weights)


def _entrywise(predictor: Predictor, params: Params, d: int, fn: Callable[[Params], Tensor]) -> list[Tensor]:
    """Return the central difference of `fn` in every entry of one child's parameters, all children at once."""
    out, step = [], 1e-5
    for name, spec in predictor.parameters(d).items():
        value = params[name]
        for i in range(spec.size):
            move = torch.zeros(spec.size, dtype=value.dtype)
            move[i] = step
            up, down = value + move.reshape(spec.shape), value - move.reshape(spec.shape)
            out.append((fn({**params, name: up}) - fn({**params, name: down})) / (2 * step))
    return out


def law_local(predictor: Predictor, d: int = 3, seed: int = 0) -> None:
    """`value_and_derivatives` gives those of the function: against automatic and numerical derivatives.

    Parameters
    ----------
    predictor : Score or Expert
    d : int
        Number of inputs.
    seed : int
        Of what is drawn.

    Raises
    ------
    AssertionError

    Examples
    --------
    >>> from gatewise import Affine
    >>> from gatewise.testing import law_local
    >>> law_local(Affine())
    """
    params, x = _drawn(predictor, d, seed)
    local = predictor.value_and_derivatives(params, x)
    weights = torch.randn(local.value.shape, generator=generator(seed + 1), dtype=x.dtype)
    assert_close(local.value, predictor(params, x), "local gives the value of the call")
    columns = sum(spec.size for spec in predictor.parameters(d).values())
    if local.jacobian.shape[-2] != columns:
        raise AssertionError(f"broken: local has {local.jacobian.shape[-2]} columns for {columns} parameters")
    if not columns:
        return
    oracle = autograd_local(predictor, params, x)
    assert_close(_full(local), _full(oracle), "the Jacobian is the automatic derivative")
    assert_close(_bend(local, weights), _bend(oracle, weights), "the curvature is the automatic derivative")
    jacobian = torch.stack(_entrywise(predictor, params, d, lambda p: predictor(p, x)), -2)
    assert_close(_full(local), jacobian, "the Jacobian is the numerical derivative", NUMERICAL)
    slopes = _entrywise(
        predictor, params, d, lambda p: (_full(predictor.value_and_derivatives(p, x)) * weights.unsqueeze(-2)).sum(-1)
    )
    assert_close(_bend(local, weights), torch.stack(slopes, -1), "the curvature is the slope's", NUMERICAL)


def law_rescale_inputs(predictor: Predictor, d: int = 3, seed: int = 0) -> None:
    """`rescale` gives the same values on inputs in other units, and the inverse frame leads back.

    A predictor whose `rescale` is None claims nothing.

    Parameters
    ----------
    predictor : Score or Expert
    d : int
        Number of inputs.
    seed : int
        Of what is drawn.

    Examples
    --------
    >>> from gatewise import Affine
    >>> from gatewise.testing import law_rescale_inputs
    >>> law_rescale_inputs(Affine())
    """
    params, x = _drawn(predictor, d, seed)
    frame = draw_frame(d, generator(seed + 1))
    moved = predictor.rescale(params, frame)
    if moved is None:
        return
    other, own = moved
    value = predictor(params, x)
    assert_close(other(own, framed(x, frame)), value, "rescale keeps the values in other units of x")
    back = other.rescale(own, frame.inverse())
    if back is None:
        raise AssertionError("broken: a rescaled predictor can be rescaled again (rescale gave None)")
    assert_close(back[0](back[1], x), value, "rescaling there and back keeps the values")
    if back[0] == predictor:
        for name, expected in params.items():
            assert_close(back[1][name], expected, f"rescaling there and back returns {name!r}")


def law_standardised_score(score: Score, d: int = 3, seed: int = 0) -> None:
    """A `standardised` score is, in standardised inputs, the score itself.

    Parameters
    ----------
    score : Score
    d : int
        Number of inputs.
    seed : int
        Of what is drawn.

    Examples
    --------
    >>> from gatewise import Affine
    >>> from gatewise.testing import law_standardised_score
    >>> law_standardised_score(Affine())
    """
    _assert_standardised(score, d, seed, "score")


def _assert_standardised(predictor: Score | Expert, d: int, seed: int, what: str) -> None:
    params, x = _drawn(predictor, d, seed)
    frame = draw_frame(d, generator(seed + 1))
    moved = predictor.standardised(frame).rescale(params, frame)
    if moved is not None:
        z = framed(x, frame)
        same = f"the standardised {what} is the {what} of standardised inputs"
        assert_close(moved[0](moved[1], z), predictor(moved[1], z), same)


def law_rescale_response(expert: Expert, d: int = 3, seed: int = 0) -> None:
    """`rescale_response` gives ``(value - shift) / scale``, and the inverse frame leads back; None claims nothing.

    Parameters
    ----------
    expert : Expert
    d : int
        Number of inputs.
    seed : int
        Of what is drawn.

    Examples
    --------
    >>> from gatewise import Linear
    >>> from gatewise.testing import law_rescale_response
    >>> law_rescale_response(Linear())
    """
    params, x = _drawn(expert, d, seed)
    frame = draw_frame(CHILDREN, generator(seed + 2))
    moved = expert.rescale_response(params, frame)
    if moved is None:
        return
    other, own = moved
    value = expert(params, x)
    assert_close(other(own, x), framed(value, frame), "rescale_response moves the values to other units of y")
    back = other.rescale_response(own, frame.inverse())
    if back is None:
        raise AssertionError("broken: a rescaled expert can be rescaled again (rescale_response gave None)")
    assert_close(back[0](back[1], x), value, "rescaling the response there and back keeps the values")


def law_standardised_expert(expert: Expert, d: int = 3, seed: int = 0) -> None:
    """A `standardised` expert is, in standardised inputs, the expert itself: the response keeps its units.

    Parameters
    ----------
    expert : Expert
    d : int
        Number of inputs.
    seed : int
        Of what is drawn.

    Examples
    --------
    >>> from gatewise import Linear
    >>> from gatewise.testing import law_standardised_expert
    >>> law_standardised_expert(Linear())
    """
    _assert_standardised(expert, d, seed, "expert")


def law_expert_tangents(expert: Expert, d: int = 3, seed: int = 0) -> None:
    """Tangents change no value, `held` takes all of them away, and `canonical` keeps the values.

    Parameters
    ----------
    expert : Expert
    d : int
        Number of inputs.
    seed : int
        Of what is drawn.

    Examples
    --------
    >>> from gatewise import Linear
    >>> from gatewise.testing import law_expert_tangents
    >>> law_expert_tangents(Linear())
    """
    params, x = _drawn(expert, d, seed)
    value, moves = expert(params, x), expert.tangents(params)
    count = len(next(iter(moves.values()))) if moves else 0
    for i in range(count):
        tangent = {name: move[i] for name, move in moves.items()}
        up, down = ({**params, **{k: params[k] + h * v for k, v in tangent.items()}} for h in (1e-5, -1e-5))
        change = (expert(up, x) - expert(down, x)) / 2e-5
        assert_close(change, torch.zeros_like(change), "no value changes along a tangent", NUMERICAL)
        if not any(bool((tangent[name] != 0).any()) for name in expert.held() if name in tangent):
            raise AssertionError("broken: a parameter that is held moves along every tangent")
    if len(expert.held()) != count:
        raise AssertionError(f"broken: one parameter is held for every tangent ({expert.held()}, {count} tangents)")
    same = expert.canonical(params)
    assert_close(expert(same, x), value, "canonical keeps the values")
    for name in expert.held():
        assert_close(same[name].abs(), torch.ones_like(same[name]), f"canonical gives {name!r} the size one")


def law_temperature(score: Score, d: int = 3, seed: int = 0) -> None:
    """``Tempered(score)`` is the score at temperature 1 and ``score / t`` at temperature t.

    Parameters
    ----------
    score : Score
    d : int
        Number of inputs.
    seed : int
        Of what is drawn.

    Examples
    --------
    >>> from gatewise import Affine
    >>> from gatewise.testing import law_temperature
    >>> law_temperature(Affine())
    """
    tempered = Tempered(score)
    params, x = _drawn(tempered, d, seed)
    (heat,) = set(tempered.names("temperature")) - set(score.names("temperature"))
    inside = {name: value for name, value in params.items() if name != heat}
    plain = score(inside, x)
    one = {**params, heat: torch.ones_like(params[heat])}
    assert_close(tempered(one, x), plain, "temperature 1 is the plain score")
    divided = plain / params[heat][..., None, None]
    assert_close(tempered(params, x), divided, "a temperature divides the score")
    slopes = _full(score.value_and_derivatives(inside, x))
    assert_close(_full(tempered.value_and_derivatives(one, x))[..., :-1, :], slopes, "temperature 1 keeps the Jacobian")


def law_weights(gate: Gate, d: int = 3, seed: int = 0) -> None:
    """Weights are ``exp(log_weights)``, not negative, sum to one where the link says so, and stay finite far out.

    Where the weights are a density's, they are also the softmax of `logits`.

    Parameters
    ----------
    gate : Gate
    d : int
        Number of inputs.
    seed : int
        Of what is drawn.

    Examples
    --------
    >>> from gatewise import GATES
    >>> from gatewise.testing import law_weights
    >>> law_weights(GATES["laplace"])
    """
    params, x = _drawn(gate.score, d, seed)
    for inputs, where in ((x, "near"), (1e3 * x, "far out")):
        weights, logs = gate.weights(params, inputs), gate.log_weights(params, inputs)
        assert_close(weights, logs.exp(), f"weights are exp(log_weights) {where}")
        if not bool((weights >= 0).all()):
            raise AssertionError(f"broken: weights are at least zero {where} (least {float(weights.min()):.3g})")
        if bool(logs.isnan().any()) or (gate.link.smooth and not bool(logs.isfinite().all())):
            raise AssertionError(f"broken: log weights are finite {where}")
        if gate.link.normalised and gate.link.smooth:
            total = weights.sum(-2)
            assert_close(total, torch.ones_like(total), f"normalised weights sum to one {where}")
    if gate.link.normalised and gate.link.smooth:
        local = gate.logits(params, x)
        assert_close(torch.softmax(local.value, -2), gate.weights(params, x), "weights are the softmax of the logits")


def law_gate_local(gate: Gate, d: int = 3, seed: int = 0) -> None:
    """The logits' Jacobian and curvature are their numerical derivatives.

    Parameters
    ----------
    gate : Gate
    d : int
        Number of inputs.
    seed : int
        Of what is drawn.

    Examples
    --------
    >>> from gatewise import GATES
    >>> from gatewise.testing import law_gate_local
    >>> law_gate_local(GATES["laplace"])
    """
    params, x = _drawn(gate.score, d, seed)
    local = gate.logits(params, x)
    weights = torch.randn(local.value.shape, generator=generator(seed + 1), dtype=x.dtype)
    first = torch.stack(_entrywise(gate.score, params, d, lambda p: gate.logits(p, x).value), -2)
    assert_close(_full(local), first, "the Jacobian of the logits is the numerical derivative", NUMERICAL)
    slopes = _entrywise(gate.score, params, d, lambda p: (_full(gate.logits(p, x)) * weights.unsqueeze(-2)).sum(-1))
    bend = _bend(local, weights)
    assert_close(bend, torch.stack(slopes, -1), "the curvature of the logits is the slope's", NUMERICAL)


def law_gauge(gate: Gate, d: int = 3, seed: int = 0) -> None:
    """The fixed gauge leaves exactly the free coordinates that the weights determine, `tangents` aside.

    The Jacobian of the log weights at 50 inputs in free coordinates has as many null directions as the gate declares
    tangents, and these are null: a forgotten translation or length shows as one more, a wrong one as a coordinate
    that is missing, a wrong tangent as one that moves the weights.

    Parameters
    ----------
    gate : Gate
    d : int
        Number of inputs.
    seed : int
        Of what is drawn.

    Examples
    --------
    >>> from gatewise import GATES
    >>> from gatewise.testing import law_gauge
    >>> law_gauge(GATES["laplace"])
    """
    mixture = Mixture((gate,), (CHILDREN,))
    parameterization = make_parameterization(mixture, 1, d, 1)
    g = generator(seed)
    x = draw_inputs(d, 50, g)
    here = torch.tensor([name.startswith("gates.") for name in parameterization.names])
    free = 0.7 * torch.randn(parameterization.size, generator=g, dtype=torch.float64)
    free = parameterization.inside(free)

    def logs(at: Tensor) -> Tensor:
        return leaf_log_weights(mixture, parameterization.measure(at), x).flatten()

    jacobian = torch.autograd.functional.jacobian(logs, free)[:, here]
    declared = gauge_directions(parameterization, free)[here]
    if not jacobian.shape[1]:
        return
    moved = jacobian @ declared
    assert_close(moved, torch.zeros_like(moved), "the weights do not change along a tangent")
    values = torch.linalg.svdvals(jacobian / jacobian.norm(dim=0).clamp_min(1e-300))
    null = int((values < 1e-9 * values[0]).sum())
    if null != declared.shape[1]:
        raise AssertionError(
            f"broken: the gauge leaves {null} directions that do not move the weights, "
            f"the gate declares {declared.shape[1]}"
        )


def law_translation(gate: Gate, d: int = 3, seed: int = 0) -> None:
    """A common shift of every parameter in `translation` over the branches leaves the weights unchanged.

    Parameters
    ----------
    gate : Gate
    d : int
        Number of inputs.
    seed : int
        Of what is drawn.

    Examples
    --------
    >>> from gatewise import GATES
    >>> from gatewise.testing import law_translation
    >>> law_translation(GATES["laplace"])
    """
    params, x = _drawn(gate.score, d, seed)
    specs, g = gate.score.parameters(d), generator(seed + 1)
    for name in gate.translation():
        shape = LEAD + (1,) + specs[name].shape
        moved = {**params, name: params[name] + torch.randn(shape, generator=g, dtype=x.dtype)}
        assert_close(gate.weights(moved, x), gate.weights(params, x), f"a common shift of {name!r} changes no weight")


def law_children(predictor: Predictor, d: int = 3, seed: int = 0) -> None:
    """Permuting the children's parameters permutes the values, and a row's value does not depend on other rows.

    Parameters
    ----------
    predictor : Score or Expert
    d : int
        Number of inputs.
    seed : int
        Of what is drawn.

    Examples
    --------
    >>> from gatewise import Affine
    >>> from gatewise.testing import law_children
    >>> law_children(Affine())
    """
    params, x = _drawn(predictor, d, seed)
    order = torch.tensor([2, 0, 1])
    specs = predictor.parameters(d)
    moved = {
        name: value.index_select(len(LEAD), order) if specs[name].per == "branch" else value
        for name, value in params.items()
    }
    value = predictor(params, x)
    assert_close(predictor(moved, x), value.index_select(-2, order), "permuted children, permuted values")
    alone = torch.cat([predictor(params, x[:, i : i + 1]) for i in range(ROWS)], -1)
    assert_close(value, alone, "a row's value does not depend on the other rows")


def law_slopes(predictor: Score | Expert, d: int = 3, seed: int = 0, origin: tuple[float, ...] | None = None) -> None:
    """Parameters in `slopes` multiply the inputs: moved along v with ``v'x = 0`` for all x, they change nothing.

    `origin` is the one that the predictor subtracts from x.

    Parameters
    ----------
    predictor : Score or Expert
    d : int
        Number of inputs.
    seed : int
        Of what is drawn.
    origin : tuple of float, optional
        Of the score or expert.

    Examples
    --------
    >>> from gatewise import Affine
    >>> from gatewise.testing import law_slopes
    >>> law_slopes(Affine())
    """
    params, x = _drawn(predictor, d, seed)
    null = torch.randn(d, generator=generator(seed + 1), dtype=x.dtype)
    flat = x - null[:, None] * (null @ x) / (null @ null)
    flat = flat if origin is None else flat + x.new_tensor(origin)[:, None]
    moved = {**params, **{name: params[name] + null for name in predictor.names("slope")}}
    value = predictor(params, flat)
    assert_close(predictor(moved, flat), value, "slopes moved along the null space of the inputs change nothing")


def law_smoothed(predictor: Score | Expert, d: int = 3, seed: int = 0) -> None:
    """`smoothed` has no kink, keeps the parameters, and tends to the function as the radius does to zero.

    Parameters
    ----------
    predictor : Score or Expert
    d : int
        Number of inputs.
    seed : int
        Of what is drawn.

    Examples
    --------
    >>> from gatewise import Affine
    >>> from gatewise.testing import law_smoothed
    >>> law_smoothed(Affine())
    """
    params, x = _drawn(predictor, d, seed)
    smooth = cast("Score | Expert", predictor.smoothed(1e-6))
    if smooth.kinked():
        raise AssertionError("broken: a smoothed predictor has no kink")
    assert_close(smooth(params, x), predictor(params, x), "a small radius changes little", 1e-4)


def law_start(score: Score, d: int = 3, seed: int = 0) -> None:
    """`start` gives every parameter its shape and finite scores, for a batch of wanted shares of the branches.

    Parameters
    ----------
    score : Score
    d : int
        Number of inputs.
    seed : int
        Of what is drawn.

    Examples
    --------
    >>> from gatewise import Affine
    >>> from gatewise.testing import law_start
    >>> law_start(Affine())
    """
    params, x = _drawn(score, d, seed)
    g = generator(seed + 1)
    share = torch.rand((*LEAD, CHILDREN, ROWS), generator=g, dtype=x.dtype)
    begun = score.start(x, share / share.sum(-2, keepdim=True))
    found, expected = ({k: tuple(v.shape) for k, v in p.items()} for p in (begun, params))
    if found != expected:
        raise AssertionError(f"broken: start gives every parameter its shape (found {found}, expected {expected})")
    if not bool(score(begun, x).isfinite().all()):
        raise AssertionError("broken: scores at the start are finite")
