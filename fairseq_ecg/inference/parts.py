"""Results of many recordings, in parts, so that memory is bounded and a run can go on.

Each part is a few Parquet files in a folder beside the result, and a file that says of what it is
made, which is written last. A run that finds a part of the same recordings, network and options
does not compute it again. Parts do not depend on how a run went, and neither does what they are put
together to. The tables of a single recording stay in memory: there is nothing to go on with.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from tqdm import tqdm

from fairseq_ecg.data.atomic import remove_unfinished, replacing
from fairseq_ecg.data.errors import DataError
from fairseq_ecg.inference.model import ECGModel
from fairseq_ecg.inference.recordings import NamedRecording
from fairseq_ecg.inference.results import Table
from fairseq_ecg.prepare.locks import locked

RECORDINGS = 256
"""In a part."""

Compute = Callable[
    [Sequence[NamedRecording], tqdm], tuple[Mapping[str, Table], Mapping[str | int, str]]
]
"""Computes the tables of a part by name, and why recordings were left out by theirs."""


class Parts:
    """The finished parts of a run.

    Args:
        folder: where they are.
        recordings: numbers of recordings in each.
        errors: why recordings were left out, by their names, in order.
        in_memory: the tables of the only part by name; None: they are in the folder.
    """

    def __init__(
        self,
        folder: Path,
        counts: Sequence[int],
        errors: Mapping[str | int, str],
        in_memory: Mapping[str, Table] | None = None,
    ):
        self._folder = folder
        self._counts = counts
        self.errors = errors
        self._in_memory = in_memory

    @property
    def n_recordings(self) -> int:
        """Recordings that were asked for."""
        return sum(self._counts)

    @property
    def is_empty(self) -> bool:
        """Whether no recording could be used."""
        return len(self.errors) == self.n_recordings

    def tables(self, name: str) -> Iterator[Table]:
        """Yield a table of each part that has rows in it."""
        if self._in_memory is not None:
            yield self._in_memory[name]
            return
        import pandas as pd

        for number in range(len(self._counts)):
            table = pd.read_parquet(_table(self._folder, number, name))
            if len(table):
                yield table


@contextmanager
def computed_in_parts(
    recordings: Sequence[NamedRecording],
    folder: Path,
    settings: str,
    compute: Compute,
    *,
    strict: bool = False,
    progress: bool | None = None,
) -> Iterator[Parts]:
    """Compute what is not there yet, let the caller put it together, and remove the parts.

    Args:
        recordings: all of them.
        folder: of the parts. It stays when the run or the caller fails.
        settings: everything but the recordings that the results depend on; of a single recording
            it does not matter.
        compute: of a part. The columns of its tables are the same for all parts.
        strict: parts in which recordings were left out are computed again.
        progress: whether to show a progress bar; None: where there is a terminal.

    Yields:
        The parts.

    Raises:
        DataError: another run is writing there; or, behind the block, no recording could be used.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder / "run", wait=False):
        remove_unfinished(folder)
        counts: list[int] = []
        errors: dict[str | int, str] = {}
        with tqdm(
            total=len(recordings),
            desc="recordings",
            unit="recording",
            disable=None if progress is None else not progress,
        ) as bar:
            if len(recordings) == 1:
                tables, errors = compute(recordings, bar)
                parts = Parts(folder, [1], dict(errors), tables)
            else:
                for number, start in enumerate(range(0, len(recordings), RECORDINGS)):
                    part = recordings[start : start + RECORDINGS]
                    errors |= _part(folder, number, part, settings, compute, strict, bar)
                    counts.append(len(part))
                parts = Parts(folder, counts, errors)
        yield parts
        shutil.rmtree(folder)
        if parts.is_empty:
            reason = next(iter(errors.values()))
            if len(recordings) > 1:
                reason = f"none of {len(recordings)} recordings can be used; the first: {reason}"
            raise DataError(reason)


def _part(
    folder: Path,
    number: int,
    recordings: Sequence[NamedRecording],
    settings: str,
    compute: Compute,
    strict: bool,
    bar: tqdm,
) -> dict[str | int, str]:
    """Compute a part if it is not there; return why recordings were left out."""
    mark = folder / f"{number:06}.json"
    identity = _identity(recordings, settings)
    if mark.is_file():
        try:
            found = json.loads(mark.read_text(encoding="utf-8"))
            left_out = dict(found["errors"])
            is_same = found["identity"] == identity
        except (ValueError, KeyError, TypeError):  # damaged: as if it were not there
            is_same = False
        if is_same and not (strict and left_out):
            bar.update(len(recordings))
            return left_out
        mark.unlink()
    import pandas as pd

    tables, errors = compute(recordings, bar)
    for name, table in tables.items():
        with replacing(_table(folder, number, name)) as unfinished:
            pd.DataFrame(table).to_parquet(unfinished, index=False)
    with replacing(mark) as unfinished:
        # Names are texts or numbers: pairs, for the keys of an object are texts only.
        content = {"identity": identity, "errors": list(errors.items())}
        unfinished.write_text(json.dumps(content), encoding="utf-8")
    return dict(errors)


def _table(folder: Path, number: int, name: str) -> Path:
    return folder / f"{number:06}-{name}.parquet"


def _identity(recordings: Sequence[NamedRecording], settings: str) -> str:
    """Return a checksum of all that a part depends on: files by their size and time."""
    digest = hashlib.sha256(settings.encode())
    for recording in recordings:
        digest.update(repr(recording.name).encode())
        for file in recording.source.files:
            try:
                status = os.stat(file)
                digest.update(os.fsencode(file))
                digest.update(f" {status.st_size} {status.st_mtime_ns}".encode())
            except (OSError, ValueError):  # ValueError: a name that no file can have
                continue
    return digest.hexdigest()


def identity_of(model: ECGModel) -> str:
    """Return a checksum of a model: weights, preprocessing, labels and their aggregation."""
    facts = (
        sorted((key, repr(value)) for key, value in model.cfg.items()),
        model.preprocessing.to_json(),
        model.labels,
        model.aggregation,
        str(model.dtype),
        model.device.type,
    )
    digest = hashlib.sha256(repr(facts).encode())
    for name, weight in model.network.state_dict().items():
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(weight.detach().cpu().float().numpy()).data)
    return digest.hexdigest()
