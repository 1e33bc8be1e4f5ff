"""BibTeX for a study: the study as it was run, and the papers that its claims come from."""

from __future__ import annotations

import re
from typing import NamedTuple

from gatewise import __version__
from gatewise.theory.protocol import registration
from gatewise.theory.study import Study

ARXIV = re.compile(r"\b\d{4}\.\d{5}\b")


class Paper(NamedTuple):
    """A paper of arXiv: authors as BibTeX wants them, and title."""

    authors: str
    title: str


PAPERS = {
    "2305.03288": Paper(
        "Nguyen, Huy and Nguyen, TrungTin and Ho, Nhat",
        "Demystifying Softmax Gating Function in {Gaussian} Mixture of Experts",
    ),
    "2305.07572": Paper(
        "Nguyen, Huy and Nguyen, TrungTin and Nguyen, Khai and Ho, Nhat",
        "Towards Convergence Rates for Parameter Estimation in {Gaussian}-gated Mixture of Experts",
    ),
    "2309.13850": Paper(
        "Nguyen, Huy and Akbarian, Pedram and Yan, Fanqi and Ho, Nhat",
        "Statistical Perspective of Top-{K} Sparse Softmax Gating Mixture of Experts",
    ),
    "2310.14188": Paper(
        "Nguyen, Huy and Akbarian, Pedram and Nguyen, TrungTin and Ho, Nhat",
        "A General Theory for Softmax Gating Multinomial Logistic Mixture of Experts",
    ),
    "2401.13875": Paper(
        "Nguyen, Huy and Akbarian, Pedram and Ho, Nhat",
        "Is Temperature Sample Efficient for Softmax {Gaussian} Mixture of Experts?",
    ),
    "2402.03226": Paper(
        "Han, Xing and Nguyen, Huy and Harris, Carl and Ho, Nhat and Saria, Suchi",
        "{FuseMoE}: Mixture-of-Experts Transformers for Fleximodal Fusion",
    ),
    "2405.13997": Paper(
        "Nguyen, Huy and Ho, Nhat and Rinaldo, Alessandro",
        "Sigmoid Gating is More Sample Efficient than Softmax Gating in Mixture of Experts",
    ),
    "2410.02935": Paper(
        "Nguyen, Huy and Han, Xing and Harris, Carl William and Saria, Suchi and Ho, Nhat",
        "On Expert Estimation in Hierarchical Mixture of Experts: Beyond Softmax Gating Functions",
    ),
    "2510.12744": Paper(
        "Do, Tien Hai and Nguyen Mai, Trung and Nguyen, TrungTin and Ho, Nhat and Nguyen, Binh T. and "
        "Drovandi, Christopher",
        "Dendrograms of Mixing Measures for Softmax-Gated {Gaussian} Mixture of Experts: Consistency without Model "
        "Sweeps",
    ),
}
"""Authors and titles that are known; others are cited by their number alone."""


def papers_of(study: Study) -> tuple[str, ...]:
    """Return the numbers at arXiv of the papers that the claims and exponents of a study come from."""
    sources = [claim.source for claim in study.claims] + [probe.source for probe in study.probes]
    return tuple(dict.fromkeys(number for source in sources for number in ARXIV.findall(source)))


def bibtex(*studies: Study) -> str:
    """Return a BibTeX entry for each study and one for each paper that their claims come from.

    Examples
    --------
    >>> from gatewise.theory import STUDIES
    >>> print(bibtex(STUDIES["softmax-exact"]).splitlines()[0])
    @software{gatewise-softmax-exact,
    """
    papers = dict.fromkeys(number for study in studies for number in papers_of(study))
    return "\n\n".join([*map(_study, studies), *map(_paper, papers)]) + "\n"


def _study(study: Study) -> str:
    note = f"Protocol {registration(study)}, seed {study.seed}"
    title = f"{{gatewise}} {__version__}, convergence study {study.name}: {study.title}"
    return _entry("software", f"gatewise-{study.name}", author="{gatewise developers}", title=title, note=note)


def _paper(number: str) -> str:
    known = PAPERS.get(number)
    named = {"author": known.authors, "title": known.title} if known else {"title": f"arXiv:{number}"}
    return _entry(
        "misc",
        f"arxiv-{number}",
        **named,
        year=f"20{number[:2]}",
        eprint=number,
        archiveprefix="arXiv",
        doi=f"10.48550/arXiv.{number}",
    )


def _entry(kind: str, key: str, **fields: str) -> str:
    lines = [f"  {name} = {{{value}}}," for name, value in fields.items()]
    return "\n".join([f"@{kind}{{{key},", *lines, "}"])
