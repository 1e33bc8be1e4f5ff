"""Balancing: auxiliary losses and the bias update that keep all experts in use.

Statistics belong to whole optimiser steps. A loss that is quadratic in the shares of the experts has a gradient that
is linear in the tokens once the derivatives in the shares are known, so those of finished steps, over all micro-batches
and ranks, stand in for those of this one (as 2501.11873 does for the load). The gradient over micro-batches, ranks and
recomputed segments is then the same however a batch is cut, and no statistic waits for another process in a forward
pass. During the first step of a layer no share is known and no auxiliary loss acts.

The derivatives of the last two steps are extrapolated to this one along a straight line. Those of the last step alone
come a step late, by which loads swing under optimisers with momentum: with a momentum of .9 the feedback is unstable
from a gain of .10 a step on, extrapolated from .27 on (`python -m benchmarks nn_balance`).

A short step, such as the rest of an epoch, says little about the next one: it is filled up with earlier steps to `FILL`
of their tokens, and no line is drawn through it. A call with many more tokens than the last step divides by its own.
"""

from __future__ import annotations

from math import inf, prod
from typing import Any

import torch
from torch import Tensor, nn

from gatewise.nn.balance.coefficients import LossCoefficients, loss_coefficients, shares_of
from gatewise.nn.balance.methods import BalanceMethod, balance_method, method_name
from gatewise.nn.balance.sequences import sequence_loss, sequence_shares
from gatewise.nn.balance.shares import cv_squared, shares_by_level, switch_value
from gatewise.nn.balance.statistics import TOKENS, unpacked
from gatewise.nn.balance.token_sums import TokenSums
from gatewise.nn.router import Router, Routing, leaf_weights
from gatewise.nn.weights import LOWEST, node_log_shares, node_shares

FILL = 0.5  # of the tokens of a step: fewer in the next one do not stand for a step by themselves


