"""Upcycling: a dense feed-forward network becomes a mixture of its copies, whole or in pieces."""

from __future__ import annotations

from collections.abc import Sequence
from math import isclose
from typing import Any

import torch
from torch import Tensor, nn

from gatewise.nn.dense import Dense, read_ffn
from gatewise.nn.experts import FFN
from gatewise.nn.layer import MoE

READ = {"dim", "hidden", "dim_out", "activation", "bias", "experts"}  # options of MoE that the dense network decides


def upcycle(
    dense: nn.Module,
    n_experts: int | Sequence[int] = 8,
    jitter: float = 0.0,
    exact: bool = True,
    granularity: int = 1,
    shared: int = 0,
    **options: Any,
) -> MoE:
    """Build an MoE layer from copies of a dense network, with the same output as the network (2212.05055).

    If the selected weights sum to one, ``sum_s w_s(x) E(x) = E(x)``. This holds with ``normalise="after"`` and
    ``top_k >= 2``, with ``normalise="always"`` and any top_k, or with ``top_k=None`` and a gate that is normalised over
    all experts. With a granularity G the hidden units are split into G pieces, each an expert of its own; the pieces of
    a copy begin with the same gate, so that a token selects whole copies, and the routed part is multiplied by their
    number (2410.07524, virtual groups).

    Parameters
    ----------
    dense : Module
        A feed-forward network (see `dense.read_ffn`). Its dropout is omitted.
    n_experts : int or tuple of int
        Number of experts. With pieces: a multiple of the routed pieces of a copy, ``granularity - shared``.
    jitter : float
        Multiply every weight of every expert by ``1 + jitter z`` with z standard normal. With 0, the experts are equal
        until training on different tokens separates them.
    exact : bool
        Whether to raise if the layer, apart from the jitter, is not equal to `dense`.
    granularity : int
        Number of pieces of the network, which divides its hidden units.
    shared : int
        How many of the pieces serve every token, as shared experts.
    **options
        Options of `MoE`: gate, top_k, balance and so on. With pieces, `top_k` counts pieces; default: two copies.

    Returns
    -------
    MoE

    Raises
    ------
    ValueError
        If `dense` is not a supported network, an option is determined by it, or `exact` is set and the layer would
        differ.

    Examples
    --------
    >>> dense = nn.Sequential(nn.Linear(4, 8), nn.GELU(), nn.Linear(8, 4))
    >>> x = torch.randn(5, 4)
    >>> bool((upcycle(dense, 6)(x) - dense(x)).abs().max() < 1e-5)
    True
    >>> finer = upcycle(dense, 12, granularity=4, shared=1, top_k=3)  # 4 copies of 3 pieces, and one shared piece
    >>> bool((finer(x) - dense(x)).abs().max() < 1e-5)
    True
    """
    if own := READ & set(options):
        raise ValueError(
            f"{', '.join(sorted(own))}: upcycle takes this from the network; leave it out, or use MoE(...)"
        )
    ffn = read_ffn(dense)
    routed = _routed_pieces(ffn, n_experts, granularity, shared)
    if granularity > 1:
        options.setdefault("top_k", min(2 * routed, n_experts))  # type: ignore[type-var]
    hidden, dim_out = ffn.w_out.shape
    device = "cpu" if ffn.w_in.is_meta else ffn.w_in.device  # gates are drawn: that takes values
    size: dict[str, Any] = {"hidden": hidden // granularity, "dim_out": dim_out, "activation": ffn.activation}
    with torch.device(device):
        bias = ffn.b_in is not None or ffn.b_out is not None
        layer = MoE(ffn.w_in.shape[0], n_experts=n_experts, bias=bias, shared=shared, **size, **options)
        layer.scale *= routed
        if routed > 1:
            _repeat_gates(layer, routed)
    if exact:
        _check_exact(layer, routed)
    layer = layer.to(ffn.w_in.device, ffn.w_in.dtype).train(dense.training)
    pieces = [_piece(ffn, granularity, i, routed if i >= shared else None) for i in range(granularity)]
    assert isinstance(layer.experts, FFN)
    _fill(layer.experts, pieces[shared:], jitter)
    if layer.shared is not None:
        _fill(layer.shared, [_together(pieces[:shared])], 0.0)
    return layer


def _routed_pieces(ffn: Dense, n_experts: int | Sequence[int], granularity: int, shared: int) -> int:
    """Return how many pieces of a copy are routed; raise if a network cannot be split so."""
    hidden = ffn.w_out.shape[0]
    if granularity < 1 or hidden % granularity or not 0 <= shared < granularity:
        raise ValueError(
            f"granularity={granularity}, shared={shared} for {hidden} hidden units: granularity divides them, and "
            "shared is less than it, for some pieces are routed"
        )
    routed = granularity - shared
    if granularity > 1 and (not isinstance(n_experts, int) or n_experts % routed):
        raise ValueError(
            f"n_experts={n_experts} with granularity={granularity} and shared={shared}: give one level with a "
            f"multiple of the {routed} routed pieces of a copy"
        )
    return routed


@torch.no_grad()
def _repeat_gates(layer: MoE, routed: int) -> None:
    """Give the pieces of a copy, which follow each other, the gate of the first."""
    gate = layer.router.gates[0]
    values = gate.values()
    per_branch = {name for name, spec in gate.specs.items() if spec.per == "branch"}
    gate.assign(
        {
            name: value[::routed].repeat_interleave(routed, 0) if name in per_branch else value
            for name, value in values.items()
        }
    )


def _piece(ffn: Dense, granularity: int, i: int, routed: int | None) -> Dense:
    """Return piece i of a network; the bias of the output is that of all routed pieces together."""

    def part(value: Tensor | None) -> Tensor | None:
        if value is None or granularity == 1:
            return value
        blocks = value.chunk(2, -1) if ffn.gated else [value]
        return torch.cat([block.chunk(granularity, -1)[i] for block in blocks], -1)

    w_in, w_out = part(ffn.w_in), ffn.w_out.chunk(granularity, 0)[i]
    assert w_in is not None
    b_out = None if ffn.b_out is None or routed is None else ffn.b_out / routed
    return Dense(w_in, w_out, part(ffn.b_in), b_out, ffn.activation)


def _together(pieces: list[Dense]) -> Dense:
    """Return several pieces as one network."""
    gated = pieces[0].gated

    def beside(values: list[Tensor]) -> Tensor:
        halves = [value.chunk(2, -1) if gated else (value,) for value in values]
        return torch.cat([part for half in zip(*halves, strict=True) for part in half], -1)

    biases = [one.b_in for one in pieces if one.b_in is not None]
    w_in, w_out = beside([one.w_in for one in pieces]), torch.cat([one.w_out for one in pieces])
    return Dense(w_in, w_out, beside(biases) if biases else None, None, pieces[0].activation)


@torch.no_grad()
def _fill(experts: FFN, pieces: list[Dense], jitter: float) -> None:
    """Copy pieces into the experts in turn, each weight times ``1 + jitter z``; a bias that they lack is zero."""
    copies = experts.n_experts // len(pieces)
    parts = zip(*(piece[:4] for piece in pieces), strict=True)
    for own, given in zip(experts.weights(), parts, strict=True):
        if own is not None:
            known = [value for value in given if value is not None]
            own.copy_(torch.stack(known).repeat(copies, *[1] * known[0].ndim) if known else torch.zeros_like(own))
            own *= 1 + jitter * torch.randn_like(own) if jitter else 1


@torch.no_grad()
def _check_exact(layer: MoE, routed: int) -> None:
    """Raise unless the layer equals the network of which its experts are copies, or `routed` pieces of copies."""
    rows = torch.empty(64, layer.dim, device="cpu").normal_(generator=torch.Generator().manual_seed(0))
    routing = layer.router(rows.to(layer.router.offset_0.device))
    of_piece = torch.zeros(64, routed, dtype=routing.weight.dtype, device=routing.weight.device)
    of_piece.scatter_add_(1, routing.index % routed, routing.weight)
    total, reasons = of_piece * routed, []
    if not bool(((total - 1).abs() < 1e-5).all()):
        pieces = f"; top_k a multiple of the {routed} pieces of a copy" if routed > 1 else ""
        reasons.append(
            f"the kept weights of a token do not sum to one (from {float(total.min()):.3g} to "
            f"{float(total.max()):.3g}): use top_k of at least 2 with normalise='after', any top_k with "
            f"normalise='always', or top_k=None with a gate that is normalised{pieces}"
        )
    reasons += [f"scale={layer.scale / routed}: use 1"] if not isclose(layer.scale, routed) else []
    others = {"identity_experts": layer.identity_experts, "null_experts": layer.null_experts}
    reasons += [f"{name}={number} are no copies: use 0" for name, number in others.items() if number]
    weighed = layer.weigh_inputs and bool((routing.weight != 1).any())
    reasons += ["weigh_inputs=True: what a copy makes of half an input is not half: use False"] if weighed else []
    reasons += ["noise in training selects pieces of copies: use 0"] if routed > 1 and layer.router.noise else []
    reasons += [f"capacity={layer.capacity} may drop tokens: use None"] if layer.capacity is not None else []
    if reasons:
        raise ValueError(f"the layer would not equal the dense network: {'; '.join(reasons)}; or pass exact=False")
