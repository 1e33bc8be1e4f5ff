"""A study of three features, whose records, of version 2, stand beside it.

    python tests/theory/records_of_three/make.py [FOLDER]

runs it with the gatewise that is installed. Do not do so to make `test_saved_records.py` pass: what an old version
wrote must stay readable as it is. Once records have a new version, copy this file beside the records of that one.
"""

import json
import sys
from dataclasses import dataclass
from pathlib import Path

import torch

from gatewise import GATES, Affine, Gate, Measure, Mixture, Softmax
from gatewise.theory import Arm, Claim, Data, DataDrivenStarts, Model, NearTruth, Study, Uniform, collect, load_study
from gatewise.theory import run_study as run


@dataclass(frozen=True)
class Halved(Affine):
    """Half the affine score."""

    def __call__(self, params, x):
        return 0.5 * super().__call__(params, x)

    def value_and_derivatives(self, params, x):
        local = super().value_and_derivatives(params, x)
        return local._replace(value=0.5 * local.value, jacobian=0.5 * local.jacobian)


def tensor(values):
    """Return float64."""
    return torch.tensor(values, dtype=torch.float64)


def truth(n):
    """A truth that drifts with n."""
    slopes = [[[1.5, 0.5, -0.2]], [[-1.0 - n**-0.5, 0.0, 0.8]]]
    return Measure(
        ({"weight": tensor([[1.5, -0.5, 0.3], [0.0, 0.0, 0.0]]), "bias": tensor([0.3, 0.0])},),
        {"coef": tensor(slopes), "intercept": tensor([[1.0], [-1.0]])},
        {"scale": tensor([[0.3], [0.4]])},
    )


PLAIN, OWN = Mixture((GATES["softmax"],), (2,)), Mixture((Gate(Halved(), Softmax()),), (2,))
MORE = Mixture((GATES["softmax"],), (3,))
BOX = {"gates.0.weight": (-50.0, 50.0), "gates.0.bias": (-50.0, 50.0)}
DATA = Data(PLAIN, truth, Uniform(-1.0, 1.0, 3))
study = Study(
    "three",
    "A small study of three features",
    "Its records are kept, so that later versions are tested with them.",
    (
        Arm("plain", DATA, Model(PLAIN, box=BOX, min_scale=0.05), (100, 200, 300), 4, DataDrivenStarts(2)),
        Arm("own", DATA, Model(OWN, min_scale=0.05), (100, 200), 2, NearTruth(0.1, 0.1)),
        Arm("over", DATA, Model(MORE, box=BOX, min_scale=0.05), (100, 200), 2, DataDrivenStarts(2)),
    ),
    (Claim("plain", "loss exact", "equal", -0.5, 0.2, "this project", "own"),),
)


def answers(folder):
    """Return what the records say: the slope that is claimed, and the mean of every number of a curve."""
    found = collect(load_study(f"{__file__}:study"), folder)
    means = found.frame.groupby("arm").mean(numeric_only=True)
    columns = {name: [None if mean != mean else mean for mean in means[name]] for name in means}
    said = {"missing": found.missing, "faults": list(found.faults), "changed": list(found.changed)}
    return said | {"slope": found.verdicts[0].slope.value, "curves": list(means.index), "means": columns}


if __name__ == "__main__":
    where = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent
    run(load_study(f"{__file__}:study"), where)
    (where / "expected.json").write_text(json.dumps(answers(where), indent=1) + "\n", "utf-8")
