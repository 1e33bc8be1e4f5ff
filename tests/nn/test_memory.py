"""Large tensors are mapped, and are tensors like any other."""

import gc
import resource
from pathlib import Path

import pytest
import torch

from gatewise.nn import MoE, memory


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("rows", [3, 2**20])
def test_shape_and_dtype_are_those_asked_for(dtype, rows):
    found = memory.empty((rows, 2, 5), torch.ones(1, dtype=dtype))
    assert (found.shape, found.dtype, found.is_contiguous()) == ((rows, 2, 5), dtype, True)
    found.fill_(3.0)
    assert float(found[-1, -1, -1]) == 3.0
    assert found.requires_grad is False


def test_mapped_memory_is_given_back():
    def used():
        gc.collect()
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * resource.getpagesize()

    if memory.HUGE is None:
        pytest.skip("memory is not mapped here")
    before = used()
    for _ in range(20):
        memory.empty((2**24,), torch.ones(1)).fill_(1.0)  # 64 MiB
    assert used() - before < 2**27


def test_gradients_in_mapped_memory_are_those_in_small_pieces(monkeypatch):
    torch.manual_seed(0)
    layer, x = MoE(256, 1024, 16), torch.randn(40, 256)  # 16 MiB of weights

    def gradients():
        layer.zero_grad()
        for part in x.chunk(2):  # the second is added to the first
            layer(part).square().sum().backward()
        return [p.grad.clone() for p in layer.parameters()]

    mapped = gradients()
    monkeypatch.setattr(memory, "HUGE", None)
    assert all(torch.equal(one, two) for one, two in zip(mapped, gradients(), strict=True))
