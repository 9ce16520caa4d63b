"""Work in other processes: of this machine, or of a cluster through joblib's backends.

`in_parallel` is for work that can be run again: it ends with the first process that is killed.
`in_order` is for work that must not end: there such a process costs one item. Executors, joblib's
and the standard library's, give up all that is in hand with one process, and do not say on which
item it was killed; so `in_order` has processes of its own.
"""

import logging
import multiprocessing
import os
import signal
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from typing import Generic, TypeVar

from fairseq_ecg.errors import DataError

BACKENDS = ("loky", "dask", "ray")

_AHEAD = 2
"""Items that a process of `in_order` has in hand: while one result is used, the next is made."""

_ATTEMPTS = 2
"""At an item on which a process was killed, which may have been for want of memory that others
took."""

_PARENT_CHECK_SECONDS = 5.0
"""After which a process of `in_order` that waits checks whether its parent is still there."""

Result = TypeVar("Result")


@contextmanager
def workers(jobs: int, backend: str = "loky", scheduler: str | None = None) -> Iterator[None]:
    """Say where `in_parallel` works, for the block.

    Args:
        jobs: number of processes, -1 for all processors (of the cluster).
        backend: ``loky``, processes of this machine; ``dask`` or ``ray``, a cluster that sees the
            same files under the same paths.
        scheduler: address of the cluster; None for a local one.

    Raises:
        DataError: there is no process, or the library of the backend is not installed.
    """
    import joblib

    if jobs == 0:
        raise DataError("0 processes do nothing: give a number of them, or -1 for all processors")
    client = None
    try:
        if backend == "dask":
            from distributed import Client

            # It logs everything it does, and its end after that of the progress bar.
            logging.getLogger("distributed").setLevel(logging.WARNING)
            local = {"n_workers": jobs if jobs > 0 else None, "threads_per_worker": 1}
            client = Client(scheduler) if scheduler else Client(**local)
        elif backend == "ray":
            import ray
            from ray.util.joblib import register_ray

            ray.init(address=scheduler)
            register_ray()
    except ImportError as error:
        raise DataError(
            f"backend {backend}: {error.name} is not installed: pip install {error.name}"
        ) from error
    try:
        with joblib.parallel_config(backend, n_jobs=jobs):
            yield
    finally:
        if client is not None:
            client.close()


def in_parallel(function: Callable[..., Result], arguments: Iterable[tuple]) -> Iterator[Result]:
    """Call a function many times, where `workers` or ``joblib.parallel_config`` say.

    Args:
        function: picklable.
        arguments: of each call; taken from the iterable little by little, and by several threads
            one after another. What it raises ends the work once the calls in hand have returned.

    Yields:
        What the calls returned, in the order in which they ended.

    Raises:
        DataError: a process was killed.
    """
    from concurrent.futures.process import BrokenProcessPool

    from joblib import Parallel, delayed

    # One call in a batch: no more than what is in hand is lost with the process.
    parallel = Parallel(return_as="generator_unordered", batch_size=1, pre_dispatch="2 * n_jobs")
    failures: list[Exception] = []

    def calls() -> Iterator[tuple]:
        try:
            for given in arguments:
                yield delayed(function)(*given)
        except Exception as error:  # in a thread of joblib's it would be lost, and the work hang
            failures.append(error)

    outcomes = parallel(calls())
    try:
        for outcome in outcomes:  # noqa: UP028 (joblib would warn of a caller that stops early)
            yield outcome
        for error in failures:
            raise error
    except BrokenProcessPool as error:
        raise DataError(
            "a process was killed, for want of memory or by a damaged file that crashes its "
            "reader. Run the command again: it goes on, with --jobs 1 up to that file"
        ) from error
    finally:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            outcomes.close()


def in_order(
    function: Callable[[int], Result],
    n_items: int,
    workers: int,
    lost: Callable[[int], Result],
) -> Iterator[Result]:
    """Call a function of 0 to ``n_items - 1`` in other processes, a few items ahead of their use.

    A process gets what the function refers to by being forked, where the system does that: nothing
    but results is pickled. It ends with the process that started it, however that ends.

    Args:
        function: of the number of an item; its results are picklable.
        n_items: how many there are.
        workers: processes; 0: none, everything is called in this one. Also none where this process
            may not start others, being one of `in_order` or of a data loader itself.
        lost: gives the result of an item on which processes were killed.

    Yields:
        The results, in order.

    Raises:
        DataError: ``workers`` is negative.
    """
    if workers < 0:
        raise DataError(f"workers={workers}: must not be negative")
    workers = 0 if multiprocessing.current_process().daemon else min(workers, n_items)
    if not workers:
        yield from map(function, range(n_items))
        return
    processes: list[_Process[Result]] = [
        _Process(function, range(first, n_items, workers), lost) for first in range(workers)
    ]
    try:
        for number in range(n_items):
            yield processes[number % workers].next()
    finally:
        for process in processes:
            process.stop()


class _Process(Generic[Result]):
    """A process that works on some items in their order, and another one where it was killed.

    Args:
        function: of the number of an item.
        numbers: of the items.
        lost: gives the result of an item on which processes were killed.
    """

    def __init__(self, function: Callable, numbers: Sequence[int], lost: Callable):
        self._function, self._lost, self._parent = function, lost, os.getpid()
        self._to_come, self._in_hand = deque(numbers), deque[int]()
        self._start()
        self._ask(_AHEAD)

    def _start(self) -> None:
        self._connection, other = multiprocessing.Pipe()
        arguments = self._function, other, self._connection, self._parent
        self._process = multiprocessing.Process(target=_serve, args=arguments, daemon=True)
        self._process.start()
        other.close()  # so that it is closed as soon as the process has ended

    def _ask(self, ahead: int) -> None:
        while self._to_come and len(self._in_hand) < ahead:
            self._in_hand.append(self._to_come.popleft())
            with suppress(ConnectionError):  # the process has ended: `next` finds out
                self._connection.send(self._in_hand[-1])

    def next(self) -> Result:
        """Return the result of the next item."""
        for attempts_left in reversed(range(_ATTEMPTS)):
            try:
                found = self._connection.recv()
                self._in_hand.popleft()
                break
            except (EOFError, ConnectionError):
                self._to_come.extendleft(reversed(self._in_hand))
                self._in_hand.clear()
                if not attempts_left:
                    found = self._lost(self._to_come.popleft())
                self.stop()
                self._start()
                if attempts_left:
                    self._ask(1)  # alone, so that no other item can be what kills the process
        self._ask(_AHEAD)
        return found

    def stop(self) -> None:
        """End the process; of a copy in a forked process, which does not own it, nothing."""
        if os.getpid() != self._parent:
            return
        self._process.kill()
        self._process.join()
        self._connection.close()


def _serve(
    function: Callable[[int], object], connection: Connection, other_end: Connection, parent: int
) -> None:
    """Send results of the items whose numbers come, as long as there is a parent to send them."""
    other_end.close()  # open here too, it would hide that the parent has ended
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent is interrupted, and ends this process
    with suppress(EOFError, ConnectionError):  # the parent has ended
        while os.getppid() == parent:
            if connection.poll(_PARENT_CHECK_SECONDS):
                connection.send(function(connection.recv()))
