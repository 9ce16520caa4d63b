import base64
import io
import json
import re

import numpy as np
import pytest
from PIL import Image

from fairseq_ecg.errors import DataError
from fairseq_ecg.formats.location import Location
from fairseq_ecg.inference import ECGModel
from fairseq_ecg.inference.report import report
from fairseq_ecg.inference.stored import TargetScale
from tests.inference.report.conftest import HOSTILE


@pytest.fixture(scope="module")
def content(made_report):
    text = re.search(r'id="content">(.*?)</script>', made_report.html, re.DOTALL)[1]
    return json.loads(text)


@pytest.fixture
def page(browser, made_report, tmp_path):
    """The page in the browser, which is offline; what it complained of and what it asked for."""
    path = tmp_path / "report.html"
    path.write_text(made_report.html, encoding="utf-8")
    context = browser.new_context(viewport={"width": 1280, "height": 900}, offline=True)
    page = context.new_page()
    page.complaints, page.requests = [], []
    page.on("console", lambda message: page.complaints.append(message.text))
    page.on("pageerror", lambda error: page.complaints.append(str(error)))
    page.on("dialog", lambda dialog: page.complaints.append(dialog.message))
    page.on("request", lambda request: page.requests.append(request.url))
    page.goto(path.as_uri())
    shown(page)
    yield page
    assert page.complaints == []
    assert page.requests == [path.as_uri()]
    context.close()


def shown(page, name="a"):
    """Wait until a recording is shown."""
    page.locator("#name").get_by_text(name, exact=True).wait_for()
    settled(page)


def settled(page):
    """Wait until the ECG is drawn."""
    page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")


def picture(page):
    """The ECG as a PNG file."""
    settled(page)
    address = page.evaluate("document.getElementById('ecg').toDataURL()")
    return base64.b64decode(address.split(",")[1])


def n_pixels(page, holds):
    """Pixels of the ECG for which a condition of red, green and blue holds."""
    with Image.open(io.BytesIO(picture(page))) as image:
        return holds(*np.asarray(image.convert("RGB")).astype(int).transpose(2, 0, 1)).sum()


def is_ink(red, green, blue):
    return (red < 90) & (green < 90) & (blue < 90)


def is_blue(red, green, blue):
    return blue > red + 40


def is_grid(red, green, blue):
    return (red > 225) & (green < 226) & (blue < 226)


def test_the_page_says_what_the_model_says(content, recordings, diagnosis):
    prediction = diagnosis.predict(recordings[:3])
    assert content["labels"] == list(diagnosis.labels)
    for entry, (_, row) in zip(content["recordings"], prediction.table.iterrows(), strict=True):
        np.testing.assert_allclose(entry["outputs"], row, atol=1e-4)
    for key in ("segments", "ofSegments"):
        counts = [len(entry[key]) for entry in content["recordings"]]
        assert counts == list(prediction.recordings["segments"])
    by_label = dict(zip(content["labels"], content["thresholds"], strict=True))
    assert by_label["RBBB"] == 0.9
    assert by_label["AF"] == 0.5
    model = dict(content["model"])
    assert model["Model"] == "diagnosis_small.pt"
    assert model["Rate"] == "500 Hz, resampled by linear"


def test_recordings_that_cannot_be_used_are_left_out_and_reported(made_report, content):
    assert list(made_report.errors) == ["short.mat"]
    assert "shorter than one segment" in content["errors"][0][1]
    assert len(content["recordings"]) == 3


def test_nothing_usable_and_unknown_thresholds_are_errors(recordings, diagnosis):
    with pytest.raises(DataError, match="no recording can be used"):
        report(recordings[3:], diagnosis, progress=False)
    with pytest.raises(DataError, match="no probability"):
        report(recordings[:1], diagnosis, thresholds=5, progress=False)


@pytest.fixture
def regression(diagnosis):
    """The classifier, as if it were a regression of eight targets, of which one has no scale."""
    names = ["age (years)", HOSTILE, *(f"target {number}" for number in range(6))]
    scale = TargetScale((60.0, *[0.0] * 7), (10.0, 1.0, *[2.0] * 6))
    parts = diagnosis.network, diagnosis.cfg, diagnosis.preprocessing
    return ECGModel(*parts, labels=names, scale=scale)


