"""Identification of recordings in a gallery, by networks with the head and without."""

import re

import numpy as np
import pandas as pd
import pytest
import torch
import wfdb

from fairseq_ecg.ecg.leads import LEADS
from fairseq_ecg.errors import DataError
from fairseq_ecg.inference import Gallery, load_model, verification
from fairseq_ecg.prepare.pack import pack
from tests.conftest import ROOT, TINY_CMSC_MODEL
from tests.patients import SAMPLE_RATE, record, write_patients
from tests.tiny_checkpoints import made

COUNTS = {"train": (1, 1), "valid_gallery": (6, 2), "valid_probe": (6, 1)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("patients")
    write_patients(folder, COUNTS, n_samples=1000)
    return folder


@pytest.fixture(scope="module", params=["arcface", "wav2vec2_cmsc"])
def model(request, tmp_path_factory):
    path = tmp_path_factory.mktemp(request.param) / "network.pt"
    own = {"_name": "arcface", "num_labels": 4, "apply_mask": False}
    state = made(TINY_CMSC_MODEL | (own if request.param == "arcface" else {}))
    state["task_state"]["fairseq_ecg"] = {"sample_rate": 250.0, "segment_seconds": 2.0}
    torch.save(state, path)
    return load_model(path, device="cpu")


def paths(folder, name):
    return sorted(str(path) for path in (folder / "segmented").glob(f"{name}_*.mat"))


def test_the_nearest_patients_are_named(model, folder):
    table = pd.DataFrame({"path": paths(folder, "valid_gallery")})
    table["patient"] = [f"p{number // 2}" for number in range(12)]
    found = model.identify(paths(folder, "valid_probe"), table, top=3, threshold=0.5)
    probes, gallery = (
        model.embed(paths(folder, name)).table.to_numpy().astype(np.float64)
        for name in ("valid_probe", "valid_gallery")
    )
    probes, gallery = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (probes, gallery))
    similarity = probes @ gallery.T
    np.testing.assert_allclose(found.similarity, similarity, atol=1e-6)
    of_patients = similarity.reshape(6, 6, 2)
    order = np.argsort(-of_patients.max(axis=2), axis=1)[:, :3]
    assert found.table.index.names == ["recording", "rank"]
    assert found.table["patient"].tolist() == [f"p{number}" for number in order.ravel()]
    best = np.take_along_axis(of_patients.max(axis=2), order, axis=1)
    np.testing.assert_allclose(found.table["similarity"], best.ravel(), atol=1e-6)
    assert found.table["known"].tolist() == (best.ravel() >= 0.5).astype(int).tolist()
    first = found.table["nearest"].iloc[0]
    assert first == paths(folder, "valid_gallery")[similarity[0].argmax()]
    assert len(found.recordings) == 6


def test_segments_of_a_recording_count_together(model):
    ecgs = {name: record(name, 0, 2000) for name in range(3)}
    found = model.identify(
        np.stack([record(name, 1, 1500) for name in range(3)]), ecgs, SAMPLE_RATE, top=9
    )
    assert found.run.recordings()["segments"] == [3, 3, 3]
    assert found.table.groupby("recording").size().tolist() == [3, 3, 3]
    assert set(found.table["patient"]) == {0, 1, 2}


