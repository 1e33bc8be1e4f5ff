"""Every kind of feed-forward network of transformers is replaced without a change of the outputs."""

import pytest
import torch
from torch import nn

from gatewise.nn import MoE, replace_ffn, upcycle
from gatewise.nn.dense import read_ffn

transformers = pytest.importorskip("transformers")

SIZES = {"vocab_size": 31, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}
ENDS = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
TWO = {f"{part}_{name}": 2 for part in ("encoder", "decoder") for name in ("layers", "attention_heads")}
PAIR = TWO | {"vocab_size": 31, "d_model": 16, "encoder_ffn_dim": 24, "decoder_ffn_dim": 24} | ENDS
T5 = {"vocab_size": 31, "d_model": 16, "d_kv": 8, "d_ff": 24, "num_layers": 2, "num_heads": 2, "pad_token_id": 0}
LONG = {"max_source_positions": 10, "num_mel_bins": 8, "decoder_start_token_id": 2}
IDS = torch.randint(3, 31, (2, 7), generator=torch.Generator().manual_seed(0))
BOTH = {"input_ids": IDS, "decoder_input_ids": IDS}
SOUND = {"input_features": torch.randn(2, 8, 20, generator=torch.Generator().manual_seed(0)), "decoder_input_ids": IDS}
CASES = {  # model: config, what to match, inputs, the activation that is found
    "Gemma": (SIZES | ENDS | {"head_dim": 8, "num_key_value_heads": 2}, "*.mlp", {"input_ids": IDS}, "geglu-tanh"),
    "T5": (T5 | {"feed_forward_proj": "gated-gelu"}, "*.DenseReluDense", BOTH, "geglu-tanh"),
    "ModernBert": (SIZES | ENDS | {"cls_token_id": 1, "sep_token_id": 2}, "*.mlp", {"input_ids": IDS}, "geglu"),
    "CLIPText": (SIZES | ENDS, "*.mlp", {"input_ids": IDS}, "quick-gelu"),
    "Nemotron": (SIZES | ENDS | {"head_dim": 8, "num_key_value_heads": 2}, "*.mlp", {"input_ids": IDS}, "relu-squared"),
    "Falcon": ({key: SIZES[key] for key in SIZES if "inter" not in key} | ENDS, "*.mlp", {"input_ids": IDS}, "gelu"),
    "Bloom": (
        {"vocab_size": 31, "hidden_size": 16, "n_layer": 2, "n_head": 2} | ENDS,
        "*.mlp",
        {"input_ids": IDS},
        "gelu-tanh",
    ),
    "OPT": (SIZES | ENDS | {"ffn_dim": 24, "word_embed_proj_dim": 16}, "*.layers.*", {"input_ids": IDS}, "relu"),
    "Bart": (PAIR | {"decoder_start_token_id": 2, "forced_eos_token_id": 2}, "*.layers.*", {"input_ids": IDS}, "gelu"),
    "Whisper": (PAIR | LONG, "*.layers.*", SOUND, "gelu"),
    "Bert": (SIZES, "encoder.layer.*", {"input_ids": IDS}, "gelu"),
    "Roberta": (SIZES | ENDS, "encoder.layer.*", {"input_ids": IDS}, "gelu"),
    "DebertaV2": (SIZES, "encoder.layer.*", {"input_ids": IDS}, "gelu"),
}


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def model_of(name):
    kind = getattr(transformers, f"{name}Model")
    model = kind(kind.config_class(**CASES[name][0])).eval()
    with torch.no_grad():
        for value in model.parameters():
            if value.ndim == 2:
                value.normal_(std=0.4)  # so large that the networks show in the outputs
    return model


@pytest.mark.parametrize("name", CASES)
def test_n12_outputs_stay_when_all_experts_are_copies(name):
    model, (_, match, inputs, activation) = model_of(name), CASES[name]
    with torch.no_grad():
        before = model(**inputs)[0]
        names = replace_ffn(model, match, {"n_experts": 4, "gate": "laplace"})
        after = model(**inputs)[0]
    layers = [one for one in model.modules() if isinstance(one, MoE)]
    assert len(names) == len(layers) == (4 if "decoder_layers" in CASES[name][0] or name == "T5" else 2)
    assert {layer.experts.activation for layer in layers} == {activation}
    torch.testing.assert_close(after, before, rtol=0, atol=2e-5 * float(before.abs().max()))
    with torch.no_grad():
        layers[0].experts.w_out[:2].mul_(1.1)
        assert float((model(**inputs)[0] - before).abs().max()) > 1e-4
    model.train()
    model(**inputs)[0].square().sum().backward()
    assert all(bool((layer.experts.w_in.grad != 0).any()) for layer in layers)


class Adapted(nn.Module):
    """A linear layer with an adapter of low rank."""

    def __init__(self, base):
        super().__init__()
        self.base_layer, self.in_features, self.out_features = base, base.in_features, base.out_features
        self.down, self.up = nn.Linear(base.in_features, 2, bias=False), nn.Linear(2, base.out_features, bias=False)
        self.dropout = nn.Dropout(0.1)

    @property
    def weight(self):
        return self.base_layer.weight

    @property
    def bias(self):
        return self.base_layer.bias

    def forward(self, x):
        return self.base_layer(x) + 3.0 * self.up(self.down(self.dropout(x)))


