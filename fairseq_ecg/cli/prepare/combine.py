"""``fairseq-ecg prepare combine``."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from fairseq_ecg.cli.options import Folder


def combine(*manifest_dirs: Annotated[Path, Parameter(required=True)], dest: Folder) -> int:
    """Join the manifests of several folders.

    Manifests of the same name are joined, on a root that they have in common.

    Args:
        manifest_dirs: folders of manifests
        dest: folder to write to
    """
    from fairseq_ecg.prepare.combine import combine_manifests

    for name, count in combine_manifests(list(manifest_dirs), dest).items():
        print(f"{name}: {count} lines")
    return 0
