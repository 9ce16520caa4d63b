"""``fairseq-ecg plot``."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import CycloptsError, Group, Parameter

from fairseq_ecg.cli.options import (
    CSV,
    Interval,
    LabelledCheckpointOptions,
    Leads,
    SaliencyMethod,
    Thresholds,
    WaveOptions,
)
from fairseq_ecg.cli.outputs import write_each
from fairseq_ecg.cli.recordings import DescribedOfSplit, Recording
from fairseq_ecg.errors import DataError, as_data_error

if TYPE_CHECKING:
    from fairseq_ecg.inference import ECGModel
    from fairseq_ecg.inference.picture import WavesOf

SUFFIXES = (".png", ".svg", ".pdf")
NO_LEADS = ("none",)
NEED_CHECKPOINT = ("label_def", "truth", "saliency")

PaperSpeed = Annotated[
    float, Parameter(metavar="MM/S", choices=("25", "25.0", "50", "50.0"), show_choices=False)
]


@Parameter(name="*", group=Group("paper"))
@dataclass(frozen=True, kw_only=True)
class Paper(Interval):
    """How recordings are drawn.

    Attributes:
        layout: rows x columns; 3x4 has lead II over the whole time below (default: 3x4 where all
            twelve leads are there, else one below the other)
        draw: such as II,V1 (default: all)
        rhythm: rhythm strips in place of the layout's own, such as II,V1; none for none
        speed: 25 or 50
        mm_per_mv: (default: 10, or less where deflections are large)
    """

    layout: Literal["3x4", "6x2", "12x1"] | None = None
    draw: Leads | None = None
    rhythm: Leads | None = None
    speed: PaperSpeed = 25.0
    mm_per_mv: Annotated[float | None, Parameter(metavar="MM")] = None


@Parameter(name="*", group=Group("what a network says"))
@dataclass(frozen=True, kw_only=True)
class Network(LabelledCheckpointOptions):
    """What a network adds to pictures.

    Attributes:
        checkpoint: .pt file, folder or hub id
        truth: table of labels, as for prepare, to mark those that hold
        thresholds: from which probability on a label holds: one for all, or a table with the
            columns label and threshold
        saliency: paint along the traces how much each moment counts for the network: attention of
            the last layer (if no method is named), or attention rollout
    """

    checkpoint: Annotated[str | None, Parameter(metavar="MODEL")] = None
    truth: CSV | None = None
    thresholds: Thresholds = 0.5
    saliency: SaliencyMethod | None = None


def plot(
    *recordings: Recording,
    out: Annotated[Path, Parameter(metavar="PATH")],
    suffix: Literal[".png", ".svg", ".pdf"] = ".png",
    overwrite: bool = False,
    paper: Paper = Paper(),
    network: Network = Network(),
    waves: WaveOptions = WaveOptions(),
    described: DescribedOfSplit = DescribedOfSplit(),
) -> int:
    """Draw recordings, with what a network says of them.

    They are drawn on ECG paper in true size, as PNG, SVG or PDF: 25 mm/s, 10 mm/mV, three rows of
    four leads and a rhythm strip unless otherwise asked for; with the probabilities that a
    fine-tuned network gives its labels, or its estimates if it is a regression, with what it looked
    at, and with the waves that a segmentor finds.

    Args:
        out: file to write, its name ends in .png, .svg or .pdf; or a folder, in which every
            recording gets a file
        suffix: of files in a folder
        overwrite: draw again what is there in a folder; otherwise it is passed over
    """
    for option in NEED_CHECKPOINT:
        if getattr(network, option) is not None and not network.checkpoint:
            raise CycloptsError(msg=f"--{option.replace('_', '-')} needs --checkpoint")
    waves.check()
    found, _ = described.find(recordings, {out})
    if out.suffix.lower() in SUFFIXES:
        if len(found) > 1:
            raise CycloptsError(
                msg=f"{len(found)} recordings do not go into one picture: give --out a folder"
            )
        _Plotter(paper, network, waves)(found[0], out)
        return 0
    if out.suffix and not out.is_dir():
        raise CycloptsError(msg=f"--out {out}: name it .png, .svg or .pdf, or a folder")
    return write_each(
        found, out, suffix, overwrite, "picture", _Plotter(paper, network, waves).try_
    )


class _Plotter:
    """Draws recordings as the options say; reads the network once."""

    def __init__(self, paper: Paper, network: Network, waves: WaveOptions):
        self.paper, self.network, self.waves = paper, network, waves

    @cached_property
    def model(self) -> "ECGModel | None":
        return self.network.load(self.network.checkpoint) if self.network.checkpoint else None

    @cached_property
    def waves_of(self) -> "WavesOf | None":
        """What finds the waves of a recording, if they are to be painted."""
        from fairseq_ecg.inference.picture.waves import segmented_waves

        found = self.waves.waves_of(self.network)
        if found is None and self.model is not None and self.model.wave_classes:
            return segmented_waves(self.model)
        return found

    def try_(self, recording, file: Path) -> None:
        # The disk that pictures are written to is not the recording's fault.
        with as_data_error(f"{recording.name}: cannot be drawn", but=(OSError,)):
            self(recording, file)

    def __call__(self, recording, file: Path) -> None:
        from fairseq_ecg.formats.location import Location
        from fairseq_ecg.inference.picture import draw, save
        from fairseq_ecg.inference.picture.recording import quality_of, read_shown

        paper = self.paper
        ecg, asked = read_shown(recording)
        saliency = None
        if self.network.saliency:
            found = self.model.saliency(asked, method=self.network.saliency, tail="overlap")
            saliency = found.on_signal(found.recordings.index[0])
        figure = draw(
            ecg,
            Location.of(recording.name).stem,
            layout=paper.layout,
            leads=paper.draw,
            rhythm=() if paper.rhythm == NO_LEADS else paper.rhythm,
            start=paper.start,
            length=paper.length,
            speed=paper.speed,
            gain=paper.mm_per_mv,
            findings=self._findings(asked, recording.name),
            saliency=saliency,
            quality=quality_of(ecg),
            waves=self.waves_of(recording, ecg, asked) if self.waves_of else None,
        )
        save(figure, file)

    def _findings(self, asked, name: str):
        from fairseq_ecg.inference.picture import Estimates, Findings
        from fairseq_ecg.inference.thresholds import thresholds_of
        from fairseq_ecg.prepare.labels import labels_of

        if self.model is None or not self.model.labels:
            return None
        truth = self.network.truth
        outputs = self.model.predict(asked).table.iloc[0].to_dict()
        if self.model.scale:
            if truth:
                raise DataError("--truth: the network is a regression, it predicts no labels")
            return Estimates(outputs, self.model.scale)
        true = labels_of(Path(name), truth, self.model.labels) if truth else None
        return Findings(outputs, thresholds_of(self.model.labels, self.network.thresholds), true)
