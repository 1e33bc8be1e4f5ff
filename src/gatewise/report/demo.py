"""The demonstration: classic data, gates side by side, and what each fit may claim."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

from gatewise.estimators import MixtureOfExpertsRegressor
from gatewise.estimators.names import names_of
from gatewise.estimators.warnings import FitWarning
from gatewise.report.facts import Fitted, gate_phrase
from gatewise.report.page import Page, Section

Choice = tuple[Any, Any]  # n_experts, gate


class DemoCase(NamedTuple):
    """One data set of the demonstration.

    Attributes
    ----------
    name : str
        Of the data set.
    title, about, reading : str
    labels : (str, str)
        Of input and response, with units.
    choices : tuple of (n_experts, gate)
    target : str
    options : dict
        Further arguments of the regressor.
    """

    name: str
    title: str
    about: str
    reading: str
    labels: tuple[str, str]
    choices: tuple[Choice, ...]
    target: str
    options: dict[str, Any] = {}  # noqa: RUF012 (a literal that nobody changes)


CASES = (
    DemoCase(
        "tone",
        "Tone perception: two ways of hearing",
        "A musician tuned a tone to one octave above a tone with stretched overtones. Some answers follow the stretch "
        "(the line with slope one), others stay at the true octave (the flat line at two). Two experts describe the "
        "data; the fits differ in how the gate depends on the input.",
        "All four gates are fitted to the same data. Dense-to-sparse divides the scores of a softmax gate by a "
        "temperature. Temperature and size of the weights are not identified separately, so the temperature is fixed "
        "at 1, the log-likelihood equals that of softmax, and the status is unidentified. With an activation inside "
        "the score, the weight of an expert may rise and fall again along the input.",
        ("stretch ratio of the overtones", "tuned ratio"),
        ((2, "softmax"), (2, "laplace"), (2, "dense-to-sparse"), (2, "activation-dense-to-sparse")),
        "tuned",
    ),
    DemoCase(
        "mcycle",
        "Motorcycle impact: a hierarchy of gates",
        "Head acceleration after a simulated impact: calm, a plunge, a rebound, and rest. Four experts, first with one "
        "gate and then in a hierarchy with a gate at the root and a gate in each branch.",
        "The phases follow each other in time, so a softmax gate can switch at one instant: the likelihood grows with "
        "the slope, which has no finite estimate. The score of a Laplace gate changes by at most one per millisecond "
        "(standardize=False keeps the units of the data), so it switches more gradually. If the status is separated "
        "or unidentified, the notes list the parameters without a unique finite estimate.",
        ("time after impact (ms)", "head acceleration (g)"),
        (
            (4, "softmax"),
            ((2, 2), ("softmax", "softmax")),
            ((2, 2), ("softmax", "laplace")),
            ((2, 2), ("laplace", "laplace")),
        ),
        "accel",
        {"standardize": False},
    ),
    DemoCase(
        "co2",
        "Carbon dioxide and national product: few observations",
        "CO2 emissions against national product per head for 28 countries in 1996. In some countries emissions are "
        "proportional to the product; in others they hardly depend on it.",
        "With 28 countries the data do not distinguish the gates: their log-likelihoods are within one unit of each "
        "other. Many starts end at other optima, as the bottom panels show.",
        ("national product per head (unit not stated)", "CO2 per head (unit not stated)"),
        ((2, "softmax"), (2, "laplace"), (2, "dense-to-sparse")),
        "CO2",
    ),
    DemoCase(
        "npreg",
        "Counts: a mixture of Poisson regressions",
        "Simulated counts from two Poisson regressions, one rising and one falling with x. The experts give the mean "
        "of the count on a log scale.",
        "The components cross, and points near the crossing are mixed in colour: their responsibilities are divided. "
        "The gate of the simulation is constant, and the fitted gates change slowly.",
        ("x (simulated, no unit)", "count"),
        ((2, "softmax"), (2, "laplace"), (2, "dense-to-sparse")),
        "yp",
        {"family": "poisson"},
    ),
)


STARTS = 20
QUICK = ("tone", "npreg")  # what `gatewise demo --quick` shows


def run_case(
    case: DemoCase,
    data: Any,
    starts: int,
    tick: Callable[[str], None],
    progress: Callable[[str, int, int], None] | None = None,
) -> Section:
    """Fit every model of a case.

    Parameters
    ----------
    case : Case
    data : DataSet
        With `X`, `frame` and `source`.
    starts : int
    tick : callable
        Called with the label of each fit before it starts.
    progress : callable, optional
        Called with (stage, starts that have ended, starts) as a fit goes on.
    """
    fits = []
    for n_experts, gate in case.choices:
        label = describe(gate)
        tick(label)
        fits.append(_fit(case, data, n_experts, gate, starts, label, progress))
    return Section(case.title, case.about, fits, code(case, starts), data.source, case.reading)


def _fit(case: DemoCase, data: Any, n_experts: Any, gate: Any, starts: int, label: str, progress: Any) -> Fitted:
    model = MixtureOfExpertsRegressor(
        n_experts, gate, n_init=starts, random_state=0, verbose=progress or 0, **case.options
    )
    begun = time.perf_counter()
    y = data.frame[case.target]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FitWarning)  # the page shows the status
        model.fit(data.X, y)
    spent = time.perf_counter() - begun
    name, target = case.labels
    return Fitted(label, model.fit_, data.X, y, spent, names=[name], target=target, called=names_of(model))


def describe(gate: Any) -> str:
    """Return the gates of a model in words, with the initials of its levels when there are several.

    Examples
    --------
    >>> describe(("softmax", "laplace")), describe("softmax")
    ('SL: softmax over laplace', 'softmax')
    """
    if isinstance(gate, str):
        return gate
    return f"{''.join(level[0].upper() for level in gate)}: {gate_phrase(gate)}"


def code(case: DemoCase, starts: int) -> str:
    """Return Python that gives the same fits."""
    models = "".join(f"    ({n_experts!r}, {gate!r}),\n" for n_experts, gate in case.choices)
    options = "".join(f", {name}={value!r}" for name, value in case.options.items())
    return (
        "from gatewise import MixtureOfExpertsRegressor, data\n\n"
        f'{case.name} = data.load("{case.name}")\n'
        f"models = [\n{models}]\n"
        "for n_experts, gate in models:\n"
        f"    model = MixtureOfExpertsRegressor(n_experts, gate, n_init={starts}, random_state=0{options})\n"
        f'    model.fit({case.name}.X, {case.name}.frame["{case.target}"])  # warns when the status is a failure\n'
        "    print(gate, model.log_likelihood_, model.status_, model.bic())\n"
    )


def page(sections: list[Section], command: str, version: str) -> Page:
    """Return the demonstration's page."""
    lead = (
        f"{len(sections)} classic data sets, each fitted with several gates. The tables show how well each model fits, "
        "how many starts found the best value, and the status of the fit. A status other than 'converged' names a "
        "problem that the data or the model have."
    )
    return Page("gatewise: mixtures of experts with several gates", lead, sections, command, version)
