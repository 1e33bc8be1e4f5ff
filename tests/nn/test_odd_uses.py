"""What engineers do with layers off the usual path: hooks, gradients that are not there, modes, nan, odd tensors."""

from functools import partial

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import CheckpointPolicy, checkpoint, create_selective_checkpoint_contexts

from gatewise import Affine, Gate, ReLU
from gatewise.nn import ExpertChoice, MoE, TopP, from_block, load_layer, replace_ffn, save_layer, to_block
from gatewise.testing import assert_close
from gatewise.testing.layers import LAYER_BACKENDS, draw_tokens, make_layer

from .blocks_of_transformers import transformers

both_backends = pytest.mark.parametrize("backend", LAYER_BACKENDS)


@pytest.mark.parametrize("hook", ["register_full_backward_hook", "register_full_backward_pre_hook"])
@pytest.mark.parametrize("backend", ["grouped", "loop", "dense"])
def test_experts_with_a_backward_hook_and_nothing_beside_them_train(hook, backend):
    def gradients(hooked):
        layer = make_layer("laplace", (2, 3), backend)
        if hooked:
            getattr(layer.experts, hook)(lambda *_: seen.append(1))
        layer(draw_tokens(layer)).square().sum().backward()
        return [p.grad for p in layer.parameters()]

    seen = []
    for one, other in zip(gradients(True), gradients(False), strict=True):
        assert_close(one, other, "gradients", 0.0)
    assert seen == [1]


class Blocked(torch.autograd.Function):
    """A function whose input has no gradient at all."""

    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        return None


@both_backends
def test_an_output_without_gradient_gives_none_to_the_layer(backend):
    layer, x = make_layer("laplace", (2, 3), backend).eval(), torch.randn(5, 6, requires_grad=True)
    (Blocked.apply(layer(x)) + x).sum().backward()
    assert_close(x.grad, torch.ones_like(x), "gradient", 0.0)
    assert not any(p.grad is not None and p.grad.any() for p in layer.parameters())


@pytest.mark.parametrize("balance", ["importance+load", "bias"])
def test_selective_checkpointing_gives_the_same_parameters_and_statistics(balance):
    def policy(ctx, op, *args, **kwargs):
        save = op in (torch.ops.aten.mm.default, torch.ops.gatewise.feed_forward.default)
        return CheckpointPolicy.MUST_SAVE if save else CheckpointPolicy.PREFER_RECOMPUTE

    def trained(call):
        torch.manual_seed(0)
        layer = MoE(6, 8, (2, 3), ("laplace", "dense-to-sparse"), balance=balance, z_weight=0.01)
        optimizer = torch.optim.SGD(layer.parameters(), 0.1)
        for _ in range(3):
            optimizer.zero_grad()
            call(layer)(torch.randn(7, 6)).square().mean().backward()
            optimizer.step()
        return [*layer.parameters(), *layer.router.selection_bias, layer.tally().load]

    contexts = partial(create_selective_checkpoint_contexts, policy)
    saved = trained(lambda layer: partial(checkpoint, layer, use_reentrant=False, context_fn=contexts))
    for one, other in zip(saved, trained(lambda layer: layer), strict=True):
        assert_close(one, other, "what was trained", 1e-6)


CHOICES = {
    "top-k": {},
    "top-p": {"choice": TopP(0.5)},
    "top-p before": {"choice": TopP(0.5), "normalise": "before", "top_k": None},
    "expert choice": {"choice": ExpertChoice(), "normalise": "before", "balance": "none"},
    "rectified": {"gate": Gate(Affine(), ReLU()), "top_k": None, "normalise": "before"},
    "rectified, divided": {"gate": Gate(Affine(), ReLU()), "top_k": None},
    "sparse gate": {"gate": "top-k"},
}


@pytest.mark.parametrize("options", CHOICES.values(), ids=CHOICES)
@pytest.mark.parametrize("backend", ["grouped", "loop", "dense"])
def test_a_token_that_is_nan_comes_out_nan_and_the_others_finite(options, backend):
    torch.manual_seed(0)
    layer, x = MoE(6, 8, 5, backend=backend, **options), torch.randn(10, 6)
    x[3, 2] = torch.nan
    for mode in (True, False):
        out = layer.train(mode)(x)
        assert out[3].isnan().all()
        assert out[torch.arange(10) != 3].isfinite().all()


def test_padding_that_is_nan_is_served_by_no_expert_that_chooses_its_tokens():
    layer, x = MoE(6, 8, 5, choice=ExpertChoice(), normalise="before", balance="none"), torch.randn(10, 6)
    x[3] = torch.nan
    assert not layer(x, torch.arange(10) != 3)[3].any()


ODD = {
    "nested": (torch.nested.nested_tensor([torch.randn(2, 6), torch.randn(3, 6)], layout=torch.jagged), "x is nested"),
    "sparse": (torch.randn(4, 6).to_sparse(), "layout torch.sparse_coo.*to_dense"),
    "list": ([[1.0] * 6], "x is a list: give a tensor"),
}


@pytest.mark.parametrize(("x", "words"), ODD.values(), ids=ODD)
def test_what_is_no_dense_tensor_is_told_so(x, words):
    with pytest.raises((TypeError, ValueError), match=words):
        MoE(6, 8, 3)(x)


def test_what_stands_for_a_block_of_two_parts_is_written_back_and_saved(tmp_path):
    config = transformers.GptOssConfig(
        hidden_size=8, intermediate_size=12, num_local_experts=4, num_experts_per_tok=2, num_hidden_layers=1
    )
    block = transformers.models.gpt_oss.modeling_gpt_oss.GptOssMLP(config)
    for value in block.parameters():
        nn.init.normal_(value)
    model, x = nn.ModuleDict({"mlp": block}), torch.randn(2, 3, 8)
    replace_ffn(model, "mlp", from_block)
    with torch.no_grad():
        model["mlp"].layer.experts.w_in.add_(0.1)
    to_block(model["mlp"], block)
    save_layer(model["mlp"], tmp_path)
    for one in (block(x)[0].reshape(x.shape), load_layer(tmp_path)(x)):
        assert_close(one, model["mlp"](x)[0], "outputs", 1e-5)
    with pytest.raises(TypeError, match="Linear is no MoE"):
        to_block(nn.Linear(8, 8), block)


@pytest.mark.parametrize("activation", ["gelu", "swiglu", "geglu", "swiglu(limit=7.0)"])
def test_gradients_in_batches(activation):
    """Several gradients of an output at once, as jacobians in one pass ask for them."""
    torch.manual_seed(0)
    layer = MoE(8, 16, 4, activation=activation).eval()
    x = torch.randn(5, 8, requires_grad=True)
    out = layer(x)
    given = torch.randn(3, *out.shape)
    (batch,) = torch.autograd.grad(out, x, given, is_grads_batched=True, retain_graph=True)
    single = torch.stack([torch.autograd.grad(out, x, one, retain_graph=True)[0] for one in given])
    assert torch.allclose(batch, single, atol=1e-6)
