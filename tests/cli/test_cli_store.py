import pytest

from fairseq_ecg.cli import main
from fairseq_ecg.data.store import DTYPES
from tests.segment_files import write_segment_files


def test_a_store_is_packed_checked_and_unpacked(tmp_path, capsys):
    write_segment_files(tmp_path / "in", {"train": [2], "valid": [3]})
    source, store, out = (str(tmp_path / name) for name in ("in", "store", "out"))
    assert main(["store", "pack", source, store, "--dtype", "float64"]) == 0
    assert capsys.readouterr().out == "train: 2 segments added\nvalid: 3 segments added\n"
    assert main(["store", "pack", source, store]) == 0
    assert capsys.readouterr().out.endswith("5 segments were there already\n")
    assert main(["store", "info", store]) == 0
    assert "train: 2 segments, 1 pairs\n" in capsys.readouterr().out
    assert main(["store", "verify", f"file://{store}"]) == 0
    assert capsys.readouterr().out == "all checksums are right\n"
    assert main(["store", "unpack", store, out]) == 0
    assert "5 files, 5 of them with the bytes" in capsys.readouterr().out
    shard = tmp_path / "store" / "shard-000000.npy"
    content = bytearray(shard.read_bytes())
    content[-1] ^= 1
    shard.write_bytes(content)
    assert main(["store", "verify", store]) == 1
    captured = capsys.readouterr().out
    assert "the checksum of rec1_2.mat is wrong" in captured
    assert captured.endswith("1 faults\n")
    assert main(["store", "info", source]) == 2
    assert "store.json: no such file" in capsys.readouterr().err


@pytest.mark.parametrize("step", ["pack", "unpack", "info", "verify"])
def test_every_step_is_explained(step, capsys):
    with pytest.raises(SystemExit) as exit_:
        main(["store", step, "--help"])
    assert exit_.value.code == 0
    text = capsys.readouterr().out
    assert "None" not in text
    if step == "pack":
        assert "{" + ",".join(DTYPES) + "}" in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["a", "b", "--shard-mb", "0"], "give a positive number"),
        (["a", "b", "--shard-mb", "1G"], "1G: give a positive number"),
        (["a", "s3://bucket/store"], "write the store to a folder, and copy it there"),
    ],
)
def test_what_cannot_be_packed_is_said(arguments, message, capsys):
    with pytest.raises(SystemExit):
        main(["store", "pack", *arguments])
    assert message in capsys.readouterr().err
