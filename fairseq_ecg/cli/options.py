"""Types of options, and groups of options that several commands have."""

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

from cyclopts import CoercionError, CycloptsError, Parameter

from fairseq_ecg.errors import DataError

if TYPE_CHECKING:
    from fairseq_ecg.inference import ECGModel, ECGTextModel
    from fairseq_ecg.inference.picture import WavesOf

EXIT_SOME_LEFT_OUT = 3
"""Exit status of commands that left out recordings which cannot be used, and did the others."""

SaliencyMethod = Literal["attention", "rollout"]
SALIENCY_METHODS = get_args(SaliencyMethod)
"""The first is meant where none is named."""


def words(_: type, tokens: list) -> tuple[str, ...]:
    """Read names separated by commas, of the last of repeated options."""
    names = tuple(name.strip() for name in tokens[-1].value.split(","))
    if not all(names):
        raise ValueError(f"{tokens[-1].value!r}: give names separated by commas")
    return names


def comma_separated(kind: type, metavar: str) -> Parameter:
    """Describe an option whose values are separated by commas, in help by ``metavar``."""
    return Parameter(
        converter=lambda _, tokens: tuple(map(kind, words(_, tokens))), n_tokens=1, metavar=metavar
    )


def _integer(_: type, tokens: list) -> int:
    """Read an integer as Python does, where Cyclopts would round 1.5."""
    try:
        return int(tokens[-1].value)
    except ValueError:
        raise CoercionError(token=tokens[-1], target_type=int) from None


def whole_number(least: int, below: float, what: str) -> Parameter:
    """Describe an option whose value is a whole number, for messages ``what``, in a range."""

    def read(_: type, tokens: list) -> int:
        text = tokens[-1].value
        if not text.isdecimal() or not least <= int(text) < below:
            raise ValueError(f"{text}: give {what}")
        return int(text)

    return Parameter(converter=read, n_tokens=1, metavar="N")


Integer = Annotated[int, Parameter(converter=_integer, n_tokens=1, metavar="N")]
Number = Annotated[float, Parameter(metavar="X")]
Hertz = Annotated[float, Parameter(metavar="HZ")]
Seconds = Annotated[float, Parameter(metavar="S")]
Probability = Annotated[float, Parameter(metavar="P")]
Folder = Annotated[Path, Parameter(metavar="DIR")]
CSV = Annotated[Path, Parameter(metavar="CSV")]
NPY = Annotated[Path, Parameter(metavar="NPY")]
TXT = Annotated[Path, Parameter(metavar="TXT")]
File = Annotated[Path, Parameter(metavar="FILE")]
Name = Annotated[str, Parameter(metavar="NAME")]
Unit = Annotated[str, Parameter(metavar="UNIT")]
Words = Annotated[tuple[str, ...], Parameter(converter=words, n_tokens=1, metavar="A,B")]
Leads = Annotated[Words, Parameter(metavar="LEADS")]
Paths = Annotated[tuple[Path, ...], comma_separated(Path, "CSV,CSV")]
Floats = Annotated[tuple[float, ...], comma_separated(float, "X,X")]
Integers = Annotated[tuple[int, ...], comma_separated(int, "N,N")]

SeveralValues = Parameter(consume_multiple=(1, None), metavar="NAME")
"""Values that follow one another after one option."""

DefaultInHelp = Parameter(show_default=False)
"""The default is explained by the help of the option."""

