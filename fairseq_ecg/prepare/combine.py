"""One set of manifests of several."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from fairseq_ecg.errors import DataError
from fairseq_ecg.prepare.manifests import Lines, manifests_in, read_lines, write_lines


def combine_manifests(manifest_dirs: Sequence[Path], dest: Path) -> dict[str, int]:
    """Join the manifests of the same name, on a root that they have in common.

    The lines of the first folder come first; each path gets what leads to it from the common root,
    ``./`` where that is nothing. A manifest that only some of the folders have is joined of those.
    The first line is written as in the first folder that has it, with a tab or without.

    Args:
        manifest_dirs: folders of manifests of one kind.
        dest: folder to write to.

    Returns:
        The number of lines by the name of the manifest.

    Raises:
        DataError: A folder has no manifests, manifests of one name are of different kinds, or
            ``dest`` is one of the folders.
    """
    if dest.resolve() in {folder.resolve() for folder in manifest_dirs}:
        raise DataError(f"{dest}: would replace what it is made of. Choose another folder")
    same_name: dict[str, list[Path]] = {}
    for folder in manifest_dirs:
        for path in manifests_in(folder):
            same_name.setdefault(path.name, []).append(path)
    counts = {}
    for name, paths in sorted(same_name.items()):
        parts = [read_lines(path) for path in paths]
        first = parts[0]
        for part in parts:
            if part.header[1:] != first.header[1:]:
                raise DataError(
                    f"{part.path}: of another kind than {first.path}: one lists segments and the "
                    "other pairs, or their files have other extensions"
                )
        root = os.path.commonpath([part.root for part in parts])
        line = f"{root.rstrip('/')}/" if first.root.endswith("/") else root
        line = f"\t{line}" if first.header[0].startswith("\t") else line
        header = [line, *first.header[1:]]
        counts[name.removesuffix(".tsv")] = write_lines(dest / name, header, _rows(parts, root))
    return counts


def _rows(parts: Sequence[Lines], root: str) -> Iterator[str]:
    for part in parts:
        prefix = os.path.relpath(part.root, root)
        for row in part.rows:
            yield f"{prefix}/{row}"
