"""Every layer that a block of the guide makes trains three steps. A page is one namespace."""

import copy
import re
from pathlib import Path
from unittest import mock

import pytest
import torch

from gatewise.nn import BALANCE_METHODS, CHOICE_RULES, layer, set_loss_scale

from ..documents import TRAINED, run, shown

ROOT = Path(__file__).parents[2]
BLOCKS = [(name, block) for name in TRAINED for block in shown((ROOT / name).read_text("utf-8"))]


MAKERS = "upcycle|replace_ffn|load_layer|load_block|check_layer_gate|from_block|(prune|merge|add)_experts"
MAKES = rf"MoE\(|({MAKERS})\(|from_pretrained"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The layers that every block makes, as they are when it ends."""
    pytest.importorskip("transformers")
    pytest.importorskip("accelerate")
    found, right = [], layer.register
    namespaces = {name: {"__name__": "__main__"} for name, _ in BLOCKS}
    names = mock.patch.dict(BALANCE_METHODS), mock.patch.dict(CHOICE_RULES)  # the guide adds to both
    with pytest.MonkeyPatch.context() as patch, names[0], names[1]:
        patch.chdir(tmp_path_factory.mktemp("guide"))
        patch.setattr(layer, "register", lambda one: (found[-1].append(one), right(one))[1])
        for name, block in BLOCKS:
            found.append([])
            run(block, name, namespaces[name])
    # save_layer builds one without values, to compare names
    made = [[one for one in layers if not next(one.parameters()).is_meta] for layers in found]
    return [[copy.deepcopy(one) for one in layers] for layers in made]


def train(one):
    """Train a layer alone for three steps, and check that they ended and that its temperatures follow."""
    one = one.train()
    set_loss_scale(one, 1.0)  # some are in float16
    trained = [p for p in one.parameters() if p.requires_grad]
    optimiser = torch.optim.SGD(trained, 0.05)
    torch.manual_seed(0)
    x = torch.randn(64, one.dim, dtype=next(one.experts.parameters()).dtype)
    done = int(one.balancer.steps)
    for _ in range(3):
        optimiser.zero_grad()
        one(x, mask=torch.ones(64, dtype=torch.bool)).float().square().mean().backward()
        optimiser.step()
    assert int(one.balancer.steps) == done + 3
    assert float(one.tally().tokens) == 64
    for gate in one.router.gates:
        if gate.schedule is not None and gate.tempered:
            (value,) = (gate.values()[name] for name in gate.tempered)
            torch.testing.assert_close(value, torch.full_like(value, gate.schedule(done + 3)))
    assert all(bool(p.isfinite().all()) for p in one.parameters())


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_every_layer_of_a_block_trains_three_steps(made, number):
    assert bool(made[number]) == bool(re.search(MAKES, BLOCKS[number][1].code))
    for one in made[number]:
        before = {name: p.detach().clone() for name, p in one.named_parameters()}
        train(one)
        assert any(not torch.equal(p, before[name]) for name, p in one.named_parameters())
