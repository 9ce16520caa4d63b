import warnings

import numpy as np
import pandas as pd
import pytest
import scipy.io
import torch

from fairseq_ecg.ecg.leads import LEADS
from fairseq_ecg.ecg.preprocessing import QUICKSTART_EPSILON
from fairseq_ecg.ecg.resampling import resample
from fairseq_ecg.ecg.segmentation import segment
from fairseq_ecg.ecg.standardisation import standardisation
from fairseq_ecg.errors import DataError
from fairseq_ecg.formats import ECG
from fairseq_ecg.inference import ECGModel, Preprocessing, load_model

ATOL = 2e-6  # of probabilities and pooled outputs: float32 sums of another order, and 1e-8 mV


def sigmoid(logits):
    return 1 / (1 + np.exp(-logits.astype(np.float64)))


def test_segments_get_the_probabilities_of_fairseq_signals(diagnosis, code_15_ecgs, extracted):
    prediction = diagnosis.predict(code_15_ecgs, sample_rate=400)
    found = prediction.segments[list(diagnosis.labels)].to_numpy()
    np.testing.assert_allclose(found, sigmoid(extracted["outputs"]), rtol=0, atol=ATOL)
    assert prediction.segments.index.names == ["recording", "segment"]
    assert prediction.segments.loc[(1, 1), ["start", "end"]].tolist() == [5.0, 10.0]
    assert prediction.labels == tuple(prediction.table.columns)
    assert prediction.recordings["segments"].tolist() == [1, 2, 1, 2, 1, 2, 1, 1, 1, 2]


def test_files_give_what_their_arrays_give(diagnosis, code_15_ecgs, shared):
    folder = shared / "ecg" / "code_15" / "org"
    expected = diagnosis.predict(code_15_ecgs, sample_rate=400).table.to_numpy()
    table = diagnosis.predict(folder).table
    np.testing.assert_allclose(table.to_numpy(), expected, rtol=0, atol=ATOL)
    assert table.index[0] == str(folder / "code_15_1238362.mat")
    # Files that are standardised already are not standardised again.
    standardised = diagnosis.predict(shared / "ecg" / "code_15" / "preprocessed").table
    np.testing.assert_allclose(standardised.to_numpy(), expected, rtol=0, atol=ATOL)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu(shared, diagnosis, code_15_ecgs):
    path = shared / "golden" / "diagnosis_small.pt"
    model = load_model(path, labels=diagnosis.labels)
    assert model.device.type == "cuda"
    for use in ("predict", "embed"):
        found, expected = (
            getattr(x, use)(code_15_ecgs, sample_rate=400).table for x in (model, diagnosis)
        )
        np.testing.assert_allclose(found.to_numpy(), expected.to_numpy(), rtol=0, atol=1e-4)
    assert np.isfinite(model.saliency(code_15_ecgs, sample_rate=400).frames.to_numpy()).all()


def test_recordings_get_the_mean_or_the_maximum(diagnosis, code_15_ecgs, extracted):
    probabilities = sigmoid(extracted["outputs"])[1:3]
    prediction = diagnosis.predict(
        code_15_ecgs[1], sample_rate=400, aggregation={"AF": "max", "ST": "mean"}
    )
    expected = probabilities.mean(axis=0)
    expected[diagnosis.labels.index("AF")] = probabilities[:, diagnosis.labels.index("AF")].max()
    np.testing.assert_allclose(prediction.table.loc[0], expected, rtol=0, atol=ATOL)
    largest = diagnosis.predict(code_15_ecgs[1], sample_rate=400, aggregation="max")
    np.testing.assert_allclose(largest.table.loc[0], probabilities.max(axis=0), rtol=0, atol=ATOL)
    with pytest.raises(DataError, match="unknown label 'flutter'; the labels are is_male, "):
        diagnosis.predict(code_15_ecgs[1], sample_rate=400, aggregation={"flutter": "max"})
    with pytest.raises(DataError, match="'median' is no aggregation"):
        diagnosis.predict(code_15_ecgs[1], sample_rate=400, aggregation="median")


