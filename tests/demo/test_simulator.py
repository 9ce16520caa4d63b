import csv

import numpy as np
import pytest
import simulate
import simulator
import wfdb
from scipy.signal import butter, find_peaks, sosfiltfilt, welch

from fairseq_ecg.formats import arrange, read_ecg

N = 150


@pytest.fixture(scope="module")
def recordings():
    return list(simulator.recordings(N, seed=1))


def having(recordings, label, *, alone=False):
    chosen = [r for r in recordings if label in r.labels and (len(r.labels) == 1 or not alone)]
    assert len(chosen) >= 5
    return chosen


def r_peaks(recording):
    """Times of the QRS complexes in s: where V1 to V6 have energy between 8 and 25 Hz."""
    band = butter(2, [8, 25], "bandpass", fs=simulator.SAMPLE_RATE, output="sos")
    energy = (sosfiltfilt(band, recording.ecg[6:]) ** 2).sum(axis=0)
    energy = np.sqrt(np.convolve(energy, np.ones(50), mode="same"))
    peaks, _ = find_peaks(energy, height=0.5 * np.quantile(energy, 0.98), distance=120)
    return peaks / simulator.SAMPLE_RATE


def rate(recording):
    return 60 / np.median(np.diff(r_peaks(recording)))


def beat(recording):
    """Median beat of all leads, 0.5 s before to 0.5 s after the R peak."""
    centres = [round(t * simulator.SAMPLE_RATE) for t in r_peaks(recording) if 0.6 < t < 9.4]
    return np.median([recording.ecg[:, c - 250 : c + 250] for c in centres], axis=0)


def test_shape_leads_and_labels(recordings):
    assert simulator.LEADS[:6] == ("I", "II", "III", "aVR", "aVL", "aVF")
    assert len(recordings) == N
    for recording in recordings:
        assert recording.ecg.shape == (12, 5000)
        assert recording.labels
        assert recording.labels <= set(simulator.LABELS)


def test_same_seed_same_recordings_and_no_dependence_on_their_number(recordings):
    again = list(simulator.recordings(20, seed=1))
    for first, second in zip(recordings, again, strict=False):
        assert first.labels == second.labels
        np.testing.assert_array_equal(first.ecg, second.ecg)
    other = next(simulator.recordings(1, seed=2))
    assert not np.array_equal(other.ecg, recordings[0].ecg)


def test_some_patients_have_several_recordings(recordings):
    counts = np.bincount([recording.patient_id for recording in recordings])
    assert set(counts) == {1, 2, 3}


def test_limb_leads_obey_einthoven_and_goldberger(recordings):
    for recording in recordings:
        i, ii, iii, avr, avl, avf = recording.ecg[:6]
        np.testing.assert_allclose(iii, ii - i, atol=1e-12)
        np.testing.assert_allclose(avr, -(i + ii) / 2, atol=1e-12)
        np.testing.assert_allclose(avl, (i - iii) / 2, atol=1e-12)
        np.testing.assert_allclose(avf, (ii + iii) / 2, atol=1e-12)


def test_projection_is_inverted_by_the_inverse_dower_matrix():
    # G. Edenbrandt, O. Pahlm, J. Electrocardiol. 21 (1988) 361-367; columns I, II, V1-V6.
    inverse = np.array(
        [
            [0.156, -0.010, -0.172, -0.074, 0.122, 0.231, 0.239, 0.194],
            [-0.227, 0.887, 0.057, -0.019, -0.106, -0.022, 0.041, 0.048],
            [0.022, 0.102, -0.229, -0.310, -0.246, -0.063, 0.055, 0.108],
        ]
    )
    np.testing.assert_allclose(inverse @ simulator.DOWER, np.eye(3), atol=0.02)


def test_amplitudes_are_those_of_the_surface(recordings):
    normal = having(recordings, "Normal sinus rhythm")
    r_of_ii = [np.ptp(recording.ecg[1]) for recording in normal]
    r_of_v5 = [recording.ecg[10].max() for recording in normal]
    assert 0.5 < np.median(r_of_ii) < 2
    assert 0.5 < np.median(r_of_v5) < 2.5
    assert max(np.abs(recording.ecg).max() for recording in recordings) < 6


@pytest.mark.parametrize(
    ("label", "bounds"),
    [
        ("Normal sinus rhythm", (60, 92)),
        ("Sinus bradycardia", (38, 58)),
        ("Sinus tachycardia", (100, 150)),
    ],
)
def test_rates(recordings, label, bounds):
    for recording in having(recordings, label):
        if "Premature ventricular contraction" not in recording.labels:
            assert bounds[0] < rate(recording) < bounds[1]


