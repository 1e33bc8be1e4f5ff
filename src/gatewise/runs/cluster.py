"""Work on pieces of data that lie on the workers of a Dask cluster: one task per worker thread, joined on its worker.

Pieces stay where they are. A work is sent out to every thread that has pieces near it and comes back as one result per
worker; a worker that is lost has its pieces made anew elsewhere, by Dask, and the work on them is done again.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import reduce
from typing import Any, NamedTuple, TypeVar

from gatewise.runs.threads import one_thread

T = TypeVar("T")
Work = Callable[[Any], T]

LOST = (
    "the connection to the Dask cluster is lost ({cause}) and the fit has ended without a result: start a scheduler "
    "and workers, and fit again; with the same checkpoint=path it goes on from the last pass"
)


class ClusterLostError(ConnectionError):
    """The scheduler is gone, the client was closed, or work was cancelled."""


class WorkersLostError(ConnectionError):
    """Workers ended again and again while they did one piece of work."""


class Lane(NamedTuple):
    """The thread of a worker, by the worker's address, and the pieces that it works on."""

    worker: str
    pieces: tuple[int, ...]


class Traffic(NamedTuple):
    """Passes so far, and bytes sent out to workers and back by all of them."""

    passes: int = 0
    out: int = 0
    back: int = 0


class ClusterLanes:
    """Pieces on the workers of a cluster.

    Parameters
    ----------
    client : distributed.Client
    pieces : sequence of Future
    weights : sequence of int
        Rows of every piece, by which threads share them.
    movable : bool
        Whether pieces are descriptions that are read anew, and may be worked on anywhere; else they are worked on where
        they are.
    """

    def __init__(self, client: Any, pieces: Sequence[Any], weights: Sequence[int], movable: bool) -> None:
        self.client, self.pieces, self.weights, self.movable = client, tuple(pieces), tuple(weights), movable
        self.traffic = Traffic()
        self._threads: dict[str, int] = {}
        self._lanes: tuple[Lane, ...] = ()

    def fold(self, work: Work[T], join: Callable[[T, T], T]) -> T:
        """Return what a work on every piece gives, joined: on each thread, on each worker, and here."""
        with in_words():
            parts = [self._submitted(lane, work, join) for lane in self.lanes()]
            by_worker: dict[str, list[Any]] = {}
            for worker, part in parts:
                by_worker.setdefault(worker, []).append(part)
            ends = [
                some[0] if len(some) == 1 else self._near(worker, _joined, some, join)
                for worker, some in by_worker.items()
            ]
            found = self.client.gather(ends)
        self._count(len(parts) * len(pickle.dumps((work, join))), found)
        return reduce(join, found)

    def each(self, works: Mapping[int, Work[T]]) -> list[T]:
        """Return what works on some pieces give, in the order of the mapping."""
        with in_words():
            return self.client.gather(
                [self.client.submit(_done, self.pieces[i], w, pure=False) for i, w in works.items()]
            )

    def lanes(self) -> tuple[Lane, ...]:
        """Return who works on what, laid anew when the workers have changed."""
        require_open(self.client)
        threads = {str(worker): int(count) for worker, count in self.client.nthreads().items()}
        if not threads:
            raise ClusterLostError(LOST.format(cause="it has no workers"))
        if threads != self._threads:
            self._lanes = shared_out(threads, self.weights, None if self.movable else self._places())
            self._threads = threads
        return self._lanes

    def _places(self) -> list[str]:
        """Return the worker that has each piece, once all of them are there."""
        self.client.gather([self.client.submit(_nothing, piece, pure=False) for piece in self.pieces])
        found = self.client.who_has(self.pieces)
        return [min(found[piece.key]) if found.get(piece.key) else "" for piece in self.pieces]

    def _submitted(self, lane: Lane, work: Work[T], join: Callable[[T, T], T]) -> tuple[str, Any]:
        return lane.worker, self._near(lane.worker, _folded, [self.pieces[i] for i in lane.pieces], work, join)

    def _near(self, worker: str, function: Callable[..., Any], *args: Any) -> Any:
        """Do something on a worker, or on another one when that is gone."""
        return self.client.submit(function, *args, workers=[worker], allow_other_workers=True, pure=False)

    def _count(self, out: int, found: Sequence[Any]) -> None:
        passes, sent, back = self.traffic
        self.traffic = Traffic(passes + 1, sent + out, back + sum(len(pickle.dumps(one)) for one in found))


