"""Waves that a page paints."""

import json
import re

import numpy as np
import pytest

from fairseq_ecg.ecg.leads import LEADS
from fairseq_ecg.formats import ECG
from fairseq_ecg.inference.report import report
from tests.inference.segmentors import levels_model
from tests.inference.test_delineation import lead


@pytest.fixture(scope="module")
def ecgs():
    return [ECG(f"{name}.mat", np.stack([lead(12, 100)] * 12), LEADS, 100.0) for name in "ab"]


def content_of(page):
    text = re.search(r'<script type="application/json" id="content">(.*?)</script>', page, re.S)
    return json.loads(text[1])


@pytest.mark.parametrize("n_leads", [1, 12])
def test_a_segmentor_has_its_waves_painted(ecgs, n_leads):
    page = report(ecgs, levels_model(n_leads), start=1, length=4, progress=False)
    assert not page.errors
    content = content_of(page.html)
    assert content["waves"]["source"] == "delineated by a network"
    for recording in content["recordings"]:
        assert recording["saliency"] is None
        assert list(recording["waves"]) == (list(LEADS) if n_leads == 1 else ["all"])
        for found in recording["waves"].values():
            assert found[:3] == [["p", 0.1, 0.2], ["qrs", 0.26, 0.36], ["t", 0.5, 0.7]]
            assert len(found) == 12


def test_another_network_has_no_waves(ecgs, pretrained):
    content = content_of(report(ecgs, pretrained, progress=False).html)
    assert content["waves"] is None
    assert all("waves" not in recording for recording in content["recordings"])


def test_waves_are_painted_listed_and_switched_off(browser, ecgs, tmp_path):
    path = tmp_path / "waves.html"
    path.write_text(report(ecgs, levels_model(1), progress=False).html)
    page = browser.new_page(viewport={"width": 1400, "height": 900})
    page.goto(path.as_uri())
    page.wait_for_selector("#recordings button[aria-current]")
    page.wait_for_timeout(200)
    assert page.locator("#saliency").is_hidden()
    assert page.locator("#wave-legend").inner_text().split("\n")[:3] == [
        "P wave",
        "QRS complex",
        "T wave",
    ]
    page.locator("#wave-list summary").click()
    items = page.locator("#wave-list li").all_inner_texts()
    assert len(items) == 12
    assert "P 0.100\u20130.200, QRS 0.260\u20130.360" in items[0]
    painted = page.locator("#ecg").screenshot()
    page.locator("#waves").click()
    page.wait_for_timeout(200)
    assert page.locator("#ecg").screenshot() != painted
    assert page.locator("#wave-legend").is_hidden()
