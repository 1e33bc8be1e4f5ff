"""Laws of neural layers: what every `MoE` keeps, whatever its gates, its depth and its backend.

A law takes a layer, works on copies of it, and raises AssertionError with words. ``check_layer_gate(my_gate)`` runs all
laws of a gate of your own, in layers of one and of two levels and on both backends.

Examples
--------
>>> from gatewise import GATES
>>> law_layer_eval(make_layer(GATES["laplace"]))
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import product
from typing import Any

import torch
from torch import Tensor

from gatewise.core.gates import Gate
from gatewise.nn.layer import MoE
from gatewise.nn.params import GateParameters
from gatewise.nn.weights import node_shares
from gatewise.testing.compare import assert_close
from gatewise.testing.problems import generator

LAYER_BRANCHINGS = ((5,), (2, 3))
LAYER_BACKENDS = ("loop", "grouped")
TOLERANCE = {torch.float64: 1e-12, torch.float32: 1e-5, torch.bfloat16: 3e-2, torch.float16: 4e-3}
MARGIN = 1e-3  # tokens whose last kept branch leads by less are near ties, left out of comparisons


def make_layer(
    gate: str | Gate | Sequence[str | Gate],
    branching: tuple[int, ...] = (5,),
    backend: str = "loop",
    dim: int = 6,
    seed: int = 0,
    **options: Any,
) -> MoE:
    """Return a small layer with biases, drawn from a seed without a trace in the global generator.

    Parameters
    ----------
    gate : str, Gate, or a sequence with one per level
    branching : tuple of int
        Number of experts per level.
    backend : str
        As in `gatewise.nn.MoE`.
    dim : int
        Number of features.
    seed : int
    **options
        Other arguments of `gatewise.nn.MoE`.

    Returns
    -------
    MoE

    Examples
    --------
    >>> from gatewise.testing import make_layer
    >>> make_layer("laplace", (2, 3)).router.branching
    (2, 3)
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return MoE(dim, 8, branching, gate=gate, backend=backend, **{"bias": True, **options})


def draw_tokens(layer: MoE, tokens: int = 24, seed: int = 1) -> Tensor:
    """Return standard normal tokens ``(T, d)`` in the dtype of the layer.

    Parameters
    ----------
    layer : MoE
    tokens : int
        Number of tokens T.
    seed : int

    Returns
    -------
    Tensor (T, d)

    Examples
    --------
    >>> from gatewise.testing import draw_tokens, make_layer
    >>> draw_tokens(make_layer("softmax"), tokens=5).shape
    torch.Size([5, 6])
    """
    draws = torch.randn(tokens, layer.dim, generator=generator(seed), dtype=torch.float64)
    return draws.to(next(layer.experts.parameters()).dtype)


def clear_tokens(layer: MoE, x: Tensor) -> Tensor:
    """Return the rows of x whose choice of experts is no near tie, ``(T,)`` of bool; ties of all tokens are alike."""
    clear = torch.ones(len(x), dtype=torch.bool)
    router = copy.deepcopy(layer.router).eval()
    routing = router(x)
    logs = router.candidates([log.detach() for log in routing.log_weights])
    for rank, log, kept in zip(routing.ranks, logs, router.top_k, strict=True):
        if (kept < rank.shape[-1] or router.choice.rule.varies) and not bool((rank == rank[:1]).all()):
            least = router.choice.rule.threshold(rank, node_shares(log), kept, None)
            clear &= ~((rank - least).abs() < MARGIN).any(-1).any(-1)
    return clear


