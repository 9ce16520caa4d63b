"""Finished parts of a long run, in a folder beside its result, so that the run can go on.

A part is some files and a note in JSON, ``<part>.json``, which is written last: where there is a
note, the files are whole, after ``kill -9`` and after a loss of power. A part of one file needs no
note.
"""

import json
import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fairseq_ecg.jobs.files import remove_unfinished, replacing, write_file
from fairseq_ecg.jobs.locks import locked

_RUN = "run"


@dataclass(frozen=True)
class Ledger:
    """Finished parts in a folder; picklable, for processes that finish some of them.

    Args:
        folder: of the files.
    """

    folder: Path

    def file(self, part: str, suffix: str) -> Path:
        """Return the path of a file of a part."""
        return self.folder / f"{part}{suffix}"

    def writing(self, part: str, suffix: str) -> AbstractContextManager[Path]:
        """Write a file of a part, see `replacing`."""
        return replacing(self.file(part, suffix), durable=True)

    def note(self, part: str) -> Any:
        """Return what was noted of a finished part; None where it is not, or its note damaged."""
        try:
            return json.loads(self.file(part, ".json").read_bytes())
        except (FileNotFoundError, ValueError, RecursionError):
            return None

    def finish(self, part: str, note: Any) -> None:
        """Note that all files of a part are written."""
        write_file(self.file(part, ".json"), json.dumps(note), durable=True)

    def forget(self, part: str) -> None:
        """Let a part not be finished, before any of its files is written again."""
        self.file(part, ".json").unlink(missing_ok=True)


@contextmanager
def ledger(folder: Path, run: str | None = None) -> Iterator[Ledger]:
    """Go on with a run, or begin it; one process does at a time.

    Args:
        folder: of the parts. It stays when the block fails, and is removed when it succeeds.
        run: identifies what all parts depend on: parts of another run are removed. None: the notes
            say it of each part.

    Yields:
        The finished parts.

    Raises:
        DataError: another run is writing there.
    """
    with locked(folder / _RUN, wait=False):
        remove_unfinished(folder)
        mark = folder / _RUN
        if run is not None and not (mark.is_file() and mark.read_text() == run):
            for path in folder.iterdir():
                if not path.name.startswith("."):  # the lock is held
                    path.unlink()
            write_file(mark, run)
        yield Ledger(folder)
        shutil.rmtree(folder)
