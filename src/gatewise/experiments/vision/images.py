"""Small images: one layer of experts as classifier, and a vision transformer with experts in every second block."""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gatewise.data.images import CLOTHES, DIGITS, THINGS, Images, images
from gatewise.experiments.experiment import FLAT, PAIRS, Experiment, Job, Metric, Outcome, Table
from gatewise.experiments.specialise import choices_of_layers, spread_of_layers
from gatewise.experiments.train import DataSplit, seeded, split_rows, train
from gatewise.experiments.vision.models import (
    EQUAL_FLOPS,
    EQUAL_PARAMETERS,
    OneLayer,
    TokenRouting,
    Transformer,
    VisionSetting,
)
from gatewise.nn import observe
from gatewise.nn.diagnostics import Observation
from gatewise.nn.finding import layers

ONE, MORE = "one layer", "transformer"
CHUNK, PROBE = 500, 1024  # rows of one pass in evaluation; tokens whose choices are kept to compare seeds
SHORT = (256, 128, 256)  # rows of each part in a quick run


def parts(data: Images, seed: int, quick: bool) -> DataSplit:
    """Return the rows to train, to choose the rate and to test: the set's own test part if it has one."""
    if data.train == len(data.label):
        found = split_rows(data.train, seed)
    else:
        own = split_rows(data.train, seed, test=0.0)
        found = DataSplit(own.train, own.validation, torch.arange(data.train, len(data.label)))
    if not quick:
        return found
    return DataSplit(*(rows[:few] for rows, few in zip(found, SHORT, strict=True)))


class Pictures(NamedTuple):
    """Images on a device, brought to mean 0 and standard deviation 1 per channel of the training rows."""

    pixels: Tensor
    label: Tensor
    mean: Tensor
    spread: Tensor

    def inputs(self, rows: Tensor) -> Tensor:
        """Return the images ``(n, channels, height, width)`` of some rows."""
        return (self.pixels[rows].float() - self.mean) / self.spread


def pictures(data: Images, rows: Tensor, device: str) -> Pictures:
    """Return the images of a set; `rows` are those to train on."""
    pixels, label = torch.from_numpy(data.pixels), torch.from_numpy(data.label)
    spread, mean = torch.std_mean(pixels[rows].float(), (0, 2, 3), keepdim=True)
    return Pictures(*(value.to(device) for value in (pixels, label, mean[0], spread[0])))


def run(setting: VisionSetting, job: Job) -> Outcome:
    """Train one model; score it on the validation rows and, unless the rate is being chosen, on the test rows."""
    data = images(setting.data, job.folder)
    split = parts(data, job.seed, job.quick)
    seen = pictures(data, split.train, job.device)
    generator = seeded(job.seed, 0)
    one = job.variant.endswith(ONE)
    model = (OneLayer if one else Transformer)(job.gate, setting, data.pixels.shape[1:], len(data.classes))
    model = model.to(job.device)
    fit = train(
        model,
        lambda rows: F.cross_entropy(model(seen.inputs(rows)), seen.label[rows]),
        split.train,
        epochs=1 if job.quick else setting.epochs[0 if one else 1],
        rate=job.rate,
        generator=generator,
        batch=setting.batch,
    )
    out: dict[str, Any] = {"validation": accuracy(model, seen, split.validation), "moved": fit.moved}
    if not job.tuning:
        out |= {"accuracy": accuracy(model, seen, split.test), "loss": fit.loss}
        if layers(model):
            out |= routing(model, seen, split.test, len(data.classes), setting.routing)
    return out


@torch.no_grad()
def accuracy(model: nn.Module, seen: Pictures, rows: Tensor) -> float:
    """Return the share of rows whose largest score is that of their class."""
    right = [(model(seen.inputs(few)).argmax(-1) == seen.label[few]).sum() for few in rows.split(CHUNK)]
    return float(torch.stack(right).sum()) / len(rows)


def watched(model: nn.Module, seen: Pictures, rows: Tensor) -> Observation:
    """Return what the layers of a model did at some rows."""
    with observe(model, keep=True) as found:
        accuracy(model, seen, rows)
    return found