@contextmanager
def same_draws() -> Iterator[None]:
    """Let noise and jitter be the same in every such block, without a trace in the global generator."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


def free_names(gate: GateParameters) -> list[str]:
    """Return the names of the parameters that a level trains, as they are registered."""
    held = gate.temperature != "learned"
    free = {k: spec for k, spec in gate.specs.items() if spec.free and not (held and spec.role == "temperature")}
    return [f"log_{name}" if spec.transform == "log" else name for name, spec in free.items()]


def loss_gradients(layer: MoE, x: Tensor) -> dict[str, Tensor]:
    """Return the output, and the gradients of its sum of squares in x and in all parameters, by name."""
    layer.zero_grad(set_to_none=True)
    x = x.clone().requires_grad_()
    with same_draws():
        out = layer(x)
    out.to(torch.promote_types(out.dtype, torch.float32)).square().sum().backward()
    assert x.grad is not None
    found = {name: p.grad for name, p in layer.named_parameters() if p.grad is not None}
    return {"output": out.detach(), "x": x.grad, **found}


def law_layer_parameters(layer: MoE) -> None:
    """Every free parameter of every level is a parameter and in the state_dict, one value per node or branch.

    Parameters
    ----------
    layer : MoE

    Examples
    --------
    >>> from gatewise.testing import law_layer_parameters, make_layer
    >>> law_layer_parameters(make_layer("softmax"))
    """
    named, state = dict(layer.named_parameters()), layer.state_dict()
    for level, gate in enumerate(layer.router.gates):
        for name in free_names(gate):
            path = f"router.gates.{level}.{name}"
            if path not in named or path not in state:
                raise AssertionError(f"broken: {path} is a registered parameter and in the state_dict")
            if named[path].shape[: len(gate.owners)] != gate.owners:
                raise AssertionError(f"broken: {path} has values of its own in every node ({tuple(named[path].shape)})")


def law_layer_moves(layer: MoE) -> None:
    """Every parameter has a finite gradient, those of the gates a non-zero one, and one optimiser step moves them.

    Parameters
    ----------
    layer : MoE

    Examples
    --------
    >>> from gatewise.testing import law_layer_moves, make_layer
    >>> law_layer_moves(make_layer("softmax"))
    """
    layer = copy.deepcopy(layer).train()
    before = {name: p.detach().clone() for name, p in layer.named_parameters()}
    found = loss_gradients(layer, draw_tokens(layer))
    for name, p in layer.named_parameters():
        if name not in found or not bool(found[name].isfinite().all()):
            raise AssertionError(f"broken: {name} has a finite gradient")
        if name.startswith("router") and not bool((found[name] != 0).any()):
            raise AssertionError(f"broken: {name} has a gradient that is not zero")
        assert p.grad is not None
    torch.optim.SGD(layer.parameters(), lr=0.1).step()
    for name, p in layer.named_parameters():
        if name.startswith("router") and torch.equal(p, before[name]):
            raise AssertionError(f"broken: {name} moves in one optimiser step")


def law_layer_scores(layer: MoE) -> None:
    """Scores differ between the branches of every node from the start, where a gate sees its inputs.

    Parameters
    ----------
    layer : MoE

    Examples
    --------
    >>> from gatewise.testing import law_layer_scores, make_layer
    >>> law_layer_scores(make_layer("softmax"))
    """
    found = layer.router(draw_tokens(layer)).scores
    for level, (gate, scores) in enumerate(zip(layer.router.gates, found, strict=True)):
        sees = any(spec.free and spec.shape != () for spec in gate.specs.values())
        if sees and gate.branches > 1 and not bool((scores.std(-1).mean(0) > 0).all()):
            raise AssertionError(f"broken: the scores of level {level} differ between its branches")


def law_layer_eval(layer: MoE) -> None:
    """Two calls in evaluation agree to the last bit, and training gives the same outputs.

    It need not with noise, jitter, or a choice that depends on the batch in training only.

    Parameters
    ----------
    layer : MoE

    Examples
    --------
    >>> from gatewise.testing import law_layer_eval, make_layer
    >>> law_layer_eval(make_layer("softmax"))
    """
    layer = copy.deepcopy(layer).eval()
    x = draw_tokens(layer)
    first, second = layer(x), layer(x)
    if not torch.equal(first, second):
        raise AssertionError("broken: two calls in evaluation agree to the last bit")
    layer.train()
    random = layer.router.noisy or layer.router.jitter > 0
    changes = layer.router.depends_on_batch and layer.router.choice.rule.training_only
    if not random and not changes and not torch.equal(layer(x), first):
        raise AssertionError("broken: training without noise gives the outputs of evaluation")


def law_layer_rows(layer: MoE) -> None:
    """A token's output does not depend on the other tokens of its batch: alone, in a prefix, in another order.

    If the choice depends on the batch, and its router says so, only the order must not matter.

    Parameters
    ----------
    layer : MoE

    Examples
    --------
    >>> from gatewise.testing import law_layer_rows, make_layer
    >>> law_layer_rows(make_layer("softmax"))
    """
    layer = copy.deepcopy(layer).eval()
    x = draw_tokens(layer)
    x = x[clear_tokens(layer, x)]
    if not len(x):
        raise AssertionError("broken: at least one token's choice is no near tie")
    whole, tolerance = layer(x), TOLERANCE[x.dtype]
    assert_close(layer(x.flip(0)).flip(0), whole, "outputs do not depend on the order of tokens", tolerance)
    if layer.router.depends_on_batch:
        return
    alone = torch.cat([layer(row[None]) for row in x])
    assert_close(alone, whole, "tokens alone give what they give in a batch", tolerance)
    half = len(x) // 2
    assert_close(layer(x[:half]), whole[:half], "outputs of a prefix do not depend on what follows", tolerance)


def law_layer_backends(layer: MoE) -> None:
    """The backends agree in outputs and in all gradients, in float32 and float64.

    Parameters
    ----------
    layer : MoE

    Examples
    --------
    >>> from gatewise.testing import law_layer_backends, make_layer
    >>> law_layer_backends(make_layer("softmax"))
    """
    for dtype, backend in product((torch.float32, torch.float64), ("grouped", "dense")):
        one = copy.deepcopy(layer).to(dtype)
        other = copy.deepcopy(one)
        one.backend, other.backend = "loop", backend
        x = draw_tokens(one)
        expected, found = loss_gradients(one, x), loss_gradients(other, x)
        if expected.keys() != found.keys():
            raise AssertionError("broken: the backends give gradients to the same parameters")
        for name, value in expected.items():
            assert_close(found[name], value, f"loop and {backend} agree in {name} ({dtype})", TOLERANCE[dtype])


def law_layer_autocast(layer: MoE) -> None:
    """Under autocast gates compute in float32: routing is that without it; outputs have autocast's dtype.

    Parameters
    ----------
    layer : MoE

    Examples
    --------
    >>> from gatewise.testing import law_layer_autocast, make_layer
    >>> law_layer_autocast(make_layer("softmax"))
    """
    layer = copy.deepcopy(layer).float()
    x = draw_tokens(layer)
    with same_draws():
        plain = layer.router(x)
    with torch.autocast("cpu", torch.bfloat16):
        with same_draws():
            cast = layer.router(x)
        with same_draws():
            out = layer(x)
    parts = ((plain.index, cast.index), (plain.weight, cast.weight), *zip(plain.scores, cast.scores, strict=True))
    if not all(a.dtype == b.dtype and torch.equal(a, b) for a, b in parts):
        raise AssertionError("broken: routing under autocast is that without it")
    if out.dtype != torch.bfloat16:
        raise AssertionError(f"broken: outputs under autocast are bfloat16 ({out.dtype})")
    with same_draws():
        near = layer(x)
    assert_close(out.float(), near, "outputs under autocast are near those without it", TOLERANCE[torch.bfloat16])
    out.float().square().sum().backward()
    if not all(p.grad is None or bool(p.grad.isfinite().all()) for p in layer.parameters()):
        raise AssertionError("broken: gradients under autocast are finite")


def law_layer_half(layer: MoE) -> None:
    """Models in bfloat16 and float16 give finite outputs and gradients in their dtype, near those of float32.

    Parameters
    ----------
    layer : MoE

    Examples
    --------
    >>> from gatewise.testing import law_layer_half, make_layer
    >>> law_layer_half(make_layer("softmax"))
    """
    for dtype in (torch.bfloat16, torch.float16):
        half = copy.deepcopy(layer).to(dtype)
        x = draw_tokens(half)
        found = loss_gradients(half, x)
        for name, value in found.items():
            if value.dtype != dtype or not bool(value.isfinite().all()):
                raise AssertionError(f"broken: {name} is finite and {dtype} in a model of {dtype} ({value.dtype})")
        if len(found) != 2 + len(list(half.parameters())):
            raise AssertionError(f"broken: every parameter of a model of {dtype} has a gradient")
        wide = copy.deepcopy(half).float()
        clear = clear_tokens(wide, x.float())
        with same_draws():
            expected = wide(x.float())[clear]
        assert_close(found["output"].float()[clear], expected, f"{dtype} is near float32", TOLERANCE[dtype])


def law_layer_state(layer: MoE) -> None:
    """A state_dict carries all that outputs depend on: another layer that loads it gives them to the last bit.

    Parameters
    ----------
    layer : MoE

    Examples
    --------
    >>> from gatewise.testing import law_layer_state, make_layer
    >>> law_layer_state(make_layer("softmax"))
    """
    other = copy.deepcopy(layer)
    with torch.no_grad():
        for value in (*other.parameters(), *other.buffers()):
            value.zero_()
    missing, unexpected = other.load_state_dict(layer.state_dict(), strict=False)
    if missing or unexpected:
        raise AssertionError(f"broken: a state_dict fits its own layer (missing {missing}, unexpected {unexpected})")
    x = draw_tokens(layer)
    if not torch.equal(other.eval()(x), copy.deepcopy(layer).eval()(x)):
        raise AssertionError("broken: a loaded layer gives the same outputs")


def law_layer_twice_differentiable(layer: MoE) -> None:
    """The loop has second derivatives: those by autograd are those by differences of the first.

    Parameters
    ----------
    layer : MoE

    Examples
    --------
    >>> from gatewise.testing import law_layer_twice_differentiable, make_layer
    >>> law_layer_twice_differentiable(make_layer("softmax"))
    """
    layer = copy.deepcopy(layer).double().eval()
    layer.backend = "loop"
    weights = list(layer.router.parameters())
    with torch.no_grad():  # away from ties of all tokens
        for i, p in enumerate(weights):
            p.add_(0.1 * torch.randn(p.shape, generator=generator(i), dtype=p.dtype))
    x = draw_tokens(layer)
    x = x[clear_tokens(layer, x)][:3].clone().requires_grad_()

    def value(at: Tensor, *_: Tensor) -> Tensor:
        return torch.tanh(layer(at))

    if not torch.autograd.gradgradcheck(value, (x, *weights), fast_mode=True, raise_exception=False):
        raise AssertionError("broken: second derivatives through the loop are those of the outputs")


LAYER_LAWS: tuple[Callable[[MoE], None], ...] = (
    law_layer_parameters,
    law_layer_moves,
    law_layer_scores,
    law_layer_eval,
    law_layer_rows,
    law_layer_backends,
    law_layer_autocast,
    law_layer_half,
    law_layer_state,
    law_layer_twice_differentiable,
)


def check_layer(layer: MoE) -> None:
    """Check all laws on one layer with the built-in experts.

    Parameters
    ----------
    layer : MoE

    Raises
    ------
    AssertionError
        Naming the law that is broken.

    Examples
    --------
    >>> from gatewise.testing import check_layer, make_layer
    >>> check_layer(make_layer("softmax"))
    """
    for law in LAYER_LAWS:
        law(layer)


def check_layer_gate(gate: Gate) -> None:
    """Check all laws on layers with a gate, of one and of two levels, on both backends.

    Parameters
    ----------
    gate : Gate

    Raises
    ------
    AssertionError
        Naming the law that is broken.

    Examples
    --------
    >>> from gatewise import GATES
    >>> check_layer_gate(GATES["softmax"])
    """
    for branching in LAYER_BRANCHINGS:
        for backend in LAYER_BACKENDS:
            check_layer(make_layer(gate, branching, backend))