def test_fibrillation_is_irregular_and_sinus_rhythm_is_not(recordings):
    def variation(recording):
        intervals = np.diff(r_peaks(recording))
        return intervals.std() / intervals.mean()

    fibrillation = [variation(r) for r in having(recordings, "Atrial fibrillation", alone=True)]
    sinus = [variation(r) for r in having(recordings, "Normal sinus rhythm")]
    assert min(fibrillation) > max(sinus)


def test_fibrillation_replaces_the_p_wave_by_waves_of_4_to_9_hz(recordings):
    def p_of_ii(recording):
        before = beat(recording)[1, 100:220]  # 0.30 to 0.06 s before R
        return before.max() - np.median(before)

    fibrillation = [p_of_ii(r) for r in having(recordings, "Atrial fibrillation", alone=True)]
    sinus = [p_of_ii(r) for r in having(recordings, "Normal sinus rhythm")]
    assert np.median(sinus) > 3 * np.median(fibrillation)
    rng = np.random.default_rng(0)
    frequency, power = welch(simulator._fibrillatory_waves(rng)[2], 500, nperseg=2048)
    assert 4 < frequency[power.argmax()] < 9


def qrs_duration(waves):
    """Time in s during which the dipole of a QRS complex exceeds 0.1 mV."""
    dipole = np.zeros((3, 1000))
    simulator._add_waves(dipole, [wave for wave in waves if wave.time < simulator.T_BEGINS], 1.0)
    active = np.flatnonzero(np.linalg.norm(dipole, axis=0) > 0.1)
    return (active[-1] - active[0]) / simulator.SAMPLE_RATE


def test_blocks_and_premature_beats_have_a_qrs_complex_of_at_least_120_ms():
    rng = np.random.default_rng(0)
    patients = [simulator.draw_patient(rng) for _ in range(100)]
    for patient in patients:
        assert 0.12 < qrs_duration(patient.ectopic) < 0.24
        if patient.conduction == "normal":
            assert 0.06 < qrs_duration(patient.ventricles) < 0.11
        else:
            assert 0.12 < qrs_duration(patient.ventricles) < 0.2


def test_last_forces_go_to_the_side_of_the_block(recordings):
    v1 = simulator.LEADS.index("V1")
    for recording in having(recordings, "Left bundle branch block", alone=True):
        assert beat(recording)[v1].min() < -0.4
    for recording in having(recordings, "Right bundle branch block", alone=True):
        assert beat(recording)[v1].max() > 0.3


def test_long_pr_is_what_first_degree_block_means():
    rng = np.random.default_rng(0)
    patients = [simulator.draw_patient(rng) for _ in range(200)]
    # The P wave begins about 0.05 s before its centre, QRS 0.04 s before the R peak.
    intervals = np.array([patient.pr + 0.01 for patient in patients])
    blocked = np.array([patient.first_degree_block for patient in patients])
    assert intervals[blocked].min() > 0.2
    assert intervals[~blocked].max() < 0.2
    assert 20 < blocked.sum() < 80


def test_premature_beats_are_early_and_the_next_is_on_time():
    rng = np.random.default_rng(0)
    regular = np.arange(12.0)
    for _ in range(20):
        peaks, ectopic = simulator._insert_premature_beats(regular, rng)
        assert 2 <= ectopic.sum() <= 6
        np.testing.assert_array_equal(peaks[~ectopic], regular[~ectopic])
        early = regular[ectopic] - peaks[ectopic]
        assert ((early > 0.25) & (early < 0.45)).all()


def test_labels_that_exclude_each_other(recordings):
    rhythms = {"Sinus bradycardia", "Sinus tachycardia", "Atrial fibrillation"}
    for recording in recordings:
        assert len(recording.labels & rhythms) <= 1
        if "Normal sinus rhythm" in recording.labels:
            assert len(recording.labels) == 1
        if "1st degree atrioventricular block" in recording.labels:
            assert not recording.labels & {"Atrial fibrillation", "Sinus tachycardia"}


def run(monkeypatch, folder, *options):
    monkeypatch.setattr("sys.argv", ["simulate.py", "--out", str(folder), *options])
    return simulate.main()


def test_program_writes_the_same_bytes_for_the_same_seed(monkeypatch, tmp_path):
    for name, seed in (("a", "1"), ("b", "1"), ("c", "2")):
        assert run(monkeypatch, tmp_path / name, "--recordings", "4", "--seed", seed) == 0
    files = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert len(files) == 13
    contents = {name: [(tmp_path / name / file).read_bytes() for file in files] for name in "abc"}
    assert contents["a"] == contents["b"] != contents["c"]
    assert not list(tmp_path.glob("*.unfinished"))