class Balancer(nn.Module):
    """Keeps the tallies of a router and turns them into auxiliary losses or new offsets.

    Parameters
    ----------
    branching : tuple of int
    method : str or BalanceMethod
        A name of BALANCE_METHODS: "importance+load", "importance", "switch", "bias", "sequence", "bias+sequence",
        "sparsity" or "none"; or a method of your own. The loss of two levels is the outer value plus the mean of the
        inner ones.
    weight : float
        Factor of the loss.
    rate : float
        Step of the offsets, in log weight (a quarter of it in weight for one level of an unnormalised link).
    z_weight : float
        Factor of the router z-loss, the mean of ``logsumexp(scores)^2`` (2202.08906): mean over nodes, summed over
        levels.
    token_entropy_weight : float
        Factor of the mean entropy of the weights of a token, which lets top-p choose few experts (2403.07652, the
        dynamic loss): mean over nodes, summed over levels.

    Examples
    --------
    >>> from gatewise.nn import MoE
    >>> MoE(8, 16, 4, balance="bias", bias_rate=0.02).balancer
    Balancer(bias, rate=0.02)
    """

    last: Tensor
    carried: Tensor  # of earlier steps, where the last one was short
    earlier: Tensor  # the tally of the step before the last one, where neither was short
    steps: Tensor
    loss_factor: Tensor  # of the loss, where the method adapts it
    _known: tuple[BalanceMethod, tuple[Tensor, ...], LossCoefficients] | None = None  # method and tallies they are of
    _slopes: tuple[LossCoefficients, object, list[Tensor]] | None = None  # of a call, and what they belong to

    def __init__(
        self,
        branching: tuple[int, ...],
        method: str | BalanceMethod,
        weight: float = 0.1,
        rate: float = 1e-2,
        z_weight: float = 0.0,
        token_entropy_weight: float = 0.0,
    ) -> None:
        super().__init__()
        given = {
            "balance_weight": weight,
            "bias_rate": rate,
            "z_weight": z_weight,
            "token_entropy_weight": token_entropy_weight,
        }
        for name, value in given.items():
            if not 0 <= value < inf:
                raise ValueError(f"{name}={value}: give a finite number, zero or more")
        self.branching, self.rule = branching, balance_method(method)
        self.weight, self.rate, self.z_weight = weight, rate, z_weight
        self.token_entropy_weight = token_entropy_weight
        size = 3 * prod(branching) + 4
        # Neither a buffer: a process must not be given the tally that another has of a step under way.
        self.now = torch.zeros(size, dtype=torch.float32, device="cpu")
        self.register_buffer("last", torch.zeros(size, dtype=torch.float32))
        self.register_buffer("carried", torch.zeros(size, dtype=torch.float32))
        self.register_buffer("earlier", torch.zeros(size, dtype=torch.float32))
        self.loss_scale = torch.ones((), dtype=torch.float32, device="cpu")  # that of a run, not of the layer
        self.scale_given = self.scale_shared = self.scale_told = False  # by the user; with a scaler; that none is known
        self.register_buffer("steps", torch.zeros((), dtype=torch.long))
        if self.rule.adapts:
            self.register_buffer("loss_factor", torch.tensor(self.rule.first_factor(), dtype=torch.float32))

    @property
    def has_loss(self) -> bool:
        """Whether the balancer adds a gradient."""
        acts = type(self.rule).loss is not BalanceMethod.loss and (self.weight > 0 or self.rule.adapts)
        return self.z_weight > 0 or self.token_entropy_weight > 0 or acts

    def reset_parameters(self) -> None:
        """Forget all steps, as after ``to_empty``."""
        self.now = torch.zeros(self.now.shape, dtype=torch.float32, device="cpu")
        self.last.zero_()
        self.carried.zero_()
        self.earlier.zero_()
        self.steps.zero_()
        if self.rule.adapts:
            self.loss_factor.fill_(self.rule.first_factor())

    def _apply(self, fn: Any, recurse: bool = True) -> Balancer:
        """Move, but stay in float32: sums of thousands of tokens do not fit half precision."""
        super()._apply(fn, recurse)
        self.last, self.carried, self.earlier = self.last.float(), self.carried.float(), self.earlier.float()
        if self.rule.adapts:
            self.loss_factor = self.loss_factor.float()
        return self

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        """Load a state, also of a version that knew the last step alone."""
        if f"{prefix}last" in state_dict:
            for name in ("carried", "earlier"):
                state_dict.setdefault(f"{prefix}{name}", torch.zeros_like(state_dict[f"{prefix}last"]))
        super()._load_from_state_dict(state_dict, prefix, *args)

    @property
    def recent(self) -> Tensor:
        """The tally that stands in for that of a step under way: the last one, filled up where it was short."""
        return self.last + self.carried

    def slopes(self, known: LossCoefficients, sums: TokenSums, processes: int = 1) -> list[Tensor]:
        """Return the derivatives of the auxiliary loss in the sums over these tokens, in which it is linear.

        They are ``(nodes, K)``: of the importance by level, and of the expected load as in the last selection. []: the
        loss does not read the sums. Gradients are averaged over `processes`.
        """
        if known.sums is None:
            return []
        first, factor = sums.sums[0], self.weight * processes
        of = (len(sums.sums), sums.leaves.shape[0], factor, processes, first.dtype)
        fixed = not torch.compiler.is_compiling() and sums.inputs.weight is None  # from call to call of a step
        if fixed and self._slopes is not None and self._slopes[0] is known and self._slopes[1] == of:
            return self._slopes[2]
        each = factor / self.divisor(known.tokens, sums, processes)
        shapes = [part.shape[1:] for part in (*sums.parts[: len(sums.inputs.sparse)], sums.parts[-1])]
        parts = zip(known.sums[: len(sums.sums)], shapes, strict=False)
        slopes = [(part * each).to(first.dtype).view(shape) for part, shape in parts]
        if fixed:
            self._slopes = known, of, slopes
        return slopes

    def other_loss(
        self,
        known: LossCoefficients,
        router: Router,
        routing: Routing,
        sums: TokenSums,
        length: int | None = None,
        processes: int = 1,
    ) -> Tensor | None:
        """Return what these tokens add to the auxiliary loss beside `slopes`; None: nothing.

        Over a step the parts sum to the loss's gradient. `length` is the number of tokens of a sequence; None: all are
        one.
        """
        if known.weights is None and not (self.rule.of_sequences or self.z_weight or self.token_entropy_weight):
            return None
        weight, parts = sums.weight, []
        if known.weights is not None:
            factor = self.loss_factor if self.rule.adapts else self.weight
            parts.append(factor * torch.mv(leaf_weights(routing).mT, weight) @ known.weights.to(weight.dtype))
        if self.rule.of_sequences:
            shares = sequence_shares(router, routing, weight, length or weight.shape[0])
            parts.append(self.weight * sequence_loss(self.rule, shares))
        for scores in routing.scores if self.z_weight else ():
            parts.append(self.z_weight * torch.mv(torch.logsumexp(scores, -1).square().mT, weight).mean())
        for log in routing.log_weights if self.token_entropy_weight else ():
            entropy = -(node_shares(log) * node_log_shares(log).clamp_min(LOWEST)).sum(-1)
            parts.append(self.token_entropy_weight * torch.mv(entropy.mT, weight).mean())
        return processes * sum(parts[1:], parts[0]) / self.divisor(known.tokens, sums, processes)

    def divisor(self, tokens: Tensor, sums: TokenSums, processes: int) -> Tensor:
        """Return by how many tokens the loss is divided: those of the last step, unless this call alone has many more.

        Then its own stand in, so that the loss after a step of a few tokens is not as many times as large.
        """
        return torch.maximum(tokens, FILL * processes * sums.tokens.view(()).to(tokens.dtype))

    def coefficients(self, keep: bool = False) -> LossCoefficients:
        """Return the coefficients of the loss; with `keep`, kept on the CPU while the tallies they come from stay.

        To compare tallies is to wait for their device, and nothing may watch.
        """
        if not keep or self.last.device.type != "cpu":
            return loss_coefficients(self.rule, self.recent, self.branching, self.earlier)
        kept, tallies = self._known, (self.last, self.carried, self.earlier)
        if kept is None or kept[0] is not self.rule or not all(map(torch.equal, kept[1], tallies)):
            known = loss_coefficients(self.rule, self.recent, self.branching, self.earlier)
            self._known = kept = self.rule, tuple(one.clone() for one in tallies), known
        return kept[2]

    @torch.no_grad()
    def finish(self, router: Router, skipped: Tensor | None = None) -> None:
        """End an optimiser step: its tally becomes the last one, offsets move, temperatures cool.

        A tally that is not finite is dropped: a single batch with a nan must not end the balancing of all later ones.
        So is that of a step that changed nothing, where `skipped` is positive; it is no step.
        """
        fresh = (self.now[TOKENS] > 0) & self.now.isfinite().all()
        if skipped is None:
            self.steps += 1
        else:
            fresh = fresh & (skipped.to(fresh.device) == 0)
            self.steps += (skipped == 0).to(self.steps)
        recent = self.recent.to(self.now.device)
        ratio = self.now[TOKENS] / recent[TOKENS].clamp_min(1)
        alike = (ratio >= FILL) & (ratio <= 1 / FILL) & ~self.carried.to(self.now.device).any()
        self.earlier.copy_(torch.where(fresh, recent * alike, self.earlier.to(self.now.device)))
        missing = (FILL - ratio).clamp_min(0)
        self.carried.copy_(torch.where(fresh, recent * missing, self.carried.to(self.now.device)))
        self.last.copy_(torch.where(fresh, self.now, self.last.to(self.now.device)))
        self.now.zero_()
        if self.rule.adapts:
            moved = self.rule.next_factor(self.loss_factor, shares_of(self.last, self.branching).experts)
            self.loss_factor.copy_(torch.where(fresh.to(self.loss_factor.device), moved, self.loss_factor))
        self._move_offsets(router, fresh)
        for gate in router.levels:
            if gate.schedule is not None:
                gate.anneal(int(self.steps))

    def _move_offsets(self, router: Router, fresh: Tensor) -> None:
        """Move the offsets of the choice as the method says, in nodes that served tokens of a step that counts."""
        if type(self.rule).offset_steps is BalanceMethod.offset_steps:
            return
        loads = shares_by_level(unpacked(self.last).load, self.branching)
        steps = self.rule.offset_steps(loads)
        for offset, load, step in zip(router.selection_bias, loads, steps, strict=True) if steps is not None else ():
            used = fresh.to(load.device) & (load.sum(-1, keepdim=True) > 0)
            offset += self.rate * router.unit * step.to(offset.dtype) * used

    def values(self) -> dict[str, float]:
        """Return the balance of the last finished step: what each loss would be, whichever acts; {} before one."""
        last = unpacked(self.last)
        if not bool(last.tokens > 0):
            return {}
        load, importance = (shares_by_level(part, self.branching) for part in (last.load, last.importance))
        return {
            "importance": float(cv_squared(importance)),
            "load": float(cv_squared(load)),
            "switch": float(switch_value(load, importance)),
        }

    def extra_repr(self) -> str:
        parts = [
            method_name(self.rule) or repr(self.rule),
            *(f"{setting}={getattr(self, setting)}" for setting in self.rule.settings),
        ]
        more = [f"{name}={getattr(self, name)}" for name in ("z_weight", "token_entropy_weight") if getattr(self, name)]
        return ", ".join(parts + more)
