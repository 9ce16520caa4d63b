import numpy as np
import pytest
from PIL import Image

from fairseq_ecg.data.leads import LEADS
from fairseq_ecg.data.recording import Recording
from fairseq_ecg.inference import picture

DARK = 100


def recording(seconds=10.0, rate=500, ecg=None):
    n_samples = round(seconds * rate)
    return Recording("test", np.zeros((12, n_samples)) if ecg is None else ecg, rate)


def pixels(path):
    """Brightness in true size, ``(height, width)``, one value per pixel."""
    with Image.open(path) as image:
        return np.asarray(image.convert("L")).astype(int), image.info["dpi"]


@pytest.fixture(scope="module")
def flat(tmp_path_factory):
    path = tmp_path_factory.mktemp("picture") / "flat.png"
    picture.draw(recording(), "flat", path)
    return pixels(path)


def at(image, x, y):
    """Brightness at a place on the paper in mm from its lower left corner."""
    scale = picture.PIXELS_PER_MM
    column = round((picture.MARGIN + x) * scale)
    row = len(image) - round((picture.MARGIN + picture.FOOTER + y) * scale)
    return image[row - 1 : row + 2, column - 1 : column + 2].min()


def test_page_is_in_true_size(flat):
    image, dpi = flat
    height, width = image.shape
    assert np.allclose(dpi, 8 * 25.4, atol=0.1)
    assert width == (picture.PAPER[0] + 12) * 8
    assert height == (picture.PAPER[1] + 12 + picture.HEADER + picture.FOOTER) * 8


def test_base_lines_and_calibration_pulses_are_where_they_should_be(flat):
    image, _ = flat
    left = picture.TRACE_LEFT
    for row in range(4):
        base = picture._base_line(row)
        assert at(image, left + 133, base) < DARK
        assert at(image, left + 133, base + 3) > DARK
        # 1 mV is 10 mm high and 0.2 s are 5 mm wide
        assert at(image, left - 5.5, base + 10) < DARK
        assert at(image, left - 3, base + 5) < DARK
        assert at(image, left - 8, base + 5) < DARK
        assert at(image, left - 5.5, base + 5) > DARK


def test_a_trace_has_25_mm_per_second_and_10_mm_per_millivolt():
    ecg = np.zeros((12, 5000))
    ecg[LEADS.index("V1"), 3000] = 1.5
    trace = picture._trace(recording(ecg=ecg), "V1", 0, slice(2500, 3750), 10.0)
    assert trace.shape == (2, 1250)
    np.testing.assert_allclose(trace[0, [0, -1]], picture.TRACE_LEFT + np.array([125, 187.45]))
    peak = trace[:, trace[1].argmax()]
    np.testing.assert_allclose(peak, [picture.TRACE_LEFT + 150, picture._base_line(0) + 15])


def test_traces_are_centred_on_their_median():
    ecg = np.full((12, 5000), -7.0)
    ecg[0, 100:200] += 1.0
    assert picture._millivolts(recording(ecg=ecg), "I", slice(0, 1250)).max() == 1.0
    assert picture._gain(recording(ecg=ecg)) == 10


@pytest.mark.parametrize(("peak", "gain"), [(2.4, 10), (2.6, 5), (6.0, 2.5), (50.0, 2.5)])
def test_gain_is_lowered_for_large_deflections(peak, gain):
    ecg = np.zeros((12, 5000))
    ecg[LEADS.index("V4"), 4500] = -peak
    assert picture._gain(recording(ecg=ecg)) == gain


def test_every_lead_has_its_quarter_and_lead_ii_the_whole():
    windows = list(picture._windows(recording()))
    assert {lead for lead, _, _ in windows} == set(LEADS)
    assert ("aVL", 1, slice(1250, 2500)) in windows
    assert windows[-1] == ("II", 3, slice(0, 5000))


def test_short_recordings_are_shared_and_long_ones_cut():
    short = list(picture._windows(recording(seconds=7.0, rate=400)))
    assert ("V6", 2, slice(2100, 2800)) in short
    assert short[-1] == ("II", 3, slice(0, 2800))
    long = recording(seconds=30.0)
    assert list(picture._windows(long))[-1] == ("II", 3, slice(0, 5000))
    assert picture._scale(long).endswith("first 10 s of 30 s")


def test_a_name_moves_to_where_no_trace_is():
    figure = picture.Figure()
    axes = figure.add_axes((0, 0, 1, 1))
    height, left = 100.0, 20.0
    picture._draw_name(axes, "V1", left, height, np.array([[500.0], [height]]))
    picture._draw_name(axes, "V2", left, height, np.array([[left + 5], [height + 1]]))
    free, moved = axes.texts
    assert free.get_position() == (left + 1, height)
    assert moved.get_position()[1] == height
    assert moved.get_position()[0] > left + 5


def test_probabilities_are_drawn_beside_the_paper(tmp_path):
    names = [f"label {i}" for i in range(26)]
    prediction = picture.Prediction(
        dict.fromkeys(names, 0.25) | {"label 3": 0.75}, frozenset({"label 3"})
    )
    figure = picture.Figure()
    axes = figure.add_axes((0, 0, 1, 1))
    picture._draw_panel(axes, prediction, 140)
    shown = {text.get_text(): text for text in axes.texts}
    assert set(names) <= set(shown)
    assert shown["label 3"].get_fontweight() == "bold"
    assert shown["label 4"].get_fontweight() == "normal"
    assert "0.75" in shown
    heights = sorted(text.get_position()[1] for name, text in shown.items() if name in names)
    assert min(np.diff(heights)) > 4
    picture.draw(recording(), "test", tmp_path / "a.png", prediction)
    image, _ = pixels(tmp_path / "a.png")
    width = picture.PAPER[0] + picture.PANEL_WIDTH + 3 * picture.MARGIN
    assert image.shape[1] == width * picture.PIXELS_PER_MM


def test_real_recordings_at_400_hz_can_be_drawn(tmp_path, shared):
    from fairseq_ecg.prepare.recordings import read_recording

    ecg = read_recording(shared / "ecg" / "code_15" / "org" / "code_15_1594286.mat")
    picture.draw(ecg, "code_15", tmp_path / "a.png")
    image, _ = pixels(tmp_path / "a.png")
    assert (image < DARK).mean() > 0.005
