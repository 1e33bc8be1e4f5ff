"""Several modalities, some missing, fused by experts behind joint, own or disjoint routers: what all such data share.

The data are a value, `MultimodalCase`; `train_and_score` runs one job of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from statistics import fmean
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from gatewise.experiments.experiment import Job, Metric, Outcome
from gatewise.experiments.heads import Head
from gatewise.experiments.multimodal.models import EXPERTS, MultimodalSetting, build
from gatewise.experiments.specialise import disagreement, information
from gatewise.experiments.train import DataSplit, seeded, standard, train
from gatewise.nn import FusionMoE, observe
from gatewise.nn.metrics import domain_table, mutual_information

BATCH = 128
SHORT = (256, 128, 256)  # rows of each part in a quick run
RATES = (1e-3, 3e-3, 1e-2, 3e-2)
MEASURES = {
    "accuracy": Metric("test accuracy"),
    "auroc": Metric("AUROC", "mean over classes or labels"),
    "auprc": Metric("AUPRC", "mean over labels"),
    "f1": Metric("F1", "mean over classes or labels"),
    "mae": Metric("mean absolute error", "standard deviations", more=False),
    "correlation": Metric("correlation"),
    "information": Metric("information of modality and shared expert", "nats", more=None),
    "class_information": Metric("information of class and expert", "nats"),
    "disagreement": Metric("disagreement of experts", "1 - cosine", more=None),
}
MODELS = (
    "Flat gates select 2 of 8 experts with 32 hidden units; pairs of letters select 2 of 8 in two groups of four. "
    "There is one router for all modalities (joint), or one per modality with shared experts (per-modality, with "
    "the entropy loss, weight .01) or separate experts (disjoint). Joint and disjoint models use the balancing loss "
    "of importance and load, weight .01. Baselines have two hidden layers and as many parameters as the mixture "
    "with flat gates: the concatenation of all modalities with zeros and masks (concatenation), and one network per "
    "modality whose log probabilities are averaged over the modalities present (late fusion). AdamW with a cosine "
    f"schedule, batch size {BATCH}."
)


class MultimodalTask(NamedTuple):
    """A variant: the share of modalities that are missing, the router, the kind of answers."""

    missing: float
    router: str
    answers: str = "class"


class Modalities(NamedTuple):
    """Objects seen in several ways.

    Attributes
    ----------
    x, there : dict of str to Tensor
        Features ``(n, d)`` or series ``(n, T, 1 + c)``, times first, and where they are there ``(n,)``, by modality.
    y : Tensor
        Answers: classes ``(n,)``, labels ``(n, L)`` or numbers ``(n, 1)``.
    label : Tensor (n,)
        Classes, to tell what experts stand for.
    """

    x: dict[str, Tensor]
    there: dict[str, Tensor]
    y: Tensor
    label: Tensor

    def scores(self, model: nn.Module, rows: Tensor) -> Tensor:
        """Return what a model answers for some rows."""
        return model({name: x[rows] for name, x in self.x.items()}, {name: t[rows] for name, t in self.there.items()})

    def to(self, device: str) -> Modalities:
        """Return the same on a device."""
        x, there = ({name: value.to(device) for name, value in part.items()} for part in (self.x, self.there))
        return Modalities(x, there, self.y.to(device), self.label.to(device))


class MultimodalCase(NamedTuple):
    """What a job trains on and answers.

    Attributes
    ----------
    data : Modalities
    rows : Split
    router : str
    outputs : int
    head : Head
    epochs : int
    probe : int
        Every so-many-th row is one whose choices are kept to compare seeds.
    references : tuple of float
        Times at which series are fused with the other modalities; empty without series.
    """

    data: Modalities
    rows: DataSplit
    router: str
    outputs: int
    head: Head
    epochs: int
    probe: int
    references: tuple[float, ...] = ()


def absent(n: int, modalities: int, share: float, seed: int) -> Tensor:
    """Return which modalities are there ``(n, M)``: each is missing with a probability, at random; one always stays.

    It depends on the seed alone, so all gates miss the same.
    """
    generator = torch.Generator().manual_seed(20_000 + seed)
    there = torch.rand(n, modalities, generator=generator) >= share
    kept = torch.randint(modalities, (n,), generator=generator)
    empty = ~there.any(1)
    there[empty, kept[empty]] = True
    return there


def with_missing(
    values: Mapping[str, Tensor], share: float, seed: int, rows: Tensor
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return modalities of mean 0 and deviation 1 over those training rows in which they are there, and where that is.

    Parameters
    ----------
    values : mapping of str to Tensor (n, *, d)
    share, seed :
        See `absent`.
    rows : Tensor
        The training rows.
    """
    table = absent(len(next(iter(values.values()))), len(values), share, seed)
    there = dict(zip(values, table.T, strict=True))
    return {name: standard(value, rows[there[name][rows]]) for name, value in values.items()}, there


