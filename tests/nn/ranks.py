"""Training on several gloo processes against one process: ``python ranks.py RANK WORLD FOLDER`` saves what happened."""

import sys
from contextlib import nullcontext
from datetime import timedelta
from itertools import product
from pathlib import Path

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FullyShardedDataParallel, fully_shard
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel
from torch.utils.checkpoint import checkpoint

from gatewise import Affine, Gate, ReLU
from gatewise.nn import MoE, Sparsity, TopP
from gatewise.nn.fusion import FusionMoE
from gatewise.nn.parallel import (
    average_gradients,
    clip_gradients,
    expert_names,
    expert_parallel,
)
from gatewise.nn.states import full_state_dict, load_full_state_dict, sharded_state_dict

STEPS = 5
BALANCES = ("importance", "switch", "bias")
BRANCHINGS = {"flat": 5, "tree": (2, 3)}
TOP_P = {"choice": TopP(0.6), "top_k": None}


class Halves(nn.Module):
    """Fuses the two halves of the features; the second one is missing in padding."""

    def __init__(self, **options):
        super().__init__()
        self.fusion = FusionMoE({"left": 4, "right": 4}, 8, 12, router="per-modality", entropy_weight=0.5, **options)

    def forward(self, x, mask):
        return self.fusion({"left": x[..., :4], "right": x[..., 4:]}, {"right": mask})


class Block(nn.Module):
    """A residual mixture, recomputed in the backward pass if `again`."""

    def __init__(self, again=False, micro=1, fusion=False, **options):
        super().__init__()
        self.first = nn.Linear(6, 8)
        options = {"balance_weight": 0.5, "bias_rate": 0.05, "z_weight": 0.01} | options
        self.moe = Halves(**options) if fusion else MoE(8, 12, **options)
        self.last = nn.Linear(8, 1)
        self.again, self.micro = again, micro

    def forward(self, x, mask=None):
        hidden = self.first(x)
        mixed = checkpoint(self.moe, hidden, mask, use_reentrant=False) if self.again else self.moe(hidden, mask)
        return self.last(hidden + mixed).clone()  # FSDP2 warns of views


def model(**options):
    torch.manual_seed(3)
    return Block(**options)


def batch(step):
    """Tokens (8, 5, 6) and targets of a step; real tokens, as many in either half."""
    generator = torch.Generator().manual_seed(100 + step)
    x = torch.randn(8, 5, 6, generator=generator) + 0.5
    mask = torch.rand(8, 5, generator=generator).argsort(1) < 4
    return x, x.square().mean(-1, keepdim=True) + x[..., :1].sin(), mask


def train(block, rank=0, world=1, micro=1, after=lambda: None, quiet=False, steep=False):
    """The loss of the whole batch at every step; this rank sees its part in pieces, and `quiet` averages once.

    `steep` adds a penalty on the slopes of the outputs, whose gradient has second derivatives.
    """
    optimiser = torch.optim.SGD(block.parameters(), lr=0.05, momentum=0.9)  # Adam hides factors
    curve = []
    later = block.no_sync if quiet else nullcontext
    for step in range(STEPS):
        total = torch.zeros(())
        optimiser.zero_grad()
        pieces = zip(*(part.chunk(world)[rank].chunk(micro) for part in batch(step)), strict=True)
        for piece, (x, y, mask) in enumerate(pieces, 1):
            with later() if piece < micro else nullcontext():
                found = block(x.requires_grad_(steep), mask)
                loss = (found - y).square()[mask].mean() / micro
                if steep:
                    (slope,) = torch.autograd.grad(found.sum(), x, create_graph=True)
                    loss = loss + slope.square().mean()
                loss.backward()
            total += loss.detach()
        after()
        optimiser.step()
        if world > 1:
            dist.all_reduce(total)
        curve.append(float(total) / world)
    return curve


def ddp(block):
    return DistributedDataParallel(block)


def fsdp(block):
    mesh = init_device_mesh("cpu", (dist.get_world_size(),))
    fully_shard(block.moe, mesh=mesh)
    return fully_shard(block, mesh=mesh)


