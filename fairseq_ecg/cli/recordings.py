"""Options of commands that are given recordings in whatever form, and what becomes of these."""

import argparse
import os
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fairseq_ecg.cli.options import (
    EXIT_SOME_LEFT_OUT,
    add_checkpoint_options,
    add_verify,
    checkpoint_options,
)
from fairseq_ecg.cli.prepare.options import words
from fairseq_ecg.data.names import in_one_line, printable

if TYPE_CHECKING:
    from fairseq_ecg.inference import ECGModel
    from fairseq_ecg.inference.parts import Parts
    from fairseq_ecg.inference.recordings import Description, NamedRecording

DTYPES = {"float32": "float32", "bf16": "bfloat16"}
"""Names of PyTorch by those of ``--dtype``."""


def add_recordings(parser: argparse.ArgumentParser) -> None:
    """Add the recordings, and what they may not say of themselves."""
    parser.add_argument(
        "recordings",
        nargs="+",
        metavar="RECORDING",
        help="file of any known format, WFDB record, folder, manifest, store, .npy file of "
        "recordings (N, leads, samples), table with a column 'path', or URL; of files that "
        "prepare has standardised, the segments of a recording are put together",
    )
    group = add_description(parser)
    group.add_argument(
        "--split", metavar="NAME", help="of a store, or of a folder of manifests: test for instance"
    )


def add_description(parser: argparse.ArgumentParser) -> argparse._ArgumentGroup:
    """Add what recordings may not say of themselves, and return the group of these options."""
    group = parser.add_argument_group("what recordings do not say themselves")
    group.add_argument("--sample-rate", type=float, metavar="HZ", help="in Hz")
    group.add_argument(
        "--leads", type=words, metavar="LEADS", help="of the rows, in order, such as I,II,V1"
    )
    group.add_argument("--units", metavar="UNIT", help="of the samples: mV, uV, V, nV")
    group.add_argument(
        "--gain", type=float, metavar="N", help="counts of the converter per mV, in place of units"
    )
    group.add_argument("--format", help="of files whose name and content do not tell it")
    add_verify(parser)
    return group


def add_policies(parser: argparse.ArgumentParser) -> None:
    """Add what is done to recordings that are not as a network wants them."""
    group = parser.add_argument_group("recordings that are not as the network wants them")
    group.add_argument(
        "--missing-leads",
        choices=["derive", "zero", "error"],
        help="compute limb leads from two others and make the rest zeros; make all of them zeros; "
        "leave the recording out (default: the network's, which is derive)",
    )
    group.add_argument(
        "--short",
        choices=["error", "pad"],
        default="error",
        help="recordings shorter than a segment: leave them out, or fill them up with zeros that "
        "attention and pooling leave out (default: error)",
    )
    group.add_argument(
        "--tail",
        choices=["drop", "overlap"],
        default="drop",
        help="samples behind the last whole segment: drop them, or add a segment that ends with "
        "the recording (default: drop)",
    )
    group.add_argument(
        "--nan-policy",
        choices=["error", "interpolate"],
        default="error",
        help="samples without a value: leave the recording out, or interpolate (default: error)",
    )
    group.add_argument(
        "--min-quality",
        type=float,
        default=0.0,
        metavar="Q",
        help="least quality of a recording, from 0 to 1; others are left out. Below 0.5 it is "
        "doubtful that it is an ECG that was recorded as it says (default: 0, none is left out)",
    )
    group.add_argument(
        "--strict",
        action="store_true",
        help="stop at the first recording that cannot be used, in place of noting it in "
        "<out>.quarantine.csv",
    )


def add_network(parser: argparse.ArgumentParser, batch_size: int) -> None:
    """Add the network, and how it computes."""
    parser.add_argument(
        "checkpoint", metavar="CHECKPOINT", help=".pt file, folder, or id on the Hugging Face hub"
    )
    add_checkpoint_options(parser)
    group = parser.add_argument_group("how it is computed")
    group.add_argument("--device", help="cpu, cuda, cuda:1 (default: a GPU if there is one)")
    group.add_argument(
        "--dtype", choices=DTYPES, default="float32", help="of the network (default: float32)"
    )
    group.add_argument(
        "--batch-size",
        type=int,
        default=batch_size,
        metavar="N",
        help=f"segments that go through the network together (default: {batch_size})",
    )
    group.add_argument(
        "--workers",
        type=int,
        default=0,
        metavar="N",
        help="processes that read recordings (default: 0, none beside this one)",
    )