@pytest.mark.parametrize("bias", [True, False])
def test_n12_layers_with_adapters_are_read_as_the_sum(bias):
    dense = nn.Sequential(Adapted(nn.Linear(5, 9, bias=bias)), nn.SiLU(), Adapted(nn.Linear(9, 5, bias=bias)))
    x = torch.randn(20, 5)
    layer = upcycle(dense, 3).eval()
    torch.testing.assert_close(layer(x), dense.eval()(x), rtol=1e-5, atol=1e-5)
    assert (layer.experts.b_in is not None) == bias
    assert dense[0].training is False


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing:FutureWarning")  # of peft, not ours
def test_n12_networks_of_peft_are_read_with_their_adapters():
    peft = pytest.importorskip("peft")
    config = transformers.LlamaConfig(**SIZES)
    targets = ["gate_proj", "up_proj", "down_proj"]
    model = peft.get_peft_model(transformers.LlamaModel(config), peft.LoraConfig(r=4, target_modules=targets)).eval()
    for name, value in model.named_parameters():
        nn.init.normal_(value, std=0.3) if "lora_B" in name else None
    with torch.no_grad():
        before = model(input_ids=IDS)[0]
        replace_ffn(model, "*.mlp", {"n_experts": 4})
        torch.testing.assert_close(model(input_ids=IDS)[0], before, rtol=1e-4, atol=1e-4)


class Sub(nn.Linear):
    """A linear layer of one's own."""

    def forward(self, x):
        return x @ self.weight.T + self.bias


class Doubled(nn.Linear):
    """No linear layer of its weights."""

    def forward(self, x):
        return 2 * super().forward(x)


class Named(nn.Module):
    """A gated network with names of its own, the last layer defined first."""

    def __init__(self):
        super().__init__()
        self.proj, self.fc_1, self.fc_2 = nn.Linear(9, 5), nn.Linear(5, 9), nn.Linear(5, 9, bias=False)

    def forward(self, x):
        return self.proj(torch.relu(self.fc_1(x)) * self.fc_2(x))


def test_n12_subclasses_and_other_names_are_read_where_they_compute_the_same():
    x = torch.randn(20, 5)
    for dense in (nn.Sequential(Sub(5, 9), nn.GELU(), Sub(9, 5)), Named()):
        torch.testing.assert_close(upcycle(dense, 3).eval()(x), dense.eval()(x), rtol=1e-5, atol=1e-5)
    assert read_ffn(Named()).activation == "reglu"
    with pytest.raises(ValueError, match="it has another activation or does more"):
        upcycle(nn.Sequential(Doubled(5, 9), nn.GELU(), nn.Linear(9, 5)))


class Layer(nn.Module):
    """A layer with its two linear layers among others, as OPT and BART have them."""

    def __init__(self, norm=False, activation=torch.relu):
        super().__init__()
        self.attention, self.fc1, self.fc2 = nn.Linear(6, 6), nn.Linear(6, 9), nn.Linear(9, 6)
        self.activation_fn, self.activation_dropout = activation, 0.1
        self.norm = nn.LayerNorm(9) if norm else nn.Identity()

    def forward(self, x):
        x = x + self.attention(x)
        hidden = self.activation_fn(self.fc1(x))
        hidden = nn.functional.dropout(hidden, self.activation_dropout, self.training)
        return x + self.fc2(self.norm(hidden))


def test_n12_a_network_inside_a_layer_is_replaced_with_its_dropout():
    model, x = nn.ModuleList([Layer(), Layer()]), torch.randn(4, 6)
    before = model[0].eval()(x)
    assert replace_ffn(model, "*", {"n_experts": 3}) == ["0", "1"]
    assert isinstance(model[0].fc1, MoE)
    torch.testing.assert_close(model[0](x), before, rtol=1e-5, atol=1e-5)
    layer = model[0].train()
    layer.fc1.balancer.eval()
    torch.testing.assert_close(layer(x), before, rtol=1e-5, atol=1e-5)
    with pytest.raises(ValueError, match="0: its fc1 is MoE: its network has been replaced already"):
        replace_ffn(model, "0", {"n_experts": 3})


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (Layer(norm=True), "0: Layer does more between fc1 and fc2 than apply activation_fn"),
        (Layer(activation=torch.sin), "0: Sequential does not compute"),
    ],
)
def test_n12_layers_that_do_more_are_refused_and_stay_as_they_are(layer, message):
    model = nn.ModuleList([layer])
    with pytest.raises(ValueError, match=message):
        replace_ffn(model, "0", {"n_experts": 3})
    assert isinstance(model[0].fc1, nn.Linear)
    assert model[0].activation_dropout == 0.1


def test_n12_a_layer_that_cannot_be_run_alone_is_refused():
    class Needy(Layer):
        def forward(self, x, memory):
            return super().forward(x) + memory["key"]

    class Windowed(Layer):
        def forward(self, x):
            if x.shape[-2] % 4:
                raise AssertionError("a multiple of four tokens")  # as Longformer says it
            return super().forward(x)

    for layer, name in ((Needy(), "Needy"), (Windowed(), "Windowed")):
        with pytest.raises(ValueError, match=rf"0: {name} cannot be run on hidden states alone.*cannot be checked"):
            replace_ffn(nn.ModuleList([layer]), "0", {"n_experts": 3})


def test_a_network_that_wants_other_rows_is_refused_in_words():
    class Windowed(nn.Sequential):
        def forward(self, x):
            if x.shape[-2] % 5:
                raise AssertionError("a multiple of five tokens")
            return super().forward(x)

    with pytest.raises(ValueError, match=r"Windowed .* cannot be called with tokens alone.*a multiple of five tokens"):
        read_ffn(Windowed(nn.Linear(16, 24), nn.GELU(), nn.Linear(24, 16)))