def test_what_is_prepared_offline_gives_the_same(diagnosis, code_15_ecgs, shared):
    """Without epsilon the segments are those that ``prepare`` writes, to the bit."""
    offline = Preprocessing(epsilon=0)
    for number, name in ((1, "code_15_1594286"), (7, "code_15_438277")):
        resampled = resample(code_15_ecgs[number].astype(np.float64), 400, 500)
        expected = segment(standardisation(resampled)(resampled), 2500)
        ecg = ECG(name, code_15_ecgs[number], LEADS, 400.0)
        found = np.stack(list(offline.segments(ecg)))
        np.testing.assert_array_equal(found, expected.astype(np.float32))
        mat = shared / "ecg" / "code_15" / "segmented" / f"{name}_0.mat"
        published = scipy.io.loadmat(mat)["feats"]
        np.testing.assert_allclose(found[0], published, rtol=0, atol=1e-6)
        quickstart = np.stack(list(diagnosis.preprocessing.segments(ecg)))
        assert diagnosis.preprocessing.epsilon == QUICKSTART_EPSILON
        assert 0 < np.abs(quickstart - found).max() < 1.3e-6


def test_embeddings_are_the_pooled_frames_of_fairseq_signals(diagnosis, code_15_ecgs, extracted):
    frames = extracted["encoder_out"]
    expected = frames.sum(axis=1) / (frames != 0).sum(axis=1)
    embeddings = diagnosis.embed(code_15_ecgs, sample_rate=400, batch_size=3)
    found = embeddings.segments.iloc[:, 2:].to_numpy()
    np.testing.assert_allclose(found, expected, rtol=0, atol=ATOL)
    array = np.asarray(embeddings)
    assert array.shape == (10, 64)
    np.testing.assert_allclose(array[1], expected[1:3].mean(axis=0), rtol=0, atol=ATOL)


def test_pre_trained_networks_encode_without_masking(pretrained, shared):
    recording = np.load(shared / "golden" / "pretrain_small.npz")
    source = torch.from_numpy(recording["source"])
    found = pretrained.embeddings(source)
    from fairseq_ecg.models import build_model_from_checkpoint

    model = build_model_from_checkpoint(shared / "golden" / "pretrain_small.pt")
    with torch.inference_mode():
        x = model.extract_features(source)["x"]
    np.testing.assert_allclose(found, x.mean(dim=1), rtol=0, atol=ATOL)
    np.testing.assert_array_equal(found, pretrained.embeddings(source))
    with pytest.raises(
        DataError, match="predicts no labels, it was pre-trained only: fine-tune it"
    ):
        pretrained.predict(source, sample_rate=500)


def test_one_pass_gives_the_numbers_of_two(diagnosis, pretrained, code_15_ecgs):
    ecg = ECG("a", code_15_ecgs[1], LEADS, 400.0)
    prediction, embeddings = diagnosis.predict_and_embed(ecg)
    for both, alone in ((prediction, diagnosis.predict(ecg)), (embeddings, diagnosis.embed(ecg))):
        pd.testing.assert_frame_equal(both.table, alone.table)
        pd.testing.assert_frame_equal(both.segments, alone.segments)
        pd.testing.assert_frame_equal(both.recordings, alone.recordings)
    with pytest.raises(DataError, match="predicts no labels"):
        pretrained.predict_and_embed(ecg)


def test_padded_segments_are_those_of_fairseq_signals(diagnosis, shared):
    recording = np.load(shared / "golden" / "diagnosis_small_padded.npz")
    source, mask = (torch.from_numpy(recording[key]) for key in ("source", "padding_mask"))
    found = diagnosis.probabilities(source, mask)
    np.testing.assert_allclose(found, sigmoid(recording["out"]), rtol=0, atol=ATOL)
    saliencies = diagnosis.saliencies(source, mask)
    np.testing.assert_array_equal(np.isnan(saliencies), recording["padding_mask_out"])