def test_estimates_of_a_regression(browser, recordings, regression, tmp_path):
    html = report(recordings[:2], regression, progress=False).html
    (tmp_path / "a.html").write_text(html, encoding="utf-8")
    page = browser.new_page()
    complaints = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto((tmp_path / "a.html").as_uri())
    shown(page)
    estimates = regression.predict(recordings[:2]).table.iloc[0]
    rows = page.locator("#labels tr").all()
    for row, (name, value) in zip(rows, estimates.items(), strict=True):
        name_cell, track, number, training, _ = row.locator("td").all()
        assert name_cell.text_content() == name
        assert float(number.text_content()) == pytest.approx(value, rel=1e-3)
        assert track.locator(".bar").count() == (name != HOSTILE)
        assert bool(training.text_content()) == (name != HOSTILE)
    assert rows[0].locator("td").nth(3).text_content() == "60 \u00b1 10"
    left = float(rows[0].locator(".mark").get_attribute("style").split(":")[1].strip(" %;"))
    assert left == pytest.approx(50 + 100 * (estimates.iloc[0] - 60) / 60, abs=0.1)
    assert page.locator("#findings h3").text_content() == "Estimates"
    assert "threshold" not in page.locator("#findings").inner_text().lower()
    assert "age (years) " in page.locator("#recordings small").first.text_content()
    fills = {circle.get_attribute("fill") for circle in page.locator("#map circle").all()}
    assert len(fills) > 1
    assert complaints == []
    page.close()


def test_a_recording_goes_through_the_network_once_for_all_but_its_saliency(
    recordings, diagnosis, monkeypatch
):
    passes = []
    forward = diagnosis.network.forward

    def counted(source, *others, **wanted):
        passes.append(len(source))
        return forward(source, *others, **wanted)

    monkeypatch.setattr(diagnosis.network, "forward", counted)
    report(recordings[:1], diagnosis, progress=False)
    assert passes == [1, 2]  # a segment of 7.3 s; with the one that ends with the recording


def test_the_same_input_makes_the_same_page(recordings, diagnosis):
    pages = [report(recordings[:1], diagnosis, progress=False).html for _ in range(2)]
    assert pages[0] == pages[1]


def test_a_pre_trained_model_has_no_probabilities(browser, recordings, pretrained, tmp_path):
    path = tmp_path / "a.html"
    path.write_text(report(recordings[:2], pretrained, progress=False).html, encoding="utf-8")
    page = browser.new_page()
    complaints = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(path.as_uri())
    shown(page)
    assert page.is_hidden("#findings")
    assert page.is_hidden("#map-colour")
    assert page.is_visible("#map")
    assert complaints == []
    page.close()


def test_it_draws_the_ecg_its_grid_and_what_the_network_says(page, content):
    assert n_pixels(page, is_ink) > 3000
    assert n_pixels(page, is_grid) > 20000
    assert page.locator("#recordings button").count() == 3
    assert page.locator("#labels tr").count() == 8
    segments = [len(entry["segments"]) for entry in content["recordings"]]
    assert page.locator(".segment").count() == 8 * segments[0]
    assert page.locator("#map circle").count() == sum(segments)
    assert page.inner_text("#errors li").startswith("short.mat")
    assert "25 mm/s" in page.inner_text("#scale")


def test_saliency_can_be_switched_on_and_off(page):
    assert n_pixels(page, is_blue) == 0
    assert page.is_hidden("#legend")
    page.click("#saliency")
    assert page.get_attribute("#saliency", "aria-pressed") == "true"
    assert n_pixels(page, is_blue) > 2000
    assert page.is_visible("#legend")
    assert float(page.inner_text("#least")) < float(page.inner_text("#largest"))
    page.focus("#ecg")
    page.keyboard.press("s")
    assert n_pixels(page, is_blue) == 0


def zoom(page):
    settled(page)
    return int(re.search(r"zoom (\d+) %", page.inner_text("#scale"))[1])


def test_zoom_and_pan(page):
    whole = picture(page)
    assert zoom(page) == 100
    page.click("#zoom-in")
    assert zoom(page) == 150
    zoomed = picture(page)
    assert zoomed != whole
    box = page.locator("#ecg").bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 80, y + 40, steps=4)
    page.mouse.up()
    panned = picture(page)
    assert panned not in (whole, zoomed)
    assert zoom(page) == 150
    page.mouse.wheel(0, -400)
    assert zoom(page) > 150
    page.focus("#ecg")
    for key in ("ArrowLeft", "ArrowDown", "-", "+"):
        before = picture(page)
        page.keyboard.press(key)
        assert picture(page) != before
    page.dblclick("#ecg")
    assert zoom(page) == 100
    assert picture(page) == whole


