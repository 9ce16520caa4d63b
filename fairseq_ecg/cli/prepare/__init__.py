"""``fairseq-ecg prepare``: from an archive of ECGs to training data, one sub-command per step."""

from fairseq_ecg.cli.prepare import (
    all_steps,
    cmsc,
    combine,
    identification,
    labels,
    manifests,
    records,
    signals,
    splits,
    subset,
)

STEPS = (
    records,
    signals,
    splits,
    labels,
    manifests,
    cmsc,
    subset,
    combine,
    identification,
    all_steps,
)
"""Modules with ``add``, which adds the step's sub-command, in the order of the steps."""


def add(commands) -> None:
    """Add the command with its steps."""
    parser = commands.add_parser(
        "prepare",
        help="make an archive of ECGs ready for training",
        description="Make an archive of ECGs ready for training, step by step or all at once.",
    )
    steps = parser.add_subparsers(metavar="STEP", required=True)
    for step in STEPS:
        step.add(steps)
