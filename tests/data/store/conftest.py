from pathlib import Path

import pytest

from fairseq_ecg.prepare.pack import pack
from tests.segment_files import write_segment_files


@pytest.fixture(scope="session")
def manifests(tmp_path_factory) -> Path:
    """Manifests, plain and in ``cmsc/``, of recordings of 1 to 5 segments of 40 samples."""
    folder = tmp_path_factory.mktemp("manifests")
    write_segment_files(folder, {"train": [2, 1, 3, 5, 2], "valid": [2, 4]})
    return folder


@pytest.fixture(scope="session")
def store(manifests, tmp_path_factory) -> Path:
    """The same in a store of float32, five segments in a shard."""
    folder = tmp_path_factory.mktemp("packed") / "store"
    pack(manifests, folder, shard_bytes=5 * 12 * 40 * 4)
    return folder
