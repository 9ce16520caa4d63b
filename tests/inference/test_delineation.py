import numpy as np
import pytest
import scipy.io
import torch
from torch.nn import functional

from fairseq_ecg.cli import main
from fairseq_ecg.ecg.delineation import CLASSES
from fairseq_ecg.ecg.intervals import measures_of
from fairseq_ecg.ecg.leads import LEADS
from fairseq_ecg.errors import DataError
from fairseq_ecg.formats import ECG
from tests.inference.segmentors import LEVELS, levels_model

BEAT = (("p", 0.10, 0.20), ("qrs", 0.26, 0.36), ("t", 0.50, 0.70))
"""Waves of a beat of one second: onset and offset in seconds."""


def lead(seconds: float, rate: float, delay: float = 0.0) -> np.ndarray:
    """A lead whose samples have the level of their class."""
    times = (np.arange(round(seconds * rate)) / rate - delay) % 1.0
    signal = np.full(len(times), LEVELS["none"])
    for wave, onset, offset in BEAT:
        signal[(times > onset - 1e-9) & (times < offset + 1e-9)] = LEVELS[wave]
    return signal


def ecg(seconds: float, rate: float, leads=LEADS, delay: float = 0.0) -> ECG:
    return ECG("made", np.stack([lead(seconds, rate, delay)] * len(leads)), tuple(leads), rate)


def true_classes(signal: np.ndarray) -> np.ndarray:
    names = {level: CLASSES[name] for name, level in LEVELS.items()}
    return np.array([names[level] for level in signal])


@pytest.mark.parametrize("n_leads", [1, 12])
@pytest.mark.parametrize("seconds", [0.3, 2.5, 4.0, 4.1, 23.17])
def test_recordings_of_any_length_are_covered(n_leads, seconds):
    made = ecg(seconds, 100)
    mask = levels_model(n_leads).segment(made).mask("made")
    assert mask.leads == (LEADS if n_leads == 1 else ("all",))
    assert mask.classes.shape == (len(mask.leads), made.n_samples)
    for row in mask.classes:
        np.testing.assert_array_equal(row, true_classes(made.signal[0]))


@pytest.mark.parametrize("n_leads", [1, 12])
def test_what_a_network_makes_of_the_ends_of_segments_leaves_no_seams(n_leads):
    # A fifth of each segment is spoilt; only the ends of the recording have no other segment.
    mask = levels_model(n_leads, edge=40).segment(ecg(23.17, 100)).mask("made")
    expected = true_classes(lead(23.17, 100))
    for row in mask.classes:
        np.testing.assert_array_equal(row[40:-40], expected[40:-40])


@pytest.mark.parametrize("resampler", ["linear", "polyphase"])
@pytest.mark.parametrize("rate", [50, 257.3, 400, 1000])
def test_results_are_in_the_time_of_the_recording(rate, resampler):
    made = ecg(11.05, rate, ["II"])
    model = levels_model(rate=500, resampler=resampler)
    delineation = model.segment(made)
    mask = delineation.mask("made")
    assert mask.sample_rate == rate
    assert mask.classes.shape == (1, made.n_samples)
    table = delineation.table
    for wave, onset, offset in BEAT:
        found = table[table.wave == wave]
        # Flanks between two levels pass those of other classes: a sample is all they can take.
        found = found[found.duration > 0.05]
        assert len(found) == 11
        slack = 2 / min(rate, 500) + 1e-6
        np.testing.assert_allclose(found.onset % 1, onset, atol=slack)
        np.testing.assert_allclose(found.offset % 1, offset, atol=slack)
        np.testing.assert_allclose(found.onset_sample / rate, found.onset)
        np.testing.assert_allclose(found.duration, found.offset - found.onset)


def test_the_table_names_recording_lead_and_wave():
    table = levels_model().segment([ecg(3, 100, ["I", "V2"])], missing_leads="zero").table
    assert list(table.columns) == [
        *("recording", "lead", "wave", "onset", "offset", "duration"),
        *("onset_sample", "offset_sample"),
    ]
    assert table.recording.unique().tolist() == ["made"]
    assert table.groupby("lead").wave.agg(list).to_dict() == dict.fromkeys(
        ["I", "V2"], ["p", "qrs", "t"] * 3
    )
    first = table.iloc[0]
    assert (first.onset_sample, first.offset_sample) == (10, 20)
    assert (first.onset, first.offset, first.duration) == pytest.approx((0.1, 0.2, 0.1))


def test_classes_of_a_network_may_have_other_numbers():
    other = {"none": 0, "t": 1, "p": 2, "qrs": 3}
    made = ecg(9, 100, ["II"])
    expected = levels_model().segment(made).mask("made").classes
    found = levels_model(label_idx=other).segment(made).mask("made").classes
    np.testing.assert_array_equal(found, expected)


