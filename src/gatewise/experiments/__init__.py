"""The applied experiments of the papers, on freely available data.

`run_experiment` runs an entry of `EXPERIMENTS` or your own `Experiment`; `collect_experiment` reads the records. The
guide is ``docs/experiments.md``.
"""

from gatewise.experiments.ablations import ABLATIONS
from gatewise.experiments.clinical.stays import CLINICAL
from gatewise.experiments.compare import Interval, at_chosen_rates, difference, verdicts
from gatewise.experiments.domains.compare import DOMAINS
from gatewise.experiments.experiment import Curves, Experiment, Job, Metric, Table, gates_of
from gatewise.experiments.language import LANGUAGE
from gatewise.experiments.multimodal.digits import MULTIMODAL
from gatewise.experiments.multimodal.watch import MULTIMODAL_WATCH
from gatewise.experiments.packing import pack_experiments, unpack_experiments
from gatewise.experiments.quadrants import QUADRANTS
from gatewise.experiments.result import ExperimentResult, collect_experiment
from gatewise.experiments.runner import load_experiment, run_experiment
from gatewise.experiments.store import Record
from gatewise.experiments.store import read as read_records
from gatewise.experiments.temperature import TEMPERATURE
from gatewise.experiments.train import seeded, train
from gatewise.experiments.vision.images import CIFAR, FASHION, VISION

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
        LANGUAGE,
        ABLATIONS,
    )
}

__all__ = ["EXPERIMENTS", "Curves", "Experiment", "ExperimentResult", "Interval", "Job", "Metric", "Record", "Table"]
__all__ += ["at_chosen_rates", "collect_experiment", "difference", "gates_of", "load_experiment", "pack_experiments"]
__all__ += ["read_records", "run_experiment", "seeded", "train", "unpack_experiments", "verdicts"]
