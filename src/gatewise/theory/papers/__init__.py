"""Studies of the papers as values: truths, fits, windows and the claims about them. Nothing runs on import."""

from collections.abc import Mapping
from types import MappingProxyType

from gatewise.theory.papers.contaminated import CONTAMINATED
from gatewise.theory.papers.cosine import COSINE_RATES
from gatewise.theory.papers.euclidean import EUCLIDEAN_SIGMOID
from gatewise.theory.papers.gaussian import LAPLACE_EXACT, LAPLACE_OVER, SOFTMAX_EXACT, SOFTMAX_OVER
from gatewise.theory.papers.hierarchical import HIERARCHICAL_RATES
from gatewise.theory.papers.levels import THREE_LEVELS
from gatewise.theory.papers.multinomial import MULTINOMIAL_LOGIT
from gatewise.theory.papers.normalised import NORMALISED_SIGMOID
from gatewise.theory.papers.published import PUBLISHED_DENDROGRAM, PUBLISHED_LAPLACE, PUBLISHED_SOFTMAX
from gatewise.theory.papers.quadratic import QUADRATIC_RATES
from gatewise.theory.papers.regimes import CROSSED_GATES, REGIME_2_ATTAINED
from gatewise.theory.papers.score import GAUSSIAN_SCORE
from gatewise.theory.papers.shared import INPUT_FREE
from gatewise.theory.papers.sigmoid import SIGMOID_RATES
from gatewise.theory.papers.strong import SOFTMAX_STRONG
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
    THREE_LEVELS,
    SOFTMAX_STRONG,
    MULTINOMIAL_LOGIT,
    INPUT_FREE,
    NORMALISED_SIGMOID,
    EUCLIDEAN_SIGMOID,
    GAUSSIAN_SCORE,
    COSINE_RATES,
    QUADRATIC_RATES,
    CONTAMINATED,
    PUBLISHED_SOFTMAX,
    PUBLISHED_LAPLACE,
    PUBLISHED_DENDROGRAM,
    TRAP_EARLY_STOP,
    TRAP_NEAR_START,
    TRAP_TEMPERATURE,
)

STUDIES: dict[str, Study] = {study.name: study for study in _ALL}

NO_STUDY: Mapping[str, str] = MappingProxyType(
    {
        "gaussian density gate, type I and II (2305.07572)": (
            "its rates are those of the joint density of inputs and response; studies fit the law of the response "
            "given the inputs, in which a common quadratic function can be added to all scores"
        ),
        "top-K gate (2309.13850)": (
            "its weights jump where another expert is kept, so that no maximum of its likelihood can be certified; "
            "laws with such a gate can be drawn and compared, not fitted"
        ),
    }
)
"""Models of the papers that no study is about, and why."""
