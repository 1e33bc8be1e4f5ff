"""What is known about every data set shipped with gatewise: one literal each."""

from dataclasses import dataclass

_MIXTOOLS = "GPL-2.0-or-later (R package mixtools 2.0.0)"
_FLEXMIX = "GPL-2.0-or-later (R package flexmix 2.3-18)"


@dataclass(frozen=True)
class Description:
    """Description of a data set that comes with gatewise: contents, usual model, and origin.

    Attributes
    ----------
    name, file : str
        The name for `load`, and the file under ``gatewise/data/files``.
    n : int
        Number of rows.
    columns : tuple of str
        All columns of the file, in order.
    target : str
        The usual response.
    features : tuple of str
        The usual inputs.
    about : str
        What was measured, with units.
    source : str
        The original publication.
    licence : str
        Licence as an SPDX expression, and whose it is; ``SOURCES.md`` gives details.
    sha256 : str
        Checksum of the file.

    Examples
    --------
    >>> from gatewise.data import describe
    >>> tone = describe("tone")
    >>> tone.n, tone.target, tone.features
    (150, 'tuned', ('stretchratio',))
    """

    name: str
    file: str
    n: int
    columns: tuple[str, ...]
    target: str
    features: tuple[str, ...]
    about: str
    source: str
    licence: str
    sha256: str


_ENTRIES = (
    Description(
        name="ais",
        file="ais.csv",
        n=202,
        columns=("sex", "sport", "RCC", "WCC", "Hc", "Hg", "Fe", "BMI", "SSF", "Bfat", "LBM", "Ht", "Wt"),
        target="Bfat",
        features=("BMI",),
        about="Australian athletes: blood counts and body measures. Body fat (percent) against body "
        "mass index (kg/m^2) is two lines, one for each sex.",
        source="Telford and Cunningham (1991), Medicine and Science in Sports and Exercise 23, 788-794; "
        "Cook and Weisberg (1994), An Introduction to Regression Graphics",
        licence="GPL-2.0-only OR GPL-3.0-only (R package sn 2.1.0)",
        sha256="b61c5316ce571a9b5b51d61d4c012e5b0c209a71f205d0f0551e648f7325aae5",
    ),
    Description(
        name="co2",
        file="co2.csv",
        n=28,
        columns=("GNP", "CO2", "country"),
        target="CO2",
        features=("GNP",),
        about="Carbon dioxide emission against gross national product per head, 28 countries in 1996.",
        source="Hurn, Justel and Robert (2003), Journal of Computational and Graphical Statistics 12, 55-79",
        licence=_MIXTOOLS,
        sha256="4a67601fffc116c60e685afa6809b323910b1cc99e7a7b407068131206894ece",
    ),
    Description(
        name="ethanol",
        file="ethanol.csv",
        n=88,
        columns=("NO", "Equivalence"),
        target="Equivalence",
        features=("NO",),
        about="A single-cylinder engine burning ethanol: equivalence ratio (richness of the mixture) against "
        "the concentration of nitric oxide in the exhaust.",
        source="Brinkman (1981), SAE Technical Paper 810345",
        licence=_MIXTOOLS,
        sha256="e72710aede9bce86edb307c0317fd5c6154203f40bead211fc8feb45c065d86b",
    ),
    Description(
        name="mcycle",
        file="mcycle.csv",
        n=133,
        columns=("times", "accel"),
        target="accel",
        features=("times",),
        about="A simulated motorcycle accident: head acceleration (g) against time after impact (ms).",
        source="Schmidt, Mattern and Schueler (1981), University of Heidelberg; Silverman (1985), Journal of "
        "the Royal Statistical Society, Series B 47, 1-52",
        licence="GPL-2.0-only OR GPL-3.0-only (R package MASS 7.3-58.2)",
        sha256="1303710411a874f7fe90e588a67e3fc2f098b903b0ea96c1ab9c719dafd8d068",
    ),
    Description(
        name="npreg",
        file="npreg.csv",
        n=200,
        columns=("x", "yn", "yp", "yb", "class", "id1", "id2"),
        target="yn",
        features=("x",),
        about="Simulated from two components: a normal (yn), a Poisson (yp) and a binomial (yb) response to "
        "x, the true component (class), and two groupings of the rows (id1, id2).",
        source="Leisch (2004), Journal of Statistical Software 11(8)",
        licence=_FLEXMIX,
        sha256="1ad9339891c40fbe77652535cdf3f22ccfd77b4762b2254eb3f87e072a5e4aa6",
    ),
    Description(
        name="nregfix",
        file="nregfix.csv",
        n=200,
        columns=("x1", "x2", "w", "y", "class"),
        target="y",
        features=("x1", "x2"),
        about="Simulated from three components: a normal response to x1 and x2, component probabilities that "
        "depend on w, and the true component (class).",
        source="Gruen and Leisch (2008), Journal of Statistical Software 28(4)",
        licence=_FLEXMIX,
        sha256="5519aeb58b6fc4d47d477085e0ccae6e5d101fb9ba2426540833864e46d4c801",
    ),
    Description(
        name="tempanomalies",
        file="tempanomalies.csv",
        n=136,
        columns=("Year", "AnnualAnomaly", "5-YearMean"),
        target="AnnualAnomaly",
        features=("Year",),
        about="Global annual temperature anomaly (degrees Celsius), 1880 to 2015. The five-year mean is "
        "coded -99.99 where it does not exist, in the first and last two years.",
        source="NASA Goddard Institute for Space Studies; Hansen, Ruedy, Sato and Lo (2010), Reviews of "
        "Geophysics 48, RG4004",
        licence="GPL-3.0-or-later (R package meteorits 0.1.1); the source's tables are a work of the US government",
        sha256="df1268b17082b75c9919912bcf0dbe787f98887ca4385efec95af26fd3adda6f",
    ),
    Description(
        name="tone",
        file="tone.csv",
        n=150,
        columns=("stretchratio", "tuned"),
        target="tuned",
        features=("stretchratio",),
        about="A musician tunes a tone to the octave above a stretched one: ratio of the tuned tone to the "
        "fundamental against the stretching of the overtones. Two ways of tuning, two lines.",
        source="Cohen (1980), Inharmonic tone perception, dissertation, Stanford University; de Veaux "
        "(1989), Computational Statistics and Data Analysis 8, 227-245",
        licence=_MIXTOOLS,
        sha256="4cab22eee3892a5d03a649809ea90fb2592c3acbcf2afdc63e58210269aa658b",
    ),
)

CATALOGUE = {entry.name: entry for entry in _ENTRIES}
