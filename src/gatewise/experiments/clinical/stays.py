"""Clinical stays of the user: irregular series, notes and images fused by experts, one label or many."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from gatewise.experiments.clinical.tables import EMBEDDINGS, PARTS, STAYS, Series, Stays, read_stays
from gatewise.experiments.experiment import FLAT, PAIRS, Experiment, Job, Metric, Outcome, Table
from gatewise.experiments.heads import MULTI_LABEL, has_both
from gatewise.experiments.multimodal.mfeat import modality_table
from gatewise.experiments.multimodal.models import BASELINES, EXPERTS, Gated, MultimodalSetting, build
from gatewise.experiments.train import seeded, standard, train
from gatewise.nn import TimeAttention, observe
from gatewise.nn.metrics import mutual_information

EPOCHS, BATCH, CHUNK = 10, 64, 256
SHORT = (256, 128, 256)  # stays of each part in a quick run
REFERENCES, TOKEN = 24, 32  # times at which modalities are fused, features of a token of the series
VARIANTS = {
    "joint router": "joint",
    "per-modality routers": "per-modality",
    "disjoint routers": "disjoint",
}


class Clinic(NamedTuple):
    """Stays ready for a model.

    Attributes
    ----------
    series : Series
        Every variable with mean 0 and deviation 1 over the training stays; those that these lack are left out.
    span : tuple of float
        First and last time at which modalities are fused, in hours: between them lie 99 % of the training points.
    x, there : dict of str to Tensor
        Embeddings ``(n, d)``, brought to the same scale, and where they are there ``(n,)``.
    y : Tensor (n, L)
    parts : tuple of Tensor
        Stays to train, to choose the rate and to test.
    names : tuple of str
        Of the labels.
    """

    series: Series
    span: tuple[float, float]
    x: dict[str, Tensor]
    there: dict[str, Tensor]
    y: Tensor
    parts: tuple[Tensor, ...]
    names: tuple[str, ...]


def prepared(stays: Stays) -> Clinic:
    """Return stays on a common scale; means, deviations, times and variables are those of the training stays.

    Raises
    ------
    ValueError
        If a file has too few training stays.
    """
    rows = torch.from_numpy(stays.split == 0).nonzero()[:, 0]
    x, there = {}, {}
    for name, one in stays.embeddings.items():
        there[name] = torch.from_numpy(one.there)
        known = rows[there[name][rows]]
        if len(known) < 2:
            raise ValueError(f"{name}.csv has {len(known)} training stays: give at least two, or remove the file")
        x[name] = standard(torch.from_numpy(one.values), known)
    parts = tuple(torch.from_numpy(stays.split == part).nonzero()[:, 0] for part in range(3))
    point = _points(stays.series, rows.numpy())
    if not point.any():
        raise ValueError("no training stay has events: give some in events.csv")
    span = tuple(float(one) for one in np.quantile(stays.series.times[point], (0.005, 0.995)))
    series, y = standard_series(stays.series, rows.numpy()), torch.from_numpy(stays.labels)
    return Clinic(series, (span[0], span[1]), x, there, y, parts, stays.names)


def unscored(data: Clinic, rows: Sequence[Tensor]) -> tuple[str, ...]:
    """Return, in words, the labels of which the stays of a part have one value: nothing is learned or scored there.

    Raises
    ------
    ValueError
        If these are all labels.
    """
    out = []
    for part, some in zip(PARTS, rows, strict=True):
        y = data.y[some].numpy()
        constant = [name for name, both in zip(data.names, has_both(y), strict=True) if not both]
        if len(constant) == len(data.names):
            raise ValueError(
                f"{STAYS}: the {len(y)} stays of the part {part} have one value of every label "
                f"({', '.join(constant)}), so nothing can be learned or scored: give both values to every part"
            )
        if constant:
            out.append(
                f"the {part} stays have one value of the label {', '.join(constant)}: not learned or scored there"
            )
    return tuple(out)


def _points(series: Series, rows: np.ndarray) -> np.ndarray:
    """Return which points are of some stays."""
    return np.isin(np.repeat(np.arange(len(series.start) - 1), np.diff(series.start)), rows)


def standard_series(series: Series, rows: np.ndarray) -> Series:
    """Return a series with mean 0 and deviation 1 of every variable over some stays.

    A variable that these never have is left out: nothing could be learned of it.
    """
    known = series.values[_points(series, rows)].astype(float)
    seen = ~np.isnan(known)
    count = seen.sum(0)
    mean = np.where(seen, known, 0).sum(0) / np.maximum(count, 1)
    spread = np.sqrt(np.where(seen, (known - mean) ** 2, 0).sum(0) / np.maximum(count - 1, 1))
    values = (series.values - mean) / np.where(spread > 0, spread, 1.0)
    names = tuple(name for name, many in zip(series.variables, count, strict=True) if many)
    return series._replace(values=values[:, count > 0].astype(np.float32), variables=names)


class ClinicalModel(nn.Module):
    """Series become tokens at reference times; all modalities are fused at each, and the scores averaged over them."""

    def __init__(self, gate: str, router: str, data: Clinic) -> None:
        super().__init__()
        times = torch.linspace(*data.span, REFERENCES)
        dims = {"events": TOKEN} | {name: x.shape[1] for name, x in data.x.items()}
        self.attend = TimeAttention(2 * len(data.series.variables), TOKEN, times)
        self.inner = build(gate, MultimodalSetting(dims, router, data.y.shape[1], MULTI_LABEL))

    def forward(self, series: tuple[Tensor, Tensor, Tensor], x: dict[str, Tensor], there: dict[str, Tensor]) -> Tensor:
        values, times, mask = series
        seen = mask.any(-1)
        token = self.attend(torch.cat([values, mask.to(values.dtype)], -1), times, seen)
        along = {name: value[:, None].expand(-1, REFERENCES, -1) for name, value in x.items()}
        present = {name: one[:, None].expand(-1, REFERENCES) for name, one in there.items()}
        events = seen.any(-1)[:, None].expand(-1, REFERENCES)
        return self.inner({"events": token} | along, {"events": events} | present).mean(1)


def scores(model: nn.Module, data: Clinic, rows: Tensor, device: str) -> Tensor:
    """Return what a model answers for some stays ``(n, L)``."""
    values, times, mask = (part.to(device) for part in data.series.padded(rows.cpu().numpy()))
    x, there = ({name: part[rows].to(device) for name, part in parts.items()} for parts in (data.x, data.there))
    return model((values, times, mask), x, there)


def load(folder: Path | None) -> Clinic:
    """Read a folder, or return what was read last if its files are the same: jobs follow one another.

    Raises
    ------
    FileNotFoundError, ValueError
        As `read_stays`.
    """
    files = [] if folder is None else sorted(Path(folder).glob("*.csv*"))
    return _loaded(folder, tuple((file.name, file.stat().st_mtime_ns, file.stat().st_size) for file in files))


@lru_cache(maxsize=1)
def _loaded(folder: Path | None, stamp: tuple[tuple[str, int, int], ...]) -> Clinic:
    return prepared(read_stays(folder))


def _drawn(rows: Tensor, few: int) -> Tensor:
    """Return a few rows, the same whenever: folders are often sorted."""
    return rows[torch.randperm(len(rows), generator=torch.Generator().manual_seed(0))[:few]]


def run(job: Job) -> Outcome:
    """Train one model; score it on the validation stays and, unless the rate is being chosen, on the test stays."""
    data = load(job.folder)
    rows = [_drawn(part, few) for part, few in zip(data.parts, SHORT, strict=True)] if job.quick else list(data.parts)
    notes = unscored(data, rows)
    generator = seeded(job.seed, 0)
    model = ClinicalModel(job.gate, VARIANTS[job.variant], data).to(job.device)
    y = data.y.to(job.device)
    fit = train(
        model,
        lambda part: MULTI_LABEL.loss(scores(model, data, part, job.device), y[part]),
        rows[0],
        epochs=1 if job.quick else EPOCHS,
        rate=job.rate,
        generator=generator,
        batch=BATCH,
    )
    out: dict[str, Any] = {"validation": MULTI_LABEL.score(answers(model, data, rows[1], job.device), y[rows[1]])}
    out["moved"] = fit.moved
    if not job.tuning:
        with observe(model, keep=True) as seen:
            given = answers(model, data, rows[2], job.device)
        out |= {**MULTI_LABEL.measures(given, y[rows[2]]), "loss": fit.loss, "notes": notes}
        if isinstance(model.inner, Gated) and model.inner.fusion.router != "joint":
            table = modality_table([torch.cat(calls).cpu() for calls in seen.index.values()], EXPERTS)
            out["routing"] = table.tolist()
            if model.inner.fusion.router == "per-modality":
                out["information"] = mutual_information(table)
    return out


@torch.no_grad()
def answers(model: nn.Module, data: Clinic, rows: Tensor, device: str) -> Tensor:
    """Return what a model answers for many stays."""
    return torch.cat([scores(model, data, few, device) for few in rows.split(CHUNK)])


CLINICAL = Experiment(
    "clinical",
    "Clinical stays: series, notes and images from a folder of the user",
    "No data are included. The folder given by --data-dir has stays.csv (stay_id; split, one of train, validation, "
    "test; one column of 0 and 1 for every label, such as one for death in hospital or 25 for phenotypes), "
    f"events.csv (stay_id, time in hours, variable, value) and optionally {' and '.join(EMBEDDINGS)} (stay_id and the "
    "columns of an embedding). Users with access from PhysioNet can export MIMIC-IV and eICU to this format. "
    f"Attention over time turns the series into tokens at {REFERENCES} times, with a flag for every observed "
    "variable. At each time the tokens are fused with the embeddings; flat gates select 2 of 8 experts, pairs of "
    "letters 2 of 8 in two groups of four. Scores are averaged over the times. There is one router for all "
    "modalities (joint), or one per modality with shared experts (per-modality) or separate experts (disjoint). "
    "Baselines have as many parameters as the mixture with flat gates. The split is that of the folder and the same "
    "for all seeds, so intervals over seeds reflect training only, not other patients. AdamW with a cosine "
    f"schedule, {EPOCHS} epochs, batch size {BATCH}. Results depend on the cohort and the export. The experiment has "
    "been tested on generated files only, and no result on clinical records is claimed.",
    tuple(VARIANTS),
    (*FLAT, *PAIRS),
    {
        "auroc": Metric("AUROC", "mean over labels"),
        "auprc": Metric("AUPRC", "mean over labels"),
        "f1": Metric("F1", "mean over labels"),
        "information": Metric("information of modality and shared expert", "nats", more=None),
    },
    run,
    baselines=BASELINES,
    rates=(3e-4, 1e-3, 3e-3),
    needs_folder=True,
    figures={"choices of experts by modality": Table("routing", (), "modality")},
)
