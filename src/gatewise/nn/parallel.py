"""Expert parallelism: the experts of a layer live on several processes, tokens travel to them and back.

Every rank of a group keeps its own tokens, a copy of the router, and a block of consecutive experts. A layer sorts its
assignments by expert, sends each row to the rank that holds its expert, runs the local experts on what arrived, sends
the results back, weighs and adds them up. Nothing is dropped and the parts may have any size, also none.

Gradients follow data parallelism over the group of W ranks, where the loss is the mean of the ranks' losses: every rank
differentiates its own loss, replicated parameters (router, shared experts, the rest of the model) are to be averaged
over the ranks, by `average_gradients` or DDP; those of the experts collect all ranks' tokens in the backward pass and
are divided by W there, so nothing is left to do for them. With several such groups, also average the experts over the
ranks that hold the same ones, by ``average_gradients(layer.experts, those_ranks)``. Second derivatives follow the same
rule on the backend "loop": a penalty on the slopes of every rank's outputs counts as the mean of the ranks' penalties.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor, Shard

from gatewise.nn.experts import FFN
from gatewise.nn.layer import MoE, layers
from gatewise.nn.ranks import Ranks


def expert_parallel(model: nn.Module, group: dist.ProcessGroup | None = None) -> nn.Module:
    """Distribute the experts of every `MoE` in a model over the processes of a group, in place, and return the model.

    Every process calls it with a model of the same shape, before it creates the optimiser. All processes continue with
    the parameters of the first one. With W processes and L experts, rank r keeps the experts ``r b, ..., r b + b - 1``
    with ``b = ceil(L / W)``. Parameter names do not change; expert tensors have fewer rows. With a limited capacity,
    each process counts its own tokens.

    Parameters
    ----------
    model : Module
        A layer, or a model with layers, with the built-in experts.
    group : ProcessGroup, optional
        Default: all processes.

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

    ``DistributedDataParallel(model)`` can average the gradients instead: it is told to ignore the experts. Around a
    larger model with `model` inside, list them for it: ``larger._ddp_params_and_buffers_to_ignore =
    expert_names(larger)``. A layer whose experts are averaged or sharded with others raises.
    """
    found = list(layers(model).values())
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
    return list(_spread(model))


@torch.no_grad()
def average_gradients(model: nn.Module, group: dist.ProcessGroup | None = None) -> None:
    """Average the gradients of all parameters except distributed experts over a group, before ``optimizer.step()``.

    Parameters
    ----------
    model : Module
        The same parameters must have gradients on every process.
    group : ProcessGroup, optional
        Default: all processes.

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
    ours = set(expert_names(model))
    gradients = [p.grad for name, p in model.named_parameters() if name not in ours and p.grad is not None]
    for dtype in sorted({gradient.dtype for gradient in gradients}, key=str):
        alike = [gradient for gradient in gradients if gradient.dtype == dtype]
        flat = torch.cat([gradient.flatten() for gradient in alike])
        dist.all_reduce(flat, group=group)
        flat /= dist.get_world_size(group)
        for gradient, part in zip(alike, flat.split([len(g.flatten()) for g in alike]), strict=True):
            gradient.copy_(part.view_as(gradient))


@torch.no_grad()
def clip_gradients(model: nn.Module, max_norm: float, group: dist.ProcessGroup | None = None) -> Tensor:
    """Clip the total gradient norm of a model with distributed experts, like ``clip_grad_norm_`` in a single process.

    ``clip_grad_norm_`` itself would use a different norm on every process, because each holds different experts, and
    the copies of the other parameters would diverge. Call this function after averaging the gradients.

    Parameters
    ----------
    model : Module
    max_norm : float
    group : ProcessGroup, optional
        The group of the experts; default: all processes.

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
    ours = set(expert_names(model))
    found = [(name in ours, p.grad) for name, p in model.named_parameters() if p.grad is not None]
    squares = torch.stack([gradient.float().square().sum() for _, gradient in found])
    spread = torch.tensor([own for own, _ in found], device=squares.device)
    everywhere = (squares * spread).sum()
    dist.all_reduce(everywhere, group=group)
    norm = ((squares * ~spread).sum() + everywhere).sqrt()
    factor = (max_norm / (norm + 1e-6)).clamp(max=1.0)
    for _, gradient in found:
        gradient.mul_(factor.to(gradient.dtype))
    return norm


def sharded_state_dict(model: nn.Module) -> dict[str, Any]:
    """State dict of a model in which the distributed experts are DTensors that share memory with the parameters.

    For ``torch.distributed.checkpoint``: a checkpoint saved from any number of processes can be loaded into any other
    number, including a single process.

    Parameters
    ----------
    model : Module

    Returns
    -------
    dict of str to Tensor

    Examples
    --------
    >>> from gatewise.nn import MoE, sharded_state_dict
    >>> layer = MoE(8, 16, 4)
    >>> sharded_state_dict(layer).keys() == layer.state_dict().keys()  # in a single process
    True
    """
    state = dict(model.state_dict())
    for name, ranks in _spread(model).items():
        local = state[name]
        mesh = DeviceMesh.from_group(ranks.group or dist.group.WORLD, local.device.type)  # type: ignore[arg-type]
        shape = torch.Size((ranks.n_experts, *local.shape[1:]))
        stride = torch.empty(shape, device="meta").stride()
        state[name] = DTensor.from_local(local, mesh, [Shard(0)], run_check=False, shape=shape, stride=stride)
    return state


def full_state_dict(model: nn.Module) -> dict[str, Any]:
    """State dict that the model would have in a single process, returned on every process. All processes must call it.

    Parameters
    ----------
    model : Module

    Returns
    -------
    dict of str to Tensor

    Examples
    --------
    >>> from gatewise.nn import MoE, full_state_dict
    >>> layer = MoE(8, 16, 4)
    >>> full_state_dict(layer).keys() == layer.state_dict().keys()  # in a single process
    True
    """
    spread = set(expert_names(model))
    return {n: value.full_tensor() if n in spread else value for n, value in sharded_state_dict(model).items()}


def load_full_state_dict(model: nn.Module, state: Mapping[str, Any]) -> None:
    """Load the state dict of a single process into a model with distributed experts; each process takes its own.

    Parameters
    ----------
    model : Module
    state : mapping of str to Tensor
        Such as `full_state_dict`.

    Examples
    --------
    >>> from gatewise.nn import MoE, full_state_dict, load_full_state_dict
    >>> layer, other = MoE(8, 16, 4), MoE(8, 16, 4)
    >>> load_full_state_dict(other, full_state_dict(layer))
    >>> bool((other.experts.w_in == layer.experts.w_in).all())
    True
    """
    held = {name: ranks.held for name, ranks in _spread(model).items()}
    model.load_state_dict({name: value[held[name]] if name in held else value for name, value in state.items()})


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


def _spread(model: nn.Module) -> dict[str, Ranks]:
    """Return the names of the parameters of spread experts, and where they are."""
    return {
        f"{prefix}.experts.{name}".lstrip("."): layer.ranks
        for prefix, layer in model.named_modules(remove_duplicate=False)
        if isinstance(layer, MoE) and layer.ranks is not None
        for name, _ in layer.experts.named_parameters()
    }
