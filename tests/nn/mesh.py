"""Training on a mesh of four gloo processes against one: ``python mesh.py RANK FOLDER`` saves what happened."""

import sys
from datetime import timedelta
from pathlib import Path
from unittest import mock

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from ranks import Block, batch
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

from gatewise.nn import Anneal, TrainingState, average_gradients, clip_gradients, expert_parallel, full_state_dict
from gatewise.nn.states import gathered, load_full_state_dict, with_all_experts

WORLD, STEPS, CLIP = 4, 3, 0.3
OPTIONS = {
    "even": {"n_experts": 8, "balance": "bias+sequence", "bias": True},
    "uneven": {"n_experts": 7, "activation": "swiglu", "gate": "dense-to-sparse", "temperature": Anneal(2.0, 0.5, 10)},
    "tree": {"n_experts": (2, 4), "gate": ("laplace", "softmax"), "shared": 1, "again": True},
}
SHAPES = {"2x2": (2, 2), "4x1": (4, 1), "1x4": (1, 4)}  # FSDP2 x experts


def model(name, seed=3):
    torch.manual_seed(seed)
    return Block(**OPTIONS[name])


def on_mesh(block, shape):
    """The experts in blocks over each row of a mesh, each block in parts over its column, all else over everything."""
    mesh = init_device_mesh("cpu", shape, mesh_dim_names=("fsdp", "ep"))
    expert_parallel(block, mesh["ep"])
    fully_shard(block.moe.experts, mesh=mesh["fsdp"])
    return fully_shard(block, mesh=init_device_mesh("cpu", (WORLD,)))


def replicated(block, shape):
    """The same with all else sharded over columns only, so that its gradients are to be averaged over rows."""
    mesh = init_device_mesh("cpu", shape, mesh_dim_names=("fsdp", "ep"))
    expert_parallel(block, mesh["ep"].get_group())
    fully_shard(block.moe.experts, mesh=mesh["fsdp"])
    return fully_shard(block, mesh=mesh["fsdp"])


def whole(block, values):
    """Values by the names of parameters as in one process."""
    found = with_all_experts(block, {name: value.detach() for name, value in values.items()})
    return {name: gathered(value).clone() for name, value in found.items()}


def made(block, kind="AdamW"):
    if kind == "SGD":  # which sees factors of gradients
        return torch.optim.SGD(block.parameters(), lr=0.1, momentum=0.9)
    return torch.optim.AdamW(block.parameters(), lr=0.05)


def train(block, optimiser, first=0, rank=0, world=1, after=lambda: None, clip=False, steps=STEPS):
    """Losses, norms, the last gradients, the tally of the last step, and the state that is left."""
    losses, norms = [], []
    for step in range(first, first + steps):
        optimiser.zero_grad()
        x, y, mask = (part.chunk(world)[rank] for part in batch(step))
        loss = (block(x, mask) - y).square()[mask].mean()
        loss.backward()
        after()
        if clip:
            norms.append(
                clip_gradients(block, CLIP) if world > 1 else nn.utils.clip_grad_norm_(block.parameters(), CLIP)
            )
        gradients = whole(block, {name: p.grad for name, p in block.named_parameters()})
        optimiser.step()
        total = loss.detach().clone()
        if world > 1:
            dist.all_reduce(total)
        losses.append(total / world)
    tally = torch.cat([part.flatten() for part in block.moe.tally()])
    return {
        "losses": torch.stack(losses), "norms": torch.tensor(norms), "gradients": gradients, "tally": tally,
        "state": {name: value.clone() for name, value in full_state_dict(block).items()},
    }  # fmt: skip


def exchanged(block, rank):
    """How many numbers this process exchanges for its tokens in a step."""
    right, sent = dist.all_to_all_single, []

    def counting(out, rows, *args, **kwargs):
        sent.append(rows.numel() * rows.is_floating_point())
        return right(out, rows, *args, **kwargs)

    with mock.patch.object(dist, "all_to_all_single", counting):
        train(block, made(block), STEPS - 1, rank, WORLD, steps=1)
    return sum(sent)


def alone(folder):
    """Yield what one process does: from the beginning, and on from there."""
    for name in OPTIONS:
        block = model(name)
        optimiser = made(block)
        yield name, train(block, optimiser)
        yield f"{name}, later", train(block, optimiser, STEPS)
        block = model(name)
        yield f"{name}, clipped", train(block, made(block, "SGD"), clip=True)


def together(rank, folder):
    """Yield what four processes do on meshes, and on from checkpoints of another mesh."""
    for name in OPTIONS:
        for title, shape in SHAPES.items():
            block = on_mesh(model(name), shape)
            optimiser = made(block)
            yield f"{name}, {title}", train(block, optimiser, 0, rank, WORLD)
            if title == "2x2":
                dcp.save({"training": TrainingState(block, optimiser)}, checkpoint_id=folder / name)
            other = on_mesh(model(name, seed=11), shape)
            optimiser = made(other)
            optimiser.param_groups[0]["lr"] = 1.0
            dcp.load({"training": TrainingState(other, optimiser)}, checkpoint_id=folder / name)
            yield f"{name}, {title}, later", train(other, optimiser, STEPS, rank, WORLD)
        block = on_mesh(model(name), SHAPES["2x2"])
        yield f"{name}, 2x2, clipped", train(block, made(block, "SGD"), 0, rank, WORLD, clip=True)
    block = replicated(model("even"), SHAPES["2x2"])
    rows = block.moe.ranks.group
    options = {"after": lambda: average_gradients(block, rows), "clip": True}
    yield "even, replicated, clipped", train(block, made(block, "SGD"), 0, rank, WORLD, **options)
    try:
        average_gradients(block)
    except ValueError as cause:
        yield "told", str(cause)
    yield "sent", exchanged(on_mesh(model("even"), SHAPES["1x4"]), rank)
    full = model("uneven", seed=5).state_dict()
    other = on_mesh(model("uneven", seed=11), SHAPES["2x2"])
    load_full_state_dict(other, full)
    yield "full", max(float((value - full[name]).abs().max()) for name, value in full_state_dict(other).items())
    yield "experts here", [p.to_local().shape[0] for p in other.moe.experts.parameters()]


def restored(folder):
    """Yield how one process goes on from checkpoints of 2 x 2."""
    for name in OPTIONS:
        block = model(name, seed=11)
        optimiser = made(block)
        dcp.load({"training": TrainingState(block, optimiser)}, checkpoint_id=folder / name, no_dist=True)
        yield f"{name}, one, later", train(block, optimiser, STEPS)


def main(rank, folder):
    torch.set_num_threads(1)
    out = dict(alone(folder)) if rank == 0 else {}
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/store", rank=rank, world_size=WORLD, timeout=timedelta(seconds=60)
    )
    out |= dict(together(rank, folder))
    dist.destroy_process_group()
    out |= dict(restored(folder)) if rank == 0 else {}
    torch.save(out, folder / f"{rank}.pt")


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