def test_saliency_is_that_of_fairseq_signals_on_the_time_axis(diagnosis, code_15_ecgs, extracted):
    saliency = diagnosis.saliency(code_15_ecgs, sample_rate=400)
    expected = extracted["saliency"][:, -1].max(axis=2)
    found = saliency.frames["saliency"].to_numpy().reshape(14, 156)
    np.testing.assert_allclose(found, expected, rtol=0, atol=ATOL)
    # Four convolutions of width and stride 2: a frame is 16 samples, the next one follows.
    frame = saliency.frames.loc[(1, 1, 3)]
    assert frame["start"] == pytest.approx(5 + 3 * 16 / 500)
    assert frame["end"] == pytest.approx(5 + 4 * 16 / 500)
    signal = saliency.on_signal(1)
    assert signal.shape == (4096,)
    assert np.isnan(signal[4000:]).all()
    assert np.isfinite(signal[:4000]).all()
    centre = 5 + 3.5 * 16 / 500
    assert signal[round(centre * 400)] == pytest.approx(expected[2, 3], abs=1e-3)
    assert np.nanmax(signal[:2000]) == pytest.approx(expected[1].max(), rel=0.05)
    assert diagnosis.network.encoder.encoder.saliency is False
    with pytest.raises(DataError, match="no saliency of 'other'"):
        saliency.on_signal("other")


def test_shares_of_a_rollout(diagnosis, code_15_ecgs):
    saliency = diagnosis.saliency(code_15_ecgs[0], sample_rate=400, method="rollout")
    weights = torch.rand(1, 2, 156, 156).softmax(dim=-1)
    assert saliency.frames["saliency"].sum() == pytest.approx(1, abs=1e-5)
    from fairseq_ecg.inference.trained import _rollout

    mixed = [(weights[0, layer] + torch.eye(156)) / 2 for layer in (0, 1)]
    expected = (mixed[1] @ mixed[0]).mean(dim=0)
    torch.testing.assert_close(_rollout(weights, None)[0], expected)
    with pytest.raises(DataError, match="method='lime': choose from attention, rollout"):
        diagnosis.saliency(code_15_ecgs[0], sample_rate=400, method="lime")


def test_batches_do_not_change_results(diagnosis, code_15_ecgs):
    alone = diagnosis.predict(code_15_ecgs[:4], sample_rate=400, batch_size=1)
    together = diagnosis.predict(code_15_ecgs[:4], sample_rate=400, batch_size=64)
    pd.testing.assert_frame_equal(alone.table, together.table, atol=ATOL)
    with pytest.raises(DataError, match="batch_size=0"):
        diagnosis.predict(code_15_ecgs[:4], sample_rate=400, batch_size=0)


def test_bfloat16(shared, diagnosis, code_15_ecgs):
    path = shared / "golden" / "diagnosis_small.pt"
    model = load_model(path, labels=diagnosis.labels, dtype="bfloat16")
    assert model.dtype == torch.bfloat16
    found = model.predict(code_15_ecgs, sample_rate=400).table
    expected = diagnosis.predict(code_15_ecgs, sample_rate=400).table
    # 8 bits of mantissa through two layers.
    assert np.abs(found.to_numpy() - expected.to_numpy()).max() < 0.02
    assert np.asarray(model.embed(code_15_ecgs[:2], sample_rate=400)).dtype == np.float32


def test_recordings_that_cannot_be_used_are_skipped_if_asked(diagnosis, code_15_ecgs):
    ecgs = [code_15_ecgs[0], code_15_ecgs[0][:, :500], code_15_ecgs[1]]
    with pytest.raises(DataError, match=r"1\.25 s, shorter than one segment of 5 s"):
        diagnosis.predict(ecgs, sample_rate=400)
    prediction = diagnosis.predict(ecgs, sample_rate=400, on_error="skip")
    assert prediction.table.index.tolist() == [0, 2]
    assert list(prediction.errors) == [1]
    assert "shorter than one segment" in prediction.errors[1]
    nothing = diagnosis.predict(ecgs[1], sample_rate=400, on_error="skip")
    assert nothing.table.shape == (0, 8)
    assert nothing.segments.shape == (0, 10)