def test_program_writes_what_was_simulated(monkeypatch, tmp_path):
    run(monkeypatch, tmp_path / "a", "--recordings", "3", "--seed", "5")
    with open(tmp_path / "a" / "labels.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    expected = list(simulator.recordings(3, seed=5))
    for row, recording in zip(rows, expected, strict=True):
        assert row["record"] == recording.name
        assert row["patient_id"] == str(recording.patient_id)
        holds = {label for label in simulator.LABELS if row[label] == "1"}
        assert holds == recording.labels
        read = arrange(read_ecg(tmp_path / "a" / recording.name))
        assert read.sample_rate == 500
        np.testing.assert_allclose(read.signal, recording.ecg, atol=1e-9)


def test_program_keeps_what_is_there(monkeypatch, tmp_path, capsys):
    (tmp_path / "a").mkdir()
    assert run(monkeypatch, tmp_path / "a", "--recordings", "1") == 2
    assert "exists: remove it" in capsys.readouterr().err
    assert list((tmp_path / "a").iterdir()) == []


def test_waves_are_in_order_and_do_not_overlap(recordings):
    for recording in recordings:
        last = -1
        for wave in recording.waves:
            assert wave.kind in ("p", "qrs", "t")
            assert last < wave.onset <= wave.peak <= wave.offset < recording.ecg.shape[1]
            last = wave.offset


def whole(recording, kind):
    """Waves of a kind that the ends of the recording do not cut off, in seconds."""
    waves = [wave for wave in recording.waves if wave.kind == kind]
    waves = [wave for wave in waves if wave.onset > 0 and wave.offset < recording.ecg.shape[1] - 1]
    return np.array([[w.onset, w.peak, w.offset] for w in waves]) / simulator.SAMPLE_RATE


def test_every_qrs_complex_is_among_the_waves(recordings):
    for recording in recordings:
        qrs = whole(recording, "qrs")
        for peak in r_peaks(recording):
            if 0.5 < peak < 9.5:
                assert ((qrs[:, 0] - 0.06 < peak) & (peak < qrs[:, 2] + 0.06)).any()


def test_durations_and_intervals_are_plausible(recordings):
    for recording in having(recordings, "Normal sinus rhythm"):
        p, qrs, t = (whole(recording, kind) for kind in ("p", "qrs", "t"))
        for waves, (shortest, longest) in (
            (p, (0.08, 0.16)),
            (qrs, (0.06, 0.12)),
            (t, (0.1, 0.36)),
        ):
            durations = waves[:, 2] - waves[:, 0]
            assert durations.min() > shortest
            assert durations.max() < longest
        before = [qrs[qrs[:, 0] > onset][:1, 0] - onset for onset in p[:, 0]]
        pr = np.concatenate(before)
        assert ((pr > 0.11) & (pr < 0.2)).all()


def test_fibrillating_atria_have_no_p_waves(recordings):
    for recording in having(recordings, "Atrial fibrillation"):
        assert not any(wave.kind == "p" for wave in recording.waves)
        assert len(whole(recording, "t"))


def test_outside_of_waves_there_is_little_but_noise(monkeypatch):
    monkeypatch.setattr(simulator, "_noise", lambda _: 0.0)
    for recording in having(list(simulator.recordings(40, seed=1)), "Normal sinus rhythm"):
        inside = np.zeros(recording.ecg.shape[1], bool)
        for wave in recording.waves:
            inside[wave.onset : wave.offset + 1] = True
        size = np.abs(recording.ecg).max(axis=0)
        assert np.quantile(size[~inside], 0.95) < 0.15
        assert np.median(size[inside]) > np.quantile(size[~inside], 0.95)


def test_program_writes_where_the_waves_are(monkeypatch, tmp_path):
    run(monkeypatch, tmp_path / "a", "--recordings", "2", "--seed", "5")
    for recording in simulator.recordings(2, seed=5):
        annotation = wfdb.rdann(str(tmp_path / "a" / recording.name), "all")
        assert annotation.fs == simulator.SAMPLE_RATE
        triples = annotation.sample.reshape(-1, 3).tolist()
        found = list(zip(triples, annotation.symbol[1::3], strict=True))
        peaks = {"p": "p", "qrs": "N", "t": "t"}
        assert found == [([w.onset, w.peak, w.offset], peaks[w.kind]) for w in recording.waves]
        assert set(annotation.symbol[0::3]) == {"("}
        assert set(annotation.symbol[2::3]) == {")"}
