"""The applied experiments of the papers on data that anyone can have."""

from gatewise.experiments.ablations import ABLATIONS
from gatewise.experiments.clinical import CLINICAL
from gatewise.experiments.domains import DOMAINS
from gatewise.experiments.experiment import Experiment, Job, Measure, gates_of
from gatewise.experiments.multimodal_digits import MULTIMODAL
from gatewise.experiments.multimodal_watch import MULTIMODAL_WATCH
from gatewise.experiments.quadrants import QUADRANTS
from gatewise.experiments.runner import load, run
from gatewise.experiments.temperature import TEMPERATURE
from gatewise.experiments.vision import CIFAR, FASHION, VISION

EXPERIMENTS: dict[str, Experiment] = {
    experiment.name: experiment
    for experiment in (
        QUADRANTS,
        TEMPERATURE,
        VISION,
        FASHION,
        CIFAR,
        MULTIMODAL,
        MULTIMODAL_WATCH,
        CLINICAL,
        DOMAINS,
        ABLATIONS,
    )
}

__all__ = ["EXPERIMENTS", "Experiment", "Job", "Measure", "gates_of", "load", "run"]
