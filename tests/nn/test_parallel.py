"""Two processes train as one: DDP, FSDP2 and spread experts; checkpoints move between numbers of processes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor

from gatewise.nn import MoE
from gatewise.nn.fusion import FusionMoE
from gatewise.nn.parallel import clip_gradients, expert_names, expert_parallel
from gatewise.nn.states import full_state_dict, sharded_state_dict

SCRIPT = Path(__file__).with_name("ranks.py")
SOURCE = Path(__file__).parents[2] / "src"
WARNINGS = ("-W", "error", "-W", "ignore:torch.distributed is disabled")
LIMIT = 1e-5

SHAPES = ("flat", "tree")
BALANCES = ("importance", "switch", "bias")
OTHERS = ("all-calls", "laplace-shared", "one-kept", "fusion", "top-p", "rectified")
DATA = [f"{b}-{s}-{e}" for b in BALANCES for s in SHAPES for e in ("plain", "recomputed")] + list(OTHERS)
PIECES = [f"{balance}-{shape}-pieces" for balance in BALANCES for shape in SHAPES]
EXPERTS = (
    "uneven",
    "even",
    "tree",
    "recomputed",
    "pieces",
    "loop",
    "shared",
    "crowded",
    "clipped",
    "under-ddp",
    "groups",
    "varying",
    "null",
    "steep",
)


@pytest.fixture(scope="module")
def happened(tmp_path_factory):
    """What every rank saved."""
    folder = tmp_path_factory.mktemp("ranks")
    command = [sys.executable, *WARNINGS, str(SCRIPT)]
    environment = os.environ | {"PYTHONPATH": str(SOURCE), "OMP_NUM_THREADS": "1"}
    ranks = []
    for rank in range(2):
        with (folder / f"{rank}.log").open("w") as log:
            arguments = [*command, str(rank), "2", str(folder)]
            ranks.append(subprocess.Popen(arguments, stdout=log, stderr=subprocess.STDOUT, env=environment))
    try:
        codes = [process.wait(timeout=240) for process in ranks]
    finally:
        for process in ranks:
            process.kill()
            process.wait()
    assert codes == [0, 0], (folder / "0.log").read_text()[-3000:] + (folder / "1.log").read_text()[-3000:]
    return [torch.load(folder / f"{rank}.pt") for rank in range(2)]


def gap(curve, expected):
    return max(abs(a - b) for a, b in zip(curve, expected, strict=True))


def check(happened, name):
    first, second = happened
    assert first[name] == second[name]
    assert gap(first[name], first["one-" + name.partition("-")[2]]) < LIMIT


@pytest.mark.parametrize("name", DATA)
@pytest.mark.parametrize("kind", ["ddp", "fsdp"])
def test_two_processes_have_the_loss_curve_of_one(happened, kind, name):
    check(happened, f"{kind}-{name}")


@pytest.mark.parametrize("name", PIECES)
@pytest.mark.parametrize("kind", ["quiet", "fsdp", "ddp"])
def test_pieces_of_a_batch_on_two_processes_have_the_loss_curve_of_one(happened, kind, name):
    check(happened, f"{kind}-{name}")


@pytest.mark.parametrize("name", EXPERTS)
def test_spread_experts_have_the_loss_curve_of_one_process(happened, name):
    check(happened, f"experts-{name}")


def test_spread_experts_that_a_wrapper_takes_for_copies_are_refused_in_words(happened):
    for rank in happened:
        averaged, ignored, sharded, flat = rank["told"]
        assert "averages block.moe.experts.w_in, block.moe.experts.w_out, experts that are distributed" in averaged
        assert ignored == ""
        assert all("sharded with others: FSDP would mix different experts" in one for one in (sharded, flat))


def test_curves_move_and_balancing_shows_in_them(happened):
    one = happened[0]
    assert gap(one["one-importance-flat-plain"], one["one-switch-flat-plain"]) > 100 * LIMIT
    assert gap(one["one-importance-flat-plain"], one["one-bias-flat-plain"]) > 100 * LIMIT
    assert one["one-importance-flat-plain"][-1] < 0.7 * one["one-importance-flat-plain"][0]


def test_a_rank_that_receives_nothing_takes_part(happened):
    load = happened[0]["crowded load"]
    assert load[:2].sum() == load.sum() > 0  # the experts 3 and 4 of rank 1 get no token
    assert [ranks["rows-experts"] for ranks in happened] == [3, 2]


@pytest.mark.parametrize("name", ["ddp-importance-flat-plain", "experts-uneven-alone", "experts-uneven-unscaled"])
def test_the_comparison_sees_mistakes(happened, name):
    expected = happened[0]["one-" + name.removesuffix("-alone").removesuffix("-unscaled").partition("-")[2]]
    assert gap(happened[0]["broken"][name], expected) > 100 * LIMIT


@pytest.mark.parametrize("kind", ["fsdp", "experts"])
def test_checkpoints_move_from_one_process_to_two_and_back(happened, kind):
    for rank in happened:
        assert rank[f"before-{kind}"] > 0.01
        assert rank[f"one-to-all-{kind}"] == 0
    assert happened[0][f"all-to-one-{kind}"] == 0


def test_a_full_state_loads_into_spread_experts_and_comes_back(happened):
    assert [rank["full-experts"] for rank in happened] == [0, 0]


@pytest.fixture
def alone(tmp_path, monkeypatch):
    """A group of this process only."""
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)  # the group puts its own in place
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def test_one_rank_is_the_layer_itself(alone):
    torch.manual_seed(0)
    layer = MoE(6, 8, n_experts=3, backend="loop").double().eval()
    x = torch.randn(5, 6, dtype=torch.float64, requires_grad=True)
    expected = layer(x)
    slope = torch.autograd.grad(expected.square().sum(), x)[0]
    spread = expert_parallel(layer)
    torch.testing.assert_close(spread(x), expected)
    again = torch.autograd.grad(spread(x).square().sum(), x)[0]
    torch.testing.assert_close(again, slope)


@pytest.mark.filterwarnings("ignore:DTensor random operators")
@pytest.mark.parametrize("branching", [4, (2, 3)])
def test_a_sharded_layer_from_the_meta_device_draws_its_parameters(alone, branching):
    with torch.device("meta"):
        layer = MoE(6, 8, branching, gate="laplace", bias=True, shared=1)
    fully_shard(layer, mesh=init_device_mesh("cpu", (1,)))
    layer.to_empty(device="cpu")
    for module in layer.modules():
        getattr(module, "reset_parameters", lambda: None)()
    assert all(bool(value.full_tensor().isfinite().all()) for value in layer.parameters())
    assert float(layer.router.gates[0].center.detach().full_tensor().std()) > 0
    optimiser = torch.optim.SGD(layer.parameters(), 0.1)
    layer(torch.randn(9, 6)).square().mean().backward()
    optimiser.step()
    assert float(layer.tally().tokens) == 9


def test_clipping_over_ranks_is_that_of_torch(alone):
    torch.manual_seed(0)
    layer = expert_parallel(MoE(6, 8, n_experts=3))
    layer(torch.randn(9, 6)).square().sum().backward()
    expected = torch.nn.utils.get_total_norm([p.grad for p in layer.parameters()])
    torch.testing.assert_close(clip_gradients(layer, 0.1), expected)
    torch.testing.assert_close(torch.nn.utils.get_total_norm([p.grad for p in layer.parameters()]), torch.tensor(0.1))


def test_states_keep_their_names_and_frozen_experts_stay_frozen(alone):
    layer = MoE(6, 8, n_experts=3, bias=True)
    names = list(layer.state_dict())
    layer.experts.w_in.requires_grad_(False)
    expert_parallel(layer)
    assert [name for name, value in layer.named_parameters() if not value.requires_grad] == ["experts.w_in"]
    assert list(layer.state_dict()) == list(sharded_state_dict(layer)) == list(full_state_dict(layer)) == names
    assert sorted(expert_names(layer)) == ["experts.b_in", "experts.b_out", "experts.w_in", "experts.w_out"]


def test_experts_that_layers_share_stay_shared(alone):
    fusion = expert_parallel(FusionMoE({"a": 3, "b": 4}, 6, 8, n_experts=3, router="per-modality"))
    assert fusion.layers[0].experts is fusion.layers[1].experts
    fusion({"a": torch.randn(5, 3), "b": torch.randn(5, 4)}).sum().backward()
    assert all(p.grad is not None for p in fusion.parameters())


def test_a_layer_in_two_places_is_whole_in_the_state(alone):
    layer = MoE(6, 8, n_experts=3)
    model = expert_parallel(torch.nn.Sequential(layer, torch.nn.Tanh(), layer))
    assert expert_names(model) == ["0.experts.w_in", "0.experts.w_out", "2.experts.w_in", "2.experts.w_out"]
    assert all(isinstance(sharded_state_dict(model)[name], DTensor) for name in expert_names(model))


@pytest.mark.parametrize("case", ["twice", "own experts"])
def test_what_cannot_be_spread_is_said(alone, case):
    layer = MoE(6, 8, n_experts=3)
    if case == "twice":
        expert_parallel(layer)
        with pytest.raises(ValueError, match="already distributed"):
            expert_parallel(layer)
    else:
        own = MoE(6, n_experts=3, experts=lambda: torch.nn.Linear(6, 6))
        with pytest.raises(ValueError, match="built-in experts"):
            expert_parallel(own)


def test_a_rank_without_experts_is_refused(monkeypatch):
    monkeypatch.setattr(dist, "get_world_size", lambda group=None: 4)
    with pytest.raises(
        ValueError, match=r"5 experts in blocks of 2 leave one of 4 processes without an expert: use 3 processes"
    ):
        expert_parallel(MoE(6, 8, n_experts=5))
