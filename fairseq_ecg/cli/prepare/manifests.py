"""``fairseq-ecg prepare manifests``."""

from typing import Annotated, Literal

from cyclopts import Parameter

from fairseq_ecg.cli.options import Folder, Words
from fairseq_ecg.cli.prepare.options import SplitFiles


def manifests(
    *,
    files: SplitFiles,
    save_dir: Folder,
    header: Literal["tab", "plain"] = "tab",
    dataset_subset: Words | None = None,
    path_must_contain: Annotated[str | None, Parameter(metavar="TEXT")] = None,
) -> int:
    """List the segments of each split.

    Writes <split>.tsv, the list of segments that task.data points at, of one or several sources.

    Args:
        save_dir: folder to write to
        header: first line: tab: a tab and the root, with / at its end; plain: the root, as older
            scripts of fairseq_signals write it; both are read
        dataset_subset: list only segments whose column dataset says one of these (default: all)
        path_must_contain: list only files whose path contains this
    """
    from fairseq_ecg.prepare.manifests import write_manifests

    counts = write_manifests(
        files.split_file_paths,
        save_dir,
        root=files.root,
        header=header,
        dataset_subset=dataset_subset,
        path_must_contain=path_must_contain,
    )
    for split, count in counts.items():
        print(f"{split}: {count} segments")
    return 0
