"""Which process holds which experts, and the exchange of their tokens; see `gatewise.nn.parallel`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary, WeakSet

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel

from gatewise.nn.products import plan

Compute = Callable[[Tensor, Tensor, Tensor], Tensor]
_ignoring: WeakKeyDictionary[nn.Module, WeakSet[nn.Module]] = WeakKeyDictionary()  # DDP -> experts that it ignores


class Ranks(NamedTuple):
    """Which rank holds which experts: blocks of ``ceil(L / W)`` of the L experts, the last block what is left.

    Attributes
    ----------
    n_experts : int
        Number L of experts on all ranks.
    group : ProcessGroup, optional
        The W ranks; None is all of them.
    """

    n_experts: int
    group: dist.ProcessGroup | None = None

    @property
    def size(self) -> int:
        """Number W of ranks."""
        return dist.get_world_size(self.group)

    @property
    def block(self) -> int:
        """Number of experts of a rank, less for the last one."""
        return -(-self.n_experts // self.size)

    @property
    def held(self) -> slice:
        """The experts of this rank."""
        first = self.block * dist.get_rank(self.group)
        return slice(first, min(first + self.block, self.n_experts))

    def mixed(self, mesh: DeviceMesh) -> bool:
        """Return whether a mesh has another process of this group, which holds other experts."""
        return len(ranks_of(self.group) & set(mesh.mesh.flatten().tolist())) > 1

    def check(self, experts: nn.Module) -> None:
        """Raise if the experts held here are treated as copies of those of other ranks, by DDP or FSDP.

        Raises
        ------
        ValueError
            Saying who does, and what to do.
        """
        parameters = list(experts.parameters())
        if not parameters or any(isinstance(p, DTensor) and self.mixed(p.device_mesh) for p in parameters):
            raise ValueError(
                "experts that are distributed over processes are sharded with others: FSDP would mix different "
                "experts; call fully_shard(layer.experts, mesh=...) first, with a mesh of the processes that hold the "
                "same experts, or pass ignored_params=set(layer.experts.parameters()), and build the model anew"
            )
        outer = DistributedDataParallel._get_active_ddp_module()
        if outer is None or experts in _ignoring.setdefault(outer, WeakSet()):
            return
        own = {id(p) for p in experts.parameters()}
        names = [name for name, p in outer.module.named_parameters() if id(p) in own]
        if averaged := [name for name in names if name not in outer.parameters_to_ignore]:
            raise ValueError(
                f"DistributedDataParallel averages {', '.join(averaged)}, experts that are distributed over "
                "processes: set model._ddp_params_and_buffers_to_ignore = expert_names(model) on the model that it "
                "wraps before it does, and build the model anew, for it has overwritten them"
            )
        _ignoring[outer].add(experts)

    def __call__(self, compute: Compute, x: Tensor, index: Tensor, weight: Tensor) -> Tensor:
        """Return ``sum_s weight[t, s] expert_{index[t, s]}(x_t)`` with the experts of all ranks, ``(T, d_out)``.

        ``compute(rows, index, weight)`` does the same with the experts held here, numbered from zero.
        """
        sorted_by = plan(index, self.n_experts)
        counts = torch.diff(sorted_by.ends, prepend=sorted_by.ends.new_zeros(1))
        sent = F.pad(counts, (0, self.size * self.block - self.n_experts)).view(self.size, self.block)
        received = torch.empty_like(sent)
        dist.all_to_all_single(received, sent, group=self.group)
        send, receive = sent.sum(1).tolist(), received.sum(1).tolist()
        token, slot = (part[: sum(send)] for part in sorted_by[:2])  # without the empty slots
        rows = _Exchange.apply(x.index_select(0, token), send, receive, self.group)
        numbers = torch.arange(self.block, device=x.device).repeat(self.size)
        local = numbers.repeat_interleave(received.flatten())
        value = compute(rows, local[:, None], rows.new_ones(len(rows), 1))
        value = _Exchange.apply(value, receive, send, self.group)
        value = value * weight.flatten()[slot].to(value.dtype)[:, None]
        return value.new_zeros(len(x), value.shape[1]).index_add(0, token, value)


def ranks_of(group: dist.ProcessGroup | None) -> set[int]:
    """Return the processes of a group."""
    return set(dist.get_process_group_ranks(group))


class _Exchange(torch.autograd.Function):
    """Send ``send[r]`` rows to every rank r and receive ``receive[r]``; gradients go the way back."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, send: list[int], receive: list[int], group: dist.ProcessGroup | None) -> Tensor:
        ctx.way = (receive, send, group)
        out = rows.new_empty(sum(receive), rows.shape[1])
        dist.all_to_all_single(out, rows.contiguous(), receive, send, group=group)
        return out

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        return _Exchange.apply(gradient, *ctx.way), None, None, None
