"""``fairseq-ecg plot``."""

import argparse
from pathlib import Path

from fairseq_ecg.cli.options import add_label_definition


def add(commands) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "plot",
        help="draw a recording, with what a network says of it",
        description="Draw the first 10 s of a recording on ECG paper (25 mm/s, 10 mm/mV) as a "
        "PNG file in true size, with the probabilities that a fine-tuned network gives its labels.",
    )
    parser.add_argument(
        "recording",
        type=Path,
        metavar="RECORDING",
        help="WFDB record in mV or uV, or .mat file of one that is not yet standardised",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="PNG", help="file to write")
    parser.add_argument("--checkpoint", type=Path, metavar="PT", help="fine-tuned network")
    add_label_definition(parser, required=False)
    parser.add_argument(
        "--truth",
        type=Path,
        metavar="CSV",
        help="table of labels, as for prepare, to mark those that hold",
    )
    parser.set_defaults(run=run, parser=parser)


def run(arguments: argparse.Namespace) -> int:
    """Draw the picture."""
    for option in ("label_def", "truth"):
        if getattr(arguments, option) and not arguments.checkpoint:
            arguments.parser.error(f"--{option.replace('_', '-')} needs --checkpoint")
    from fairseq_ecg.inference.picture import Prediction, draw
    from fairseq_ecg.prepare.recordings import read_recording

    recording = read_recording(arguments.recording)
    prediction = None
    if arguments.checkpoint:
        from fairseq_ecg.inference import load_model
        from fairseq_ecg.prepare.labels import labels_of

        model = load_model(arguments.checkpoint, labels=arguments.label_def)
        table = model.predict(recording.feats, recording.sample_rate).table
        prediction = Prediction(
            table.iloc[0].to_dict(),
            labels_of(arguments.recording, arguments.truth, model.labels)
            if arguments.truth
            else None,
        )
    draw(recording, arguments.recording.stem, arguments.out, prediction)
    return 0
