"""One work on many items: in this process, in processes of one thread each, or on the workers of a Dask cluster."""

from __future__ import annotations

import os
import pickle
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from typing import TYPE_CHECKING, Any, TypeVar

import joblib

from gatewise.runs.cluster import in_words, require_open
from gatewise.runs.threads import one_thread

if TYPE_CHECKING:
    from distributed import Client

R = TypeVar("R")
T = TypeVar("T")
LOOK = 0.5  # seconds between two looks at whether the parent lives

LOST = (
    "the connection to the Dask cluster is lost ({cause}): start a scheduler and workers, and run this again; what is "
    "in its folder, or in the file of resume=, is not computed again"
)


def is_client(value: Any) -> bool:
    """Return whether a value is a client of a Dask cluster."""
    distributed = sys.modules.get("distributed")  # who passes one has imported it
    return distributed is not None and isinstance(value, distributed.Client)


def spread(work: Callable[[T], R], items: Sequence[T], workers: int | Client, *, ordered: bool = False) -> Iterator[R]:
    """Do a work on items, and return what comes out when it ends; what is `ordered` comes in the order of the items.

    Parameters
    ----------
    work : callable item -> result
    items : sequence
        The first ones begin first.
    workers : int or distributed.Client
        A number of processes, 1 being this one, or a client whose workers do it.
    ordered : bool
    """
    if is_client(workers):
        return _on_cluster(work, items, workers, ordered)
    if workers <= 1 or len(items) <= 1:
        return map(work, items)
    return _in_processes(work, items, min(workers, len(items)), ordered)


def _in_processes(work: Callable[[T], R], items: Sequence[T], count: int, ordered: bool) -> Iterator[R]:
    """Do a work in processes that end within a second of their parent's end, even if that was killed."""
    order = "generator" if ordered else "generator_unordered"
    pool = joblib.Parallel(n_jobs=count, return_as=order, pre_dispatch="2*n_jobs", batch_size=1)
    found: Iterator[R] = pool(joblib.delayed(partial(_while_it_lives, os.getpid(), work))(item) for item in items)
    return found


def _while_it_lives(parent: int, work: Callable[[T], R], item: T) -> R:
    """Do a work in a process that ends with its parent."""
    if os.getppid() == parent:  # not a thread of it, nor on another machine
        _watch(parent)
    return work(item)


@cache
def _watch(parent: int) -> None:
    """Start the thread that ends this process once it has another parent: its own has ended.

    On Windows, where a process keeps the number of its parent, the thread waits for ever.
    """

    def wait() -> None:
        while os.getppid() == parent:
            time.sleep(LOOK)
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def _on_cluster(work: Callable[[T], R], items: Sequence[T], client: Client, ordered: bool) -> Iterator[R]:
    """Do a work on the workers of a cluster; what has not begun is cancelled when the caller goes away.

    The work travels once, as a task: a worker that joins has it from another one, and if that is lost, from the
    scheduler. joblib's own backend for Dask leaves what is queued running after an interruption, and does everything
    in this process where a cluster has one thread.
    """
    import dask
    from cloudpickle import dumps
    from distributed import as_completed

    sent = dumps(work)  # by value: the client's own way would refer to a user's classes by name
    large = {"distributed.admin.large-graph-warning-threshold": 2 * len(sent) + 2**24}
    require_open(client, LOST)
    futures: list[Any] = []
    try:
        with in_words(LOST), dask.config.set(large):
            futures.append(client.submit(_itself, sent, pure=False))
            for number, item in enumerate(items):
                futures.append(client.submit(_done, futures[0], item, pure=False, priority=-number))
        for future in futures[1:] if ordered else as_completed(futures[1:]):
            require_open(client, LOST)
            with in_words(LOST):
                found = future.result()
            future.release()
            yield found
    finally:
        if client.status == "running":
            client.cancel(futures)


def _itself(sent: bytes) -> bytes:
    return sent


def _done(sent: bytes, item: Any) -> Any:
    with one_thread():
        return pickle.loads(sent)(item)  # noqa: S301 (written by the client of this run)
