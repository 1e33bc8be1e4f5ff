"""Population exponents of a study: each kept beside its records when it is computed, judged like its slopes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from itertools import chain
from math import inf, isinf
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from gatewise.fit.arguments import workers as workers_of
from gatewise.runs.records import append, read_lines
from gatewise.runs.threads import one_thread
from gatewise.runs.workers import spread
from gatewise.theory.claims import Probe, VerdictKind
from gatewise.theory.completion import completion
from gatewise.theory.population.exponent import Population, population_exponent
from gatewise.theory.population.moving import MovingTruth, moving_truth
from gatewise.theory.study import Study

if TYPE_CHECKING:
    from distributed import Client

STEADY = 0.5  # share of the tolerance that an exponent may still move between its last two values
LEAST = 0.9  # exponent below which the distance does not go to zero as a smooth one does
STILL = 0.5  # exponent below which the distance stays away from zero
FILE = "probes.jsonl"
TOO_FAR = "the truth lies outside the box, or displacements are too large"


class Probed(NamedTuple):
    """A probe, what is said about its claim, and the measurement (None: not run yet).

    Attributes
    ----------
    record : mapping or None
        ``eps``, ``distance`` (None: no search found a number), ``local`` exponents between neighbours (None: infinite),
        whether each is ``certified``, ``lacking`` (why the last one is not; absent from older records), ``text``, and
        ``failed`` if it cannot be computed. With sizes there are ``n`` and ``error`` in the place of the first two.
    """

    probe: Probe
    word: VerdictKind
    reason: str
    record: dict[str, Any] | None

    def local(self) -> list[float]:
        """Return the exponents between neighbours; none before it is measured."""
        return [] if self.record is None else [inf if e is None else e for e in self.record["local"]]

    def computed(self) -> bool:
        """Return whether it has been measured: not if there is no record, or one that says why it cannot be."""
        return self.record is not None and not self.record.get("failed")

    def excluded(self) -> bool:
        """Return whether its last distances are certified and stay: no fit near the truth may share atoms so."""
        if self.record is None or self.probe.sizes or len(self.local()) < 2:
            return False
        return max(self.local()[-2:]) < STILL and all(self.record["certified"][-2:])


def expected(probe: Probe) -> str:
    """Return the exponent that is claimed, in words."""
    return "infinite: not identified" if isinf(probe.value) else f"{probe.value:.4g} +- {probe.tolerance:g}"


def run_probes(
    study: Study,
    folder: str | Path,
    progress: Callable[[int, int], None] | None = None,
    *,
    workers: int | Client = 1,
    complete: bool = False,
) -> None:
    """Compute the population exponents of a study that a folder does not contain yet, and append each to the folder.

    Parameters
    ----------
    study : Study
    folder : str or Path
    progress : callable (done, total), optional
        Called each time one is computed, with numbers of exponents; those that the folder had before do not count.
    workers : int or distributed.Client
        Number of processes, with one thread each, or a client whose workers compute. Exponents are the same.
    complete : bool
        Whether to compute also what the study does not declare: exponents of all other parts of the same errors (other
        entries and cells, other true experts that fitted ones share), without which no exponent shows that an error is
        fast; and those of arms with as many experts as there are, by the information at the truth.

    Raises
    ------
    ValueError
        If `workers` is neither, or an exponent cannot be computed, with its name and the reason.

    Examples
    --------
    >>> import tempfile
    >>> from dataclasses import replace
    >>> from gatewise.theory import STUDIES, run_probes
    >>> study = replace(
    ...     STUDIES["softmax-exact"], claims=(), probes=()
    ... )  # exponents that a folder does not have are computed: here none
    >>> run_probes(study, tempfile.mkdtemp())
    """
    whose = workers_of("workers", workers)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    known = {key for key, record in _read(folder).items() if not record.get("failed")}
    declared = [probe for probe in study.probes if _key(probe) not in known]
    others = [probe for probe in completion(study) if _key(probe) not in known] if complete else []
    wanted = [*declared, *others]
    measured = chain(spread(_measured, declared, whose), spread(_measured_if_possible, others, whose))
    for done, record in enumerate(measured, 1):
        append(folder / FILE, [record])
        if progress is not None:
            progress(done, len(wanted))


def _measured(probe: Probe) -> dict[str, Any]:
    try:
        with one_thread():
            found = _moving(probe) if probe.sizes else _staying(probe)
    except ValueError as error:
        raise ValueError(f"exponent {probe.name!r}: {error}") from error
    if isinstance(found, MovingTruth):
        axis: dict[str, Any] = {"n": list(found.sizes), "error": _listed(found.error)}
    else:
        axis = {"eps": list(found.eps), "distance": _listed(found.distance)}
    judged = {"local": _listed(found.local), "certified": list(found.certified), "lacking": found.lacking}
    return {"probe": _key(probe), **axis, **judged, "text": found.text()}


def _measured_if_possible(probe: Probe) -> dict[str, Any]:
    """Return the record of an exponent that nobody has asked for by name: if it cannot be computed, with the reason."""
    try:
        return _measured(probe)
    except (ValueError, torch.linalg.LinAlgError) as error:  # type: ignore[attr-defined]
        axis, at = ("n", "error") if probe.sizes else ("eps", "distance")
        values = list(axis_of(probe)[1])
        gaps = len(values) - 1
        held = {"probe": _key(probe), "failed": True, axis: values, at: [None] * len(values)}
        return {**held, "local": [None] * gaps, "certified": [False] * gaps, "lacking": str(error), "text": str(error)}


def _listed(values: Sequence[float]) -> list[float | None]:
    """Return numbers that JSON can hold: None for infinite ones."""
    return [None if isinf(value) else value for value in values]


def _staying(probe: Probe) -> Population:
    data, model = probe.data, probe.model
    return population_exponent(
        data.mixture,
        data.at(1),
        model.mixture,
        probe.path,
        cells=probe.cells,
        atom=probe.atom,
        entry=probe.entry,
        eps=probe.eps,
        box=model.limits(),
        fixed=dict(model.fixed or {}),
        ratio=probe.ratio,
        inputs=probe.inputs,
        distance=_distance(probe),
        starts=probe.starts,
    )


def _moving(probe: Probe) -> MovingTruth:
    data, model = probe.data, probe.model
    return moving_truth(
        data.mixture,
        data.at,
        model.mixture,
        probe.path,
        sizes=probe.sizes,
        box=model.limits(),
        fixed=dict(model.fixed or {}),
        inputs=probe.inputs,
        distance=_distance(probe),
    )


def _distance(probe: Probe) -> str:
    return "l2" if probe.model.method == "ls" else "hellinger"


def _key(probe: Probe) -> str:
    """Return the name of a probe with a hash of all that decides its measurement."""
    truth = {path: value.tolist() for path, value in probe.data.at(1).paths().items()}
    moved = [(n, {path: value.tolist() for path, value in probe.data.at(n).paths().items()}) for n in probe.sizes]
    values: tuple[object, ...] = (
        probe.data.mixture,
        truth,
        probe.model.mixture,
        probe.model.method,
        probe.model.box,
        probe.path,
    )
    values += (probe.cells, probe.atom, probe.entry, probe.eps, probe.ratio, probe.inputs, probe.starts)
    if probe.model.fixed:
        values += ({path: value.tolist() for path, value in probe.model.fixed.items()},)
    values += (moved,) if moved else ()
    return f"{probe.name} {hashlib.sha256(repr(values).encode()).hexdigest()[:12]}"


def _read(folder: Path) -> dict[str, dict[str, Any]]:
    records = [line.record for line in read_lines(folder / FILE)]
    return {record["probe"]: record for record in records if record is not None}


def judge_probes(study: Study, folder: str | Path) -> tuple[Probed, ...]:
    """Return the verdict on every probe of a study from what its folder holds, undeclared ones if they are there.

    Supported iff the exponent between the two smallest displacements is certified and inside the claim (infinite iff
    the truth is attained at every displacement), and with sizes would still be after changing once more as between the
    last two; contradicted iff it is certified and outside, like the one before, on
    the same side, and not closer to the claim than that by more than half of the tolerance; unresolved otherwise.
    """
    held = _read(Path(folder))
    others = [probe for probe in completion(study) if _key(probe) in held]
    return tuple(_judge(probe, held.get(_key(probe))) for probe in (*study.probes, *others))


def _judge(probe: Probe, record: dict[str, Any] | None) -> Probed:
    found = Probed(probe, VerdictKind.unresolved, "not computed yet: run gatewise study probe", record)
    if record is None:
        return found
    *before, last = found.local()
    if not found.computed():
        return found._replace(reason=f"cannot be computed: {record['lacking']}")
    if not record["certified"][-1]:
        return found._replace(reason=f"{last:.3f} is not certified: {record.get('lacking') or 'use more starts'}")
    if isinf(last):
        still = "the standard errors do not fall" if probe.sizes else "the distance is zero at every displacement"
        word = VerdictKind.supported if isinf(probe.value) else _against(probe)
        return found._replace(word=word, reason=f"infinite: {still}")
    if last < LEAST and not probe.sizes:
        if found.excluded():
            why = f"the distance stays at {record['distance'][-1]:.2g}: no fit near the truth shares atoms so, or"
            return found._replace(reason=f"{last:.3f}: {why} {TOO_FAR}")
        why = TOO_FAR
        return found._replace(reason=f"{last:.3f}, but an exponent below one is impossible for a smooth density: {why}")
    name, at = axis_of(probe)
    said, further = f"{last:.3f} at {name} = {at[-1]:g}", "larger sizes" if probe.sizes else "smaller eps"
    if probe.sizes and not probe.data.moves:
        said = f"{last:.3f}, for the information at the truth is regular"
    if abs(last - probe.value) <= probe.tolerance and not (probe.sizes and _leaves(probe, [*before, last])):
        return found._replace(word=VerdictKind.supported, reason=said)
    if not before or not record["certified"][-2]:
        more = "sizes" if probe.sizes else "displacements or starts"
        return found._replace(reason=f"{last:.3f}, but a single exponent has no trend: use more {more}")
    towards = last - before[-1] if probe.value > last else before[-1] - last
    crossed = (probe.value > last) != (probe.value > before[-1])
    inside = abs(last - probe.value) <= probe.tolerance
    if inside or crossed or towards > STEADY * probe.tolerance:
        return found._replace(reason=f"{last:.3f} has not settled (before: {before[-1]:.3f}): use {further}")
    return found._replace(word=_against(probe), reason=said)


def _leaves(probe: Probe, local: Sequence[float]) -> bool:
    """Return whether exponents leave the claim if they change once more as they did last; a single one may."""
    return len(local) < 2 or not abs(2 * local[-1] - local[-2] - probe.value) <= probe.tolerance


def axis_of(probe: Probe) -> tuple[str, Sequence[float]]:
    """Return along what the exponents of a probe change, and where: displacements, or sizes if it has them."""
    return ("n", probe.sizes) if probe.sizes else ("eps", probe.eps)


def _against(probe: Probe) -> VerdictKind:
    return VerdictKind.differs if probe.standing == "recalled" else VerdictKind.contradicted
