"""``fairseq-ecg prepare cmsc``."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from fairseq_ecg.cli.options import Folder


def cmsc(
    root: Folder,
    /,
    *,
    dest: Folder = Path("."),
    ext: Annotated[str, Parameter(metavar="EXT")] = "mat",
    consecutive: bool = False,
) -> int:
    """List pairs of segments for contrastive pre-training.

    Makes cmsc/<name>.tsv, a list of pairs of segments of a recording, of every manifest in a
    folder.

    Args:
        root: folder of plain manifests
        dest: folder for the folder cmsc
        ext: extension of the segment files
        consecutive: pair only segments with consecutive numbers, so that partners are neighbours
            even where segments are missing
    """
    from fairseq_ecg.prepare.manifests import write_cmsc_manifests

    counts = write_cmsc_manifests(root, dest, extension=ext, consecutive=consecutive)
    for name, count in counts.items():
        print(f"{name}: {count} pairs")
        if not count:
            print(f"warning: no recording of {name}.tsv has two segments to pair")
    return 0