def test_all_kinds_of_galleries_are_the_same(model, folder, tmp_path):
    pack(folder, tmp_path / "store")
    files = paths(folder, "valid_gallery")
    patients = [number // 2 for number in range(12)]
    table = pd.DataFrame({"path": files, "patient": patients})
    for name in ("g.csv", "g.tsv", "g.parquet"):
        separator = "\t" if name.endswith("tsv") else ","
        if name.endswith("parquet"):
            table.to_parquet(tmp_path / name)
        else:
            table.to_csv(tmp_path / name, sep=separator, index=False)
    by_patient = {patient: [files[2 * patient], files[2 * patient + 1]] for patient in range(6)}
    expected = model.gallery(table)
    kinds = [by_patient, folder / "valid_gallery.tsv"]
    kinds += [tmp_path / name for name in ("g.csv", "g.tsv", "g.parquet")]
    for kind in kinds:
        found = model.gallery(kind)
        assert [str(patient) for patient in found.patients] == [str(p) for p in expected.patients]
        np.testing.assert_allclose(found.embeddings, expected.embeddings, rtol=0, atol=1e-6)
    of_store = model.gallery(f"{tmp_path}/store/valid_gallery")  # which is not standardised
    assert (of_store.patients, len(of_store.embeddings)) == (patients, 12)
    for name in ("e.csv", "e.tsv", "e.parquet"):
        expected.save(tmp_path / name)
        again = model.gallery(tmp_path / name)
        np.testing.assert_array_equal(again.embeddings, expected.embeddings)
        assert list(again.recordings) == list(expected.recordings)


def test_error_rates_of_what_was_compared(model, folder):
    gallery = model.gallery(folder / "valid_gallery.tsv")
    found = model.identify(folder / "valid_probe.tsv", gallery)
    measured = verification(found.similarity, np.arange(6), np.array(gallery.patients))
    assert (measured.genuine, measured.impostors) == (12, 60)
    assert 0 <= measured.equal_error_rate <= 1


def test_embeddings_of_the_head_are_those_of_training(folder, model):
    if not hasattr(model.network, "kernel"):
        pytest.skip("a network without the head")
    source = torch.randn(2, 12, 500)
    with torch.no_grad():
        expected = model.network(source)["out"].numpy()
    np.testing.assert_allclose(model.embeddings(source), expected, atol=1e-6)
    for use in (model.predict, lambda ecg: model.predict_and_embed(ecg)):
        with pytest.raises(DataError, match="identifies patients and predicts no labels: use id"):
            use(paths(folder, "valid_probe")[0])


def test_mistakes(model, folder, tmp_path):
    probes = paths(folder, "valid_probe")[:1]
    plain = tmp_path / "plain.tsv"
    rows = (folder / "valid_gallery.tsv").read_text().splitlines()
    plain.write_text("\n".join(row.rpartition("\t")[0] or row for row in rows))
    (tmp_path / "no.csv").write_text("path,who\na.mat,3\n")
    (tmp_path / "gap.csv").write_text("path,patient\na.mat,\n")
    for gallery, message in (
        (plain, r"plain\.tsv: lists no classes of patients"),
        (tmp_path / "no.csv", r"no column 'patient'"),
        (tmp_path / "gap.csv", r"gap\.csv, row 1: no path, or no patient"),
        (3, "a gallery is a table with the columns path and patient"),
        ({}, "lists no recordings"),
        (Gallery(["a"], ["r"], np.ones((1, 3), np.float32)), "have 3 channels, those of the net"),
    ):
        with pytest.raises(DataError, match=message):
            model.identify(probes, gallery)
    with pytest.raises(DataError, match="top=0: must be positive"):
        model.identify(probes, {"a": probes}, top=0)
    with pytest.raises(DataError, match=r"g\.txt: a gallery is written as"):
        model.gallery({"a": probes}).save(tmp_path / "g.txt")


def test_the_section_of_the_readme_runs(model, tmp_path, monkeypatch):
    """Its snippets, one after the other, in a folder with the files that they name."""
    text = (ROOT / "fairseq_ecg" / "inference" / "README.md").read_text()
    section = text.partition("\n## Whose ECG it is\n")[2].partition("\n## ")[0]
    monkeypatch.chdir(tmp_path)
    for name in ("a", "b", "record"):
        ecg = record("ab".find(name) % 2, len(name), 1000)
        options = {"fmt": ["16"] * 12, "units": ["mV"] * 12, "sig_name": list(LEADS)}
        wfdb.wrsamp(name, fs=SAMPLE_RATE, p_signal=ecg.T, **options)
    (tmp_path / "patients.csv").write_text("path,patient\na.hea,p0\nb.hea,p1\n")
    names = {"model": model}
    for snippet in re.findall(r"```python\n(.*?)```", section, re.DOTALL):
        exec(compile(snippet, "README.md", "exec"), names)
    assert names["found"].table.shape == (2, 4)
    assert names["measured"].impostors == 1
    assert (tmp_path / "gallery.parquet").exists()
