"""Layers in the place of sparse blocks in models of transformers: outputs, router logits, losses, copies."""

import copy
import pickle

import pytest
import torch

from gatewise.nn import FFN, MoE, from_block, replace_ffn, to_block

transformers = pytest.importorskip("transformers")

SIZES = {"vocab_size": 31, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}
SIZES |= {"num_key_value_heads": 2, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
QWEN = {"num_experts": 6, "num_experts_per_tok": 2, "moe_intermediate_size": 12, "head_dim": 8}
SHARED = {"shared_expert_intermediate_size": 20}
LATENT = {"q_lora_rank": 8, "kv_lora_rank": 8, "qk_nope_head_dim": 4, "qk_rope_head_dim": 4, "v_head_dim": 8}
DEEP = {"n_routed_experts": 6, "n_group": 3, "topk_group": 2, "num_experts_per_tok": 3, "first_k_dense_replace": 0}
DEEP |= {"moe_intermediate_size": 12, "n_shared_experts": 1} | LATENT
LLAMA = {"intermediate_size_mlp": 24, "num_local_experts": 4, "head_dim": 8, "interleave_moe_layer_step": 1}
MODELS = {
    "Mixtral": {"num_local_experts": 4},
    "Qwen2Moe": QWEN | SHARED,
    "Qwen3Moe": QWEN,
    "MiniMax": {"num_local_experts": 4, "head_dim": 8, "layer_types": ["full_attention"] * 2},
    "GptOss": {"num_local_experts": 6, "num_experts_per_tok": 2, "head_dim": 8},
    "DeepseekV3": DEEP,
    "Llama4": LLAMA,
    "GraniteMoe": {"num_local_experts": 4},
}
MATCH = {"Llama4": "*.feed_forward", "GraniteMoe": "*.block_sparse_moe"}


def model_of(name):
    torch.manual_seed(0)
    kind = getattr(transformers, f"{name}ForCausalLM")
    model = kind(kind.config_class(**SIZES | MODELS[name])).eval()
    for value in model.parameters():
        if value.ndim > 1:
            torch.nn.init.normal_(value, std=0.3)
    return model, {"input_ids": torch.randint(3, 31, (2, 7)), "use_cache": False}


@pytest.mark.parametrize("recorded", [False, True], ids=["fresh", "recorded before"])
@pytest.mark.parametrize("name", MODELS)
def test_n8_a_model_with_layers_gives_its_outputs_and_router_logits(name, recorded):
    model, inputs = model_of(name)
    other = copy.deepcopy(model)
    wanted = model(**inputs, output_router_logits=True)
    given = model if recorded else other
    names = replace_ffn(given, MATCH.get(name, "*.mlp"), from_block)
    found = given(**inputs, output_router_logits=True)
    assert len(names) == 2
    size = float(wanted.logits.detach().abs().max())
    torch.testing.assert_close(found.logits, wanted.logits, rtol=0, atol=1e-4 * size)
    assert len(found.router_logits) == len(wanted.router_logits) == 2
    for ours, theirs in zip(found.router_logits, wanted.router_logits, strict=True):
        torch.testing.assert_close(ours, theirs.reshape(ours.shape), rtol=1e-4, atol=1e-4 * size)


@pytest.mark.parametrize("name", ["Mixtral", "Qwen2Moe", "GptOss"])
def test_n8_the_loss_that_a_model_makes_of_the_logits_reaches_the_gates(name):
    model, inputs = model_of(name)
    wanted = model(**inputs, labels=inputs["input_ids"], output_router_logits=True)
    replace_ffn(model, "*.mlp", lambda block: from_block(block, balance="none"))
    found = model.train()(**inputs, labels=inputs["input_ids"], output_router_logits=True)
    torch.testing.assert_close(found.aux_loss, wanted.aux_loss)
    torch.testing.assert_close(found.loss, wanted.loss, rtol=1e-4, atol=1e-4)
    found.aux_loss.backward()
    layers = [one for one in model.modules() if isinstance(one, MoE)]
    assert all(bool((layer.router.gates[0].weight.grad != 0).any()) for layer in layers)


def test_n8_layers_with_recorded_logits_are_copied_pickled_and_go_back():
    model, _ = model_of("Mixtral")
    block = model.model.layers[0].mlp
    layer, x = from_block(block), torch.randn(3, 16)
    for again in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):  # noqa: S301
        assert torch.equal(again(x), layer(x))
        assert repr(again) == repr(layer)
        seen = []
        again.gate.register_forward_hook(lambda module, given, out, seen=seen: seen.append(out[0]))
        again(x)
        torch.testing.assert_close(seen[0], x @ block.gate.weight.T)
    to_block(layer, block)
    assert layer.state_dict().keys() == MoE(16, 24, 4, activation="swiglu").state_dict().keys()


def test_a_layer_of_another_kind_in_the_place_of_gpt_oss_returns_two_parts_too():
    model, inputs = model_of("GptOss")
    replace_ffn(model, "*.mlp", lambda block: MoE(16, 8, 4, shared=FFN(1, 16, 5)))
    assert model(**inputs).logits.shape == (2, 7, 31)


class SparseMixtral(transformers.MixtralForCausalLM):
    def __init__(self, config):
        super().__init__(config)
        replace_ffn(self, "*.mlp", from_block)


class SparseDeepseek(transformers.DeepseekV3ForCausalLM):
    def __init__(self, config):
        super().__init__(config)
        replace_ffn(self, "*.mlp", from_block)


@pytest.mark.parametrize(("kind", "name"), [(SparseMixtral, "Mixtral"), (SparseDeepseek, "DeepseekV3")])
def test_n8_models_with_layers_are_saved_loaded_copied_and_drawn_anew(kind, name, tmp_path):
    model = kind(kind.config_class(**SIZES | MODELS[name])).eval()
    ids = torch.randint(3, 31, (2, 7))
    model.save_pretrained(tmp_path)
    again = kind.from_pretrained(tmp_path).eval()
    assert torch.equal(again(ids).logits, model(ids).logits)
    for other in (again, copy.deepcopy(again), again.train()):
        assert len(other(ids, output_router_logits=True).router_logits) == 2
    model.init_weights()


def test_a_sparse_block_that_is_taken_for_a_network_is_told_what_reads_it():
    model, _ = model_of("Mixtral")
    with pytest.raises(ValueError, match="it is a sparse block: give to=from_block"):
        replace_ffn(model, "*.mlp", {"n_experts": 4})
