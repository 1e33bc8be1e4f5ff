"""What a new user gets wrong first: the message says it, or it now works."""

import pytest
import torch
from torch import nn

from gatewise.nn import History, MoE, Router, TimeAttention, follow_mask, load_layer, replace_ffn, save_layer, upcycle
from gatewise.nn.hub import load_block, save_block
from gatewise.nn.metrics import change_rate, expert_similarity, saturation


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.mlp = MoE(6, 8, 4)

    def forward(self, x, mask=None, *, late=None):
        return self.mlp(x)


def dense():
    return nn.Sequential(nn.Linear(6, 8), nn.GELU(), nn.Linear(8, 6))


def counted(model):
    return int(model.mlp.balancer.now[-3])


@pytest.mark.parametrize("call", [lambda m, x, mask: m(x, mask), lambda m, x, mask: m(x, mask=mask)])
def test_a_mask_is_followed_by_position_and_by_name(call):
    model, mask = Model(), torch.tensor([[1, 1, 0], [1, 0, 0]])
    follow_mask(model, "mask")
    call(model, torch.randn(2, 3, 6), mask).sum().backward()
    assert counted(model) == 3
    model(torch.randn(2, 3, 6)).sum().backward()  # no mask, none left over
    assert counted(model) == 9


def test_a_mask_that_is_true_for_padding_is_followed():
    model, padding = Model(), torch.tensor([[False, False, True], [False, True, True]])
    follow_mask(model, "mask", padding=True)
    model(torch.randn(2, 3, 6), padding).sum().backward()
    assert counted(model) == 3
    model(torch.randn(2, 3, 6)).sum().backward()
    assert counted(model) == 9


def test_a_mask_by_keyword_only_is_followed():
    model = Model()
    follow_mask(model, "late")
    model(torch.randn(1, 3, 6), torch.zeros(1, 3), late=torch.tensor([[1, 1, 0]])).sum().backward()
    assert counted(model) == 2


def test_a_mask_that_no_forward_takes_is_refused():
    with pytest.raises(ValueError, match="the forward of Model has no argument 'attention_mask': name one of x, mask"):
        follow_mask(Model())


@pytest.mark.parametrize("shape", [(2, 3, 6), (6,), (3, 5)])
def test_a_router_says_what_it_takes(shape):
    with pytest.raises(ValueError, match=r"a router takes tokens \(T, 6\)"):
        Router(6, 4)(torch.randn(shape))


def test_reference_times_may_be_a_list_or_whole_numbers():
    values, times = torch.randn(2, 5, 3), torch.rand(2, 5)
    torch.manual_seed(0)
    expected = TimeAttention(3, 8, torch.tensor([0.0, 1.0, 2.0]))(values, times)
    for references in ([0, 1, 2], torch.arange(3), torch.arange(3).double()):
        torch.manual_seed(0)
        assert torch.equal(TimeAttention(3, 8, references)(values, times), expected)


def test_a_history_names_what_it_has():
    history = History(MoE(6, 8, 4))
    with pytest.raises(ValueError, match=r"no step was added: call add\(\) after"):
        history.load("")
    with pytest.raises(ValueError, match="no layer is called 'mlp': they are ''"):
        history.load("mlp")
    with pytest.raises(ValueError, match="key='load' is unknown: the choices are 'load ratio'"):
        history.figure("", "load")


def test_choices_of_padding_count_in_no_saturation():
    before = torch.tensor([[0, 1], [-1, -1], [2, 3], [-1, -1]])
    after = torch.tensor([[0, 4], [-1, -1], [-1, -1], [2, 3]])
    assert saturation(before, after) == 0.5
    assert change_rate(before, after) == 0.5


def test_similarity_takes_a_batch_of_sequences():
    layer, x = MoE(6, 8, 4), torch.randn(2, 5, 6)
    assert expert_similarity(layer, x).mean == expert_similarity(layer, x.flatten(0, 1)).mean


def test_one_layer_cannot_replace_many():
    with pytest.raises(ValueError, match="to is a single MoE: give options, or a function"):
        replace_ffn(nn.ModuleDict({"mlp": dense()}), "mlp", MoE(6, 8, 4))


@pytest.mark.parametrize("options", [{"experts": [dense()] * 4}, {"bias": True}, {"dim_out": 6, "hidden": 8}])
def test_upcycling_refuses_what_the_network_decides(options):
    with pytest.raises(ValueError, match=f"{sorted(options)[0]}.*: upcycle takes this from the network"):
        upcycle(dense(), 4, **options)


def test_only_layers_are_written(tmp_path):
    with pytest.raises(TypeError, match="layer is a Model, save_layer writes one MoE: keep the state_dict"):
        save_layer(Model(), tmp_path)
    save_layer(MoE(6, 8, 4), tmp_path)
    assert load_layer(tmp_path).dim == 6


def test_a_wrong_prefix_is_answered_with_those_there_are(tmp_path):
    layer = MoE(6, 8, 4, activation="swiglu")
    with torch.no_grad():
        layer.router.gates[0].bias.zero_()
    save_block(layer, tmp_path, "mixtral", "layers.0.moe.")
    with pytest.raises(KeyError, match=r"its sparse blocks begin with 'layers\.0\.moe\.'"):
        load_block(tmp_path, "layers.0.mlp.")
    assert load_block(tmp_path, "layers.0.moe.").dim == 6
