"""Runs ``fairseq-hydra-<program>`` many times without importing fairseq each time.

A process that has imported fairseq's command forks once per request line on standard input, and
answers with the exit status of the child. A request may have the child killed with SIGKILL at a
named point, as a machine that goes down would.
"""

import json
import os
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path


def kill_during_update(number: int) -> None:
    """Kill this process between backward and step of update ``number`` (from 1)."""
    from fairseq.trainer import Trainer

    train_step = Trainer.train_step

    def step(self, *args, **kwargs):
        if self.get_num_updates() == number - 1:
            self.optimizer.step = lambda *_, **__: _die()
        return train_step(self, *args, **kwargs)

    Trainer.train_step = step


def kill_during_save(number: int) -> None:
    """Kill this process half way through writing its checkpoint ``number`` (from 1)."""
    import torch

    save, saved = torch.save, []

    def save_half(obj, file, *args, **kwargs):
        saved.append(obj)
        if len(saved) < number:
            return save(obj, file, *args, **kwargs)
        file.write(b"PK\x03\x04 half a checkpoint")
        file.flush()
        return _die()

    torch.save = save_half


def kill_during_copy(number: int) -> None:
    """Kill this process half way through copying its checkpoint ``number`` (from 1)."""
    import shutil

    copy, copied = shutil.copyfile, []

    def copy_half(source, target, *args, **kwargs):
        copied.append(target)
        if len(copied) < number:
            return copy(source, target, *args, **kwargs)
        content = Path(source).read_bytes()
        Path(target).write_bytes(content[: len(content) // 2])
        return _die()

    shutil.copyfile = copy_half


def kill_during_extraction(number: int) -> None:
    """Kill this process before it writes rows to a store for the time ``number`` (from 1)."""
    from fairseq_ecg.formats.stores import RowStore

    write, written = RowStore.write, []

    def write_or_die(self, *args):
        written.append(self)
        return write(self, *args) if len(written) < number else _die()

    RowStore.write = write_or_die


KILLS = {
    "extraction": kill_during_extraction,
    "update": kill_during_update,
    "save": kill_during_save,
    "copy": kill_during_copy,
}


def _die():
    os.kill(os.getpid(), signal.SIGKILL)


def preload() -> None:
    """Import what takes long and every child would import, but nothing of this package."""
    import scipy.interpolate  # noqa: F401
    import torch._dynamo  # noqa: F401


def entry_point(program: str) -> Callable[[], None]:
    """Import what the console script ``fairseq-hydra-<program>`` calls."""
    if program == "train":
        from fairseq_cli.hydra_train import cli_main

        return cli_main
    import fairseq_ecg.tasks  # noqa: F401
    from fairseq_ecg.compat import hydra_programs

    return getattr(hydra_programs, program)


def run_child(request: dict, start: Callable[[], None]) -> int:
    """Run the command in this (forked) process; returns its exit status."""
    log = os.open(request["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.chdir(request["cwd"])
    if request.get("kill"):
        point, number = request["kill"]
        KILLS[point](number)
    sys.argv = [f"fairseq-hydra-{request['program']}", *request["arguments"]]
    try:
        start()
    except SystemExit as error:
        if isinstance(error.code, str):
            print(error.code, file=sys.stderr)
        return error.code if isinstance(error.code, int) else int(error.code is not None)
    except BaseException:
        traceback.print_exc()
        return 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
    return 0


def main() -> None:
    """Serve requests until standard input ends."""
    starts = {program: entry_point(program) for program in sys.argv[1:]}
    preload()
    for line in sys.stdin:
        request = json.loads(line)
        start = starts[request["program"]]
        children = [fork(request, rank, start) for rank in range(request["processes"])]
        statuses = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
        print(json.dumps(next(filter(None, statuses), 0)), flush=True)


def fork(request: dict, rank: int, start: Callable[[], None]) -> int:
    """Fork a child that runs the command, as torchrun would start it if there are several."""
    child = os.fork()
    if child != 0:
        return child
    if request["processes"] > 1:
        os.environ |= request["torchrun"] | {"RANK": str(rank), "LOCAL_RANK": str(rank)}
    os._exit(run_child(request, start))


if __name__ == "__main__":
    main()
