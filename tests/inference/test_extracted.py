import shutil

import numpy as np
import pytest

from fairseq_ecg.cli import main
from fairseq_ecg.data import DataError
from fairseq_ecg.formats.stores import MemmapBatchWriter, MemmapReader
from fairseq_ecg.inference import extracted


@pytest.fixture
def padded(tmp_path, monkeypatch):
    """Stores of three recordings of 4 frames, the second of which has one."""
    monkeypatch.setattr(extracted, "ROWS_AT_ONCE", 2)
    random = np.random.default_rng(1)
    mask = np.zeros((3, 4), np.float32)
    mask[1, 1:] = 1
    encoder_out = random.normal(size=(3, 4, 5)).astype(np.float32) * (1 - mask[..., None])
    saliency = random.random((3, 2, 4, 4)).astype(np.float32)
    stored = {"encoder_out": encoder_out, "padding_mask": mask, "saliency": saliency}
    for name, values in stored.items():
        MemmapBatchWriter(tmp_path / f"{name}_test.npy", values.shape)(values)
    return tmp_path, stored


def test_embeddings_leave_out_padded_frames(padded):
    folder, stored = padded
    emb = np.load(extracted.pool_embeddings(folder, "test"))
    assert emb.dtype == np.float32
    encoder_out = stored["encoder_out"]
    np.testing.assert_allclose(emb[[0, 2]], encoder_out[[0, 2]].mean(axis=1), rtol=1e-5)
    np.testing.assert_allclose(emb[1], encoder_out[1, 0], rtol=1e-6)


def test_attention_of_padded_frames_is_zero(padded):
    folder, stored = padded
    attention = np.load(extracted.maximum_attention(folder, "test"))
    expected = stored["saliency"][:, 1].max(axis=2) * (1 - stored["padding_mask"])
    np.testing.assert_array_equal(attention, expected)


def test_a_mask_of_another_extraction(padded):
    folder, _ = padded
    MemmapBatchWriter(folder / "padding_mask_test.npy", (2, 4))
    with pytest.raises(DataError, match=r"padding_mask_test\.npy has 2 recordings, .* 3"):
        extracted.pool_embeddings(folder, "test")
    assert not (folder / "emb_test.npy").exists()


def test_nothing_to_reduce(tmp_path):
    with pytest.raises(DataError, match=r"saliency_test\.npy: no such file. Extract it"):
        extracted.maximum_attention(tmp_path, "test")


def test_command_on_recorded_stores(shared, tmp_path, capsys):
    for path in (shared / "golden" / "extract_small").iterdir():
        shutil.copy(path, tmp_path)
    assert main(["pool", str(tmp_path), "--split", "test"]) == 0
    written = capsys.readouterr().out.split()
    assert written == [str(tmp_path / "emb_test.npy"), str(tmp_path / "attn_max_test.npy")]
    tokens = MemmapReader.from_header(tmp_path / "encoder_out_test.npy")[:]
    np.testing.assert_allclose(np.load(written[0]), tokens.mean(axis=1), atol=1e-5)
    saliency = MemmapReader.from_header(tmp_path / "saliency_test.npy")[:]
    np.testing.assert_array_equal(np.load(written[1]), saliency[:, -1].max(axis=2))
    assert main(["pool", str(tmp_path), "--split", "train"]) == 2
    assert "neither encoder_out_train.npy nor saliency_train.npy" in capsys.readouterr().err
