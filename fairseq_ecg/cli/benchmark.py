"""``fairseq-ecg benchmark``."""

import argparse
from pathlib import Path

from fairseq_ecg.cli.options import add_checkpoint_options
from fairseq_ecg.cli.prepare.options import words
from fairseq_ecg.cli.probe import add_fitting_options, fitting_of, load_encoder

TASKS = ("all", "diag", "sub", "super", "form", "rhythm")


def add(commands) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "benchmark",
        help="score a network on the tasks of a public archive",
        description="Score a network on the tasks by which networks are compared.",
    )
    archives = parser.add_subparsers(metavar="ARCHIVE", required=True)
    ptbxl = archives.add_parser(
        "ptbxl",
        help="the six tasks of PTB-XL",
        description="Fit a linear probe for each of the six tasks of PTB-XL 1.0.3: folds 1 to 8 "
        "train, 9 valid, 10 test, probabilities of segments averaged over the recording, macro "
        "AUROC with a bootstrap interval. A run that was killed goes on.",
    )
    ptbxl.add_argument(
        "--raw-root", type=Path, required=True, metavar="DIR", help="folder of PTB-XL"
    )
    ptbxl.add_argument("--checkpoint", required=True, metavar="CHECKPOINT", help="network to score")
    add_checkpoint_options(ptbxl)
    ptbxl.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to write to")
    ptbxl.add_argument(
        "--tasks",
        type=words,
        default=TASKS,
        metavar="A,B",
        help=f"some of {', '.join(TASKS)} (default: all six)",
    )
    ptbxl.add_argument(
        "--sample-rate",
        type=int,
        choices=[500, 100],
        default=500,
        help="of the recordings that are read (default: 500)",
    )
    ptbxl.add_argument(
        "--solver", choices=["lbfgs", "sgd"], default="lbfgs", help="(default: lbfgs)"
    )
    add_fitting_options(ptbxl)
    ptbxl.add_argument(
        "--cache",
        type=Path,
        metavar="DIR",
        help="folder of the embeddings (default: embeddings in --out)",
    )
    ptbxl.add_argument(
        "--skip-errors", action="store_true", help="leave out recordings that cannot be used"
    )
    ptbxl.add_argument("--device", metavar="NAME", help="cpu or cuda (default: a GPU if any)")
    ptbxl.add_argument(
        "--print-finetuning",
        action="store_true",
        help="do not probe; print the commands that prepare each task, fine-tune and score",
    )
    ptbxl.set_defaults(run=run_ptbxl)


def run_ptbxl(arguments: argparse.Namespace) -> int:
    """Score, write and print the table."""
    from fairseq_ecg.benchmark import as_markdown, benchmark, finetuning_commands

    if arguments.print_finetuning:
        for task in arguments.tasks:
            print(f"# {task}")
            commands = finetuning_commands(
                task, arguments.raw_root, Path(arguments.checkpoint), arguments.out / task
            )
            print("\n".join(commands))
        return 0
    results = benchmark(
        arguments.raw_root,
        load_encoder(arguments),
        arguments.out,
        tasks=arguments.tasks,
        fitting=fitting_of(arguments, arguments.solver),
        sample_rate=arguments.sample_rate,
        n_resamples=arguments.resamples,
        batch_size=arguments.batch_size,
        workers=arguments.workers,
        cache=arguments.cache,
        skip_errors=arguments.skip_errors,
    )
    print(as_markdown(results), end="")
    return 0
