"""Expert parallelism: the experts of a layer live on several processes, tokens travel to them and back.

Every rank of a group keeps its own tokens, a copy of the router, and a block of consecutive experts. A layer sorts its
assignments by expert, sends each row to the rank that holds its expert, runs the local experts on what arrived, sends
the results back, weighs and adds them up. Nothing is dropped and the parts may have any size, also none.

Gradients follow data parallelism over the group of W ranks, where the loss is the mean of the ranks' losses: every rank
differentiates its own loss, replicated parameters (router, shared experts, the rest of the model) are to be averaged
over the ranks, by `average_gradients` or DDP; those of the experts collect all ranks' tokens in the backward pass and
are divided by W there, so nothing is left to do for them. With several such groups, the experts are also averaged over
the ranks that hold the same ones, by ``fully_shard(layer.experts, mesh=those_ranks)``, which shards them there, or by
``average_gradients(layer.experts, those_ranks)``. Second derivatives follow the same
rule on the backend "loop": a penalty on the slopes of every rank's outputs counts as the mean of the ranks' penalties.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor, Partial, Replicate

from gatewise.nn.experts import FFN
from gatewise.nn.finding import layers
from gatewise.nn.layer import MoE
from gatewise.nn.ranks import Ranks, ranks_of
from gatewise.nn.states import local_part, spread_parameters

Group: TypeAlias = dist.ProcessGroup | DeviceMesh | None


def expert_parallel(model: nn.Module, group: Group = None) -> nn.Module:
    """Distribute the experts of every `MoE` in a model over the processes of a group, in place, and return the model.

    Every process calls it with a model of the same shape, before it creates the optimiser. All processes continue with
    the parameters of the first one. With W processes and L experts, rank r keeps the experts ``r b, ..., r b + b - 1``
    with ``b = ceil(L / W)``. Parameter names do not change; expert tensors have fewer rows. With a limited capacity,
    each process counts its own tokens.

    Parameters
    ----------
    model : Module
        A layer, or a model with layers, with the built-in experts.
    group : ProcessGroup or DeviceMesh, optional
        Default: all processes. Several groups side by side, the rows of a mesh, have to start from equal parameters.

    Returns
    -------
    Module

    Raises
    ------
    ValueError
        If a layer has custom experts, or some process would hold no expert.

    Examples
    --------
    Under ``torchrun``, after ``torch.distributed.init_process_group``::

        model = expert_parallel(model)
        optimiser = torch.optim.AdamW(model.parameters())
        for x, y in batches_of_this_rank:
            optimiser.zero_grad()
            loss(model(x), y).backward()
            average_gradients(model)
            optimiser.step()

    On a mesh of processes, each row of which holds all experts, FSDP2 shards the experts over the columns and all else
    over all processes, and averages the gradients::

        mesh = init_device_mesh("cuda", (8, 8), mesh_dim_names=("fsdp", "ep"))
        model = expert_parallel(model, mesh["ep"])
        for layer in layers_of_the_model:
            fully_shard(layer.experts, mesh=mesh["fsdp"])
        fully_shard(model, mesh=init_device_mesh("cuda", (64,)))

    ``DistributedDataParallel(model)`` can average the gradients instead: it is told to ignore the experts. Around a
    larger model with `model` inside, list them for it: ``larger._ddp_params_and_buffers_to_ignore =
    expert_names(larger)``. A layer whose experts are averaged or sharded with others raises.
    """
    group, found = _group(group), list(layers(model).values())
    whole = [_whole(layer, group) for layer in found]
    for tensor in [*model.parameters(), *model.buffers()]:
        dist.broadcast(tensor.detach(), group=group, group_src=0)
    parts: dict[nn.Module, FFN] = {}  # layers that share experts go on sharing them
    for layer, experts in zip(found, whole, strict=True):
        layer.ranks = Ranks(layer.networks, group)
        if experts not in parts:
            parts[experts] = _part(experts, layer.ranks)
        layer.experts = parts[experts]
    ignored = getattr(model, "_ddp_params_and_buffers_to_ignore", ())  # read by DistributedDataParallel
    model._ddp_params_and_buffers_to_ignore = [*ignored, *expert_names(model)]  # type: ignore[assignment]
    return model


def expert_names(model: nn.Module) -> list[str]:
    """List the names of the expert parameters that `expert_parallel` has distributed.

    Parameters
    ----------
    model : Module

    Returns
    -------
    list of str
        As in ``model.named_parameters()``; empty without expert parallelism.

    Examples
    --------
    >>> from gatewise.nn import MoE, expert_names
    >>> expert_names(MoE(8, 16, 4))  # no expert is distributed
    []
    """
    return list(spread_parameters(model))


@torch.no_grad()
def average_gradients(model: nn.Module, group: Group = None) -> None:
    """Average the gradients of all parameters except distributed experts over a group, before ``optimizer.step()``.

    Gradients that FSDP2 (``fully_shard``) has averaged over the processes of the group stay as they are.

    Parameters
    ----------
    model : Module
        The same parameters must have gradients on every process.
    group : ProcessGroup or DeviceMesh, optional
        Default: all processes.

    Raises
    ------
    ValueError
        If FSDP2 shards a parameter over some processes of the group and not over the others.

    Examples
    --------
    >>> import os
    >>> import tempfile
    >>> import torch
    >>> from gatewise.nn import MoE, average_gradients
    >>> path = os.path.join(tempfile.mkdtemp(), "processes")
    >>> torch.distributed.init_process_group("gloo", init_method=f"file://{path}", rank=0, world_size=1)
    >>> layer = MoE(8, 16, 4)
    >>> layer(torch.randn(5, 8)).sum().backward()
    >>> average_gradients(layer)  # before optimizer.step()
    >>> torch.distributed.destroy_process_group()
    """
    group, ours = _group(group), set(expert_names(model))
    named = {name: p.grad for name, p in model.named_parameters() if name not in ours and p.grad is not None}
    gradients = [local_part(one) for name, one in named.items() if not _averaged(name, one, group)]
    for dtype in sorted({gradient.dtype for gradient in gradients}, key=str):
        alike = [gradient for gradient in gradients if gradient.dtype == dtype]
        flat = torch.cat([gradient.flatten() for gradient in alike])
        dist.all_reduce(flat, group=group)
        flat /= dist.get_world_size(group)
        for gradient, part in zip(alike, flat.split([gradient.numel() for gradient in alike]), strict=True):
            gradient.copy_(part.view_as(gradient))


def _averaged(name: str, gradient: Tensor, group: dist.ProcessGroup | None) -> bool:
    """Return whether FSDP2 has averaged a gradient over a group; raise where it has over a part of it."""
    if not isinstance(gradient, DTensor):
        return False
    both = ranks_of(group) & set(gradient.device_mesh.mesh.flatten().tolist())
    if both == ranks_of(group):
        return True
    if len(both) > 1:
        raise ValueError(
            f"{name} is sharded by FSDP over the processes {sorted(both)} of {sorted(ranks_of(group))}, which hold "
            "different parts of it: give the group of processes that hold the same part, such as mesh['ep']"
        )
    return False


@torch.no_grad()
def clip_gradients(model: nn.Module, max_norm: float) -> Tensor:
    """Clip the total gradient norm of a model with distributed experts, like ``clip_grad_norm_`` in a single process.

    ``clip_grad_norm_`` itself would use a different norm on every process, because each holds different experts, and
    the copies of the other parameters would diverge. Call this function after averaging the gradients.

    Parameters
    ----------
    model : Module
        Its other parameters may be sharded by FSDP2 (``fully_shard``), its experts too.
    max_norm : float

    Returns
    -------
    Tensor
        The norm before clipping.

    Examples
    --------
    >>> import os
    >>> import tempfile
    >>> import torch
    >>> from gatewise.nn import MoE, clip_gradients
    >>> path = os.path.join(tempfile.mkdtemp(), "processes")
    >>> torch.distributed.init_process_group("gloo", init_method=f"file://{path}", rank=0, world_size=1)
    >>> layer = MoE(8, 16, 4)
    >>> layer(torch.randn(5, 8)).sum().backward()
    >>> bool(clip_gradients(layer, max_norm=1.0) > 0)
    True
    >>> torch.distributed.destroy_process_group()
    """
    spread = spread_parameters(model)
    found = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    sums: dict[Any, Tensor] = {}  # of squares, by where the other parts of a gradient are
    for name, gradient in found.items():
        sharded = (gradient.device_mesh, gradient.placements) if isinstance(gradient, DTensor) else None
        where = spread[name].group if name in spread else None, name in spread, sharded
        square = local_part(gradient).float().square().sum()
        sums[where] = sums[where] + square if where in sums else square
    norm = torch.stack([_over_all(square, *where) for where, square in sums.items()]).sum().sqrt()
    factor = (max_norm / (norm + 1e-6)).clamp(max=1.0)
    for gradient in found.values():
        local = local_part(gradient)
        local.mul_(factor.to(local.dtype))
    return norm


def _over_all(value: Tensor, group: dist.ProcessGroup | None, spread: bool, sharded: Any) -> Tensor:
    """Return the sum of a number over the processes that hold other parts: those of FSDP, and those of the experts."""
    if sharded is not None:
        mesh, placements = sharded
        parts = [Partial() if one.is_shard() else Replicate() for one in placements]
        value = DTensor.from_local(value, mesh, parts, run_check=False).full_tensor()
    if spread:
        dist.all_reduce(value, group=group)
    return value


def _group(given: Group) -> dist.ProcessGroup | None:
    """Return a group of processes, given itself or as a mesh of one dimension."""
    return given.get_group() if isinstance(given, DeviceMesh) else given


def _whole(layer: MoE, group: dist.ProcessGroup | None) -> FFN:
    """Return all experts of a layer, or raise if they cannot be spread over a group."""
    if layer.ranks is not None:
        raise ValueError("the experts of this layer are already distributed over processes: build a new layer")
    if not isinstance(layer.experts, FFN):
        raise ValueError("only the built-in experts can be distributed over processes: build the layer with hidden=...")
    ranks = Ranks(layer.networks, group)
    if ranks.block * (ranks.size - 1) >= ranks.n_experts:
        raise ValueError(
            f"{ranks.n_experts} experts in blocks of {ranks.block} leave one of {ranks.size} processes "
            f"without an expert: use {-(-ranks.n_experts // ranks.block)} processes, or another number of experts"
        )
    return layer.experts


def _part(experts: FFN, ranks: Ranks) -> FFN:
    """Return the experts held here as a batch of their own."""
    held = ranks.held
    bias = experts.b_in is not None
    part = FFN(held.stop - held.start, experts.dim, experts.hidden, experts.dim_out, experts.activation, bias)
    part.ranks = ranks.size
    part = part.to(experts.w_in.device, experts.w_in.dtype).train(experts.training)
    for own, whole in zip(part.parameters(), experts.parameters(), strict=True):
        own.data.copy_(whole.detach()[held])
        own.requires_grad_(whole.requires_grad)
    return part