def test_one_lead_networks_are_given_every_lead_there_is():
    made = ecg(4, 100, ["I", "II", "V3"])
    model = levels_model()
    found = model.segment(made, missing_leads="derive")
    limb = ("I", "II", "III", "aVR", "aVL", "aVF")
    # III = II - I is flat here, as are aVL... of equal leads: these have no waves to find.
    assert set(found.mask("made").leads) <= {*limb, "V3"}
    assert {"I", "II", "V3"} <= set(found.mask("made").leads)
    assert model.segment(made, missing_leads="zero").mask("made").leads == ("I", "II", "V3")
    assert model.segment(made, missing_leads="error").mask("made").leads == ("I", "II", "V3")
    with pytest.raises(DataError, match="lacks lead"):
        levels_model(12).segment(made, missing_leads="error")


def test_flat_leads_of_one_lead_networks_have_no_delineation():
    made = ecg(4, 100, ["I", "II"])
    made.signal[1] = 0.5
    found = levels_model().segment(made, missing_leads="zero")
    assert found.mask("made").leads == ("I",)
    assert found.recordings.flat_leads.iloc[0] == "II"


def test_the_layer_norm_is_over_all_samples_of_what_the_network_reads():
    rng = np.random.default_rng(0)
    signal = rng.normal(0.3, 1, (12, 930)) * np.linspace(0.2, 2, 12)[:, None]
    made = ECG("made", signal, LEADS, 100)
    whole = torch.from_numpy(signal).float()
    for n_leads, expected in (
        (12, functional.layer_norm(whole, whole.shape)[None]),
        (1, functional.layer_norm(whole, whole.shape[-1:]).unsqueeze(1)),
    ):
        model = levels_model(n_leads, seconds=9.3, layer_norm=True)
        model.segment(made)
        torch.testing.assert_close(torch.cat(model.network.seen), expected, rtol=0, atol=2e-6)


def test_the_layer_norm_is_that_of_the_recording_and_not_of_a_segment():
    rng = np.random.default_rng(0)
    signal = rng.normal(0, 1, (1, 1000)) * np.linspace(0.1, 3, 1000)
    model = levels_model(layer_norm=True)
    model.segment(ECG("made", signal, ("II",), 100))
    whole = torch.from_numpy(signal).float()
    expected = functional.layer_norm(whole, whole.shape)
    starts = [0, 200, 400, 600]
    expected = torch.stack([expected[:, start : start + 400] for start in starts])
    torch.testing.assert_close(torch.cat(model.network.seen), expected, rtol=0, atol=2e-6)


def test_a_recording_that_cannot_be_used_is_left_out():
    bad = ecg(5, 100, ["I"])
    bad.signal[0, 3] = np.nan
    good = ecg(5, 100, ["I"])
    with pytest.raises(DataError, match="NaN"):
        levels_model().segment([bad, good])
    found = levels_model().segment([good, bad, good], on_error="skip", batch_size=1)
    assert list(found.masks) == ["made", "made (3)"]
    assert list(found.errors) == ["made (2)"]
    assert set(found.table.recording) == {"made", "made (3)"}
    filled = levels_model().segment(bad, nan_policy="interpolate")
    np.testing.assert_array_equal(
        filled.mask("made").classes, levels_model().segment(good).mask("made").classes
    )


@pytest.mark.parametrize("batch_size", [1, 5, 64])
@pytest.mark.parametrize("workers", [0, 2])
def test_batches_and_workers_change_nothing(batch_size, workers):
    made = [ecg(seconds, rate) for seconds, rate in ((3, 100), (17, 250), (9.2, 80))]
    found = levels_model(edge=30).segment(made, batch_size=batch_size, workers=workers)
    expected = levels_model(edge=30).segment(made)
    for name, mask in expected.masks.items():
        np.testing.assert_array_equal(found.mask(name).classes, mask.classes)


def test_a_segment_that_cannot_be_computed_leaves_its_recording_out():
    model = levels_model(12)
    whole = model.network.forward

    def failing(source, padding_mask=None):
        if (source == 7).any():
            raise MemoryError
        return whole(source, padding_mask)

    model.network.forward = failing
    good, bad = ecg(11, 100), ecg(11, 100)
    bad.signal[:, 500] = 7
    found = model.segment([bad, good], on_error="skip")
    assert list(found.errors) == ["made"]
    assert list(found.masks) == ["made (2)"]
    np.testing.assert_array_equal(found.mask("made (2)").classes[0], true_classes(good.signal[0]))


def test_no_recording_gives_empty_tables():
    bad = ecg(5, 100, ["I"])
    bad.signal[:] = np.nan
    found = levels_model().segment(bad, on_error="skip")
    assert found.table.empty
    assert found.measures.empty
    assert found.measures.columns[0] == "heart_rate"
    with pytest.raises(DataError, match="no delineation of 'made'"):
        found.mask("made")


