"""Series of a watch as modalities: acceleration and angular velocity at irregular times, and a summary."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from gatewise.data.views import watch
from gatewise.experiments.domains.sets import WINDOW
from gatewise.experiments.experiment import FLAT, PAIRS, Experiment, Job, Outcome, Table
from gatewise.experiments.heads import MULTI_CLASS
from gatewise.experiments.multimodal.mfeat import (
    MEASURES,
    MODELS,
    RATES,
    Modalities,
    MultimodalCase,
    MultimodalTask,
    shortened,
    train_and_score,
    with_missing,
)
from gatewise.experiments.multimodal.models import BASELINES
from gatewise.experiments.train import DataSplit

EPOCHS = 10
KEPT = 30  # of the time points of a window
UNIT = 10.0  # time points of a fifth of a second, the unit of time
REFERENCES = tuple(at / UNIT for at in range(12, WINDOW, 25))
PROBE = 60  # every 60th window is one whose choices are kept to compare seeds
VALIDATION = 2  # persons
SERIES = {"acceleration": slice(0, 3), "angular velocity": slice(3, 6)}
SUMMARY = "summary"
TASKS = {
    "watch, nothing missing": MultimodalTask(0.0, "per-modality"),
    "watch, 30 % missing": MultimodalTask(0.3, "per-modality"),
    "watch, 30 % missing, joint router": MultimodalTask(0.3, "joint"),
    "watch, 30 % missing, disjoint routers": MultimodalTask(0.3, "disjoint"),
}


class Windows(NamedTuple):
    """Series ``(n, WINDOW, 3)`` of windows, their summaries ``(n, 10)``, exercises and wearers ``(n,)``."""

    series: dict[str, Tensor]
    summary: Tensor
    label: Tensor
    wearer: Tensor


@lru_cache(maxsize=1)
def windows(folder: Path | None) -> Windows:
    """Return the whole windows of all recordings; kept for the next job, as the file's checksum allows one content.

    Raises
    ------
    FileNotFoundError, ValueError
        As `gatewise.data.installed.contents`.
    """
    whole, label, wearer = watch(folder).windows(WINDOW)
    values = torch.as_tensor(whole, dtype=torch.float32)
    series = {name: values[..., part].contiguous() for name, part in SERIES.items()}
    return Windows(series, summary(series), torch.as_tensor(label), torch.as_tensor(wearer))


def summary(series: Mapping[str, Tensor]) -> Tensor:
    """Return mean, deviation, extremes and mean step of the lengths of the vectors ``(n, 10)``: no direction."""
    length = torch.stack([vectors.norm(dim=-1) for vectors in series.values()], -1)
    step = length.diff(dim=1).abs().mean(1)
    return torch.cat([length.mean(1), length.std(1), length.amin(1), length.amax(1), step], -1)


@lru_cache(maxsize=32)  # the seeds of a run: jobs of all gates ask for the same
def kept_points(n: int, seed: int, role: int) -> Tensor:
    """Return which time points of n windows stay ``(n, KEPT)``, ascending, in every window others, by seed and role."""
    generator = torch.Generator().manual_seed(30_000 + 10 * seed + role)
    return torch.rand(n, WINDOW, generator=generator).topk(KEPT, 1).indices.sort(1).values


def by_person(wearer: Tensor, seed: int) -> DataSplit:
    """Return the windows of the persons who train, choose the rate, and test: ten seeds test ten persons once each."""
    persons = wearer.unique()
    generator = torch.Generator().manual_seed(50_000 + seed)
    test = persons[seed % len(persons)]
    others = persons[persons != test]
    others = others[torch.randperm(len(others), generator=generator)]
    order = torch.randperm(len(wearer), generator=generator)
    who = wearer[order]
    return DataSplit(*(order[torch.isin(who, some)] for some in (others[VALIDATION:], others[:VALIDATION], test)))


def case(job: Job) -> MultimodalCase:
    """Return what a job trains on."""
    task, found = TASKS[job.variant], windows(job.folder)
    rows = shortened(by_person(found.wearer, job.seed), job.quick)
    points = {name: kept_points(len(found.label), job.seed, role) for role, name in enumerate(SERIES)}
    seen = {name: found.series[name].take_along_dim(at[..., None], 1) for name, at in points.items()}
    x, there = with_missing(seen | {SUMMARY: found.summary}, task.missing, job.seed, rows.train)
    x |= {name: torch.cat([at[..., None] / UNIT, x[name]], -1) for name, at in points.items()}
    data = Modalities(x, there, found.label, found.label)
    return MultimodalCase(data, rows, task.router, len(found.label.unique()), MULTI_CLASS, EPOCHS, PROBE, REFERENCES)


def run(job: Job) -> Outcome:
    """Train one model of windows and score it."""
    return train_and_score(job, case(job))


MULTIMODAL_WATCH = Experiment(
    "multimodal-watch",
    "Series of a watch: acceleration, angular velocity and a summary, some of them missing",
    "Ten persons did seven shoulder exercises with a watch on either arm (Burns et al. 2018, from the package "
    "seglearn). The task is to classify the exercise from two seconds. There are three modalities. Acceleration and "
    f"angular velocity are raw series, of which {KEPT} of {WINDOW} time points are kept (different ones in every "
    f"window and modality); attention over time, as in FuseMoE, turns them into tokens at {len(REFERENCES)} times. "
    "The third is a summary of the whole window: mean, standard deviation, extremes and mean step of the lengths of "
    "both vectors, without their directions. The modalities are fused at each time, with the same summary at all "
    "times, and the scores are averaged over the times. All models, including the baselines, use the same "
    "attention. Each modality of a window is missing with the stated probability, completely at random, in training "
    f"and test data alike, and at least one is kept. Persons are kept apart: each seed tests one person, {VALIDATION} "
    "others select the learning rate, and the rest are used for training. Ten seeds test each of the ten persons "
    "once, so an interval over seeds is an interval over persons. With fixed test persons it would reflect training "
    "only, because windows of a person are alike. There are two drawbacks. Settings selected by validation (one of "
    "three learning rates, and once the settings named at the end) are selected on persons whom other seeds test, "
    "for all gates alike; and training sets of different seeds share persons, so the ten differences are not quite "
    "independent. More than ten seeds test the same persons again, and their intervals are too narrow. Missing "
    f"modalities and dropped times are drawn again for every seed and are the same for all gates. {MODELS} {EPOCHS} "
    "epochs. The number of times, the unit of time and the number of epochs were chosen by the validation scores of "
    "two models and by the cost of ten seeds; more epochs improve both a little. Seven exercises of ten persons say "
    "nothing about patients, and modalities in a hospital are not missing at random.",
    tuple(TASKS),
    (*FLAT, *PAIRS),
    {name: measure for name, measure in MEASURES.items() if name not in ("auprc", "mae", "correlation")},
    run,
    baselines=BASELINES,
    rates=RATES,
    needs=("watch",),
    figures={"choices of experts by modality": Table("routing", (*SERIES, SUMMARY), "modality")},
)
