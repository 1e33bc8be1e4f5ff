"""A small language model of bytes: do gates matter for the next byte of a text?"""

from __future__ import annotations

from functools import cache
from math import log
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gatewise.experiments.experiment import Curves, Experiment, Job, Metric, Outcome, Table, gates_of
from gatewise.experiments.specialise import choices_of_layers, spread_of_layers
from gatewise.experiments.train import DataSplit, seeded, train
from gatewise.experiments.vision.models import (
    EQUAL_FLOPS,
    EQUAL_PARAMETERS,
    TokenRouting,
    TransformerBlock,
    dense,
    equal_flops,
    equal_parameters,
)
from gatewise.nn import Anneal, MoE, observe
from gatewise.nn.finding import layers

BYTES, WINDOW, BATCH = 256, 128, 16
DIM, HEADS, BLOCKS, EPOCHS = 64, 4, 2, 8
WARM_UP = 0.1  # share of the steps in which the learning rate rises
HELD = 0.1  # share of the text for choosing the rate, and for testing
HOT, COLD = 2.0, 0.2  # temperatures of annealed gates, at the first and at the last step
LOOKS = 20  # points of the curve of the loss
CHUNK, PROBE = 64, 1024  # windows of one pass in evaluation; bytes whose experts are kept to compare seeds
SHORT = (32, 8, 8)  # windows of each part in a quick run
KINDS = ("letter", "digit", "space", "line end", "punctuation", "other")
ROUTING = TokenRouting(groups=(2, 4), kept=2, balance="importance+load")
GATES = ("softmax", "sigmoid", "laplace", "activation-dense-to-sparse", "ss", "ll")


class TextWindows(NamedTuple):
    """A text cut into windows of bytes ``(n, WINDOW + 1)``; each begins with the last byte of the one before."""

    bytes: Tensor
    parts: DataSplit


@cache
def text() -> bytes:
    """Return the topics of Python's help in the order of their names: some 460 kB of English, differing by version."""
    from pydoc_data.topics import topics

    return "\n\n".join(topics[name] for name in sorted(topics)).encode("ascii", "replace")


def windows(given: bytes, quick: bool = False) -> TextWindows:
    """Cut a text into windows; the last tenth is for testing, the tenth before for choosing the rate."""
    values = torch.tensor(list(given))
    n = (len(values) - 1) // WINDOW
    place = torch.arange(n)[:, None] * WINDOW + torch.arange(WINDOW + 1)
    rows, held = torch.arange(n), round(HELD * n)
    parts = DataSplit(rows[: n - 2 * held], rows[n - 2 * held : n - held], rows[n - held :])
    if quick:
        parts = DataSplit(*(part[:few] for part, few in zip(parts, SHORT, strict=True)))
    return TextWindows(values[place], parts)


def kind_of_bytes() -> Tensor:
    """Return the kind of every byte, a place in `KINDS` (256,)."""
    kinds = torch.full((BYTES,), KINDS.index("other"))
    for value in range(128):
        character = chr(value)
        if character.isalpha():
            kinds[value] = KINDS.index("letter")
        elif character.isdigit():
            kinds[value] = KINDS.index("digit")
        elif character == "\n":
            kinds[value] = KINDS.index("line end")
        elif character == " ":
            kinds[value] = KINDS.index("space")
        elif character.isprintable():
            kinds[value] = KINDS.index("punctuation")
    return kinds


def feed_forward(gate: str, steps: int) -> nn.Module:
    """Return the feed-forward part that is compared: experts behind gates, or a dense network of equal size."""
    if gate in (EQUAL_FLOPS, EQUAL_PARAMETERS):
        size = equal_flops if gate == EQUAL_FLOPS else equal_parameters
        return dense(DIM, size(ROUTING, DIM, DIM, DIM), DIM)
    gates = gates_of(gate)
    options: dict[str, Any] = {"temperature": Anneal(HOT, COLD, steps)} if gate.endswith("dense-to-sparse") else {}
    experts = ROUTING.experts if len(gates) == 1 else ROUTING.groups
    return MoE(DIM, DIM, experts, gates, top_k=ROUTING.kept, bias=True, balance=ROUTING.balance, **options)


class LanguageModel(nn.Module):
    """A transformer that predicts the next byte from those before: ``(n, T) -> (n, T, 256)``."""

    def __init__(self, gate: str, steps: int) -> None:
        super().__init__()
        self.embed = nn.Embedding(BYTES, DIM)
        self.place = nn.Parameter(0.1 * torch.randn(WINDOW, DIM))
        blocks = (TransformerBlock(DIM, HEADS, feed_forward(gate, steps), causal=True) for _ in range(BLOCKS))
        self.blocks = nn.Sequential(*blocks)
        self.norm, self.head = nn.LayerNorm(DIM), nn.Linear(DIM, BYTES)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.norm(self.blocks(self.embed(x) + self.place[: x.shape[1]])))


