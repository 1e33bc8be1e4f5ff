"""Models of transformers whose blocks are replaced return their router logits, and their loss of them."""

import copy
import pickle

import pytest
import torch

from gatewise.nn import MoE, from_block, replace_ffn

transformers = pytest.importorskip("transformers")

SIZES = {"num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 2, "vocab_size": 50}
SHAPES = {"hidden_size": 32, "intermediate_size": 24, "moe_intermediate_size": 24, "decoder_sparse_step": 1}
MODELS = {
    "Mixtral": {"num_local_experts": 4},
    "Qwen2Moe": {"num_experts": 6, "shared_expert_intermediate_size": 16, "num_experts_per_tok": 3},
    "Qwen3Moe": {"num_experts": 6, "num_experts_per_tok": 3, "norm_topk_prob": True, "head_dim": 16},
}
TOKENS = torch.randint(50, (2, 5), generator=torch.Generator().manual_seed(0))


def model(name):
    torch.manual_seed(0)
    config = getattr(transformers, f"{name}Config")(**SIZES, **SHAPES, **MODELS[name])
    return getattr(transformers, f"{name}ForCausalLM")(config).eval()


def found(one):
    return one(TOKENS, output_router_logits=True, labels=TOKENS)


def pickled(one):
    return pickle.loads(pickle.dumps(one))  # noqa: S301


CASES = {  # a model that was called has hooks of transformers, functions inside others, which no file holds
    "new": (False, lambda one: one),
    "called before": (True, lambda one: one),
    "copied": (False, copy.deepcopy),
    "called and copied": (True, copy.deepcopy),
    "read from a file": (False, pickled),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("name", MODELS)
def test_the_logits_and_the_loss_of_a_model_stay(name, case):
    (called, copied), one = CASES[case], model(name)
    expected = found(copy.deepcopy(one))
    if called:
        found(one)
    assert len(replace_ffn(one, "model.layers.*.mlp", from_block)) == 2
    out = found(copied(one))
    assert len(out.router_logits) == 2
    for logits, wanted in zip(out.router_logits, expected.router_logits, strict=True):
        torch.testing.assert_close(logits, wanted, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(out.aux_loss, expected.aux_loss)
    torch.testing.assert_close(out.loss, expected.loss)


def test_a_trained_gate_moves_the_logits_and_their_loss_reaches_it():
    one = model("Mixtral")
    replace_ffn(one, "model.layers.*.mlp", from_block)
    gates = [layer.router.gates[0].weight for layer in one.modules() if isinstance(layer, MoE)]
    gradients = torch.autograd.grad(found(one.train()).aux_loss, gates)
    assert all(bool(gradient.any()) for gradient in gradients)
    before = found(one).router_logits[0]
    with torch.no_grad():
        gates[0].mul_(2.0)
    torch.testing.assert_close(found(one).router_logits[0], 2 * before)
