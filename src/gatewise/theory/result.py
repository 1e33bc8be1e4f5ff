"""What a folder of records says: the table of fits, verdicts on every claim, and how the run went."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from gatewise.markup import lines, page
from gatewise.markup import table as html_table
from gatewise.theory.claims import Claim, wanted
from gatewise.theory.curves import table
from gatewise.theory.multiplicity import false_discovery_rates
from gatewise.theory.probes import Probed, expected, judge_probes
from gatewise.theory.store import declared, header, read, require_same, seconds, unknown_records
from gatewise.theory.study import Study
from gatewise.theory.truths import truths_outside_box
from gatewise.theory.verdict import Verdict, judge


class StudyResult(NamedTuple):
    """The results of a study.

    Attributes
    ----------
    study : Study
    frame : DataFrame
        One row per fit: arm, axis (n or its effective size), replicate, all series, status, certificate.
    verdicts : tuple of Verdict
        One per claim.
    probes : tuple of Probed
        One per population exponent.
    missing : int
        Number of fits that have not been run yet.
    faults : tuple of str
        Unreadable lines, and files written by another study.
    changed : tuple of str
        Claims, sizes or replicates that were changed after the first run.
    cpu : float
        Processor time of the fits in seconds.
    truths_outside_box : tuple of str
        True parameters outside the box of their arm, as sentences.
    made : dict or None
        The ``fingerprint`` and ``engine`` of the records, and the ``origin`` of the study.
    exploratory : StudyResult or None
        Of a confirmatory run: the result that it confirms.

    Examples
    --------
    >>> import tempfile
    >>> from dataclasses import replace
    >>> from gatewise.theory import STUDIES, NearTruth, Study, collect, run_study
    >>> arm = replace(STUDIES["softmax-exact"].arms[0], sizes=(100, 200), replicates=2, starts=NearTruth(0.1))
    >>> study = Study("tiny", "Two sizes", "Shows the calls.", (arm,))
    >>> folder = tempfile.mkdtemp()
    >>> _ = run_study(study, folder)
    >>> result = collect(study, folder)
    >>> len(result.frame), result.missing, result.verdicts
    (4, 0, ())
    """

    study: Study
    frame: pd.DataFrame
    verdicts: tuple[Verdict, ...]
    missing: int
    faults: tuple[str, ...]
    changed: tuple[str, ...]
    cpu: float
    probes: tuple[Probed, ...] = ()
    truths_outside_box: tuple[str, ...] = ()
    made: dict[str, Any] | None = None
    exploratory: StudyResult | None = None

    def text(self) -> str:
        """Return the verdicts as lines of text."""
        lines = [self._title(), *(f"warning: {word}" for word in self._warnings())]
        for v in self.verdicts:
            what = f"{v.claim.arm}, {v.claim.series}"
            what += f" less {v.claim.other} {v.claim.other_series}".rstrip() if v.claim.other else ""
            interval = f"{v.slope.value:+.3f} [{v.slope.low:+.3f}, {v.slope.high:+.3f}]"
            lines.append(f"{v.word}: {what}: {interval}, claimed {wanted(v.claim)} ({v.claim.standing}): {v.reason}")
            if v.settle:
                lines.append(f"    to settle it: {v.settle}")
            if self.exploratory is not None:
                lines.append(f"    in the exploratory run: {self.before(v.claim)}")
        for p in self.probes:
            lines.append(f"{p.word}: population exponent, {p.probe.name}: {p.reason}, claimed {expected(p.probe)}")
        return "\n".join(lines)

    def __repr__(self) -> str:
        return self.text()

    def _repr_html_(self) -> str:
        found = self.to_frame()
        shown = html_table({name: list(found[name]) for name in found}) if len(found) else ""
        probes = [f"{p.word}: population exponent, {p.probe.name}: {p.reason}" for p in self.probes]
        return page(self._title(), lines(f"Warning: {word}" for word in self._warnings()), shown, lines(probes))

    def to_frame(self) -> pd.DataFrame:
        """Return a data frame with a row per claim: what is claimed, the verdict, the slope and its interval, why.

        ``false discovery rate`` is that of `false_discovery_rates`; of a confirmatory run, ``exploratory`` is the
        verdict of the run that it confirms. The fits themselves are in `frame`.
        """
        columns = ("arm", "series", "less", "claimed", "standing", "verdict", "slope", "low", "high", "reason")
        rows = [
            (v.claim.arm, v.claim.series, f"{v.claim.other} {v.claim.other_series}".strip(), wanted(v.claim))
            + (v.claim.standing, str(v.word), v.slope.value, v.slope.low, v.slope.high, v.reason)
            for v in self.verdicts
        ]
        found = pd.DataFrame(rows, columns=list(columns))
        found["false discovery rate"] = false_discovery_rates(self.verdicts)
        if self.exploratory is not None:
            found["exploratory"] = [self.before(v.claim) for v in self.verdicts]
        return found

    def before(self, claim: Claim) -> str:
        """Return the verdict of the exploratory run on a claim, or that it was not made there."""
        found = [] if self.exploratory is None else self.exploratory.verdicts
        return next((str(v.word) for v in found if v.claim == claim), "not claimed")

    def _title(self) -> str:
        return f"{self.study.title}: {len(self.frame)} fits, {self.cpu:.0f} CPU s"

    def _warnings(self) -> list[str]:
        missing = [f"{self.missing} fits are missing, resume the study"] if self.missing else []
        return [*self.truths_outside_box, *self.changed, *self.faults, *missing]


def collect(study: Study, folder: str | Path, exploratory: StudyResult | None = None) -> StudyResult:
    """Read the records of a folder, and judge the claims of its study.

    Parameters
    ----------
    study : Study
    folder : str or Path
    exploratory : StudyResult, optional
        The result of an earlier run, whose verdicts stand beside those of this one.

    Returns
    -------
    StudyResult

    Raises
    ------
    ValueError
        If the folder holds no records of the study, an arm or the seed was changed after the run, or a claim refers to
        a series that was not recorded.

    Examples
    --------
    >>> import tempfile
    >>> from dataclasses import replace
    >>> from gatewise.theory import STUDIES, NearTruth, Study, collect, run_study
    >>> arm = replace(STUDIES["softmax-exact"].arms[0], sizes=(100, 200), replicates=2, starts=NearTruth(0.1))
    >>> study = Study("tiny", "Two sizes", "Shows the calls.", (arm,))
    >>> folder = tempfile.mkdtemp()
    >>> _ = run_study(study, folder)
    >>> result = collect(study, folder)
    >>> len(result.frame), result.missing
    (4, 0)
    """
    folder = Path(folder)
    contents = read(folder)
    if not contents.records:
        raise ValueError(f"{folder} holds no records: run the study first")
    require_same(folder, study)
    frame = table(contents)
    probes = judge_probes(study, folder)
    verdicts = tuple(judge(study, frame, claim, probes) for claim in study.claims)
    wanted_keys = sum(
        1
        for arm in study.arms
        for level in arm.levels()
        for r in range(arm.replicates)
        if (arm.name, level.axis, r) not in contents.records
    )
    return StudyResult(
        study,
        frame,
        verdicts,
        wanted_keys,
        contents.faults + unknown_records(folder),
        declared(folder, study),
        seconds(folder),
        probes,
        truths_outside_box(study),
        {name: header(folder)[name] for name in ("fingerprint", "engine", "origin")},
        exploratory,
    )