def shared_out(threads: Mapping[str, int], weights: Sequence[int], places: Sequence[str] | None) -> tuple[Lane, ...]:
    """Return who works on which pieces.

    Parameters
    ----------
    threads : mapping worker -> number of threads
    weights : rows of every piece
    places : the worker that has each piece; None: any may work on it

    Examples
    --------
    >>> shared_out({"a": 1, "b": 1}, [5, 5, 5, 5], None)
    (Lane(worker='a', pieces=(0, 1)), Lane(worker='b', pieces=(2, 3)))
    >>> shared_out({"a": 1, "b": 2}, [5, 5, 5], ["b", "a", "b"])
    (Lane(worker='a', pieces=(1,)), Lane(worker='b', pieces=(0,)), Lane(worker='b', pieces=(2,)))
    """
    if places is None:
        all_threads = [worker for worker in sorted(threads) for _ in range(threads[worker])]
        return _in_runs(all_threads, range(len(weights)), weights)
    lanes: list[Lane] = []
    known = sorted(threads)
    for number, worker in enumerate(known):
        own = [i for i, place in enumerate(places) if place == worker or (place not in threads and not number)]
        lanes += _in_runs([worker] * threads[worker], own, weights)
    return tuple(lanes)


def _in_runs(threads: Sequence[str], pieces: Sequence[int], weights: Sequence[int]) -> tuple[Lane, ...]:
    """Return lanes of neighbouring pieces with about equal weights."""
    total, lanes = sum(weights[i] for i in pieces), []
    owned: list[list[int]] = [[] for _ in threads]
    before = 0.0
    for i in pieces:
        middle = before + 0.5 * weights[i]
        owned[min(int(middle * len(threads) / max(total, 1)), len(threads) - 1)].append(i)
        before += weights[i]
    lanes = [Lane(worker, tuple(own)) for worker, own in zip(threads, owned, strict=True) if own]
    return tuple(lanes)


def _folded(pieces: Sequence[Any], work: Work[T], join: Callable[[T, T], T]) -> T:
    with one_thread():
        return reduce(join, map(work, pieces))


def _joined(parts: Sequence[T], join: Callable[[T, T], T]) -> T:
    return reduce(join, parts)


def _done(piece: Any, work: Work[T]) -> T:
    with one_thread():
        return work(piece)


def _nothing(piece: Any) -> None:
    """Wait for a piece."""


def require_open(client: Any, lost: str = LOST) -> None:
    """Raise if a client was closed, which no error of distributed says."""
    if client.status == "closed":
        raise ClusterLostError(lost.format(cause="its client was closed"))


@contextmanager
def in_words(lost: str = LOST) -> Iterator[None]:
    """Say what has happened to a cluster, and what to do.

    Parameters
    ----------
    lost : str
        Words for a connection that is lost, with a place for its ``cause``.

    Raises
    ------
    ClusterLostError, WorkersLostError
        In place of the errors of distributed.
    """
    from distributed import CancelledError, KilledWorker
    from distributed.comm import CommClosedError

    try:
        yield
    except KilledWorker as cause:
        raise WorkersLostError(
            f"workers ended one after the other while they did the same work ({cause}): they may lack memory; give "
            "each more, or more workers, or smaller partitions"
        ) from cause
    except (CancelledError, CommClosedError, TimeoutError) as cause:
        raise ClusterLostError(
            lost.format(cause=str(cause).splitlines()[0] if str(cause) else type(cause).__name__)
        ) from cause
