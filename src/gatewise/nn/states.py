"""State of a model whose experts, and maybe other parameters, lie on several processes; see `gatewise.nn.parallel`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor, Placement, Replicate, Shard, distribute_tensor
from torch.optim import Optimizer

from gatewise.nn.layer import MoE
from gatewise.nn.ranks import Ranks


class TrainingState:
    """A model and its optimiser for ``torch.distributed.checkpoint``: saved by any processes, loaded by any others.

    The state of the optimiser is kept by parameter; that of distributed experts is one of all experts, as in
    `sharded_state_dict`. An optimiser that has not stepped yet is given the state of zero gradients first.

    Parameters
    ----------
    model : Module
        In one process, or in several with distributed experts, ``fully_shard``, or both.
    optimizer : Optimizer

    Examples
    --------
    >>> import os
    >>> import tempfile
    >>> import torch
    >>> import torch.distributed.checkpoint as dcp
    >>> from gatewise.nn import MoE, TrainingState
    >>> folder = tempfile.mkdtemp()
    >>> path = os.path.join(folder, "processes")
    >>> torch.distributed.init_process_group("gloo", init_method=f"file://{path}", rank=0, world_size=1)
    >>> layer, other = MoE(8, 16, 4), MoE(8, 16, 4)
    >>> state = {"training": TrainingState(layer, torch.optim.AdamW(layer.parameters()))}
    >>> _ = dcp.save(state, checkpoint_id=os.path.join(folder, "checkpoint"))
    >>> state = {"training": TrainingState(other, torch.optim.AdamW(other.parameters()))}
    >>> dcp.load(state, checkpoint_id=os.path.join(folder, "checkpoint"))
    >>> bool((other.experts.w_in == layer.experts.w_in).all())
    True
    >>> torch.distributed.destroy_process_group()
    """

    def __init__(self, model: nn.Module, optimizer: Optimizer) -> None:
        self.model, self.optimizer = model, optimizer

    def state_dict(self) -> dict[str, Any]:
        """Return all values; tensors share memory with the model and the optimiser, into which loading writes."""
        from torch.distributed.checkpoint.state_dict import get_optimizer_state_dict

        found: dict[str, Any] = get_optimizer_state_dict(self.model, self.optimizer)
        parameters = dict(self.model.named_parameters())
        state = {name: dict(values) for name, values in found["state"].items()}  # not those of the optimiser itself
        for key in sorted({key for values in state.values() for key in values}):
            rows = {n: values[key] for n, values in state.items() if _has_rows_of(values.get(key), parameters[n])}
            for name, value in with_all_experts(self.model, rows).items():
                state[name][key] = value
        return {"model": sharded_state_dict(self.model), "optimizer": {**found, "state": state}}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over a state that was loaded: tensors have their values already, options of the optimiser follow."""
        for own, loaded in zip(self.optimizer.param_groups, state["optimizer"]["param_groups"], strict=True):
            own.update({name: value for name, value in loaded.items() if name != "params"})


def _has_rows_of(value: Any, parameter: Tensor) -> bool:
    """Return whether a value of an optimiser has a row for each row of a parameter, such as momentum."""
    return isinstance(value, Tensor) and value.ndim > 0 and value.shape[0] == parameter.shape[0]


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
    return with_all_experts(model, dict(model.state_dict()))


def with_all_experts(model: nn.Module, state: dict[str, Any]) -> dict[str, Any]:
    """Return values by the names of a model's parameters with those of distributed experts as DTensors of all experts.

    They share memory with the values given.
    """
    meshes: dict[Any, DeviceMesh] = {}
    for name, ranks in spread_parameters(model).items():
        if name not in state:
            continue
        value, local = state[name], local_part(state[name])
        inner = value.device_mesh if isinstance(value, DTensor) else None  # of FSDP2: those that hold the same experts
        if (ranks, inner) not in meshes:
            meshes[ranks, inner] = _mesh(ranks, inner, local.device.type)
        mesh = meshes[ranks, inner]
        placements: list[Placement] = [Shard(0), *(value.placements if isinstance(value, DTensor) else ())]
        shape = torch.Size((ranks.n_experts, *value.shape[1:]))
        stride = torch.empty(shape, device="meta").stride()
        state[name] = DTensor.from_local(local, mesh, placements, run_check=False, shape=shape, stride=stride)
    return state


def _mesh(ranks: Ranks, inner: DeviceMesh | None, device: str) -> DeviceMesh:
    """Return a mesh of processes: first over the blocks of experts, then as `inner` over the parts of each block."""
    across = ranks.group or dist.group.WORLD
    assert across is not None
    if inner is None:
        return DeviceMesh.from_group(across, device)
    here = inner.mesh.to(device)
    columns = [torch.empty_like(here) for _ in range(ranks.size)]
    dist.all_gather(columns, here, group=across)
    names = ("blocks", *(f"parts_{i}" for i in range(inner.ndim)))
    return DeviceMesh.from_group(
        [across, *inner.get_all_groups()], device, torch.stack(columns).cpu(), mesh_dim_names=names
    )


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
    return {name: gathered(value) for name, value in sharded_state_dict(model).items()}


def gathered(value: Any) -> Any:
    """Return a tensor with the parts of all processes, brought together one dimension of the mesh after the other."""
    if not isinstance(value, DTensor):
        return value
    placements = list(value.placements)
    for dimension in reversed(range(len(placements))):
        placements[dimension] = Replicate()
        value = value.redistribute(placements=placements)
    return value.to_local()


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
    held, own = {name: ranks.held for name, ranks in spread_parameters(model).items()}, model.state_dict()
    parts = {name: value[held[name]] if name in held else value for name, value in state.items()}
    model.load_state_dict({name: _like(own.get(name), value) for name, value in parts.items()})


def _like(own: Any, value: Any) -> Any:
    """Return a value sharded as the one that it takes the place of."""
    return distribute_tensor(value, own.device_mesh, own.placements) if isinstance(own, DTensor) else value


def spread_parameters(model: nn.Module) -> dict[str, Ranks]:
    """Return the names of the parameters of spread experts, and where they are."""
    return {
        f"{prefix}.experts.{name}".lstrip("."): layer.ranks
        for prefix, layer in model.named_modules(remove_duplicate=False)
        if isinstance(layer, MoE) and layer.ranks is not None
        for name, _ in layer.experts.named_parameters()
    }


def local_part(value: Tensor) -> Tensor:
    """Return the part of a tensor that is here."""
    return value.to_local() if isinstance(value, DTensor) else value
