import itertools
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
from PIL import Image

from fairseq_ecg.ecg.leads import LEADS
from fairseq_ecg.errors import DataError
from fairseq_ecg.formats import ECG
from fairseq_ecg.inference.picture import (
    Estimates,
    Findings,
    Wave,
    Waves,
    draw,
    drawing,
    layout_of,
    save,
)
from fairseq_ecg.inference.picture.paper import TRACE_LEFT, Paper, Strip, shown
from fairseq_ecg.inference.stored import TargetScale

DARK = 100
PAPER = Paper(4, 10.0)


def ecg(seconds=10.0, rate=500, signal=None, leads=LEADS):
    if signal is None:
        signal = np.zeros((len(leads), round(seconds * rate)))
    return ECG("test", signal, tuple(leads), rate)


def drawn(folder, *arguments, **options):
    """The picture, ``(height, width, 3)``, and its resolution."""
    path = folder / "a.png"
    save(draw(*arguments, **options), path)
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB")).astype(int), image.info["dpi"]


@pytest.fixture(scope="module")
def flat(tmp_path_factory):
    return drawn(tmp_path_factory.mktemp("picture"), ecg(), "flat")


def at(image, x, y):
    """Brightness at a position on the paper in mm from its lower left corner."""
    scale = drawing.PIXELS_PER_MM
    column = round((drawing.MARGIN + x) * scale)
    row = len(image) - round((drawing.MARGIN + drawing.FOOTER + y) * scale)
    return image.mean(axis=2)[row - 1 : row + 2, column - 1 : column + 2].min()


def test_picture_is_in_true_size(flat):
    image, dpi = flat
    assert np.allclose(dpi, 8 * 25.4, atol=0.1)
    assert image.shape[:2] == ((140 + 12 + 16) * 8, (270 + 12) * 8)


def test_base_lines_and_calibration_pulses_are_where_they_should_be(flat):
    image, _ = flat
    for row in range(4):
        base = PAPER.base_line(row)
        assert at(image, TRACE_LEFT + 133, base) < DARK
        assert at(image, TRACE_LEFT + 133, base + 3) > DARK
        # 1 mV is 10 mm high and 0.2 s are 5 mm wide
        assert at(image, TRACE_LEFT - 5.5, base + 10) < DARK
        assert at(image, TRACE_LEFT - 3, base + 5) < DARK
        assert at(image, TRACE_LEFT - 8, base + 5) < DARK
        assert at(image, TRACE_LEFT - 5.5, base + 5) > DARK


