"""An experiment whose records, each with its checksum, stand beside it.

    python tests/experiments/records_with_sums/make.py [FOLDER]

runs it with the gatewise that is installed. Do not do so to make `test_saved_records.py` pass: what an old version
wrote must stay readable as it is. Once records have another form, copy this file beside the records of that one.
"""

import sys
from pathlib import Path

import numpy as np

from gatewise.experiments import Experiment, Metric, run_experiment


def outcome(job):
    """The best rate is .1; "ll" is better than "ss" by one, with noise that seeds share."""
    noise = float(np.random.default_rng(job.seed).normal())
    gain = 1.0 if job.gate == "ll" else 0.0
    return {"validation": -abs(job.rate - 0.1), "error": noise - gain, "share": [0.25, 0.75], "moved": True}


METRICS = {"error": Metric("error", more=False)}
task = Experiment("kept", "Kept", "Read later.", ("a", "b"), ("ss", "ll"), METRICS, outcome, ("dense",), (0.01, 0.1))

if __name__ == "__main__":
    run_experiment(task, Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
