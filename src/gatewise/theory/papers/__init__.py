"""Studies of the papers as values: truths, fits, windows and the claims about them. Nothing runs on import."""

from gatewise.theory.papers.gaussian import LAPLACE_EXACT, LAPLACE_OVER, SOFTMAX_EXACT, SOFTMAX_OVER
from gatewise.theory.papers.hierarchical import HIERARCHICAL_RATES
from gatewise.theory.papers.published import PUBLISHED_DENDROGRAM, PUBLISHED_LAPLACE, PUBLISHED_SOFTMAX
from gatewise.theory.papers.regimes import CROSSED_GATES, REGIME_2_ATTAINED
from gatewise.theory.papers.sigmoid import SIGMOID_RATES
from gatewise.theory.papers.temperature import TEMPERATURE_RATES
from gatewise.theory.papers.traps import TRAP_EARLY_STOP, TRAP_NEAR_START, TRAP_TEMPERATURE
from gatewise.theory.study import Study

__all__ = ["NO_STUDY", "STUDIES"]

_ALL = (
    SOFTMAX_EXACT,
    SOFTMAX_OVER,
    LAPLACE_EXACT,
    LAPLACE_OVER,
    TEMPERATURE_RATES,
    SIGMOID_RATES,
    REGIME_2_ATTAINED,
    CROSSED_GATES,
    HIERARCHICAL_RATES,
    PUBLISHED_SOFTMAX,
    PUBLISHED_LAPLACE,
    PUBLISHED_DENDROGRAM,
    TRAP_EARLY_STOP,
    TRAP_NEAR_START,
    TRAP_TEMPERATURE,
)

STUDIES: dict[str, Study] = {study.name: study for study in _ALL}

NO_STUDY: tuple[str, ...] = (
    "gaussian-score gate",
    "gaussian density gate, type I and II (2305.07572)",
    "softmax gate, strongly identifiable experts by maximum likelihood (2505.10860)",
    "shared experts, input-free weights (2505.10860)",
    "normalised sigmoid gate, sparse and dense (2505.10860)",
    "contaminated mixture (2505.18455)",
    "cosine and perturbed cosine gate (2405.14131)",
    "quadratic gates (2410.11222)",
    "top-K gate (2309.13850)",
    "multinomial logit experts (2310.14188, 2602.01466)",
    "euclidean sigmoid gate (2602.01466)",
)
