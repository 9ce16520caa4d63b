"""Options of commands that read recordings of any format, and how these go through a network."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import CycloptsError, Group, Parameter

from fairseq_ecg.cli.options import (
    EXIT_SOME_LEFT_OUT,
    CheckpointOptions,
    DefaultInHelp,
    Hertz,
    Integer,
    Leads,
    Name,
    TextCheckpointOptions,
    Unit,
    Verification,
    of_texts,
)
from fairseq_ecg.data.names import in_one_line, printable
from fairseq_ecg.errors import DataError

if TYPE_CHECKING:
    from fairseq_ecg.inference import ECGModel, ECGTextModel
    from fairseq_ecg.inference.recordings import Description, NamedRecording

DTYPES = {"float32": "float32", "bf16": "bfloat16"}
"""Names of PyTorch by those of ``--dtype``."""

Recording = Annotated[
    str,
    Parameter(
        required=True,
        help="file of any known format, WFDB record, folder, manifest, store, .npy file of "
        "recordings (N, leads, samples), table with a column 'path', or URL; of files that "
        "prepare has standardised, the segments of a recording are put together",
    ),
]
Checkpoint = Annotated[
    str, Parameter(help=".pt file, folder, or id on the Hugging Face hub", metavar="CHECKPOINT")
]


@Parameter(name="*", group=Group("what recordings do not say themselves"))
@dataclass(frozen=True, kw_only=True)
class Described(Verification):
    """What recordings may not say of themselves.

    Attributes:
        sample_rate: in Hz
        leads: of the rows, in order, such as I,II,V1
        units: of the samples: mV, uV, V, nV
        gain: counts of the converter per mV, in place of units
        format: of files whose name and content do not say it
    """

    sample_rate: Hertz | None = None
    leads: Leads | None = None
    units: Unit | None = None
    gain: Annotated[float | None, Parameter(metavar="N")] = None
    format: Name | None = None

    def description(self, split: str | None = None) -> "Description":
        """Gather what is said of recordings.

        Args:
            split: of stores, the one to take.

        Raises:
            DataError: there is no such format.
        """
        from fairseq_ecg.ecg.preprocessing import check_choice
        from fairseq_ecg.formats import FORMATS
        from fairseq_ecg.inference.recordings import Description

        if self.format is not None:
            check_choice("--format", self.format, tuple(FORMATS))
        return Description(
            self.sample_rate, self.leads, self.units, self.gain, self.format, split, self.verify
        )


@Parameter(name="*", group=Group("what recordings do not say themselves"))
@dataclass(frozen=True, kw_only=True)
class DescribedOfSplit(Described):
    """What recordings may not say of themselves, and which of them are meant.

    Attributes:
        split: of a store, or of a folder of manifests: test for instance
    """

    split: Name | None = None

    def find(
        self, paths: Sequence[str], outputs: set[Path]
    ) -> "tuple[list[NamedRecording], Description]":
        """List recordings.

        Args:
            paths: as the user names the recordings.
            outputs: files that the command writes, left out: an earlier run may have written them
                into a folder of recordings.

        Returns:
            The recordings, and what was said of them.

        Raises:
            DataError: there are none.
        """
        from fairseq_ecg.inference.recordings import recordings_in

        description = self.description(self.split)
        own = {path.resolve() for path in outputs}
        names = {printable(path.name) for path in own}
        recordings = [
            recording
            for recording in recordings_in(paths, description)
            if os.path.basename(str(recording.name)) not in names
            or own.isdisjoint(file.resolve() for file in recording.source.files)
        ]
        if not recordings:
            raise DataError(f"no recordings in {', '.join(paths)}")
        return recordings, description


_POLICIES = Group("recordings that are not as the network wants them")


@Parameter(name="*", group=_POLICIES)
@dataclass(frozen=True, kw_only=True)
class Policies:
    """What is done to recordings that are not as a network wants them.

    Attributes:
        missing_leads: compute limb leads from two others and make the rest zeros; make all of them
            zeros; leave the recording out (default: the network's, which is derive)
        nan_policy: samples without a value: leave the recording out, or interpolate
        min_quality: least quality of a recording, from 0 to 1; others are left out. Below 0.5 it is
            doubtful that it is an ECG that was recorded as it says (default: 0, none is left out)
        strict: stop at the first recording that cannot be used, in place of noting it in
            <out>.quarantine.csv
    """

    missing_leads: Literal["derive", "zero", "error"] | None = None
    nan_policy: Literal["error", "interpolate"] = "error"
    min_quality: Annotated[float, DefaultInHelp, Parameter(metavar="Q")] = 0.0
    strict: bool = False

    def of_segments(self) -> dict[str, object]:
        """Return those that ``ECGModel.predict`` and its like take, by name."""
        return {name: getattr(self, name) for name in ("nan_policy", "min_quality")}


@Parameter(name="*", group=_POLICIES)
@dataclass(frozen=True, kw_only=True)
class SegmentPolicies(Policies):
    """The same where segments are used as they are cut.

    Attributes:
        short: recordings shorter than a segment: leave them out, or fill them up with zeros that
            attention and pooling leave out
        tail: samples behind the last whole segment: drop them, or add a segment that ends with the
            recording
    """

    short: Literal["error", "pad"] = "error"
    tail: Literal["drop", "overlap"] = "drop"

    def of_segments(self) -> dict[str, object]:
        """Return those that ``ECGModel.predict`` and its like take, by name."""
        return {"short": self.short, "tail": self.tail} | super().of_segments()


@Parameter(name="*", group=Group("how it is computed"))
@dataclass(frozen=True, kw_only=True)
class Computation:
    """How a network computes.

    Attributes:
        device: cpu, cuda, cuda:1 (default: a GPU if there is one)
        dtype: of the network
        batch_size: segments that go through the network together
        workers: processes that read recordings (default: 0, none beside this one)
    """

    device: Name | None = None
    dtype: Literal["float32", "bf16"] = "float32"
    batch_size: Integer = 32
    workers: Annotated[Integer, DefaultInHelp] = 0


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class WholeUse:
    """Options of the commands that put whole recordings through a network.

    Attributes:
        options: of the checkpoint.
        computation: how the network computes.
        described: what the recordings do not say of themselves.
        policies: what is done to recordings that are not as the network wants them.
    """

    options: CheckpointOptions = CheckpointOptions()
    computation: Computation = Computation()
    described: DescribedOfSplit = DescribedOfSplit()
    policies: Policies = Policies()

    def load(self, checkpoint: str) -> "ECGModel | ECGTextModel":
        """Read the network."""
        return self.options.load(checkpoint, **self.settings())

    def settings(self) -> dict[str, Any]:
        """Return how it computes, by the names that ``load_model`` has for these options."""
        return {
            "device": self.computation.device,
            "dtype": DTYPES[self.computation.dtype],
            "missing_leads": self.policies.missing_leads,
        }

    def common(self) -> dict[str, Any]:
        """Return the options that all uses of a model have and results depend on."""
        return self.policies.of_segments() | {"batch_size": self.computation.batch_size}

    def of_all_uses(self) -> dict[str, Any]:
        """Return the options that all uses of a model have."""
        on_error = "raise" if self.policies.strict else "skip"
        return self.common() | {"workers": self.computation.workers, "on_error": on_error}

    def run(
        self,
        checkpoint: str,
        recordings: Sequence[str],
        files: dict[str, Path | None],
        settings: Sequence,
        compute: "Callable[[Any, Sequence[NamedRecording], dict], tuple]",
        arrays: bool = False,
        announce: "Callable[[Sequence[NamedRecording]], object] | None" = None,
        find: "Callable[[set[Path]], tuple[Sequence[NamedRecording], Description]] | None" = None,
    ) -> int:
        """Put all recordings through the network in parts, and write what came out.

        Args:
            checkpoint: the network.
            recordings: as the user names them.
            files: to write, by the name of the table; first ``--out``.
            settings: options of this command that the results depend on.
            compute: given the model, recordings and options that all uses of a model have, returns
                tables by name and why recordings were left out.
            arrays: whether ``.npy`` is a file format that tables can have.
            announce: is given all recordings before any of them is computed.
            find: given the files that are written, lists what to compute and what was said of it;
                None: the recordings.

        Returns:
            The exit status: 3 if some recordings could not be used, which are listed with their
            reasons in ``<out>.quarantine.csv``.

        Raises:
            DataError: none could be used; the list is written all the same.
        """
        from fairseq_ecg.inference.parts import computed_in_parts, identity_of
        from fairseq_ecg.inference.results import FACTS
        from fairseq_ecg.inference.writing import check_file_format, write_table
        from fairseq_ecg.jobs.files import remove_unfinished

        tables = {name: file for name, file in files.items() if file}
        for file in tables.values():
            check_file_format(file, arrays=arrays)
        suffixes = ("", ".rows.csv", ".quarantine.csv")
        outputs = {f.with_suffix(s or f.suffix) for f in tables.values() for s in suffixes}
        out = next(iter(tables.values()))
        quarantine = out.with_suffix(".quarantine.csv")
        found, description = (find or partial(self.described.find, recordings))(outputs)
        if announce:
            announce(found)
        model = self.load(checkpoint)
        facts = (description, sorted(self.common().items()), settings)
        common = self.of_all_uses()
        with computed_in_parts(
            found,
            out.with_name(f".{out.name}.parts"),
            lambda: repr((identity_of(model), *facts)),
            lambda part, bar: compute(model, part, common | {"progress": bar}),
            strict=self.policies.strict,
        ) as parts:
            remove_unfinished(*{f.parent for f in outputs}, names={f.name for f in outputs})
            if parts.errors:
                reasons = [in_one_line(reason) for reason in parts.errors.values()]
                table = {"recording": list(parts.errors), "reason": reasons}
                write_table(quarantine, lambda: iter([table]), 1)
            else:
                quarantine.unlink(missing_ok=True)
            written: list[Path] = []
            for name, file in reversed(tables.items() if not parts.is_empty else ()):
                n_keys = 1 + len(FACTS) if name == "recordings" else 4  # of arrays
                written = write_table(file, partial(parts.tables, name), n_keys) + written
            n_used = parts.n_recordings - len(parts.errors)
        print(f"{n_used} recordings: {printable(', '.join(map(str, written)))}")
        if not parts.errors:
            return 0
        print(
            f"{len(parts.errors)} recordings cannot be used, see {printable(str(quarantine))}; the "
            f"first: {reasons[0]}"
        )
        return EXIT_SOME_LEFT_OUT


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Use(WholeUse):
    """The same of commands that put the segments of recordings through it as they are cut."""

    policies: SegmentPolicies = SegmentPolicies()


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class EmbeddingUse(Use):
    """The same of commands that encode recordings, with a network that may read texts, too."""

    def load(self, checkpoint: str) -> "ECGModel | ECGTextModel":
        """Read the network."""
        return self.options.load_any(checkpoint, **self.settings())


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class TextUse(Use):
    """The same of commands for networks of ECGs and texts."""

    options: TextCheckpointOptions = TextCheckpointOptions()

    def load(self, checkpoint: str) -> "ECGTextModel":
        """Read the network."""
        return of_texts(checkpoint, self.options.load_any(checkpoint, **self.settings()))


def check_shown(top: int, out: Path | None, segments: Path | None) -> None:
    """Check options of commands that print the first results of each recording, or write all.

    Raises:
        CycloptsError: segments are to be written, and nothing of recordings.
        DataError: there would be nothing to print.
    """
    if segments and not out:
        raise CycloptsError(msg="--segments goes with --out")
    if top < 1:
        raise DataError(f"--top {top}: give a positive number")
