import pandas as pd
import pytest

from fairseq_ecg.data.errors import DataError
from fairseq_ecg.prepare.extra_tables import write_extra_tables
from fairseq_ecg.prepare.sources import mimic_iv_ecg
from fairseq_ecg.prepare.sources.mimic_iv_ecg import MIMICIVECG
from tests.prepare.sources.archives import make_mimic, make_mimic_iv


@pytest.fixture
def source(tmp_path):
    return MIMICIVECG(make_mimic(tmp_path / "raw"), mimic_iv_root=make_mimic_iv(tmp_path / "iv"))


def test_pieces_become_one_table(source, tmp_path, monkeypatch):
    assert write_extra_tables(source, tmp_path / "whole") == ["patients", "cardiac_markers"]
    monkeypatch.setattr(mimic_iv_ecg, "PIECE_ROWS", 1)
    write_extra_tables(source, tmp_path / "pieces")
    for name in ("patients.csv", "cardiac_markers.csv"):
        whole = (tmp_path / "whole" / name).read_bytes()
        assert (tmp_path / "pieces" / name).read_bytes() == whole
    assert (tmp_path / "whole" / "patients.csv").read_text().splitlines()[:2] == [
        "subject_id,sex,anchor_age,anchor_year,anchor_day_offset,dod,anchor_year_dt",
        "10000032,1,52,2015,-60266 days,2015-09-09,2015-01-01",
    ]
    markers = pd.read_csv(tmp_path / "whole" / "cardiac_markers.csv")
    assert list(markers["itemid"]) == [51003, 50911]


def test_no_tables_no_files(source, tmp_path):
    plain = MIMICIVECG(source.raw_root)
    assert write_extra_tables(plain, tmp_path / "out") == []
    assert not (tmp_path / "out").exists()


def test_nothing_is_left_of_tables_that_cannot_be_read(source, tmp_path):
    (source.mimic_iv_root / "hosp" / "labevents.csv.gz").write_bytes(b"no gzip")
    with pytest.raises(DataError, match="not a readable table"):
        write_extra_tables(source, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []
