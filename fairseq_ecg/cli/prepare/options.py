"""Options that several steps have."""

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Annotated, Literal

from cyclopts import Parameter

from fairseq_ecg.cli.options import DefaultInHelp, Folder, Integer, Paths, whole_number

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


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Work:
    """How records are worked on, and what ends it.

    Attributes:
        jobs: processes; -1 for all processors
        backend: where they run: on this machine, or on a cluster (default: loky, this machine)
        scheduler: of the cluster (default: one on this machine)
        strict: stop at the first record that cannot be used
        again: prepare also what an earlier run has prepared
    """

    jobs: Annotated[Integer, Parameter(name=["--jobs", "--nb-workers"])] = 1
    backend: Annotated[Literal["loky", "dask", "ray"], DefaultInHelp] = "loky"
    scheduler: Annotated[str | None, Parameter(metavar="ADDRESS")] = None
    strict: bool = False
    again: bool = False

    def workers(self) -> AbstractContextManager[None]:
        """Say where records are worked on, for the block."""
        from fairseq_ecg.jobs.pool import workers

        return workers(self.jobs, self.backend, self.scheduler)


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class ECGQAFolders:
    """Where ECG-QA lies, and the ECGs that it asks about.

    Attributes:
        raw_root: ecgqa/ptbxl or ecgqa/mimic-iv-ecg of the ECG-QA project, or what its own script
            made of it
        ecg_root: folder of PTB-XL or MIMIC-IV-ECG (default: files of the ECGs are those that the
            questions name, ecg_path)
    """

    raw_root: Folder
    ecg_root: Folder | None = None