Thresholds = Annotated[float | Path, Parameter(metavar="P|CSV")]


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Verification:
    """Whether doubtful recordings are used.

    Attributes:
        verify: leave out recordings that there is reason to doubt: other samples than the checksums
            of the file say, or more of them (otherwise they are used, and the reasons reported)
    """

    verify: bool = False


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class CheckpointOptions:
    """What may have to be said of a checkpoint.

    Attributes:
        mean_path: mean of each lead, of a network that was trained on leads normalised by it
        std_path: standard deviation of each lead, of a network that was trained on leads
            normalised by it
        allow_damaged: read a checkpoint although its checksums differ from what is there
    """

    mean_path: TXT | None = None
    std_path: TXT | None = None
    allow_damaged: bool | None = None

    def given(self) -> dict[str, object]:
        """Return these options by the names that ``load_model`` has for them."""
        return {name: getattr(self, name) for name in ("mean_path", "std_path", "allow_damaged")}

    def load(self, checkpoint: str, **settings: Any) -> "ECGModel":
        """Read a network whose labels, if it has any, need no names.

        Args:
            checkpoint: .pt file, folder, or id on the Hugging Face hub.
            settings: further arguments of ``load_model``.

        Raises:
            DataError: it reads texts.
        """
        return of_ecgs_alone(checkpoint, self.load_any(checkpoint, **settings))

    def load_any(self, checkpoint: str, **settings: Any) -> "ECGModel | ECGTextModel":
        """Read a network that may read texts, too."""
        return self._unnamed(checkpoint, settings)

    def load_unnamed(self, checkpoint: str, **settings: Any) -> "ECGModel":
        """Read a network as :meth:`load` does here, also where labels of another one are named."""
        return of_ecgs_alone(checkpoint, self._unnamed(checkpoint, settings))

    def _unnamed(self, checkpoint: str, settings: dict[str, Any]) -> "ECGModel | ECGTextModel":
        from fairseq_ecg.inference import load_model

        with warnings.catch_warnings():
            unnamed = "(?s).*its (labels|answers) have no names"
            warnings.filterwarnings("ignore", unnamed, UserWarning)
            return load_model(checkpoint, **self.given(), **settings)


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class LabelledCheckpointOptions(CheckpointOptions):
    """What may have to be said of a checkpoint whose labels have names.

    Attributes:
        label_def: names of the labels, labels/label_def.csv
    """

    label_def: CSV | None = None

    def load_any(self, checkpoint: str, **settings: Any) -> "ECGModel | ECGTextModel":
        """Read a network, with a warning if its labels have no names."""
        from fairseq_ecg.inference import load_model

        return load_model(checkpoint, labels=self.label_def, **self.given(), **settings)


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class TextCheckpointOptions(CheckpointOptions):
    """What may have to be said of a checkpoint that reads texts.

    Attributes:
        tokenizer: vocabulary of a checkpoint that does not hold it: a vocab.txt, a folder with one,
            or a name on the Hugging Face hub (fairseq_signals trains with bert-base-uncased)
    """

    tokenizer: Annotated[str | None, Parameter(metavar="FILE|NAME")] = None

    def given(self) -> dict[str, object]:
        """Return these options by the names that ``load_model`` has for them."""
        return {"tokenizer": self.tokenizer} | super().given()


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class LabelledTextCheckpointOptions(TextCheckpointOptions, LabelledCheckpointOptions):
    """What may have to be said of a checkpoint that may read texts, and has labels or answers.

    Attributes:
        label_def: names of the labels, labels/label_def.csv; of answers to questions that, or the
            answers.csv of ECG-QA
    """


def of_ecgs_alone(checkpoint: str, model: "ECGModel | ECGTextModel") -> "ECGModel":
    """Return a model of a command that is for networks of ECGs alone.

    Raises:
        DataError: it reads texts.
    """
    from fairseq_ecg.inference import ECGTextModel

    if isinstance(model, ECGTextModel):
        raise DataError(f"{checkpoint}: {model.instead}")
    return model


def of_texts(checkpoint: str, model: "ECGModel | ECGTextModel") -> "ECGTextModel":
    """Return a model of a command that is for networks of ECGs and texts.

    Raises:
        DataError: it reads none.
    """
    from fairseq_ecg.inference import ECGTextModel

    if not isinstance(model, ECGTextModel):
        raise DataError(f"{checkpoint}: {model.instead}")
    return model


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Interval:
    """Interval of recordings that is shown.

    Attributes:
        start: of what is shown, in seconds from the start of the recording
        length: of what is shown, in seconds
    """

    start: Seconds = 0.0
    length: Seconds = 10.0


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class WaveOptions:
    """Waves that are painted.

    Attributes:
        segmentor: .pt file, folder or hub id of a network that delineates waves: paint the P waves,
            QRS complexes and T waves that it finds
        annotated: paint the waves that the recordings' own files say: segment_label of a .mat file,
            or files of annotations beside a WFDB record, with the leads as extensions, as of LUDB
    """

    segmentor: Annotated[str | None, Parameter(metavar="MODEL")] = None
    annotated: bool = False

    def waves_of(self, options: CheckpointOptions) -> "WavesOf | None":
        """Return what finds the waves of a recording; None if none are asked for.

        Args:
            options: of the checkpoint.
        """
        if self.annotated:
            from fairseq_ecg.cli.waves import annotated_waves

            return annotated_waves
        if self.segmentor is None:
            return None
        from fairseq_ecg.inference.picture.waves import segmented_waves

        return segmented_waves(options.load_unnamed(self.segmentor))

    def check(self) -> None:
        """Raise CycloptsError if these options do not go together."""
        if self.segmentor and self.annotated:
            raise CycloptsError(msg="--segmentor and --annotated: choose whose waves are painted")