def test_options_that_have_no_meaning_are_refused():
    for name in ("short", "tail"):
        with pytest.raises(DataError, match=f"leave out {name}="):
            levels_model().segment(ecg(5, 100), **{name: "drop"})


def test_a_segmentor_names_segment_and_a_classifier_what_it_needs(pretrained):
    with pytest.raises(DataError, match="use segment"):
        levels_model().predict(ecg(5, 100))
    with pytest.raises(DataError, match="segment needs a segmentor"):
        pretrained.segment(ecg(5, 100))


def test_embeddings_of_a_one_lead_network_are_the_mean_over_leads():
    made = ECG("made", np.arange(1.0, 13)[:, None] * lead(8, 100), LEADS, 100)
    found = levels_model().embed(made)
    assert len(found.segments) == 24
    np.testing.assert_allclose(
        np.asarray(found), [[np.mean([row[row != 0].mean() for row in made.signal])]], rtol=1e-6
    )


def test_measures_of_beats_that_are_known():
    found = levels_model().segment(ecg(10, 100, ["II", "V1"])).measures
    assert [lead for _, lead in found.index] == ["II", "V1", "all"]
    for measures in found.to_dict("records"):
        assert measures == pytest.approx(
            {
                "heart_rate": 60,
                "pr": 160,
                "qrs": 100,
                "qt": 440,
                "qtc_bazett": 440,
                "qtc_fridericia": 440,
            }
        )


def test_waves_that_the_recording_cuts_off_do_not_count():
    # It begins within a QRS complex and ends within a T wave.
    found = levels_model().segment(ecg(10.3, 100, ["II"], delay=-0.3)).measures
    assert found.loc[("made", "II"), "qrs"] == pytest.approx(100)
    assert found.loc[("made", "II"), "qt"] == pytest.approx(440)


def test_intervals_are_those_of_a_beat():
    beats = np.array([0.0, 0.8, 1.6, 2.6])
    waves = {
        "p": beats[[0, 2]][:, None] + [[-0.16, -0.06]],  # the second and the fourth have no P wave
        "qrs": beats[:, None] + [[0.0, 0.09]],
        "t": beats[[0, 1, 3]][:, None] + [[0.2, 0.36]],  # the third has no T wave
    }
    found = measures_of(waves)
    expected = {"heart_rate": 75, "pr": 160, "qrs": 90, "qt": 360}
    assert found == pytest.approx(
        expected | {"qtc_bazett": 360 / 0.8**0.5, "qtc_fridericia": 360 / 0.8 ** (1 / 3)}
    )


def test_no_waves_have_no_measures():
    nothing = {name: np.empty((0, 2)) for name in ("p", "qrs", "t")}
    assert all(np.isnan(value) for value in measures_of(nothing).values())
    one = measures_of(nothing | {"qrs": np.array([[1.0, 1.1]])})
    assert one["qrs"] == pytest.approx(100)
    assert np.isnan([one["heart_rate"], one["pr"], one["qt"]]).all()


def prepared(path, signal, number):
    """Write a segment as the data preparation does, which standardises it."""
    mean, std = signal.mean(axis=1, keepdims=True), signal.std(axis=1, keepdims=True)
    mat = {"feats": (signal - mean) / std, "curr_sample_rate": 100, "segment_i": number}
    scipy.io.savemat(path, mat | {"mean": mean, "std": std})


@pytest.mark.parametrize("n_leads", [1, 12])
def test_what_is_standardised_is_brought_back_to_mv(tmp_path, n_leads):
    made = ecg(8, 100)
    for number in range(2):
        part = made.signal[:, 400 * number :][:, :400]
        prepared(tmp_path / f"a_{number}.mat", part, number)
    mask = levels_model(n_leads).segment(tmp_path).mask(str(tmp_path / "a.mat"))
    for row in mask.classes:
        np.testing.assert_array_equal(row, true_classes(made.signal[0]))


def test_a_store_is_read_as_it_is(tmp_path):
    made = ecg(4, 100)
    for name in "ab":
        mat = {"feats": made.signal.astype(np.float32), "curr_sample_rate": 100}
        scipy.io.savemat(tmp_path / f"{name}.mat", mat)
    manifest = f"{tmp_path}\na.mat\t400\nb.mat\t400\n"
    (tmp_path / "test.tsv").write_text(manifest)
    assert main(["store", "pack", str(tmp_path), str(tmp_path / "store")]) == 0
    found = levels_model(12).segment(tmp_path / "store")
    assert len(found.masks) == 2
    for mask in found.masks.values():
        np.testing.assert_array_equal(mask.classes[0], true_classes(made.signal[0]))
