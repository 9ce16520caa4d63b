"""Options that several steps have."""

from dataclasses import dataclass
from typing import Annotated

from cyclopts import Parameter

from fairseq_ecg.cli.options import Folder, Paths, whole_number

ProcessedRoot = Annotated[
    Folder,
    Parameter(help="folder of everything that is made of the source, one for each source"),
]
Seed = Annotated[int, whole_number(0, 2**32, "a whole number below 2^32, not below 0")]


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class SplitFiles:
    """Tables of segments and their splits.

    Attributes:
        split_file_paths: segments and their splits, segmented_split.csv of each source
        root: what relative paths in the tables are relative to (default: the folder of the table)
    """

    split_file_paths: Paths
    root: Folder | None = None
