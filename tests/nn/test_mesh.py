"""Four processes on meshes, FSDP2 over columns and experts over rows, train as one; checkpoints move between them."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

pytestmark = pytest.mark.slow
SCRIPT = Path(__file__).with_name("mesh.py")
ROOT = Path(__file__).parents[2]
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"}
WARNINGS = ("-W", "error", "-W", "ignore:torch.distributed is disabled")
MODELS, SHAPES = ("even", "uneven", "tree"), ("2x2", "4x1", "1x4")
LIMIT = 1e-5


@pytest.fixture(scope="module")
def happened(tmp_path_factory):
    """What every process saved."""
    folder = tmp_path_factory.mktemp("mesh")
    processes = []
    for rank in range(4):
        with (folder / f"{rank}.log").open("w") as log:
            command = [sys.executable, *WARNINGS, str(SCRIPT), str(rank), str(folder)]
            processes.append(subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=ENVIRONMENT))
    try:
        codes = [process.wait(timeout=200) for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.wait()
    assert codes == [0] * 4, "".join((folder / f"{rank}.log").read_text()[-3000:] for rank in range(4))
    return [torch.load(folder / f"{rank}.pt") for rank in range(4)]


def same(found, expected):
    """Losses, norms, gradients, tallies of balancing and states are those of one process."""
    for part in ("losses", "norms", "tally"):
        torch.testing.assert_close(found[part], expected[part], rtol=LIMIT, atol=LIMIT)
    for part in ("gradients", "state"):
        assert found[part].keys() == expected[part].keys()
        for name, value in expected[part].items():
            torch.testing.assert_close(found[part][name], value, rtol=LIMIT, atol=LIMIT)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", MODELS)
def test_a_mesh_trains_as_one_process_and_goes_on_from_the_checkpoint_of_another(happened, name, shape):
    for rank in happened:
        same(rank[f"{name}, {shape}"], happened[0][name])
        same(rank[f"{name}, {shape}, later"], happened[0][f"{name}, later"])


@pytest.mark.parametrize("name", MODELS)
def test_one_process_goes_on_from_the_checkpoint_of_a_mesh(happened, name):
    same(happened[0][f"{name}, one, later"], happened[0][f"{name}, later"])


@pytest.mark.parametrize("name", [*(f"{one}, 2x2" for one in MODELS), "even, replicated"])
def test_clipped_gradients_are_those_of_one_process(happened, name):
    expected = happened[0][f"{name.partition(',')[0]}, clipped"]
    assert (expected["norms"] > 1).all()
    for rank in happened:
        same(rank[f"{name}, clipped"], expected)


def test_the_comparison_would_see_a_difference(happened):
    one, later = happened[0]["even"], happened[0]["even, later"]
    assert (one["losses"] - later["losses"]).abs().min() > 100 * LIMIT
    assert one["tally"].sum() > 100
    assert float(happened[0]["even"]["state"]["moe.router.offset_0"].abs().max()) > 100 * LIMIT
    for name in one["gradients"]:
        assert (one["gradients"][name] - later["gradients"][name]).abs().max() > 100 * LIMIT


def test_a_mesh_holds_parts_and_takes_a_whole_state(happened):
    assert [rank["experts here"] for rank in happened] == [[2, 2], [2, 2], [2, 2], [1, 1]]  # of seven
    assert [rank["full"] for rank in happened] == [0.0] * 4


def test_tokens_travel_as_often_as_the_plan_for_many_gpus_says(happened):
    tokens, top_k, dim = 8 * 5, 2, 8
    assert sum(rank["sent"] for rank in happened) == 4 * tokens * top_k * dim  # what stays in a process too


def test_parts_that_do_not_belong_together_are_not_averaged(happened):
    for rank, own in zip(happened, ([0, 2], [1, 3]) * 2, strict=True):
        assert f"first.weight is sharded by FSDP over the processes {own} of [0, 1, 2, 3]" in rank["told"]


@pytest.mark.parametrize(("block", "processes"), [(0, 2), (1, 4)])
def test_the_programs_of_the_guide_run(tmp_path, block, processes):
    page = (ROOT / "docs/guide/engineer/processes.md").read_text("utf-8")
    (tmp_path / "train.py").write_text(
        re.findall(r"^```python no-run\n(.*?)^```", page, re.DOTALL | re.MULTILINE)[block]
    )
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    done = subprocess.run([*command, "train.py"], env=ENVIRONMENT, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    if block:
        assert (tmp_path / "checkpoint" / ".metadata").exists()
