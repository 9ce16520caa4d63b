"""``fairseq-ecg benchmark ptbxl``."""

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from fairseq_ecg.cli.fitting import FittingOptions
from fairseq_ecg.cli.options import CheckpointOptions, DefaultInHelp, Folder, Words

TASKS = ("all", "diag", "sub", "super", "form", "rhythm")


def ptbxl(
    *,
    raw_root: Folder,
    checkpoint: Annotated[str, Parameter(metavar="CHECKPOINT")],
    out: Folder,
    tasks: Annotated[Words, DefaultInHelp] = TASKS,
    sample_rate: Literal[500, 100] = 500,
    solver: Literal["lbfgs", "sgd"] = "lbfgs",
    skip_errors: bool = False,
    print_finetuning: bool = False,
    options: CheckpointOptions = CheckpointOptions(),
    fitting: FittingOptions = FittingOptions(),
) -> int:
    """Score a network on the six tasks of PTB-XL.

    A linear probe is fitted for each of the six tasks of PTB-XL 1.0.3: folds 1 to 8 train, 9 valid,
    10 test, probabilities of segments averaged over the recording, macro AUROC with a bootstrap
    interval. A run that was killed goes on.

    Args:
        raw_root: folder of PTB-XL
        checkpoint: network to score
        out: folder to write to
        tasks: some of all, diag, sub, super, form, rhythm (default: all six)
        sample_rate: of the recordings that are read
        skip_errors: leave out recordings that cannot be used
        print_finetuning: do not probe; print the commands that prepare each task, fine-tune and
            score
    """
    from fairseq_ecg.benchmark import as_markdown, benchmark, finetuning_commands

    if print_finetuning:
        for task in tasks:
            print(f"# {task}")
            commands = finetuning_commands(task, raw_root, Path(checkpoint), out / task)
            print("\n".join(commands))
        return 0
    results = benchmark(
        raw_root,
        options.load(checkpoint, device=fitting.device),
        out,
        tasks=tasks,
        fitting=fitting.fitting(solver),
        sample_rate=sample_rate,
        n_resamples=fitting.resamples,
        batch_size=fitting.batch_size,
        workers=fitting.workers,
        cache=fitting.cache,
        skip_errors=skip_errors,
    )
    print(as_markdown(results), end="")
    return 0
