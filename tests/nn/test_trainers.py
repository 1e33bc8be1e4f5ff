"""Every trainer, in every precision, whole batches and pieces: two processes leave what one process leaves."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

SCRIPT = Path(__file__).with_name("trainers.py")
SOURCE = Path(__file__).parents[2] / "src"
WARNINGS = ("-W", "error:an MoE layer", "-W", "error:the parameters of an MoE layer")
WORLD = 2
TOLERANCE = {"float32": 1e-5, "bfloat16": 2e-2, "float16": 3e-3}  # of gradients, relative
ONE = ("ddp", "ddp, zero", "fsdp1", "fsdp1, own parameters", "fsdp2")
OTHERS = ("ddp, parts", "ddp, copies", "ddp, by hand")
SETTINGS = ("float32/1", *(f"{precision}/2" for precision in TOLERANCE))
CASES = [f"{name}/{setting}" for name in ONE for setting in SETTINGS]
CASES += [f"{name}/{setting}" for name in OTHERS for setting in SETTINGS if not setting.startswith("float16")]


@pytest.fixture(scope="module")
def left(tmp_path_factory):
    """What every process saved."""
    folder = tmp_path_factory.mktemp("trainers")
    environment = os.environ | {"PYTHONPATH": str(SOURCE), "OMP_NUM_THREADS": "1"}
    processes = []
    for rank in range(WORLD):
        with (folder / f"{rank}.log").open("w") as log:
            command = [sys.executable, *WARNINGS, str(SCRIPT), str(rank), str(WORLD), str(folder)]
            processes.append(subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=environment))
    try:
        codes = [process.wait(timeout=200) for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.wait()
    assert codes == [0] * WORLD, "".join((folder / f"{rank}.log").read_text()[-3000:] for rank in range(WORLD))
    return [torch.load(folder / f"{rank}.pt") for rank in range(WORLD)]


def states(steps):
    """What the steps left."""
    return torch.stack([state for state, _ in steps])


@pytest.mark.parametrize("case", CASES)
def test_what_two_processes_leave_is_what_one_leaves(left, case):
    name, setting = case.split("/", 1)
    one, (first, second) = left[0][f"one/{setting}"], (every[case] for every in left)
    assert torch.equal(states(first), states(second))
    late = name == "ddp, copies"  # the first step is seen when the copies have been written back
    expected = torch.stack([state for state, _ in one])
    assert len(expected.unique(dim=0)) == len(one)
    precision = setting.split("/")[0]
    torch.testing.assert_close(states(first)[late:], expected[late:], rtol=TOLERANCE[precision], atol=1e-4)
    for (_, found), (_, gradient) in zip(first, one, strict=True):
        if name != "fsdp1":  # whose gradients are flat
            assert float((found - gradient).abs().max()) <= TOLERANCE[precision] * float(gradient.abs().max())


def test_the_auxiliary_loss_is_in_the_gradients(left):
    """The comparison sees balancing, and a scale that is not read: its gradient would be a thousandth."""
    whole, half = (left[0][f"one/{precision}/2"] for precision in ("float32", "float16"))
    for (_, found), (_, gradient) in zip(half, whole, strict=True):
        assert float((found - gradient).abs().max()) < 5e-3 * float(gradient.abs().max())


def test_adversaries_on_two_processes_count_their_own_tokens(left):
    assert [every["networks"] for every in left] == [[24.0, 88.0] * 3] * WORLD
