"""Results of many recordings, in parts, so that memory is bounded and a run can go on.

Each part is a few Parquet files and a note of what it is made of. A run that finds a part of the
same recordings, network and options does not compute it again. Parts do not depend on how a run
went, and neither does what they are put together to. A run of a single part, which has nothing to
go on with, keeps it in memory.
"""

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from tqdm import tqdm

from fairseq_ecg.errors import DataError
from fairseq_ecg.inference.loaded import LoadedNetwork
from fairseq_ecg.inference.recordings import NamedRecording
from fairseq_ecg.inference.results import Table
from fairseq_ecg.jobs.ledger import Ledger, ledger
from fairseq_ecg.jobs.progress import progress_bar

if TYPE_CHECKING:
    import pandas as pd

RECORDINGS = 256
"""In a part."""

Tables = Mapping[str, Table]
"""Of a part, by name; the columns are the same for all parts."""

Errors = Mapping[str | int, str]
"""Why recordings were left out, by their names, in order."""

Compute = Callable[[Sequence[NamedRecording], tqdm], tuple[Tables, Errors]]
"""Computes a part."""


@dataclass(frozen=True)
class Parts:
    """The finished parts of a run.

    Attributes:
        n_recordings: that were asked for.
        errors: why recordings were left out.
        tables: given the name of a table, yields that of each part that has rows.
    """

    n_recordings: int
    errors: Errors
    tables: Callable[[str], Iterator[Table]]

    @property
    def is_empty(self) -> bool:
        """Whether no recording could be used."""
        return len(self.errors) == self.n_recordings


@contextmanager
def computed_in_parts(
    recordings: Sequence[NamedRecording],
    folder: Path,
    settings: Callable[[], str],
    compute: Compute,
    *,
    strict: bool = False,
) -> Iterator[Parts]:
    """Compute what is not there yet, let the caller put it together, and remove the parts.

    Args:
        recordings: all of them.
        folder: of the parts. It stays when the run or the caller fails.
        settings: says everything but the recordings that the results depend on.
        compute: of a part.
        strict: parts in which recordings were left out are computed again.

    Yields:
        The parts.

    Raises:
        DataError: another run is writing there; or, behind the block, no recording could be used.
    """
    n_recordings, starts = len(recordings), range(0, len(recordings), RECORDINGS)
    with ledger(folder) as finished:
        with progress_bar(n_recordings, "recordings", "recording") as bar:
            if len(starts) == 1 and finished.note(_name(0)) is None:
                tables, errors = compute(recordings, bar)
                parts = Parts(n_recordings, errors, lambda name: iter([tables[name]]))
            else:
                errors, run = {}, settings()
                for number, start in enumerate(starts):
                    part = recordings[start : start + RECORDINGS]
                    errors |= _part(finished, number, part, run, compute, strict, bar)
                parts = Parts(n_recordings, errors, partial(_tables, finished, len(starts)))
        yield parts
    if parts.is_empty:
        reason = next(iter(parts.errors.values()))
        if n_recordings > 1:
            reason = f"none of {n_recordings} recordings can be used; the first: {reason}"
        raise DataError(reason)


def _part(
    finished: Ledger,
    number: int,
    recordings: Sequence[NamedRecording],
    settings: str,
    compute: Compute,
    strict: bool,
    bar: tqdm,
) -> Errors:
    """Compute a part if it is not there; return why recordings were left out."""
    import pandas as pd

    part, identity = _name(number), identity_of_recordings(recordings, settings)
    with suppress(ValueError, KeyError, TypeError):  # of a note that is damaged, or not there
        note = finished.note(part)
        errors = dict(note["errors"])
        if note["identity"] == identity and not (strict and errors):
            bar.update(len(recordings))
            return errors
    finished.forget(part)
    tables, errors = compute(recordings, bar)
    for name, table in tables.items():
        with finished.writing(part, f"-{name}.parquet") as path:
            pd.DataFrame(table).to_parquet(path, index=False)
    # Names are texts or numbers: pairs, for the keys of an object are texts only.
    finished.finish(part, {"identity": identity, "errors": list(errors.items())})
    return errors


def _tables(finished: Ledger, n_parts: int, name: str) -> "Iterator[pd.DataFrame]":
    import pandas as pd

    for number in range(n_parts):
        table = pd.read_parquet(finished.file(_name(number), f"-{name}.parquet"))
        if len(table):
            yield table


def _name(number: int) -> str:
    return f"{number:06}"


def identity_of_recordings(recordings: Sequence[NamedRecording], settings: str = "") -> str:
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


def identity_of(model: LoadedNetwork) -> str:
    """Return a checksum of a model: weights, preprocessing, labels and their aggregation."""
    digest = hashlib.sha256(repr(model.facts()).encode())
    for name, weight in model.network.state_dict().items():
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(weight.detach().cpu().float().numpy()).data)
    return digest.hexdigest()