def test_the_grid_has_a_line_every_mm_and_a_stronger_one_every_5_mm(flat):
    image, _ = flat
    scale = drawing.PIXELS_PER_MM
    row = len(image) - round((drawing.MARGIN + drawing.FOOTER + 7.5) * scale)
    left = round((drawing.MARGIN + 50) * scale)
    line = image[row, left : left + 50 * scale + 1, 1]
    by_place = line[: 50 * scale].reshape(50, scale)
    fine, paper = by_place[:, 0], by_place[:, scale // 2]
    assert (fine < paper).all()
    assert fine[::5].max() < np.delete(fine, np.arange(0, 50, 5)).min()


def test_a_trace_has_25_mm_per_second_and_10_mm_per_millivolt():
    signal = np.zeros((12, 5000))
    signal[LEADS.index("V1"), 3000] = 1.5
    strip = Strip("V1", 0, 5.0, 7.5)
    trace = drawing._trace(PAPER, shown(ecg(signal=signal)), strip, 10.0)
    assert trace.shape == (2, 1250)
    np.testing.assert_allclose(trace[0, [0, -1]], TRACE_LEFT + np.array([125, 187.45]))
    peak = trace[:, trace[1].argmax()]
    np.testing.assert_allclose(peak, [TRACE_LEFT + 150, PAPER.base_line(0) + 15])


def texts(figure):
    return {text.get_text(): text for axes in figure.axes for text in axes.texts}


def test_the_footer_says_scale_part_and_what_is_derived():
    signal = np.zeros((8, 3000))
    figure = draw(ecg(signal=signal, leads=("I", "II", *LEADS[6:]), rate=100), start=5.0, speed=50)
    footer = next(text for text in texts(figure) if "mm/s" in text)
    assert footer.split("     ") == [
        "50 mm/s",
        "10 mm/mV",
        "100 Hz",
        "5 to 15 s of 30 s",
        "derived: III, aVR, aVL, aVF",
    ]


def test_missing_leads_are_named(tmp_path):
    figure = draw(ecg(leads=("I", "II", "V1")), layout="3x4")
    assert "V2 (missing)" in texts(figure)
    assert "aVF" in texts(figure)
    save(figure, tmp_path / "a.png")


def test_a_name_moves_to_where_no_trace_is():
    figure = drawing.Figure()
    axes = figure.add_axes((0, 0, 1, 1))
    height, left = 100.0, 20.0
    drawing._draw_name(axes, "V1", left, height, np.array([[500.0], [height]]), False)
    drawing._draw_name(axes, "V2", left, height, np.array([[left + 5], [height + 1]]), False)
    free, moved = axes.texts
    assert free.get_position() == (left + 1, height)
    assert moved.get_position()[1] == height
    assert moved.get_position()[0] > left + 5


def test_probabilities_are_drawn_beside_the_paper(tmp_path):
    names = [f"label {i}" for i in range(26)]
    probabilities = dict.fromkeys(names, 0.25) | {"label 3": 0.75, "label 5": 0.3}
    findings = Findings(probabilities, {"label 5": 0.2})
    figure = draw(ecg(), findings=findings)
    found = texts(figure)
    assert set(names) <= set(found)
    assert {name for name in names if found[name].get_fontweight() == "bold"} == {
        "label 3",
        "label 5",
    }
    assert "0.75" in found
    heights = sorted(found[name].get_position()[1] for name in names)
    assert min(np.diff(heights)) > 4
    figure = draw(ecg(), findings=Findings(probabilities, true=frozenset({"label 9"})))
    assert texts(figure)["label 9"].get_fontweight() == "bold"
    assert texts(figure)["label 3"].get_fontweight() == "normal"


@pytest.mark.parametrize("n_labels", [1, 26, 71])
def test_labels_and_bars_have_a_position_of_their_own(n_labels):
    names = [f"label {i}" for i in range(n_labels)]
    figure = draw(ecg(), findings=Findings(dict.fromkeys(names, 0.25)))
    panel = figure.axes[-1]
    sizes = [found.get_fontsize() / drawing.POINTS_PER_MM for found in panel.texts]
    written = [texts(figure)[name] for name in names]
    heights = [text.get_position()[1] for text in written]
    half = written[0].get_fontsize() / drawing.POINTS_PER_MM / 2
    bars = sorted({(bar.get_y(), bar.get_y() + bar.get_height()) for bar in panel.patches[:-1]})
    edges = [(place - half, place + half) for place in heights] + bars
    ordered = sorted(edges)
    assert all(below[1] < above[0] for below, above in itertools.pairwise(ordered))
    assert min(sizes) > 1.5
    assert all(low > drawing.FOOTER and high < panel.get_ylim()[1] for low, high in edges)


def test_estimates_are_written_and_lie_among_those_of_the_training():
    scale = TargetScale((60.0, 0.0, 5.0), (10.0, 1.0, 0.5))
    estimates = Estimates({"age (years)": 75.0, "of no scale": -1.25, "K": 9.0}, scale)
    assert estimates.positions() == [0.75, None, 1.0]
    figure = draw(ecg(), findings=estimates)
    found = texts(figure)
    assert {"Estimate", "age (years)", "75", "of no scale", "-1.25", "K", "9"} <= set(found)
    panel = figure.axes[-1]
    dots = [line.get_xdata()[0] for line in panel.lines if line.get_marker() == "o"]
    assert dots[:2] == [0.75 * drawing.ESTIMATE_WIDTH, drawing.ESTIMATE_WIDTH]
    assert "mean of the training, \u00b1 3 SD" in found
    figure = draw(ecg(), findings=Estimates({"a": 1e-7}, TargetScale((0.0,), (1.0,))))
    assert "1e-07" in texts(figure)
    assert not [line for line in figure.axes[-1].lines if line.get_marker() == "o"]


def test_saliency_is_painted_over_the_right_time_span(tmp_path):
    saliency = np.zeros(5000)
    saliency[3000:4000] = 1.0  # 6 to 8 s
    options = {"layout": "12x1", "leads": ["II"]}
    image, _ = drawn(tmp_path, ecg(), saliency=saliency, **options)
    plain, _ = drawn(tmp_path, ecg(), **options)
    scale = drawing.PIXELS_PER_MM
    # Half a mm above the base line, where nothing but the grid would be.
    row = len(image) - round((drawing.MARGIN + drawing.FOOTER + 25.6) * scale)
    changed = np.abs(image[row] - plain[row]).sum(axis=1) > 60
    times = (np.flatnonzero(changed) / scale - drawing.MARGIN - TRACE_LEFT) / 25
    assert abs(times.min() - 6.0) < 0.06
    assert abs(times.max() - 8.0) < 0.06
    assert changed.sum() > 0.8 * 50 * scale
    assert any("saliency" in text for text in texts(draw(ecg(), saliency=saliency)))


def test_saliency_belongs_to_the_whole_recording_and_the_part_shows_its_own():
    saliency = np.linspace(0, 1, 5000)
    figure = draw(ecg(), leads=["II"], start=5.0, length=5.0, saliency=saliency)
    painted = figure.axes[0].collections[-1]
    assert len(painted.get_segments()) == 250
    # The later, the stronger: painted last, they end at the right edge of the trace.
    assert painted.get_segments()[-1][-1, 0] == pytest.approx(TRACE_LEFT + 5 * 25, abs=0.1)
    with pytest.raises(DataError, match="5000 samples, but the saliency"):
        draw(ecg(), saliency=saliency[:2500])
    with pytest.raises(DataError, match="no values"):
        draw(ecg(), saliency=np.full(5000, np.nan))


@pytest.mark.parametrize("options", [{"speed": 30}, {"gain": 0}, {"length": 1000}])
def test_what_cannot_be_drawn(options):
    with pytest.raises(DataError):
        draw(ecg(), **options)


def test_svg_and_pdf_are_in_true_size_and_the_same_every_time(tmp_path):
    for name in ("a", "b"):
        for suffix in ("svg", "pdf", "png"):
            save(draw(ecg(), "<&> $x$", leads=["II"]), tmp_path / f"{name}.{suffix}")
    root = ElementTree.parse(tmp_path / "a.svg").getroot()
    assert float(root.get("width").removesuffix("pt")) == pytest.approx(282 * 72 / 25.4, abs=0.01)
    assert "<&> $x$" in "".join(root.itertext())
    assert (tmp_path / "a.pdf").read_bytes().startswith(b"%PDF")
    for suffix in ("svg", "pdf", "png"):
        a, b = ((tmp_path / f"{name}.{suffix}").read_bytes() for name in ("a", "b"))
        assert a == b
    with pytest.raises(DataError, match="png, svg, pdf"):
        save(draw(ecg(), leads=["II"]), tmp_path / "a.jpeg")


def test_real_recordings_at_400_hz_can_be_drawn(tmp_path, shared):
    from fairseq_ecg.formats import read_ecg

    recording = read_ecg(shared / "ecg" / "code_15" / "org" / "code_15_1594286.mat")
    image, _ = drawn(tmp_path, recording, "code_15")
    assert (image.mean(axis=2) < DARK).mean() > 0.005
    assert layout_of(recording.leads).n_rows == 4


WAVES = Waves({"all": [Wave("p", 1.0, 1.1), Wave("qrs", 1.16, 1.25), Wave("t", 1.4, 1.6)]}, "known")


def test_bands_are_where_the_waves_are(tmp_path):
    image, _ = drawn(tmp_path, ecg(), waves=WAVES)
    without, _ = drawn(tmp_path, ecg())
    scale = drawing.PIXELS_PER_MM
    row = len(image) - round((drawing.MARGIN + drawing.FOOTER + PAPER.base_line(3) + 7.5) * scale)
    differs = np.flatnonzero((image[row] != without[row]).any(axis=1)) / scale - drawing.MARGIN
    seconds = (differs - TRACE_LEFT) / 25
    for _, onset, offset in WAVES.of("II"):
        inside = seconds[(seconds > onset - 0.02) & (seconds < offset + 0.02)]
        assert inside.min() == pytest.approx(onset, abs=0.01)
        assert inside.max() == pytest.approx(offset, abs=0.01)
    assert seconds.min() > 0.99
    assert seconds.max() < 1.61


def test_waves_have_a_legend_letters_and_words(tmp_path):
    figure = draw(ecg(), waves=WAVES, start=1.2)
    found = texts(figure)
    assert {"P wave", "QRS complex", "T wave", "known", "QRS", "T"} <= set(found)
    assert figure.get_label().endswith("All leads: QRS 1.200-1.250, T 1.400-1.600.")
    save(figure, tmp_path / "a.svg")
    assert "QRS 1.200-1.250" in (tmp_path / "a.svg").read_text()
    save(figure, tmp_path / "a.pdf")
    assert b"/Subject" in (tmp_path / "a.pdf").read_bytes()


def test_a_lead_without_waves_says_so():
    waves = Waves({"II": WAVES.of("II")})
    words = waves.in_words(["I", "II"], 0, 10)
    assert "Lead I: no waves." in words
    assert "Lead II: P 1.000-1.100" in words
