"""Sources say what their metadata are, and keep reasons to doubt a record."""

import pytest

from fairseq_ecg.prepare.sources.ecg_id import ECGID
from fairseq_ecg.prepare.sources.generic import Generic
from fairseq_ecg.prepare.sources.ludb import LUDB
from fairseq_ecg.prepare.sources.mimic_iv_ecg import MIMICIVECG
from fairseq_ecg.prepare.sources.physionet2021 import PhysioNet2021
from fairseq_ecg.prepare.sources.ptb_xl import PTBXL
from tests.prepare.sources.archives import (
    make_ecg_id,
    make_ludb,
    make_mimic,
    make_physionet2021,
    make_ptb_xl,
)

ARCHIVES = {
    "physionet2021": (PhysioNet2021, make_physionet2021, ".mat"),
    "ptb_xl": (PTBXL, make_ptb_xl, ".dat"),
    "mimic_iv_ecg": (MIMICIVECG, make_mimic, ".dat"),
    "ludb": (LUDB, make_ludb, ".dat"),
    "ecg_id": (ECGID, make_ecg_id, ".dat"),
    "generic": (Generic, make_ptb_xl, ".dat"),
}


@pytest.mark.parametrize(("source", "make", "suffix"), ARCHIVES.values(), ids=ARCHIVES)
def test_a_changed_record_is_doubted_or_refused(tmp_path, read_all, source, make, suffix):
    archive = make(tmp_path / "archive")
    source = source(archive)
    ecgs, meta, faults = read_all(source)
    assert not any(ecg.doubts for ecg in ecgs.values())
    changed = sorted(archive.rglob(f"*{suffix}"))
    for path in changed:
        data = bytearray(path.read_bytes())
        data[-24] ^= 1
        path.write_bytes(data)
    doubtful, of_doubtful, _ = read_all(source)
    assert doubtful.keys() == ecgs.keys()
    assert all("checksum" in ecg.doubts[0] for ecg in doubtful.values())
    for column in set(meta) - {"doubts"}:
        assert meta[column].equals(of_doubtful[column])
    source.verify = True
    ecgs, _, faults = read_all(source)
    assert not ecgs
    assert any("checksum" in reason for reason in faults.values())
