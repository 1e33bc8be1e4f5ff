"""Masks reach the layers: of encoders and decoders, of queries and keys, with caches, packed, taken out."""

import copy

import pytest
import torch
from torch import nn

from gatewise.nn import MoE, finish_step, follow_mask, observe, replace_ffn
from gatewise.nn.finding import layers


class Stack(nn.Module):
    """A stack that is given embeddings and a mask of its own."""

    def __init__(self):
        super().__init__()
        self.mlp = MoE(6, 4, 3)

    def forward(self, inputs_embeds, attention_mask=None, past_key_values=None):
        return self.mlp(inputs_embeds)


class Pair(nn.Module):
    """An encoder and a decoder whose masks have other names outside."""

    def __init__(self):
        super().__init__()
        self.encoder, self.decoder = Stack(), Stack()

    def forward(self, x, y, attention_mask=None, decoder_attention_mask=None):
        self.encoder(inputs_embeds=x, attention_mask=attention_mask)
        return self.encoder(x, attention_mask).sum() + self.decoder(y, attention_mask=decoder_attention_mask).sum()


class Plain(nn.Module):
    """A model whose layer sees what a function makes of the inputs."""

    def __init__(self, change=lambda x, mask: x):
        super().__init__()
        self.mlp, self.change = MoE(6, 4, 3), change

    def forward(self, x, attention_mask=None, past_key_values=None):
        return self.mlp(self.change(x, attention_mask))


def counted(model):
    """The tokens that every layer has counted in a step."""
    finish_step(model)
    return [int(layer.tally().tokens) for layer in layers(model).values()]


def lengths(*counts, width):
    return torch.arange(width) < torch.tensor(counts)[:, None]


def causal(mask, additive=False, heads=1):
    """A mask of queries and keys: to real tokens that are not later."""
    width = mask.shape[1]
    allowed = (mask[:, None, None] & torch.ones(width, width).tril().bool()).expand(-1, heads, -1, -1)
    return torch.zeros(allowed.shape).masked_fill(~allowed, torch.finfo(torch.float32).min) if additive else allowed


@pytest.mark.parametrize("target", [5, 9, 12])
@pytest.mark.parametrize("masked", [False, True])
def test_an_encoder_and_a_decoder_have_masks_of_their_own(target, masked):
    model = Pair()
    follow_mask(model)
    own = lengths(target, target - 1, 2, width=target) if masked else None
    model(torch.randn(3, 9, 6), torch.randn(3, target, 6), lengths(4, 9, 1, width=9), own).backward()
    expected = int(own.sum()) if masked else 3 * target
    assert counted(model) == [14, expected]


