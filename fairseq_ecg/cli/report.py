"""``fairseq-ecg report``."""

import argparse
from pathlib import Path

from fairseq_ecg.cli.options import (
    add_checkpoint_options,
    add_label_definition,
    checkpoint_options,
)
from fairseq_ecg.cli.outputs import output_files, say_left_out
from fairseq_ecg.cli.recordings import add_recordings, recordings_of
from fairseq_ecg.cli.shown import METHODS, add_part, add_thresholds

SUFFIX = ".html"


def add(commands) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "report",
        help="make a page of recordings and what a network says of them",
        description="Make a page for a browser that holds everything it shows and asks nothing of "
        "a network: ECGs to zoom and measure, probabilities and thresholds, what counted for the "
        "network, a map of the embeddings, the model and its preprocessing.",
    )
    add_recordings(parser)
    parser.add_argument("--checkpoint", required=True, metavar="MODEL", help=".pt, folder, hub id")
    add_checkpoint_options(parser)
    add_label_definition(parser, required=False)
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="PATH",
        help="page of all recordings, its name ends in .html; or a folder, in which every "
        "recording gets a page",
    )
    parser.add_argument(
        "--overwrite",
        action="store_true",
        help="make again what is there in a folder; otherwise it is passed over",
    )
    parser.add_argument("--title", metavar="TEXT", help="of the page (default: its name)")
    add_thresholds(parser)
    parser.add_argument(
        "--saliency",
        choices=METHODS,
        default=METHODS[0],
        help="attention of the last layer, or attention rollout (default: %(default)s)",
    )
    add_part(parser, 60.0)
    parser.add_argument(
        "--seed", type=int, default=42, metavar="N", help="of the map of embeddings (default: 42)"
    )
    parser.set_defaults(run=run, parser=parser)


def run(arguments: argparse.Namespace) -> int:
    """Make the pages."""
    is_page = arguments.out.suffix.lower() == SUFFIX
    if arguments.out.suffix and not is_page and not arguments.out.is_dir():
        arguments.parser.error(f"--out {arguments.out}: name it {SUFFIX}, or a folder")
    recordings, _ = recordings_of(arguments)
    if is_page:
        page = _make(arguments, _model(arguments), recordings, arguments.out, None)
        return say_left_out(page.errors)

    from tqdm import tqdm

    from fairseq_ecg.data.errors import DataError

    files = output_files([r.name for r in recordings], arguments.out, SUFFIX)
    pending = [
        pair
        for pair in zip(recordings, files, strict=True)
        if arguments.overwrite or not pair[1].is_file()
    ]
    errors = {}
    model = _model(arguments) if pending else None
    for recording, file in tqdm(pending, desc="pages", unit="page", disable=None):
        try:
            _make(arguments, model, [recording], file, False)
        except DataError as error:
            errors[recording.name] = str(error)
    return say_left_out(errors)


def _model(arguments: argparse.Namespace):
    from fairseq_ecg.inference import load_model

    return load_model(
        arguments.checkpoint, labels=arguments.label_def, **checkpoint_options(arguments)
    )


def _make(arguments: argparse.Namespace, model, recordings: list, file: Path, progress):
    """Write a page."""
    from fairseq_ecg.inference.report import report
    from fairseq_ecg.jobs.files import write_file

    page = report(
        recordings,
        model,
        title=arguments.title or file.stem,
        model_name=arguments.checkpoint,
        thresholds=arguments.thresholds,
        start=arguments.start,
        length=arguments.length,
        saliency_method=arguments.saliency,
        seed=arguments.seed,
        progress=progress,
    )
    write_file(file, page.html)
    return page
