"""Waves of annotations, by the rules of fairseq_signals, and by what is plain to see."""

import numpy as np
import pytest

from fairseq_ecg.errors import DataError
from fairseq_ecg.prepare.sources.waves import (
    KINDS,
    Wave,
    align,
    check_lengths,
    class_samples,
    find_waves,
    read_waves,
)
from tests.prepare.sources.archives import write_annotations

NOTHING = {kind: [] for kind in KINDS}


def found(text):
    """Waves of annotations such as ``10( 12p 15)``."""
    samples, symbols = zip(*((int(word[:-1]), word[-1]) for word in text.split()), strict=True)
    return find_waves(samples, symbols, "here")


@pytest.mark.parametrize(
    ("text", "kind", "waves"),
    [
        ("10( 12p 15)", "p", [(10, 12, 15)]),
        ("10( 12t 15) 20( 22t 25)", "t", [(10, 12, 15), (20, 22, 25)]),
        ("10( 12N 15)", "qrs", [(10, 12, 15)]),
        ("10( 12V 15)", "qrs", [(10, 12, 15)]),
        ("12p 15)", "p", [(12, 12, 15)]),  # no onset: it begins at its peak
        ("10( 12p 15) 18t 20)", "t", [(18, 18, 20)]),  # the onset before is used up
        ("8( 10( 12p 15)", "p", [(10, 12, 15)]),  # the later onset counts
        ("10( 12p", "p", []),  # no offset
        ("10( 12p 20( 22N 25)", "p", []),
        ("10( 12p 20( 22N 25)", "qrs", [(20, 22, 25)]),
        ("10( 12p 13t 15)", "t", [(10, 13, 15)]),  # the type last seen
        ("10( 12p 15) 20( 25)", "p", [(10, 12, 15), (20, 12, 25)]),  # no peak: that before
        ("10( 12p 15) 25)", "p", [(10, 12, 15), (12, 12, 25)]),
    ],
)
def test_what_annotations_delimit(text, kind, waves):
    assert found(text)[kind] == waves


def test_an_offset_before_any_peak_is_a_fault():
    with pytest.raises(DataError, match=r"here: the wave that ends at sample 15 has no peak"):
        found("10( 15) 20p 25)")


def test_annotations_are_counted_at_another_rate(tmp_path):
    write_annotations(tmp_path / "1", "v1", [(11, "("), (13, "p"), (18, ")")])
    assert read_waves(tmp_path / "1", "v1", 500, 500)["p"] == [(11, 13, 18)]
    # 5.5, 6.5 and 9: halves to the even number
    assert read_waves(tmp_path / "1", "v1", 500, 250)["p"] == [(6, 6, 9)]
    assert read_waves(tmp_path / "1", "v1", 257, 500)["p"] == [(21, 25, 35)]
    with pytest.raises(DataError, match=r"1\.v2: no such annotations\. Download"):
        read_waves(tmp_path / "1", "v2", 500, 500)
    (tmp_path / "1.v3").write_bytes(b"\xff")
    with pytest.raises(DataError, match=r"1\.v3: is no file of annotations, or damaged"):
        read_waves(tmp_path / "1", "v3", 500, 500)


def test_waves_of_several_leads_become_one():
    """Peaks less than 0.2 s behind the first of a group; means are rounded down."""
    waves = [(100, 110, 121), (301, 311, 320), (102, 112, 120), (199, 209, 219), (103, 109, 122)]
    made = align([Wave(*wave) for wave in waves], 500)
    # 109 to 208 is the first group, of which 109 is the first peak.
    assert made == [(101, 110, 121), (199, 209, 219), (301, 311, 320)]
    assert align([Wave(0, 0, 1), Wave(0, 99, 100), Wave(0, 100, 101)], 500) == [
        (0, 49, 50),
        (0, 100, 101),
    ]
    assert align([], 500) == []


@pytest.mark.parametrize(("kind", "most"), [("p", 150), ("qrs", 150), ("t", 200)])
def test_a_wave_that_is_too_long_is_a_fault(kind, most):
    waves = NOTHING | {kind: [Wave(10, 20, 10 + most)]}
    check_lengths(waves, KINDS, 500, "here")
    waves[kind] = [Wave(10, 20, 11 + most)]
    with pytest.raises(DataError, match=rf"here: the {kind} wave from sample 10 to {11 + most} is"):
        check_lengths(waves, KINDS, 500, "here")
    check_lengths(waves, [other for other in KINDS if other != kind], 500, "here")


def test_classes_of_samples():
    waves = {"p": [Wave(2, 3, 4)], "qrs": [Wave(4, 5, 6)], "t": [Wave(6, 7, 8), Wave(10, 10, 20)]}
    made = class_samples(waves, 13)
    expected = {
        "p": [0, 0, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0],
        "qrs": [0, 0, 0, 0, 1, 1, 1, 0, 0, 0, 0, 0, 0],
        "t": [0, 0, 0, 0, 0, 0, 1, 1, 1, 0, 1, 1, 1],
        "none": [1, 1, 0, 0, -1, 0, -1, 0, 0, 1, 0, 0, 0],
        "segment_label": [3, 3, 0, 0, 0, 1, 1, 2, 2, 3, 2, 2, 2],
        "segment_mask": [1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    }
    assert list(made) == list(expected)
    for name, values in expected.items():
        assert made[name].tolist() == [values], name
        assert made[name].dtype == (bool if name == "segment_mask" else np.int64)


def test_without_waves_nothing_is_annotated():
    made = class_samples(NOTHING, 5)
    assert made["segment_mask"].all()
    assert made["segment_label"].tolist() == [[3] * 5]