def fsdp_whole(block):
    return fully_shard(block, mesh=init_device_mesh("cpu", (dist.get_world_size(),)))


def fsdp1(block):
    return FullyShardedDataParallel(block, device_id=torch.device("cpu"))


WRAPPERS = {"ddp": ddp, "fsdp": fsdp}
DATA = {
    f"{balance}-{shape}-{extra}": {"balance": balance, "n_experts": BRANCHINGS[shape], **options}
    for (balance, shape), (extra, options) in product(
        product(BALANCES, BRANCHINGS),
        {
            "plain": {},
            "recomputed": {"again": True},
            "pieces": {"micro": 2},
        }.items(),
    )
} | {
    "all-calls": {"backend": "loop", "n_experts": (2, 3), "bias": True},
    "laplace-shared": {"gate": "laplace", "n_experts": 4, "shared": 1, "activation": "swiglu"},
    "fusion": {"fusion": True, "n_experts": 5},
    "one-kept": {"n_experts": 4, "top_k": 1, "gate": "cosine"},
    "top-p": TOP_P | {"n_experts": (2, 3), "balance": "bias+sequence", "token_entropy_weight": 0.05},
    "rectified": {"gate": Gate(Affine(), ReLU()), "top_k": None, "n_experts": 5, "balance": Sparsity(2.0, 0.01)},
}


def data_parallel(rank, world):
    """Yield a name and the curve of every wrapper and option."""
    for (kind, wrap), (name, options) in product(WRAPPERS.items(), DATA.items()):
        micro = options.get("micro", 1)
        yield f"{kind}-{name}", train(wrap(model(**options)), rank, world, micro)
        if kind == "ddp" and micro > 1:
            yield f"quiet-{name}", train(wrap(model(**options)), rank, world, micro, quiet=True)


def crowd(block):
    """Send every token to the first two experts, so that the second rank receives nothing."""
    with torch.no_grad():
        for gate in block.moe.router.gates:
            gate.weight.mul_(0.01)
            gate.bias[..., 2:] = -30.0
    return block


def clipped(block):
    nn.utils.clip_grad_norm_(block.parameters(), 0.3)


EXPERTS = {
    "uneven": {"n_experts": 5},
    "even": {"n_experts": 4, "balance": "switch"},
    "tree": {"n_experts": (2, 3), "balance": "bias", "gate": ("laplace", "softmax")},
    "recomputed": {"n_experts": 5, "again": True},
    "pieces": {"n_experts": 5, "micro": 2},
    "loop": {"n_experts": 5, "backend": "loop", "bias": True, "activation": "swiglu"},
    "shared": {"n_experts": 3, "shared": 2, "top_k": 3, "scale": 0.5},
    "crowded": {"n_experts": 5, "balance": "none"},
    "clipped": {"n_experts": 5},
    "under-ddp": {"n_experts": 5},
    "groups": {"n_experts": 5},
    "fusion": {"fusion": True, "n_experts": 5},
    "varying": TOP_P | {"n_experts": 5},
    "null": {"n_experts": 7, "null_experts": 1, "identity_experts": 1, "top_k": 3},
    "steep": {"n_experts": 5, "backend": "loop", "balance": "none", "z_weight": 0.0},
}


def expert_model(name):
    block = model(**EXPERTS[name])
    return crowd(block) if name == "crowded" else block


def spread_experts(rank, world):
    """Yield a name and the curve with the experts on all ranks."""
    for name, options in EXPERTS.items():
        torch.manual_seed(rank)
        block = expert_model(name)
        if rank and name != "groups":  # only the first rank's values count
            [p.data.normal_() for p in block.parameters()]
        groups = [dist.new_group([one]) for one in range(world)]
        block = expert_parallel(block, groups[rank] if name == "groups" else None)

        def after(block=block, name=name):
            average_gradients(block)
            if name == "groups":
                average_gradients(block.moe.experts)
            if name == "clipped":
                clip_gradients(block, 0.3)

        wrapped = block
        if name == "under-ddp":
            wrapped, after = DistributedDataParallel(block), lambda: None
        yield f"experts-{name}", train(wrapped, rank, world, options.get("micro", 1), after, steep=name == "steep")
        if name == "crowded":
            yield "crowded load", block.moe.tally().load