@pytest.mark.parametrize("target", [5, 9, 12])
@pytest.mark.parametrize("recompute", [False, True])
def test_t5_counts_the_tokens_of_both_stacks(target, recompute):
    transformers = pytest.importorskip("transformers")
    sizes = {"vocab_size": 50, "d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 1, "num_heads": 2}
    model = transformers.T5ForConditionalGeneration(transformers.T5Config(decoder_start_token_id=0, **sizes))
    replace_ffn(model, "*DenseReluDense", {"n_experts": 4})
    if recompute:
        model.activation_checkpointing_enable()
    follow_mask(model)
    model.train()
    given = {"input_ids": torch.randint(1, 50, (3, 9)), "attention_mask": lengths(4, 4, 4, width=9).long()}
    labels = torch.randint(1, 50, (3, target))
    model(**given, labels=labels).loss.backward()
    assert counted(model) == [12, 3 * target]
    model(**given, labels=labels, decoder_attention_mask=lengths(target, 2, 1, width=target)).loss.backward()
    assert counted(model) == [12, target + 3]


@pytest.mark.parametrize("shape", ["bool", "numbers", "additive", "heads", "no heads", "one for all"])
def test_masks_of_queries_and_keys_say_which_tokens_are_real(shape):
    model, mask = Plain(), lengths(7, 4, 1, width=7)
    follow_mask(model)
    if shape == "one for all":
        mask = mask[1:2]
    given = {
        "bool": causal(mask),
        "numbers": causal(mask).long(),
        "additive": causal(mask, additive=True),
        "heads": causal(mask, heads=2),
        "no heads": causal(mask)[:, 0],
        "one for all": causal(mask),
    }[shape]
    model(torch.randn(3, 7, 6), given).sum().backward()
    assert counted(model) == [12]


class Cache:
    def __init__(self, held):
        self.held = held

    def get_seq_length(self):
        return torch.tensor(self.held)


@pytest.mark.parametrize("four", [False, True])
def test_a_cache_with_room_for_more_tokens_says_where_the_new_ones_stand(four):
    model, mask = Plain(), torch.tensor([[0, 1, 1, 1, 0, 0], [1, 1, 1, 0, 0, 0]]).bool()
    follow_mask(model)
    given = causal(mask)[:, :, 2:4] if four else mask
    model(torch.randn(2, 2, 6), given, past_key_values=Cache(2)).sum().backward()
    assert counted(model) == [3]


class InARow(Plain):
    """A block that puts its sequences one behind the other, as OPT does."""

    def forward(self, x, attention_mask=None, past_key_values=None):
        return super().forward(x.flatten(0, 1), attention_mask, past_key_values).view_as(x)


@pytest.mark.parametrize(("held", "new", "real"), [(0, 3, 5), (2, 2, 4), (4, 1, 1), (0, 6, 8), (3, 2, 3)])
def test_new_tokens_in_a_row_are_those_behind_the_cache(held, new, real):
    model = InARow()
    mask = torch.tensor([[0, 1, 1, 1, 0, 0], [1, 1, 1, 1, 1, 0]]).bool()
    follow_mask(model)
    assert int(mask[:, held : held + new].sum()) == real
    model(torch.randn(2, new, 6), mask, past_key_values=Cache(held)).sum().backward()
    assert counted(model) == [real]


def test_a_model_that_takes_padding_out_may_have_an_empty_cache():
    model, mask = Plain(), torch.tensor([[0, 1, 1, 1, 0], [1, 1, 1, 0, 0]]).bool()
    follow_mask(model)
    model(torch.randn(6, 6), mask, past_key_values=Cache(0)).sum().backward()
    assert counted(model) == [6]


@pytest.mark.parametrize("kind", ["dynamic", "static"])
def test_generation_counts_real_tokens_with_every_cache(kind):
    transformers = pytest.importorskip("transformers")
    sizes = {"num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 2}
    model = transformers.LlamaForCausalLM(
        transformers.LlamaConfig(vocab_size=50, hidden_size=16, intermediate_size=32, pad_token_id=0, **sizes)
    )
    replace_ffn(model, "*.mlp", {"n_experts": 4})
    follow_mask(model)
    mask = torch.tensor([[0, 0, 1, 1, 1], [1, 1, 1, 1, 1]])
    with observe(model.eval()) as seen:
        model.generate(
            torch.randint(1, 50, (2, 5)),
            attention_mask=mask,
            max_new_tokens=4,
            min_new_tokens=4,
            cache_implementation=None if kind == "dynamic" else kind,
            do_sample=False,
            disable_compile=True,
        )
    assert [int(tally.tokens) for tally in seen.tallies.values()] == [8 + 3 * 2]


def test_packed_sequences_count_where_their_number_is_not_zero():
    model = Plain()
    follow_mask(model)
    model(torch.randn(2, 5, 6), torch.tensor([[1, 1, 2, 2, 0], [1, 2, 3, 0, 0]])).sum().backward()
    assert counted(model) == [7]


UNPADDED = {
    "in one row": lambda x, mask: x[mask][None],
    "flat": lambda x, mask: x[mask],
    "all, flat": lambda x, mask: x.flatten(0, 1),
}


@pytest.mark.parametrize("change", UNPADDED.values(), ids=UNPADDED)
def test_a_model_may_take_the_padding_out(change):
    model = Plain(change)
    follow_mask(model)
    model(torch.randn(3, 7, 6), lengths(7, 4, 1, width=7)).sum().backward()
    assert counted(model) == [12]


def test_one_mask_for_every_kind_of_attention():
    model = Plain()
    follow_mask(model)
    masks = {"full": None, "sliding": causal(lengths(3, 2, width=4))}
    model(torch.randn(2, 4, 6), masks).sum().backward()
    assert counted(model) == [5]


def test_masks_that_cannot_be_read_or_do_not_fit_are_told_in_words():
    model = Plain()
    follow_mask(model)
    with pytest.raises(ValueError, match=r"attention_mask of Plain is a list: a layer cannot read padding off it"):
        model(torch.randn(1, 4, 6), [1, 1, 0, 0])
    with pytest.raises(ValueError, match=r"has the shape \(1, 3\), the tokens of a layer inside \(1, 4\): .* mask="):
        model(torch.randn(1, 4, 6), torch.ones(1, 3))


def test_stacks_of_torch_that_name_their_masks_otherwise_are_followed_one_by_one():
    model = nn.Transformer(8, 2, 1, 1, 12, batch_first=True, dropout=0.0)
    replace_ffn(model, lambda name, module: name.endswith("layers.0"), {"n_experts": 4})
    with pytest.raises(ValueError, match=r"decoder has no argument 'src_key_padding_mask': .* 'tgt_key_padding_mask'"):
        follow_mask(model, "src_key_padding_mask", padding=True)
    follow_mask(model.encoder, "src_key_padding_mask", padding=True)
    follow_mask(model.decoder, "tgt_key_padding_mask", padding=True)
    source, target = lengths(5, 2, width=5), lengths(5, 4, width=5)
    given = {"src_key_padding_mask": ~source, "tgt_key_padding_mask": ~target}
    model(torch.randn(2, 5, 8), torch.randn(2, 5, 8), **given).sum().backward()
    assert counted(model) == [7, 9]


def test_copies_follow_masks_of_their_own_and_a_layer_alone_none():
    model = Plain()
    follow_mask(model)
    model(torch.randn(1, 4, 6), torch.tensor([[1, 1, 0, 0]])).sum().backward()
    other, layer = copy.deepcopy(model), copy.deepcopy(copy.deepcopy(model.mlp))
    other(torch.randn(1, 4, 6), torch.tensor([[1, 1, 1, 0]])).sum().backward()
    layer(torch.randn(9, 6)).sum().backward()
    assert (counted(other), counted(layer), counted(model)) == ([3 + 2], [9 + 2], [2])