def run(job: Job) -> Outcome:
    """Train one model, and return the bits per byte of text that it has not seen, and what its layers did."""
    data = windows(text(), job.quick)
    given = data.bytes.to(job.device)
    epochs = 1 if job.quick else EPOCHS
    steps = epochs * -(-len(data.parts.train) // BATCH)
    generator = seeded(job.seed, 0)
    model = LanguageModel(job.gate, steps).to(job.device)
    losses: list[Tensor] = []

    def loss(rows: Tensor) -> Tensor:
        value = nats(model, given[rows])
        losses.append(value.detach())
        return value

    fit = train(
        model, loss, data.parts.train, epochs=epochs, rate=job.rate, generator=generator, batch=BATCH, warm_up=WARM_UP
    )
    out: dict[str, Any] = {"validation": -bits(model, given[data.parts.validation]), "moved": fit.moved}
    if job.tuning:
        return out
    out["bits"] = bits(model, given[data.parts.test])
    if not job.quick:
        parts = np.array_split(torch.stack(losses).cpu().numpy(), LOOKS)
        out["bits_by_step"] = [float(part.mean()) / log(2.0) for part in parts]
    return out | (routing(model, given[data.parts.test]) if layers(model) else {})


def nats(model: nn.Module, rows: Tensor) -> Tensor:
    """Return the mean loss of the next byte of windows."""
    return F.cross_entropy(model(rows[:, :-1]).flatten(0, 1), rows[:, 1:].flatten())


@torch.no_grad()
def bits(model: nn.Module, rows: Tensor) -> float:
    """Return the bits per byte of windows."""
    total = sum(float(nats(model, few)) * len(few) for few in rows.split(CHUNK))
    return total / len(rows) / log(2.0)


@torch.no_grad()
def routing(model: nn.Module, rows: Tensor) -> dict[str, Any]:
    """Return the measures of the layers at windows, means over layers, and of the last one a table by kind of byte."""
    with observe(model, keep=True) as found:
        bits(model, rows)
    kind = kind_of_bytes()[rows[:, :-1].flatten().cpu()]
    last = torch.cat(list(found.index.values())[-1])
    return {
        **spread_of_layers(model, found, rows[:CHUNK, :-1]),
        **choices_of_layers(found, kind, ROUTING.experts, len(KINDS)),
        "choice": last[:PROBE, 0].tolist(),
    }


_PLACES = tuple((point + 0.5) / LOOKS for point in range(LOOKS))
LANGUAGE = Experiment(
    "language",
    "Language: the next byte of Python's help",
    "The topics of Python's help (pydoc_data, shipped with every Python; PSF licence), some 460 kB of English and "
    "code; the text differs a little between versions of Python, so that only runs of one version are compared. The "
    "last tenth is the test data, the tenth before it selects the learning rate. Windows of 128 bytes, a transformer "
    "of two blocks with 64 features, 4 heads and causal attention; in both blocks eight experts of 64 GELU units, of "
    "which two serve a byte, stand in place of the feed-forward network. Flat gates select 2 of 8; pairs of letters "
    "select 2 of 8 in 2 groups of 4 by the product of both gates. The temperature of the activated gate falls from 2 "
    "to .2. All mixtures use the balancing loss of importance and load, weight .1, have equally many parameters but "
    "for the gates, and see the same windows in the same order for a seed. The dense baselines match them in "
    "multiplications or in parameters, within 5 %. AdamW, 8 epochs, batches of 16 windows; the learning rate rises in "
    "the first tenth of the steps and falls as a half cosine. A model of this size learns spelling, not sense: it "
    "compares gates on equal terms and says nothing about large models.",
    ("help of Python",),
    GATES,
    {
        "bits": Metric("bits per byte of the test text", "bits", more=False),
        "information": Metric("information of kind of byte and expert", "nats"),
        "disagreement": Metric("disagreement of experts", "1 - cosine", more=None),
        "entropy": Metric("normalised entropy of the gate", more=None),
        "dead": Metric("experts without a byte", "share", more=False),
    },
    run,
    baselines=(EQUAL_FLOPS, EQUAL_PARAMETERS),
    rates=(1e-3, 3e-3, 1e-2),
    figures={
        "training loss": Curves("bits_by_step", _PLACES, "share of the steps", "bits per byte of the training text"),
        "routing by kind of byte": Table("routing", KINDS, "kind of byte"),
    },
)
