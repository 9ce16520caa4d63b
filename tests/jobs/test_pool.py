import multiprocessing
import os
import signal
import sys
import time
import types

import joblib
import pytest

from fairseq_ecg.errors import DataError
from fairseq_ecg.jobs.pool import in_order, in_parallel, workers


def square(number):
    return number, number**2


def fail(number):
    raise DataError(f"{number} is damaged")


def squares(count):
    return dict(in_parallel(square, ((number,) for number in range(count))))


def test_all_calls_are_made():
    with workers(1):
        assert squares(9) == {number: number**2 for number in range(9)}


def test_arguments_are_taken_little_by_little():
    taken = []

    def numbers():
        for number in range(1000):
            taken.append(number)
            yield (number,)

    with workers(1):
        results = in_parallel(square, numbers())
        next(results)
        assert len(taken) < 10
        results.close()


def test_who_stops_early_is_not_warned(recwarn):
    with joblib.parallel_config("threading", n_jobs=2):
        results = in_parallel(square, ((number,) for number in range(20)))
        next(results)
        results.close()
    assert not [str(warning.message) for warning in recwarn if "joblib" in warning.filename]


def test_no_process_does_no_work():
    with pytest.raises(DataError, match="0 processes"):
        workers(0).__enter__()


def test_an_error_ends_the_work():
    with workers(1), pytest.raises(DataError, match="0 is damaged"):
        list(in_parallel(fail, [(0,), (1,)]))


def test_a_dask_cluster_does_the_work():
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=2, processes=False, dashboard_address=None
    ) as cluster:
        with workers(-1, "dask", cluster.scheduler_address):
            assert squares(5) == {number: number**2 for number in range(5)}
        (worker,) = cluster.workers.values()
        assert worker.state.executed_count >= 5


def test_ray_is_asked_for_the_cluster_by_its_address(monkeypatch):
    """Ray itself is not installed here: what stands for it runs threads."""
    asked = {}
    ray = types.ModuleType("ray")
    ray.init = lambda address: asked.update(address=address)
    bridge = types.ModuleType("ray.util.joblib")
    bridge.register_ray = lambda: joblib.register_parallel_backend(
        "ray", joblib.parallel.BACKENDS["threading"]
    )
    for name, module in {
        "ray": ray,
        "ray.util": types.ModuleType("ray.util"),
        "ray.util.joblib": bridge,
    }.items():
        monkeypatch.setitem(sys.modules, name, module)
    with workers(2, "ray", "10.0.0.1:6379"):
        assert squares(5) == {number: number**2 for number in range(5)}
    assert asked == {"address": "10.0.0.1:6379"}
    joblib.parallel.BACKENDS.pop("ray")


def test_a_library_that_is_missing_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(DataError, match="backend ray: ray is not installed: pip install ray"):
        workers(1, "ray").__enter__()


def kill_the_process(number):
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_process_that_is_killed_is_reported():
    with workers(2), pytest.raises(DataError, match="a process was killed"):
        list(in_parallel(kill_the_process, [(0,), (1,)]))


def failing_arguments():
    yield from ((number,) for number in range(20))
    raise DataError("the arguments are damaged")


@pytest.mark.parametrize("jobs", [1, 2])
def test_an_error_of_the_arguments_ends_the_work(jobs):
    """joblib takes them in threads of its own, where an error would be lost."""
    found = []
    with workers(jobs), pytest.raises(DataError, match="the arguments are damaged"):
        found.extend(in_parallel(square, failing_arguments()))
    assert len(found) == 20


def squared_or_killed(number):
    if number in (3, 4):
        os.kill(os.getpid(), signal.SIGKILL)
    return number**2


@pytest.mark.parametrize("n_workers", [1, 2, 9])
def test_results_are_in_order_and_a_process_that_is_killed_costs_one(n_workers):
    found = in_order(squared_or_killed, 7, n_workers, lost=lambda number: -number)
    assert list(found) == [0, 1, 4, -3, -4, 25, 36]


def test_without_processes_this_one_works():
    def here(number):
        return number, os.getpid()

    assert list(in_order(here, 2, 0, lost=here)) == [(0, os.getpid()), (1, os.getpid())]
    assert list(in_order(here, 0, 3, lost=here)) == []
    with pytest.raises(DataError, match="workers=-1: must not be negative"):
        next(in_order(here, 2, -1, lost=here))


def nested(number):
    return list(in_order(lambda inner: (number, inner, os.getpid()), 2, 2, lost=print))


def test_a_process_that_may_start_none_works_itself():
    for number, found in enumerate(in_order(nested, 2, 2, lost=print)):
        assert [one[:2] for one in found] == [(number, 0), (number, 1)]
        assert found[0][2] == found[1][2] != os.getpid()


def slow(number):
    time.sleep(0.2)
    return number


@pytest.fixture
def interruptible():
    """Ctrl-C raises KeyboardInterrupt, also where tests run in the background of a shell."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_an_interrupt_ends_the_processes(interruptible):
    """Ctrl-C goes to all processes of a terminal."""
    processes = []

    def work():
        for number in in_order(slow, 100, 2, lost=print):
            if number == 2:
                processes.extend(
                    child for child in multiprocessing.active_children() if child.daemon
                )
                for pid in (*(process.pid for process in processes), os.getpid()):
                    os.kill(pid, signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        work()
    assert len(processes) == 2
    assert not any(process.is_alive() for process in processes)
