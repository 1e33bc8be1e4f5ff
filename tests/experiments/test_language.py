"""The language model of bytes: causal, on a text whose parts do not overlap, of equal size for every gate."""

import pytest
import torch

from gatewise.experiments import Job
from gatewise.experiments.language import (
    BYTES,
    DIM,
    GATES,
    KINDS,
    LANGUAGE,
    ROUTING,
    WINDOW,
    LanguageModel,
    bits,
    kind_of_bytes,
    run,
    text,
    windows,
)
from gatewise.experiments.vision.models import EQUAL_FLOPS, EQUAL_PARAMETERS
from gatewise.nn.finding import layers


def test_a_window_begins_with_the_last_byte_of_the_one_before():
    found = windows(text())
    joined = torch.cat([found.bytes[:, :-1].flatten(), found.bytes[-1, -1:]])
    assert bytes(joined.tolist()) == text()[: len(joined)]
    assert torch.equal(found.bytes[1:, 0], found.bytes[:-1, -1])
    rows = torch.cat(found.parts)
    assert torch.equal(rows, torch.arange(len(found.bytes)))
    assert len(found.parts.test) == len(found.parts.validation) == round(0.1 * len(rows))
    assert len(text()) - len(joined) < WINDOW


def test_every_byte_has_a_kind():
    kinds = {name: {chr(b) for b in range(BYTES) if kind_of_bytes()[b] == i} for i, name in enumerate(KINDS)}
    assert {"a", "Z"} <= kinds["letter"]
    assert kinds["digit"] == set("0123456789")
    assert kinds["line end"] == {"\n"}
    assert {"(", "_", "~"} <= kinds["punctuation"]
    assert {"\x00", "\xe9"} <= kinds["other"]


@pytest.mark.parametrize("gate", [*GATES, EQUAL_FLOPS])
def test_no_byte_sees_those_after_it(gate):
    torch.manual_seed(0)
    model = LanguageModel(gate, 10).eval()
    x = torch.randint(BYTES, (3, 20))
    other = x.clone()
    other[:, 12:] = torch.randint(BYTES, (3, 8))
    with torch.no_grad():
        assert torch.allclose(model(x)[:, :12], model(other)[:, :12], atol=1e-5)
        assert not torch.allclose(model(x)[:, 12:], model(other)[:, 12:], atol=1e-2)


def test_models_differ_by_their_gates_only():
    def size(gate):
        model = LanguageModel(gate, 10)
        gates = sum(p.numel() for layer in layers(model).values() for p in layer.router.parameters())
        return sum(p.numel() for p in model.parameters()), gates

    sizes = {gate: size(gate) for gate in GATES}
    assert len({whole - own for whole, own in sizes.values()}) == 1
    whole, own = sizes["softmax"]
    assert own == 2 * ROUTING.experts * (DIM + 1)
    assert size(EQUAL_PARAMETERS)[0] == pytest.approx(whole, rel=0.05)


def test_an_untrained_uniform_model_needs_eight_bits():
    model = LanguageModel("softmax", 10)
    torch.nn.init.zeros_(model.head.weight)
    torch.nn.init.zeros_(model.head.bias)
    assert bits(model.eval(), windows(text(), quick=True).bytes[:9]) == pytest.approx(8.0)


@pytest.mark.parametrize("gate", ["activation-dense-to-sparse", "ll"])
def test_a_quick_job_is_repeatable_and_moves_every_gate(gate):
    job = Job("help of Python", gate, 0, 3e-3, quick=True)
    one, two = run(job), run(job)
    assert one == two
    assert one["moved"]
    assert set(LANGUAGE.measures) <= set(one)
    assert sum(map(sum, one["routing"])) == 2 * 8 * WINDOW  # two experts for every byte of eight windows


def test_the_rate_is_chosen_without_the_test_text():
    tuned = run(Job("help of Python", "softmax", 0, 3e-3, quick=True, tuning=True))
    assert set(tuned) == {"validation", "moved"}
