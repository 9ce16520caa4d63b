import shutil

import numpy as np
import pytest

from fairseq_ecg.formats import ECG
from fairseq_ecg.inference.report import report

CHROMIUM = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")

HOSTILE = "</script><script>document.title='taken'</script><img src=x onerror=alert(1)>"


@pytest.fixture(scope="session")
def browser():
    """A headless Chromium of the system."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    program = next(filter(None, map(shutil.which, CHROMIUM)), None)
    if program is None:
        pytest.skip(f"no Chromium is installed (none of {', '.join(CHROMIUM)} is a command)")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def recordings(code_15_ecgs):
    """Two published recordings, a made one of 25 s with a hostile name, and one too short."""
    leads = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")
    made = np.random.default_rng(1).normal(size=(12, 10000)) / 10
    return [
        ECG("folder/a.mat", code_15_ecgs[0], leads, 400.0),
        ECG("folder/b.mat", code_15_ecgs[1], leads, 400.0),
        ECG(HOSTILE, made, leads, 400.0),
        ECG("short.mat", made[:, :400], leads, 400.0),
    ]


@pytest.fixture(scope="session")
def made_report(recordings, diagnosis, tmp_path_factory):
    thresholds = tmp_path_factory.mktemp("thresholds") / "thresholds.csv"
    thresholds.write_text("label,threshold\nRBBB,0.9\n")
    return report(
        recordings,
        diagnosis,
        title=HOSTILE,
        model_name="diagnosis_small.pt",
        thresholds=thresholds,
        progress=False,
    )