def broken(rank, world):
    """Yield a name and the curve of mistakes that the comparison must see."""
    block = model(**DATA["importance-flat-plain"])
    block.moe.synchronise = False
    yield "ddp-importance-flat-plain", train(ddp(block), rank, world)
    block = expert_parallel(expert_model("uneven"))
    yield "experts-uneven-alone", train(block, rank, world)
    block = expert_parallel(expert_model("uneven"))

    def unscaled():
        average_gradients(block)
        for parameter in block.moe.experts.parameters():
            parameter.grad *= world

    yield "experts-uneven-unscaled", train(block, rank, world, after=unscaled)


class Outer(nn.Module):
    """A model around one whose experts are spread."""

    def __init__(self, block):
        super().__init__()
        self.block = block

    def forward(self, x, mask=None):
        return self.block(x, mask)


def told(wrap, ignore=None):
    """What is said of spread experts inside a wrapper that treats them as copies."""
    outer = Outer(expert_parallel(expert_model("even")))
    if ignore:
        outer._ddp_params_and_buffers_to_ignore = ignore(outer)
    try:
        train(wrap(outer), 0, 1)
    except ValueError as cause:
        return str(cause)
    return ""


def trained():
    block = model(n_experts=5, balance="bias", bias=True)
    train(block)
    return block


def difference(state, expected):
    """The largest difference of two states with the same names."""
    assert state.keys() == expected.keys()
    whole = {name: value.full_tensor() if isinstance(value, DTensor) else value for name, value in state.items()}
    return max(float((value - expected[name]).abs().max()) for name, value in whole.items())


def fresh():
    torch.manual_seed(11)
    return Block(n_experts=5, balance="bias", bias=True)


def restored_on_all(folder, expected):
    """Yield how far checkpoints of one process, read on all ranks, are from it; save those of all ranks."""
    for kind, wrap in {"fsdp": fsdp, "experts": expert_parallel}.items():
        block = wrap(fresh())
        state = sharded_state_dict(block)
        yield f"before-{kind}", difference(state, expected)
        dcp.load(state, checkpoint_id=folder / "one")
        yield f"one-to-all-{kind}", difference(sharded_state_dict(block), expected)
        dcp.save(sharded_state_dict(block), checkpoint_id=folder / kind)
    spread = expert_parallel(fresh())
    load_full_state_dict(spread, expected)
    yield "full-experts", difference(full_state_dict(spread), expected)
    yield "rows-experts", len(spread.moe.experts.w_in)


def restored_on_one(folder, expected):
    """Yield how far checkpoints of all ranks, read in one process, are from the values saved."""
    for kind in ("fsdp", "experts"):
        block = fresh()
        dcp.load(block.state_dict(), checkpoint_id=folder / kind, no_dist=True)
        yield f"all-to-one-{kind}", difference(block.state_dict(), expected)


def main(rank, world, folder):
    torch.set_num_threads(1)
    alone = rank == 0  # one process is enough to train as one process
    out = {f"one-{name}": train(model(**options)) for name, options in DATA.items() if alone}
    for name, options in EXPERTS.items() if alone else ():
        block = expert_model(name)
        after = (lambda block=block: clipped(block)) if name == "clipped" else lambda: None
        out[f"one-{name}"] = train(block, micro=options.get("micro", 1), after=after, steep=name == "steep")
    expected = trained().state_dict()
    if rank == 0:
        dcp.save(expected, checkpoint_id=folder / "one", no_dist=True)
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/store", rank=rank, world_size=world, timeout=timedelta(seconds=60)
    )
    out |= dict(data_parallel(rank, world))
    out |= dict(spread_experts(rank, world))
    out["told"] = [told(ddp), told(ddp, expert_names), told(fsdp_whole), told(fsdp1)]
    out["broken"] = dict(broken(rank, world))
    dist.barrier()
    out |= dict(restored_on_all(folder, expected))
    dist.destroy_process_group()
    out |= dict(restored_on_one(folder, expected)) if rank == 0 else {}
    torch.save(out, folder / f"{rank}.pt")


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
