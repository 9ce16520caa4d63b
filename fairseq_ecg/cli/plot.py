"""``fairseq-ecg plot``."""

import argparse
from pathlib import Path

from fairseq_ecg.cli.options import (
    add_checkpoint_options,
    add_label_definition,
    checkpoint_options,
)
from fairseq_ecg.cli.outputs import output_files, say_left_out
from fairseq_ecg.cli.prepare.options import words
from fairseq_ecg.cli.recordings import add_recordings, recordings_of
from fairseq_ecg.cli.shown import METHODS, add_part, add_thresholds

SUFFIXES = (".png", ".svg", ".pdf")
LAYOUTS = ("3x4", "6x2", "12x1")
NO_LEADS = ("none",)
NEED_CHECKPOINT = ("label_def", "truth", "saliency")


def add(commands) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "plot",
        help="draw recordings, with what a network says of them",
        description="Draw recordings on ECG paper in true size, as PNG, SVG or PDF: 25 mm/s, "
        "10 mm/mV, three rows of four leads and a rhythm strip unless otherwise asked for; with "
        "the probabilities that a fine-tuned network gives its labels, or its estimates if it is a "
        "regression, and with what it looked at.",
    )
    add_recordings(parser)
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="PATH",
        help="file to write, its name ends in .png, .svg or .pdf; or a folder, in which every "
        "recording gets a file",
    )
    parser.add_argument(
        "--suffix", choices=SUFFIXES, default=".png", help="of files in a folder (default: .png)"
    )
    parser.add_argument(
        "--overwrite",
        action="store_true",
        help="draw again what is there in a folder; otherwise it is passed over",
    )
    _add_paper_options(parser)
    group = parser.add_argument_group("what a network says")
    group.add_argument("--checkpoint", metavar="MODEL", help=".pt file, folder or hub id")
    add_checkpoint_options(group)
    add_label_definition(group, required=False)
    group.add_argument(
        "--truth",
        type=Path,
        metavar="CSV",
        help="table of labels, as for prepare, to mark those that hold",
    )
    add_thresholds(group)
    group.add_argument(
        "--saliency",
        nargs="?",
        const=METHODS[0],
        choices=METHODS,
        help="paint along the traces how much each moment counts for the network: attention of "
        "the last layer (if no method is named), or attention rollout",
    )
    parser.set_defaults(run=run, parser=parser)


def _add_paper_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("paper")
    group.add_argument(
        "--layout",
        choices=LAYOUTS,
        help="rows x columns; 3x4 has lead II over the whole time below (default: 3x4 where all "
        "twelve leads are there, else one below the other)",
    )
    group.add_argument("--draw", type=words, metavar="LEADS", help="such as II,V1 (default: all)")
    group.add_argument(
        "--rhythm",
        type=words,
        metavar="LEADS",
        help="rhythm strips in place of the layout's own, such as II,V1; none for none",
    )
    add_part(group, 10.0)
    group.add_argument(
        "--speed",
        type=float,
        default=25.0,
        choices=(25.0, 50.0),
        metavar="MM/S",
        help="25 or 50 (default: 25)",
    )
    group.add_argument(
        "--mm-per-mv",
        type=float,
        metavar="MM",
        help="(default: 10, or less where deflections are large)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Draw the pictures."""
    for option in NEED_CHECKPOINT:
        if getattr(arguments, option) is not None and not arguments.checkpoint:
            arguments.parser.error(f"--{option.replace('_', '-')} needs --checkpoint")
    recordings, _ = recordings_of(arguments)
    if arguments.out.suffix.lower() in SUFFIXES:
        if len(recordings) > 1:
            arguments.parser.error(
                f"{len(recordings)} recordings do not go into one picture: give --out a folder"
            )
        _Plotter(arguments)(recordings[0], arguments.out)
        return 0
    if arguments.out.suffix and not arguments.out.is_dir():
        arguments.parser.error(f"--out {arguments.out}: name it .png, .svg or .pdf, or a folder")
    return _draw_all(arguments, recordings)


def _draw_all(arguments: argparse.Namespace, recordings: list) -> int:
    """Draw a picture of each recording that has none yet."""
    from tqdm import tqdm

    from fairseq_ecg.data.errors import DataError, as_data_error
    from fairseq_ecg.jobs.files import remove_unfinished

    files = output_files([r.name for r in recordings], arguments.out, arguments.suffix)
    remove_unfinished(*{file.parent for file in files})
    pending = [
        pair
        for pair in zip(recordings, files, strict=True)
        if arguments.overwrite or not pair[1].is_file()
    ]
    errors = {}
    if pending:
        plotter = _Plotter(arguments)
        for recording, file in tqdm(pending, desc="pictures", unit="picture", disable=None):
            try:
                # The disk that pictures are written to is not the recording's fault.
                with as_data_error(f"{recording.name}: cannot be drawn", but=(OSError,)):
                    plotter(recording, file)
            except DataError as error:
                errors[recording.name] = str(error)
    return say_left_out(errors)


class _Plotter:
    """Draws recordings as the options say; reads the network once."""

    def __init__(self, arguments: argparse.Namespace):
        self.arguments = arguments
        self.model = None
        if arguments.checkpoint:
            from fairseq_ecg.inference import load_model

            self.model = load_model(
                arguments.checkpoint, labels=arguments.label_def, **checkpoint_options(arguments)
            )

    def __call__(self, recording, file: Path) -> None:
        from fairseq_ecg.formats.location import Location
        from fairseq_ecg.inference.picture import draw, save
        from fairseq_ecg.inference.picture.recording import quality_of, read_shown

        arguments = self.arguments
        ecg, asked = read_shown(recording)
        saliency = None
        if arguments.saliency:
            found = self.model.saliency(asked, method=arguments.saliency, tail="overlap")
            saliency = found.on_signal(found.recordings.index[0])
        figure = draw(
            ecg,
            Location.of(recording.name).stem,
            layout=arguments.layout,
            leads=arguments.draw,
            rhythm=() if arguments.rhythm == NO_LEADS else arguments.rhythm,
            start=arguments.start,
            length=arguments.length,
            speed=arguments.speed,
            gain=arguments.mm_per_mv,
            findings=self._findings(asked, recording.name),
            saliency=saliency,
            quality=quality_of(ecg),
        )
        save(figure, file)

    def _findings(self, asked, name: str):
        from fairseq_ecg.data.errors import DataError
        from fairseq_ecg.inference.picture import Estimates, Findings
        from fairseq_ecg.inference.thresholds import thresholds_of
        from fairseq_ecg.prepare.labels import labels_of

        if self.model is None or not self.model.labels:
            return None
        arguments = self.arguments
        outputs = self.model.predict(asked).table.iloc[0].to_dict()
        if self.model.scale:
            if arguments.truth:
                raise DataError("--truth: the network is a regression, it predicts no labels")
            return Estimates(outputs, self.model.scale)
        true = None
        if arguments.truth:
            true = labels_of(Path(name), arguments.truth, self.model.labels)
        return Findings(outputs, thresholds_of(self.model.labels, arguments.thresholds), true)
