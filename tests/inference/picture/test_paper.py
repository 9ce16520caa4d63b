import numpy as np
import pytest

from fairseq_ecg.ecg.leads import LEADS
from fairseq_ecg.errors import DataError
from fairseq_ecg.formats import ECG
from fairseq_ecg.inference.picture.paper import Layout, Paper, Strip, layout_of, shown


def ecg(signal=None, leads=LEADS, rate=500, seconds=10.0):
    if signal is None:
        signal = np.zeros((len(leads), round(seconds * rate)))
    return ECG("test", signal, tuple(leads), rate)


def test_the_clinical_layout_has_every_lead_in_its_quarter_and_lead_ii_over_all():
    layout = layout_of(LEADS)
    strips = list(layout.strips(10.0))
    assert layout.n_rows == 4
    assert strips[:3] == [Strip("I", 0, 0, 2.5), Strip("II", 1, 0, 2.5), Strip("III", 2, 0, 2.5)]
    assert Strip("aVL", 1, 2.5, 5.0) in strips
    assert Strip("V6", 2, 7.5, 10.0) in strips
    assert strips[-1] == Strip("II", 3, 0.0, 10.0)
    assert len(strips) == 13


@pytest.mark.parametrize(
    ("name", "rows", "columns"), [("3x4", 4, 4), ("6x2", 6, 2), ("12x1", 12, 1)]
)
def test_layouts_by_name(name, rows, columns):
    layout = layout_of(LEADS, name)
    assert layout.n_rows == rows
    assert len(layout.columns) == columns
    assert sum(layout.columns, ()) == LEADS


def test_leads_are_chosen_in_any_spelling_and_order():
    assert layout_of(LEADS, leads=["V1", "avf"]) == Layout((("V1", "aVF"),))
    assert layout_of(LEADS, "6x2", ["V1", "V2", "II"]) == Layout((("V1", "V2"), ("II",)))
    assert layout_of(LEADS, rhythm=["II", "V5"]).n_rows == 5
    assert layout_of(LEADS, rhythm=()).n_rows == 3


def test_incomplete_recordings_are_drawn_one_lead_below_the_other():
    assert layout_of(("II", "MLII")) == Layout((("II", "MLII"),))
    assert layout_of(("II",), "3x4").columns[0] == ("I", "II", "III")


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"name": "2x2"}, "no layout"),
        ({"leads": ["V9"]}, "no lead V9 to draw"),
        ({"leads": ["II", "ii"]}, "name each once"),
        ({"rhythm": ["X"]}, "no lead X"),
    ],
)
def test_what_cannot_be_arranged(options, reason):
    with pytest.raises(DataError, match=reason):
        layout_of(LEADS, **options)


def test_the_paper_is_in_true_size():
    paper = Paper(4, 10.0)
    assert (paper.width, paper.height) == (270, 140)
    assert paper.across(1.0) - paper.across(0.0) == 25
    assert Paper(1, 2.0, 50.0).across(1.0) == 65
    assert [paper.base_line(row) for row in (0, 3)] == [115, 25]
    for n_rows in range(1, 15):
        assert Paper(n_rows, 7.33).width % 5 == Paper(n_rows, 7.33).height % 5 == 0
        assert Paper(n_rows, 1.0).base_line(n_rows - 1) == 25


def test_a_part_starts_and_ends_where_it_should():
    signal = np.tile(np.arange(5000.0) / 1000, (12, 1))
    part = shown(ecg(signal), 2.0, 3.0)
    assert (part.start, part.whole_seconds, part.ecg.seconds) == (2.0, 10.0, 3.0)
    assert part.ecg.signal[0, 0] == 1.0
    assert shown(ecg(signal), 9.0, 10.0).ecg.seconds == 1.0
    for start, seconds in ((10.0, 1.0), (-1.0, 1.0), (0.0, 0.0)):
        with pytest.raises(DataError):
            shown(ecg(signal), start, seconds)


def test_limb_leads_are_derived_and_reported():
    part = shown(ecg(np.stack([np.ones(100), np.full(100, 3.0)]), ("II", "I"), 100))
    assert part.ecg.leads == LEADS[:6]
    assert part.derived == ("III", "aVR", "aVL", "aVF")
    assert part.ecg.signal[2, 0] == -2.0


def test_traces_are_centred_on_their_median_and_gaps_stay():
    signal = np.full((12, 5000), -7.0)
    signal[0, 100:200] += 1.0
    signal[0, 50] = np.nan
    part = shown(ecg(signal))
    times, millivolts = part.millivolts(Strip("I", 0, 0.0, 2.5))
    assert len(times) == 1250
    assert np.nanmax(millivolts) == 1.0
    assert np.flatnonzero(np.isnan(millivolts)).tolist() == [50]
    assert np.isnan(part.millivolts(Strip("V9", 0, 0.0, 1.0))[1]).all()


@pytest.mark.parametrize(("peak", "gain"), [(2.4, 10), (2.6, 5), (6.0, 2.5), (50.0, 2.5)])
def test_gain_is_lowered_for_large_deflections(peak, gain):
    signal = np.zeros((12, 5000))
    signal[LEADS.index("V4"), 4500] = -peak
    assert shown(ecg(signal)).gain(list(layout_of(LEADS).strips(10.0))) == gain
