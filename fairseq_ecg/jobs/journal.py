"""What has been done already, in one file that only grows, so that a run can go on after its end.

The first line says how records are prepared; whatever differs there makes everything be prepared
again. Each further line is one prepared record: id, checksum of its row in the table of records,
and what was found, separated by tabs. A line that was cut off is as if it were not there.
"""

import json
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from fairseq_ecg.jobs.files import open_replacing, write_file


def checksum(record: Mapping[str, Any]) -> str:
    """Return a checksum of a record's row: with another row it has to be prepared again.

    It does not depend on other rows, of which one that lacks a value makes floats of a column's
    integers, and one that has something to say brings a column of its own.
    """
    row = [(name, _whole(value)) for name, value in record.items() if value == value]  # not NaN
    return f"{zlib.crc32(repr(row).encode()):08x}"


def _whole(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() else value


class Journal:
    """The journal of one folder.

    Args:
        path: of its file, made where absent.
        settings: how records are prepared, as JSON can hold it.
        again: forget what is in it.
    """

    def __init__(self, path: Path, settings: Mapping[str, Any], again: bool = False):
        self.path = path
        self._head = json.dumps(settings, sort_keys=True).encode() + b"\n"
        path.parent.mkdir(parents=True, exist_ok=True)
        if again or not self._belongs():
            write_file(path, self._head)
        self._file = open(path, "r+b")  # noqa: SIM115
        end = sum(len(line) for line in self._file if line.endswith(b"\n"))  # not one cut off
        self._file.truncate(end)
        self._file.seek(end)

    def _belongs(self) -> bool:
        if not self.path.is_file():
            return False
        with open(self.path, "rb") as file:
            return file.readline() == self._head

    def __enter__(self) -> "Journal":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def add(self, idx: int, checksum: str, entry: Mapping[str, Any]) -> None:
        """Note that a record is prepared and all its files are there."""
        self._file.write(f"{idx}\t{checksum}\t{json.dumps(entry)}\n".encode())
        self._file.flush()

    def positions(self) -> dict[int, tuple[str, int]]:
        """Return checksum and position of the last entry of each record, by its id."""
        positions = {}
        with open(self.path, "rb") as file:
            position = len(file.readline())
            for line in file:
                idx, checksum, _ = line.split(b"\t", 2)
                positions[int(idx)] = checksum.decode(), position
                position += len(line)
        return positions

    def entries(self, positions: Iterable[int]) -> Iterator[dict[str, Any]]:
        """Read entries.

        Args:
            positions: of the entries, in the order in which they are wanted.

        Yields:
            What was noted.
        """
        with open(self.path, "rb") as file:
            for position in positions:
                file.seek(position)
                yield json.loads(file.readline().split(b"\t", 2)[2])

    def tidy(self) -> None:
        """Order the entries by id, so that the file does not depend on how a run went."""
        positions = self.positions()
        with open_replacing(self.path, "wb") as tidy:
            tidy.write(self._head)
            with open(self.path, "rb") as file:
                for idx in sorted(positions):
                    file.seek(positions[idx][1])
                    tidy.write(file.readline())
