"""Trainers on two gloo processes against one process: ``python trainers.py RANK WORLD FOLDER`` saves what they leave.

Every trainer is met in every precision: what the layer's last step left (its tally, offsets and temperature) and the
gradients of its gates, step by step.
"""

import sys
from contextlib import nullcontext
from datetime import timedelta
from itertools import product
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FullyShardedDataParallel, fully_shard
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel

from gatewise.nn import Anneal, MoE, finish_step

STEPS, RATE = 4, 0.03


def zero_redundancy():
    """Return the class, whose module warns of what torch deprecates when it is imported."""
    from torch.distributed.optim import ZeroRedundancyOptimizer

    return ZeroRedundancyOptimizer


class Net(nn.Module):
    """A layer between linear maps."""

    def __init__(self):
        super().__init__()
        options = {"temperature": Anneal(2.0, 0.5, STEPS), "bias_rate": 0.05, "balance_weight": 0.5, "z_weight": 0.01}
        self.first, self.last = nn.Linear(6, 8), nn.Linear(8, 1)
        self.moe = MoE(8, 12, (2, 3), gate="dense-to-sparse", **options)

    def forward(self, x):
        hidden = self.first(x)
        return self.last(hidden + self.moe(hidden)).clone()  # FSDP2 warns of views


def batch(step, rank, world, piece):
    """The part of a rank in a piece of a step's tokens, and targets."""
    x = torch.randn(2, 8, 4, 6, generator=torch.Generator().manual_seed(100 + step))[piece].chunk(world)[rank]
    return x, x.square().mean(-1, keepdim=True)


class Copies:
    """Copies in float32 are stepped and written back."""

    def __init__(self, module):
        self.own = list(module.parameters())
        self.copies = [p.detach().clone().requires_grad_() for p in self.own]
        self.optimiser = torch.optim.SGD(self.copies, RATE)

    def step(self):
        for copy, own in zip(self.copies, self.own, strict=True):
            copy.grad = own.grad.float()
        self.optimiser.step()
        for copy, own in zip(self.copies, self.own, strict=True):
            own.data.copy_(copy.data)


class ByHand:
    """Updates without an optimiser, whose end is told."""

    def __init__(self, module):
        self.module = module

    def step(self):
        with torch.no_grad():
            for p in self.module.parameters():
                p -= RATE * p.grad
        finish_step(self.module)


def plain(module):
    return torch.optim.SGD(module.parameters(), RATE)


def parts(module):
    """One optimiser for vectors, one for all else, as of those that treat matrices in their own way."""
    vectors = [p for p in module.parameters() if p.ndim == 1]
    others = [p for p in module.parameters() if p.ndim != 1]
    return Several([torch.optim.SGD(vectors, RATE), torch.optim.SGD(others, RATE)])


class Several:
    """Optimisers that step one after the other."""

    def __init__(self, optimisers):
        self.optimisers = optimisers

    def step(self):
        for one in self.optimisers:
            one.step()


def zero(module):
    return zero_redundancy()(module.parameters(), torch.optim.SGD, lr=RATE)


def fsdp1(use_orig_params):
    def wrap(net):
        return FullyShardedDataParallel(net, device_id=torch.device("cpu"), use_orig_params=use_orig_params)

    return wrap


def fsdp2(net):
    mesh = init_device_mesh("cpu", (dist.get_world_size(),))
    fully_shard(net.moe.experts, mesh=mesh)
    fully_shard(net.moe, mesh=mesh)
    return fully_shard(net, mesh=mesh)


TRAINERS = {  # of several processes: wrapper, optimiser
    "ddp": (DistributedDataParallel, plain),
    "ddp, parts": (DistributedDataParallel, parts),
    "ddp, zero": (DistributedDataParallel, zero),
    "ddp, copies": (DistributedDataParallel, Copies),
    "ddp, by hand": (DistributedDataParallel, ByHand),
    "fsdp1": (fsdp1(False), plain),
    "fsdp1, own parameters": (fsdp1(True), plain),
    "fsdp2": (fsdp2, plain),
}
PRECISIONS = {"float32": None, "bfloat16": torch.bfloat16, "float16": torch.float16}
SETTINGS = [("float32", 1), *((precision, 2) for precision in PRECISIONS)]  # and the pieces of a batch


def gradient(net):
    """The gradients of the gates, whole; none where they are part of a flat one."""
    found = [p.grad for p in net.moe.router.gates.parameters()]
    if not found or any(g is None or not g.numel() for g in found):
        return None
    return torch.cat([(g.full_tensor() if isinstance(g, DTensor) else g).flatten() for g in found]).float()


def train(wrap, make, precision, pieces, rank=0, world=1):
    """What every step leaves: the state of the layer, and the gradients of its gates after scaling is undone."""
    torch.manual_seed(3)
    net = Net()
    model = wrap(net)
    optimiser, cast = make(model), PRECISIONS[precision]
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0, enabled=cast == torch.float16)
    seen = []
    for step in range(STEPS):
        model.zero_grad()
        for piece in range(pieces):
            x, y = batch(step, rank, world, piece)
            with torch.autocast("cpu", cast) if cast else nullcontext():
                found = model(x)
            scaler.scale((found.float() - y).square().mean() / pieces).backward()
        if scaler.is_enabled() and isinstance(optimiser, torch.optim.Optimizer):
            scaler.unscale_(optimiser)
            kept = gradient(net)
            scaler.step(optimiser)
            scaler.update()
        else:
            kept = gradient(net)
            optimiser.step()
        layer = net.moe
        left = [layer.balancer.last, layer.router.offset_0.flatten(), layer.router.offset_1.flatten()]
        seen.append((torch.cat([*left, layer.balancer.steps.float()[None]]).clone(), kept))
    return seen


def networks(rank, world):
    """The tokens that the layers of two adversaries count in their steps: 4 times 11 and 3 on each of two processes."""
    torch.manual_seed(0)
    maker, judge = (DistributedDataParallel(Net()) for _ in range(2))
    optimisers = {one: zero_redundancy()(one.parameters(), torch.optim.SGD, lr=RATE) for one in (maker, judge)}
    counted = []
    for _ in range(3):
        for one, tokens in ((maker, 3), (judge, 11)):
            fake = maker(torch.randn(tokens, 4, 6))
            optimisers[one].zero_grad()
            made = fake if one is maker else fake.detach()
            judge(torch.cat([made, torch.zeros(tokens, 4, 5)], -1)).mean().backward()
            optimisers[one].step()
            counted.append(float(one.module.moe.tally().tokens))
    return counted


def main(rank, world, folder):
    torch.set_num_threads(1)
    out = {f"one/{p}/{pieces}": train(lambda net: net, plain, p, pieces) for p, pieces in SETTINGS if rank == 0}
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/store", rank=rank, world_size=world, timeout=timedelta(seconds=60)
    )
    for (name, (wrap, make)), (precision, pieces) in product(TRAINERS.items(), SETTINGS):
        if precision != "float16" or make in (plain, zero):  # a scaler needs one optimiser of the parameters
            out[f"{name}/{precision}/{pieces}"] = train(wrap, make, precision, pieces, rank, world)
    out["networks"] = networks(rank, world)
    dist.barrier()
    dist.destroy_process_group()
    torch.save(out, folder / f"{rank}.pt")


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