def test_reading_off_time_and_voltage(page, recordings):
    page.select_option("#layout", label="one below the other")
    settled(page)
    box = page.locator("#ecg").bounding_box()
    # Paper: 12 rows 20 mm apart, 25 mm from the edges; time 0 at 15 mm; 10 mm/mV or less.
    height, width = 50 + 11 * 20, 5 * np.ceil((20 + 25 * recordings[0].seconds) / 5)
    scale = min(box["width"] / width, box["height"] / height)
    left = box["x"] + (box["width"] - width * scale) / 2
    top = box["y"] + (box["height"] - height * scale) / 2
    page.mouse.move(left + (15 + 25 * 2.0) * scale, top + (25 + 20 * 7) * scale)
    name, time, voltage = page.inner_text("#readout").split(" · ")
    assert name == "V2"
    time = float(time.removesuffix(" s"))
    assert abs(time - 2.0) < 0.05
    signal = recordings[0].signal[7]
    near = signal[round((time - 0.006) * 400) : round((time + 0.006) * 400) + 1] - np.median(signal)
    value = float(voltage.removesuffix(" mV"))
    assert near.min() - 0.011 <= value <= near.max() + 0.011

    page.click("#calipers")
    page.mouse.move(left + 65 * scale, top + 100 * scale)
    page.mouse.down()
    page.mouse.move(left + 90 * scale, top + 120 * scale)
    page.mouse.up()
    interval, rate = re.match(r"(\d+) ms \((\d+)/min\)", page.inner_text("#readout")).groups()
    assert abs(int(interval) - 1000) < 40
    assert abs(int(rate) - 60) <= 3


def test_recordings_are_chosen_in_the_list_and_on_the_map(page):
    first = picture(page)
    page.click("#recordings button[data-index='1']")
    shown(page, "b")
    assert picture(page) != first
    assert page.locator("#recordings button[aria-current]").inner_text().startswith("b")
    page.locator("#map circle[data-index='0']").first.dispatch_event("click")
    shown(page, "a")
    assert page.locator("#map circle.selected").first.get_attribute("data-index") == "0"
    assert picture(page) == first
    circle = page.locator("#map circle[data-index='1']").first
    circle.hover(force=True)
    assert page.inner_text("#map-note").startswith("b, ")
    before = circle.get_attribute("fill")
    fills = set()
    for label in range(8):
        page.select_option("#map-label", str(label))
        fills.add(circle.get_attribute("fill"))
    assert before in fills
    assert len(fills) > 1


def test_layouts_gains_and_later_intervals(page, recordings):
    page.click("#recordings button[data-index='2']")
    shown(page, Location.of(recordings[2].where).stem)
    assert "0 to 10 s of 25 s" in page.inner_text("#scale")
    assert page.is_disabled("#earlier")
    before = picture(page)
    page.click("#later")
    assert picture(page) != before
    assert "10 to 20 s of 25 s" in page.inner_text("#scale")
    page.click("#later")
    settled(page)
    assert "15 to 25 s of 25 s" in page.inner_text("#scale")
    assert page.is_disabled("#later")
    for layout in ("6 x 2", "one below the other"):
        before = picture(page)
        page.select_option("#layout", label=layout)
        assert picture(page) != before
    before = picture(page)
    page.select_option("#gain", "20")
    assert picture(page) != before
    assert "20 mm/mV" in page.inner_text("#scale")


def test_thresholds_decide_what_is_reached(page, content):
    for row, probability, threshold in zip(
        page.locator("#labels tr").all(),
        content["recordings"][0]["outputs"],
        content["thresholds"],
        strict=True,
    ):
        reached = "reached" in row.inner_text()
        assert reached == (probability >= threshold)
        assert f"{probability:.2f}" in row.inner_text()


def test_hostile_names_are_text(page, made_report, recordings):
    assert page.title().startswith("</script><script>")
    assert page.locator("img").count() == 0
    assert made_report.html.count("<script") == 2
    page.click("#recordings button[data-index='2']")
    shown(page, Location.of(recordings[2].where).stem)


def test_it_prints_on_a_page_without_its_controls(page):
    page.emulate_media(media="print")
    assert page.is_hidden("nav")
    assert page.is_hidden(".toolbar")
    assert page.is_visible("#ecg")
    assert page.pdf().startswith(b"%PDF")
