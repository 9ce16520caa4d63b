"""Where archives are found in the folder that is given."""

import pytest

from fairseq_ecg.errors import DataError
from fairseq_ecg.prepare.sources.archive import unpacked


@pytest.mark.parametrize(
    "subfolder", ["", "renamed", "ptb-xl-1.0.3", "physionet.org/files/ptb-xl/1.0.3"]
)
def test_the_archive_is_found_where_it_lies(tmp_path, subfolder):
    (tmp_path / "other").mkdir()
    (tmp_path / subfolder).mkdir(parents=True, exist_ok=True)
    (tmp_path / subfolder / "table.csv").touch()
    assert unpacked(tmp_path, "table.csv") == tmp_path / subfolder


def test_without_it_the_folder_is_what_was_given(tmp_path):
    assert unpacked(tmp_path, "table.csv") == tmp_path
    with pytest.raises(DataError, match="no such folder"):
        unpacked(tmp_path / "absent", "table.csv")


def test_two_archives_in_one_folder_are_distinguished_by_the_user(tmp_path):
    for version in ("1.0.1", "1.0.3"):
        (tmp_path / version).mkdir()
        (tmp_path / version / "table.csv").touch()
    with pytest.raises(DataError, match=r"several folders \(1\.0\.1, 1\.0\.3\)\. Give one"):
        unpacked(tmp_path, "table.csv")
