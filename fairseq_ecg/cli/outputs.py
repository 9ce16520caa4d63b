"""Where commands that write a file for each recording put them."""

import os
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fairseq_ecg.cli.options import EXIT_SOME_LEFT_OUT
from fairseq_ecg.data.names import in_one_line
from fairseq_ecg.errors import DataError

if TYPE_CHECKING:
    from fairseq_ecg.inference.recordings import NamedRecording


def output_files(names: Sequence[str], folder: Path, suffix: str) -> list[Path]:
    """Name a file for every recording, as their own lie to each other.

    Args:
        names: of the recordings: paths or URLs.
        folder: to put the files in.
        suffix: of the files, with its dot.

    Returns:
        A path for each name, no two the same. What all recordings' folders have in common is left
        out; recordings whose names differ in their extension alone keep it.
    """
    paths = [Path(_inside(name)) for name in names]
    common = os.path.commonpath([path.parent for path in paths])
    relative = [path.relative_to(common) for path in paths]
    without = [path.with_suffix("") if path.suffix else path for path in relative]
    counts = Counter(without)
    seen: Counter[Path] = Counter()
    files = []
    for path, short in zip(relative, without, strict=True):
        name = short if counts[short] == 1 else path
        seen[name] += 1
        number = f" ({seen[name]})" if seen[name] > 1 else ""
        files.append(folder / name.with_name(f"{name.name}{number}{suffix}"))
    return files


def _inside(name: str) -> str:
    """Make an absolute path without ``..`` of a path or URL."""
    if "://" in name:
        return "/" + "/".join(part for part in name.split("/") if part not in ("", ".", ".."))
    return os.path.abspath(name)


def write_each(
    recordings: Sequence["NamedRecording"],
    out: Path,
    suffix: str,
    overwrite: bool,
    unit: str,
    write: Callable[["NamedRecording", Path], object],
) -> int:
    """Write a file for each recording.

    Args:
        recordings: to write files of.
        out: folder to put them in.
        suffix: of the files, with its dot.
        overwrite: whether to write again what is there.
        unit: what the files are, for the bar of progress.
        write: makes the file of a recording; raises DataError where it cannot.

    Returns:
        The exit status, see `say_left_out`.
    """
    from tqdm import tqdm

    from fairseq_ecg.jobs.files import remove_unfinished

    files = output_files([recording.name for recording in recordings], out, suffix)
    remove_unfinished(*{file.parent for file in files})
    pairs = zip(recordings, files, strict=True)
    pending = [pair for pair in pairs if overwrite or not pair[1].is_file()]
    errors = {}
    for recording, file in tqdm(pending, desc=f"{unit}s", unit=unit, disable=None):
        try:
            write(recording, file)
        except DataError as error:
            errors[recording.name] = str(error)
    return say_left_out(errors)


def say_left_out(errors: dict[str, str]) -> int:
    """Say on standard error why recordings were left out.

    Args:
        errors: why, by the name of the recording.

    Returns:
        The exit status: 0 if there are none.
    """
    for error in errors.values():
        print(f"fairseq-ecg: left out: {in_one_line(error)}", file=sys.stderr)
    return EXIT_SOME_LEFT_OUT if errors else 0