def use(
    arguments: argparse.Namespace,
    settings: Sequence,
    compute: "Callable[[ECGModel, Sequence[NamedRecording], dict], tuple]",
    write: "Callable[[Parts], list[Path]]",
) -> int:
    """Put all recordings through the network in parts, and write what came out.

    Args:
        arguments: of the command.
        settings: options of this command that the results depend on.
        compute: given the model, recordings and options that all uses of a model have, returns
            tables by name and why recordings were left out.
        write: puts the parts together; returns the files that it wrote.

    Returns:
        The exit status: 3 if some recordings could not be used, which are listed with their
        reasons in ``<out>.quarantine.csv``.

    Raises:
        DataError: none could be used; the list is written all the same.
    """
    from fairseq_ecg.inference.parts import computed_in_parts, identity_of
    from fairseq_ecg.inference.writing import write_table
    from fairseq_ecg.jobs.files import remove_unfinished

    recordings, description = recordings_of(arguments)
    model = _model(arguments)
    names = ("short", "tail", "nan_policy", "min_quality")
    policies = {name: getattr(arguments, name) for name in names}
    common = policies | {"batch_size": arguments.batch_size}
    facts = (description, sorted(common.items()), settings)
    common |= {
        "workers": arguments.workers,
        "on_error": "raise" if arguments.strict else "skip",
    }
    out: Path = arguments.out
    with computed_in_parts(
        recordings,
        out.with_name(f".{out.name}.parts"),
        lambda: repr((identity_of(model), *facts)),
        lambda part, bar: compute(model, part, common | {"progress": bar}),
        strict=arguments.strict,
    ) as parts:
        outputs = _outputs(arguments)
        folders, names = {path.parent for path in outputs}, {path.name for path in outputs}
        remove_unfinished(*folders, names=names)
        quarantine = out.with_suffix(".quarantine.csv")
        if parts.errors:
            reasons = [in_one_line(reason) for reason in parts.errors.values()]
            table = {"recording": list(parts.errors), "reason": reasons}
            write_table(quarantine, lambda: iter([table]), 1)
        else:
            quarantine.unlink(missing_ok=True)
        written = [] if parts.is_empty else write(parts)
        n_left_out = len(parts.errors)
        n_used = parts.n_recordings - n_left_out
    print(f"{n_used} recordings: {printable(', '.join(map(str, written)))}")
    if not n_left_out:
        return 0
    print(
        f"{n_left_out} recordings cannot be used, see {printable(str(quarantine))}; the first: "
        f"{reasons[0]}"
    )
    return EXIT_SOME_LEFT_OUT


def writer_of_tables(
    arguments: argparse.Namespace, *, arrays: bool
) -> "Callable[[Parts], list[Path]]":
    """Make what writes a table of recordings, and one of segments where it is asked for.

    Args:
        arguments: with ``out`` and ``segments``.
        arrays: whether ``.npy`` is a form that they can have.

    Returns:
        What `use` takes as ``write``.

    Raises:
        DataError: the extension is not one that can be written.
    """
    from fairseq_ecg.inference.results import FACTS
    from fairseq_ecg.inference.writing import check_form, write_table

    n_keys = 1 + len(FACTS)
    check_form(arguments.out, arrays=arrays)
    if arguments.segments:
        check_form(arguments.segments, arrays=arrays)

    def write(parts: "Parts") -> list[Path]:
        written = []
        if arguments.segments:
            written += write_table(arguments.segments, lambda: parts.tables("segments"), 4)
        return write_table(arguments.out, lambda: parts.tables("recordings"), n_keys) + written

    return write


def recordings_of(arguments: argparse.Namespace) -> tuple:
    """List the recordings; return what was said of them too."""
    from fairseq_ecg.data.errors import DataError
    from fairseq_ecg.inference.recordings import recordings_in

    description = description_of(arguments, arguments.split)
    # A folder may hold what an earlier run has written there.
    own = {path.resolve() for path in _outputs(arguments)}
    names = {printable(path.name) for path in own}
    recordings = [
        recording
        for recording in recordings_in(arguments.recordings, description)
        if os.path.basename(str(recording.name)) not in names
        or own.isdisjoint(file.resolve() for file in recording.source.files)
    ]
    if not recordings:
        raise DataError(f"no recordings in {', '.join(arguments.recordings)}")
    return recordings, description


def _outputs(arguments: argparse.Namespace) -> set[Path]:
    """Files that a command may write."""
    paths = {arguments.out, getattr(arguments, "segments", None) or arguments.out}
    return {
        path.with_suffix(suffix)
        for path in paths
        for suffix in (path.suffix, ".rows.csv", ".quarantine.csv")
    }


def description_of(arguments: argparse.Namespace, split: str | None = None) -> "Description":
    """Gather what the options of `add_description` say of recordings.

    Args:
        arguments: of the command.
        split: of stores, the one to take.

    Returns:
        The description.

    Raises:
        DataError: there is no such format.
    """
    from fairseq_ecg.ecg.preprocessing import check_choice
    from fairseq_ecg.formats import FORMATS
    from fairseq_ecg.inference.recordings import Description

    if arguments.format is not None:
        check_choice("--format", arguments.format, tuple(FORMATS))
    return Description(
        arguments.sample_rate,
        arguments.leads,
        arguments.units,
        arguments.gain,
        arguments.format,
        split,
        arguments.verify,
    )


def _model(arguments: argparse.Namespace) -> "ECGModel":
    from fairseq_ecg.inference import load_model

    names_labels = "label_def" in arguments
    with warnings.catch_warnings():
        if not names_labels:
            warnings.filterwarnings("ignore", message=".*: its labels have no names")
        return load_model(
            arguments.checkpoint,
            device=arguments.device,
            dtype=DTYPES[arguments.dtype],
            labels=arguments.label_def if names_labels else None,
            missing_leads=arguments.missing_leads,
            **checkpoint_options(arguments),
        )