def test_results_are_shown_as_tables(diagnosis, code_15_ecgs):
    for use, table in (("predict", "table"), ("embed", "table"), ("saliency", "frames")):
        result = getattr(diagnosis, use)(code_15_ecgs[0], 400)
        for name in ("recordings", "segments", "errors", table):
            assert f"{name}={getattr(result, name)!r}" in repr(result)
        assert "run=" not in repr(result)


def test_tables_of_no_recordings_are_of_objects(diagnosis):
    result = diagnosis.predict(np.full((12, 5000), np.nan), 500, on_error="skip")
    assert {str(kind) for kind in result.recordings.dtypes} == {"object"}
    assert [str(result.segments[name].dtype) for name in ("start", "end")] == ["object"] * 2


def test_short_recordings_are_padded_if_asked(diagnosis, code_15_ecgs):
    ecg = ECG("short", code_15_ecgs[0][:, :1200], LEADS, 400.0)
    prediction = diagnosis.predict(ecg, short="pad")
    segment = next(iter(diagnosis.preprocessing.segments(ecg, short="pad")))
    assert (segment[:, 1500:] == 0).all()
    assert prediction.segments.loc[("short", 0), "end"] == 3.0
    mask = torch.arange(2500)[None] >= 1500
    expected = diagnosis.probabilities(segment[None], mask)
    np.testing.assert_allclose(prediction.table.to_numpy(), expected, rtol=0, atol=ATOL)
    saliency = diagnosis.saliency(ecg, short="pad")
    assert saliency.frames["saliency"].isna().sum() == 156 - 93
    assert np.isfinite(saliency.on_signal("short")).all()


def test_what_fills_no_frame_cannot_be_padded(diagnosis, code_15_ecgs):
    ecgs = [code_15_ecgs[0], code_15_ecgs[0][:, :8]]
    found = diagnosis.predict(ecgs, sample_rate=400, short="pad", on_error="skip")
    assert list(found.table.index) == [0]
    assert found.errors[1].startswith("1: 10 samples at 500 Hz are fewer than")
    one_frame = diagnosis.embed(code_15_ecgs[0][:, :16], sample_rate=400, short="pad")
    assert np.isfinite(np.asarray(one_frame)).all()


def test_leads_that_the_network_does_not_read_change_nothing(diagnosis, code_15_ecgs):
    ecg, leads = code_15_ecgs[0], diagnosis.preprocessing.leads
    more = np.concatenate([ecg[:3], ecg])
    found = diagnosis.predict(more, sample_rate=400, leads=["V7", "V8", "X", *leads])
    pd.testing.assert_frame_equal(found.table, diagnosis.predict(ecg, sample_rate=400).table)


def test_a_model_says_what_it_is(diagnosis):
    assert repr(diagnosis) == (
        "<ECGModel of ECGTransformerClassifier: 8 labels, 12 leads at 500 Hz, segments of 5 s, "
        "cpu, torch.float32>"
    )


def test_progress_is_shown_if_asked(diagnosis, code_15_ecgs, capsys):
    diagnosis.predict(code_15_ecgs[:2], sample_rate=400, progress=True)
    assert "2/2" in capsys.readouterr().err
    diagnosis.predict(code_15_ecgs[:2], sample_rate=400)
    assert capsys.readouterr().err == ""


def test_a_model_needs_names_for_its_labels_and_rows_for_its_leads(diagnosis):
    with pytest.raises(DataError, match="predicts 8 labels, but 2 are named"):
        ECGModel(diagnosis.network, diagnosis.cfg, diagnosis.preprocessing, ["a", "b"])
    with pytest.raises(DataError, match="name one twice"):
        ECGModel(diagnosis.network, diagnosis.cfg, diagnosis.preprocessing, ["a"] * 8)
    two = Preprocessing(leads=("I", "II"))
    with pytest.raises(DataError, match="reads 12 leads, its preprocessing makes 2: I, II"):
        ECGModel(diagnosis.network, diagnosis.cfg, two, diagnosis.labels)


def test_global_random_numbers_are_left_alone(shared, code_15_ecgs):
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        load_model(shared / "golden" / "diagnosis_small.pt").predict(code_15_ecgs[0], 400)
    assert torch.equal(torch.rand(2), expected)