def shortened(rows: DataSplit, quick: bool) -> DataSplit:
    """Return the parts, of a quick run their first few rows."""
    return DataSplit(*(part[:few] for part, few in zip(rows, SHORT, strict=True))) if quick else rows


def train_and_score(job: Job, case: MultimodalCase) -> Outcome:
    """Train one model; score it on the validation rows and, unless the rate is being chosen, on the test rows."""
    data, rows, head = case.data.to(job.device), case.rows, case.head
    generator = seeded(job.seed, 0)
    model = build(job.gate, MultimodalSetting.of(data.x, case.router, case.outputs, head, case.references)).to(
        job.device
    )
    fit = train(
        model,
        lambda part: head.loss(data.scores(model, part), data.y[part]),
        rows.train,
        epochs=1 if job.quick else case.epochs,
        rate=job.rate,
        generator=generator,
        batch=BATCH,
    )
    with torch.no_grad():
        answers = {name: data.scores(model, part) for name, part in rows._asdict().items() if name != "train"}
    out: dict[str, Any] = {"validation": head.score(answers["validation"], data.y[rows.validation])}
    out["moved"] = fit.moved
    if not job.tuning:
        out |= {**head.measures(answers["test"], data.y[rows.test]), "loss": fit.loss}
        if fusions := [part for part in model.modules() if isinstance(part, FusionMoE)]:
            out |= routing(model, fusions[0], data, rows.test, case.probe)
    return out


@torch.no_grad()
def routing(model: nn.Module, fusion: FusionMoE, data: Modalities, rows: Tensor, probe: int) -> dict[str, Any]:
    """Return what the routers of a model's fusion did at some rows.

    "class_information" of class and expert, "disagreement", means over routers; unless there is one router for all
    modalities, "routing", the choices of every expert by modality. "information" is that of this table, where the
    modalities share experts: with experts of their own it would be the logarithm of their number. "choice", unless
    experts are disjoint, is the first expert of every `probe`-th row with all modalities, the same rows for every seed.
    """
    index = choices(model, fusion, data, rows)
    tokens = len(index[0]) // len(rows)  # of a row: as many as there are reference times
    label = data.label[rows].cpu().repeat_interleave(tokens)
    out: dict[str, Any] = {"class_information": fmean(information(one, label, EXPERTS) for one in index)}
    given = layer_inputs(model, fusion, data, rows)
    out["disagreement"] = fmean(disagreement(layer, x) for layer, x in zip(fusion.layers, given, strict=True))
    if fusion.router != "joint":
        table = modality_table(index, EXPERTS)
        out["routing"] = table.tolist()
        if fusion.router == "per-modality":
            out["information"] = mutual_information(table)
    if fusion.router != "disjoint":
        whole = data._replace(there={name: torch.ones_like(there) for name, there in data.there.items()})
        index = choices(model, fusion, whole, torch.arange(0, len(data.label), probe))
        out["choice"] = torch.cat(index)[:, 0].tolist()
    return out


@torch.no_grad()
def choices(model: nn.Module, fusion: FusionMoE, data: Modalities, rows: Tensor) -> list[Tensor]:
    """Return the experts ``(T, S)`` that every router chooses for some rows, -1 where a modality is missing."""
    with observe(fusion, keep=True) as seen:
        data.scores(model, rows)
    return [torch.cat(calls).cpu() for calls in seen.index.values()]


@torch.no_grad()
def layer_inputs(model: nn.Module, fusion: FusionMoE, data: Modalities, rows: Tensor) -> list[Tensor]:
    """Return the tokens ``(T, d)`` that every layer of experts gets, missing ones left out."""
    found: list[Tensor] = []

    def keep(_: nn.Module, given: tuple[Tensor, Tensor]) -> None:
        found.append(given[0][given[1]])

    hooks = [layer.register_forward_pre_hook(keep) for layer in fusion.layers]
    data.scores(model, rows)
    for hook in hooks:
        hook.remove()
    return found


def modality_table(index: list[Tensor], experts: int) -> Tensor:
    """Return how many choices every expert got from every modality ``(M, L)``; missing tokens have -1."""
    modality = torch.arange(len(index)).repeat_interleave(torch.tensor([len(one) for one in index]))
    return domain_table(torch.cat(index), modality, experts)
