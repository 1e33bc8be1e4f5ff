"""A study that runs in seconds, with a score of its own, in a file as a user writes it."""

from dataclasses import dataclass

import torch

from gatewise.core.gates import GATES, Gate
from gatewise.core.links import Softmax
from gatewise.core.mixture import Measure, Mixture
from gatewise.core.scores import Affine
from gatewise.theory import Arm, Claim, Data, DataDrivenStarts, Model, NearTruth, Study, Uniform


@dataclass(frozen=True)
class Doubled(Affine):
    """Twice the affine score: a class that no worker can import."""

    def __call__(self, params, x):
        return 2.0 * super().__call__(params, x)

    def value_and_derivatives(self, params, x):
        local = super().value_and_derivatives(params, x)
        return local._replace(value=2.0 * local.value, jacobian=2.0 * local.jacobian)


def tensor(values):
    """Return float64."""
    return torch.tensor(values, dtype=torch.float64)


def truth(n):
    """A truth that drifts with n."""
    return Measure(
        ({"weight": tensor([[1.5], [0.0]]), "bias": tensor([0.3, 0.0])},),
        {"coef": tensor([[[1.5]], [[-1.0 - n**-0.5]]]), "intercept": tensor([[1.0], [-1.0]])},
        {"scale": tensor([[0.3], [0.4]])},
    )


PLAIN, OWN = Mixture((GATES["softmax"],), (2,)), Mixture((Gate(Doubled(), Softmax()),), (2,))
BOX = {"gates.0.weight": (-50.0, 50.0), "gates.0.bias": (-50.0, 50.0)}
SIZES = (100, 200, 400)
study = Study(
    "small",
    "A small study",
    "It shows that everything runs.",
    (
        Arm("plain", Data(PLAIN, truth), Model(PLAIN, box=BOX, min_scale=0.05), SIZES, 8, DataDrivenStarts(2)),
        Arm(
            "own", Data(PLAIN, truth, Uniform(-1.0, 1.0)), Model(OWN, min_scale=0.05), SIZES[:2], 4, NearTruth(0.1, 0.1)
        ),
    ),
    (Claim("plain", "loss exact", "equal", -0.5, 0.1, "this project", "own"),),
)
