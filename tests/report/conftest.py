import warnings

import numpy as np
import pandas as pd
import pytest
import torch

from gatewise import data
from gatewise.estimators.warnings import FitWarning
from gatewise.report import demo


@pytest.fixture(scope="session")
def section():
    """One small section: counts, two gates."""
    case = next(case for case in demo.CASES if case.name == "npreg")
    case = case._replace(choices=((2, "softmax"), (2, "dense-to-sparse")))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FitWarning)
        return demo.run_case(case, data.load("npreg"), 2, lambda label: None)


SERIES = {  # of the synthetic study: size of the error, slope, spread of its logarithm
    "loss exact": (3.0, -0.5, 0.3),
    "loss exact unweighted": (5.0, -0.48, 0.3),
    "experts.coef exact": (2.0, -0.5, 0.4),
    "experts.coef over": (1.5, -0.26, 0.3),
    "experts.coef over_largest": (2.5, -0.26, 0.3),
    "experts.intercept over": (1.2, -0.13, 0.4),
    "gates.0.weight over": (4.0, -0.24, 0.2),
    "gates.0.temperature exact": (1.0, -0.01, 0.3),
    "hellinger": (0.4, -0.5, 0.2),
}


def synthetic(replicates=60, sizes=(100, 300, 1000, 3000, 10_000, 30_000)):
    """A study without fits: errors with known slopes, and a claim for every verdict."""
    from gatewise.core.gates import GATES
    from gatewise.core.mixture import Measure, Mixture
    from gatewise.theory.arms import Arm, Data, DataDrivenStarts, Model, NearTruth
    from gatewise.theory.claims import Claim
    from gatewise.theory.result import StudyResult
    from gatewise.theory.study import Study
    from gatewise.theory.verdict import judge

    def arm(name, gate="softmax", starts=DataDrivenStarts(10), gauge="fixed", k=3):  # noqa: B008
        params = {"weight": torch.tensor([[1.0], [0.0]]), "bias": torch.zeros(2)}
        if gate == "dense-to-sparse":
            params["temperature"] = torch.ones(1)
        experts = {"coef": torch.tensor([[[1.0]], [[-1.0]]]), "intercept": torch.zeros(2, 1)}
        truth = Measure((params,), experts, {"scale": torch.ones(2, 1)})
        model = Model(Mixture((GATES[gate],), (k,)), min_scale=0.05, gauge=gauge)
        return Arm(name, Data(Mixture((GATES[gate],), (2,)), truth), model, sizes, replicates, starts)

    arms = (
        arm("softmax"),
        arm("softmax & co_2", k=2),
        arm("near", starts=NearTruth(0.005, 0.25)),
        arm("plain", gate="dense-to-sparse", gauge="none", k=2),
    )
    paper = "2305.03288, Theorem 2"
    claims = (
        Claim("softmax", "experts.coef over", "at_most", -0.25, 0.05, paper, "published"),
        Claim("softmax", "gates.0.weight over", "at_most", -0.125, 0.05, paper, "published"),
        Claim("softmax", "loss exact", "equal", -0.25, 0.05, "this project", "own"),
        Claim("softmax", "experts.intercept over", "equal", -0.5, 0.05, "2410.02935", "recalled"),
        Claim("softmax", "hellinger", "equal", -0.5, 0.05, paper, "published"),
        Claim("near", "experts.coef over", "equal", -0.3, 0.04, "2401.13875", "recalled"),
        Claim("plain", "gates.0.temperature exact", "slower_than_polynomial", 0.0, 0.1, "2401.13875", "recalled"),
        Claim("softmax", "experts.coef over", "difference", 0.0, 0.1, "this project", "own", "softmax & co_2"),
        Claim("softmax & co_2", "experts.coef exact", "equal", -0.5, 0.06, paper, "published"),
    )
    study = Study("synthetic", "Errors with known slopes", "Nothing was fitted.\n\nSecond paragraph.", arms, claims)
    frame = pd.concat([_errors(one, i) for i, one in enumerate(arms)], ignore_index=True)
    verdicts = tuple(judge(study, frame, claim) for claim in claims)
    return StudyResult(
        study,
        frame,
        verdicts,
        3,
        ("records.jsonl, line 7: torn, not used",),
        ("the claims were changed after the first run",),
        1234.5,
    )


def _errors(arm, seed):
    generator, parts = np.random.default_rng(seed), []
    for n in arm.sizes:
        at = {"arm": arm.name, "axis": n, "replicate": np.arange(arm.replicates), "n": n}
        factor = generator.standard_normal(arm.replicates)
        for name, (size, slope, spread) in SERIES.items():
            if ("temperature" in name) != (arm.name == "plain") and "gates" in name:
                continue
            own = generator.standard_normal(arm.replicates)
            at[name] = size * n**slope * np.exp(spread * (0.7 * factor + 0.7 * own) - spread**2 / 2)
        uncertified = np.arange(arm.replicates) == 7
        at["status"] = np.where(uncertified, "stalled", "converged")
        at["certified"], at["hits"], at["gap"] = ~uncertified, generator.integers(1, 11, arm.replicates), 0.5
        at["active"] = (generator.random(arm.replicates) < 30 / n).astype(int)
        at["empty"], at["ties"] = 0.0, 0.0
        if arm.name == "near":
            at["start"] = at["loss exact unweighted"] * np.exp(0.1 * generator.standard_normal(arm.replicates))
            at["moved"] = 0.3 * at["start"]
        parts.append(pd.DataFrame(at))
    return pd.concat(parts)


@pytest.fixture(scope="session")
def studied():
    """The result of a synthetic study."""
    return synthetic()