def routing(model: nn.Module, seen: Pictures, rows: Tensor, classes: int, how: TokenRouting) -> dict[str, Any]:
    """Return the measures of the layers at some rows, means over layers, and of the last layer a table of choices.

    The tokens of an image have the class of the image. "choice" is the first expert of the first tokens of the whole
    set, the same tokens for every seed. Where all experts serve there is no choice to measure.
    """
    found = watched(model, seen, rows)
    both = spread_of_layers(model, found, seen.inputs(rows[:CHUNK]))
    if how.kept is None:  # all serve: which ones is no choice
        return both
    last = list(found.index)[-1]
    tokens = sum(map(len, found.index[last])) // len(rows)
    label = seen.label[rows].cpu().repeat_interleave(tokens)
    first = watched(model, seen, torch.arange(min(PROBE, len(seen.label)))).index[last]
    choice = torch.cat(first)[:PROBE, 0].tolist()
    return both | choices_of_layers(found, label, how.experts, classes) | {"choice": choice}


MEASURES = {
    "accuracy": Metric("accuracy on the test rows"),
    "information": Metric("information of class and expert", "nats"),
    "disagreement": Metric("disagreement of experts", "1 - cosine", more=None),
    "entropy": Metric("normalised entropy of the gate", more=None),
    "dead": Metric("experts without a token", "share", more=False),
}


def experiment(name: str, title: str, words: str, classes: tuple[str, ...], setting: VisionSetting) -> Experiment:
    """Return the experiment of one data set."""
    one, more = setting.epochs
    (outer, inner), kept, experts = setting.routing.groups, setting.routing.kept, setting.routing.experts
    return Experiment(
        name,
        f"Vision: {title}",
        f"{words} There are two models: one layer from pixels to classes, whose experts have {setting.hidden} GELU "
        f"units, and a vision transformer with {setting.blocks} blocks, {setting.dim} features, {setting.heads} heads "
        f"and patches of {setting.patch} x {setting.patch} pixels, with experts of {setting.dim} units in place of "
        f"every second feed-forward network. Flat gates select {kept} of {experts} experts; pairs of letters select "
        f"{kept} of the {experts} experts in {outer} groups of {inner} by the product of both gates. All mixtures "
        "use the balancing loss of importance and load, weight .1. The dense baselines match the mixtures in "
        f"multiplications or in parameters, within 5 %. AdamW with a cosine schedule, {one} epochs for the one layer "
        f"and {more} for the transformer, batch size {setting.batch}, no augmentation. In the routing metrics, "
        "patches have the class of their image. The runs are short and the models small: they compare gates on "
        "equal terms and say nothing about large or pretrained models.",
        (f"{title}, {ONE}", f"{title}, {MORE}"),
        (*FLAT, *PAIRS),
        MEASURES,
        partial(run, setting),
        baselines=(EQUAL_FLOPS, EQUAL_PARAMETERS),
        rates=(1e-3, 3e-3, 1e-2, 3e-2, 1e-1),
        needs=() if setting.data == "digits" else (setting.data,),
        figures={"routing by class": Table("routing", classes, "class")},
    )


DIGITS_SETTING = VisionSetting("digits", hidden=64, patch=2, dim=32, blocks=2, heads=4, epochs=(20, 20), batch=64)
FASHION_SETTING = VisionSetting(
    "fashion-mnist", hidden=128, patch=7, dim=64, blocks=4, heads=4, epochs=(5, 5), batch=128
)
CIFAR_SETTING = VisionSetting("cifar-10", hidden=256, patch=4, dim=128, blocks=6, heads=4, epochs=(20, 30), batch=128)

VISION = experiment(
    "vision",
    "digits",
    "The 1797 handwritten digits of scikit-learn (8 x 8 pixels; BSD-3-Clause, data of UCI). 15 % are the test data for "
    "all seeds. The other rows are split again for every seed: 70 % of all rows for training, 15 % for selecting the "
    "learning rate.",
    DIGITS,
    DIGITS_SETTING,
)
FASHION = experiment(
    "vision-fashion",
    "Fashion-MNIST",
    "Fashion-MNIST (28 x 28 grey pixels; MIT) with its own 10 000 test images. Of the other 60 000, 15 %, drawn "
    "again for every seed, are used for selecting the learning rate.",
    CLOTHES,
    FASHION_SETTING,
)
CIFAR = experiment(
    "vision-cifar",
    "CIFAR-10",
    "CIFAR-10 (32 x 32 colour pixels; no licence stated) from the user's folder, with its own 10 000 test images. Of "
    "the other 50 000, 15 %, drawn again for every seed, are used for selecting the learning rate.",
    THINGS,
    CIFAR_SETTING,
)
