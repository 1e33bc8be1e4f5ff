"""Every law of layers can fail: each row changes one formula, and the law that guards it must say so.

A row is (law, options of a layer, where the formula lives, its name, the wrong formula). A wrong formula is written
as a function of the right one.
"""

import pytest
import torch

from gatewise.nn import experts, params, products
from gatewise.nn.experts import FFN
from gatewise.nn.layer import MoE
from gatewise.nn.params import GateParameters
from gatewise.nn.router import Router, Routing
from gatewise.testing import layers as laws


def unregistered(right):
    return lambda self, name, value: setattr(self, name, value.detach())


def one_for_all_nodes(right):
    """Parameters without the dimensions of the nodes."""
    return lambda gate, owners, *rest: {name: value[0] for name, value in right(gate, owners, *rest).items()}


def made_anew(right):
    """Parameters made in every forward pass."""
    return lambda self, dtype=None: {name: torch.ones_like(value) for name, value in right(self, dtype).items()}


def all_zero(right):
    return lambda *args: {name: value * 0 for name, value in right(*args).items()}


def detached(right):
    def forward(self, x, *more):
        return Routing(*(part if isinstance(part, tuple) else part.detach() for part in right(self, x, *more)))

    return forward


def rounded(right):
    """Gates that compute in bfloat16."""
    return lambda self, x, *more: right(
        self, x.bfloat16().to(x.dtype) if torch.is_autocast_enabled("cpu") else x, *more
    )


def noisy_weights(right):
    def forward(self, x, *more):
        found = right(self, x, *more)
        return found._replace(weight=found.weight + 1e-3 * torch.rand_like(found.weight))

    return forward


def noisy_in_training(right):
    def forward(self, x, *more):
        found = right(self, x, *more)
        return found._replace(weight=found.weight * (1.1 if self.training else 1.0))

    return forward


def half_the_room(right):
    return lambda self, routing, index, real: (torch.arange(routing.index.numel()) % 7 > 0).view_as(routing.index)


def centred(right):
    """Scores relative to the batch's mean."""
    return lambda self, x, *more: right(self, x - x.mean(0, keepdim=True), *more)


def last_expert_lost(right):
    def loop(x, index, weight, experts):
        return right(x, index, torch.where(index == len(experts) - 1, 0.0, weight), experts)

    return loop


def weight_slope_lost(right):
    return lambda x, index, weight, *rest: right(x, index, weight.detach(), *rest)


def overflowing(right):
    return lambda x, index, weight, experts: right(x, index, weight * 1e6, experts)


def in_float32(right):
    return lambda self, tokens, *routing: right(self, tokens, *routing).float()


def first_order_only(right):
    """A loop whose weights have first derivatives only."""

    class Once(torch.autograd.Function):
        @staticmethod
        def forward(ctx, value):
            return value * 1.0

        @staticmethod
        def backward(ctx, gradient):
            return gradient.detach()

    return lambda x, index, weight, experts: right(x, index, Once.apply(weight), experts)


def saves_nothing(right):
    return lambda self, destination, *rest: None


TREE, GROUPED = {"branching": (2, 3)}, {"backend": "grouped"}
MUTATIONS = [
    (laws.law_layer_parameters, {}, GateParameters, "register_parameter", unregistered),
    (laws.law_layer_parameters, TREE, params, "_draw", one_for_all_nodes),
    (laws.law_layer_moves, {}, GateParameters, "values", made_anew),
    (laws.law_layer_moves, GROUPED, Router, "forward", detached),
    (laws.law_layer_moves, TREE, experts, "loop", weight_slope_lost),
    (laws.law_layer_scores, TREE, params, "_draw", all_zero),
    (laws.law_layer_eval, {}, Router, "forward", noisy_weights),
    (laws.law_layer_eval, GROUPED, Router, "forward", noisy_in_training),
    (laws.law_layer_rows, {}, MoE, "_within_capacity", half_the_room),
    (laws.law_layer_rows, GROUPED, Router, "forward", centred),
    (laws.law_layer_backends, {}, experts, "loop", last_expert_lost),
    (laws.law_layer_backends, TREE, experts, "grouped", weight_slope_lost),
    (laws.law_layer_backends, TREE, experts, "dense_batch", weight_slope_lost),
    (laws.law_layer_backends, {}, products, "filled_groups", lambda right: lambda ends: right(ends)[1:]),
    (laws.law_layer_autocast, {}, Router, "forward", rounded),
    (laws.law_layer_autocast, GROUPED, MoE, "_dispatch", in_float32),
    (laws.law_layer_half, {}, experts, "loop", overflowing),
    (laws.law_layer_half, GROUPED, MoE, "_dispatch", in_float32),
    (laws.law_layer_state, {}, FFN, "_save_to_state_dict", saves_nothing),
    (laws.law_layer_twice_differentiable, {}, experts, "loop", first_order_only),
]


def name(row):
    law, options, home, formula, _ = row
    return f"{law.__name__}-{home.__name__.rpartition('.')[2]}.{formula}-{'-'.join(options)}"


@pytest.mark.parametrize("row", MUTATIONS, ids=name)
def test_a_wrong_formula_breaks_its_law(row, monkeypatch):
    law, options, home, formula, wrong = row
    law(laws.make_layer("laplace", **options))
    right = getattr(home, formula)
    monkeypatch.setattr(home, formula, wrong(right))
    with pytest.raises(AssertionError, match=r"^broken: "):
        law(laws.make_layer("laplace", **options))


def test_every_law_has_a_mutation():
    assert {*laws.LAYER_LAWS} == {row[0] for row in MUTATIONS}


def test_every_law_is_told_apart_by_its_first_line():
    first_lines = {law.__doc__.splitlines()[0] for law in laws.LAYER_LAWS}
    assert len(first_lines) == len(laws.LAYER_LAWS)
