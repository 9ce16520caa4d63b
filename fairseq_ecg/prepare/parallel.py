"""Work in parallel: on processes of this machine, or on a cluster through joblib's backends."""

import logging
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from fairseq_ecg.data.errors import DataError

BACKENDS = ("loky", "dask", "ray")


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

            # It tells of everything it does, and of its end after that of the progress bar.
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


def in_parallel(function: Callable, arguments: Iterable[tuple]) -> Iterator:
    """Call a function many times, where `workers` or ``joblib.parallel_config`` say.

    Args:
        function: picklable.
        arguments: of each call; taken from the iterable little by little.

    Yields:
        What the calls returned, in the order in which they ended.

    Raises:
        DataError: a process was killed.
    """
    from concurrent.futures.process import BrokenProcessPool

    from joblib import Parallel, delayed

    # One call in a batch: no more than what is in hand is lost with the process.
    parallel = Parallel(return_as="generator_unordered", batch_size=1, pre_dispatch="2 * n_jobs")
    outcomes = parallel(delayed(function)(*given) for given in arguments)
    try:
        for outcome in outcomes:  # noqa: UP028 (it would warn of whoever stops early)
            yield outcome
    except BrokenProcessPool as error:
        raise DataError(
            "a process was killed, for want of memory or by a damaged file that crashes its "
            "reader. Run the command again: it goes on, with --jobs 1 up to that file"
        ) from error
    finally:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            outcomes.close()
