import datetime
import struct

import edfio
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fairseq_ecg.ecg.leads import LEADS
from fairseq_ecg.errors import DataError
from fairseq_ecg.formats import read_ecg


def write(path, signal, leads, fs, unit="mV", *, factor=1.0, extra=(), **options):
    kind = edfio.BdfSignal if path.suffix == ".bdf" else edfio.EdfSignal
    signals = [
        kind(
            row * factor,
            fs,
            label=lead,
            physical_dimension=unit,
            physical_range=(-5 * factor, 5 * factor),
        )
        for lead, row in zip(leads, signal, strict=True)
    ]
    file = edfio.Bdf if path.suffix == ".bdf" else edfio.Edf
    file([*signals, *extra], **options).write(path)
    return path


@pytest.mark.parametrize("name", ["a.edf", "a.bdf", "Überprüfung 心电图.edf"])
def test_all_leads_are_read(tmp_path, ecg, name):
    path = write(tmp_path / name, ecg.signal, [f"ECG {lead}" for lead in LEADS], 257)
    read = read_ecg(path)
    assert read.leads == LEADS
    assert read.sample_rate == 257
    assert read.where == str(path)
    np.testing.assert_allclose(read.signal, ecg.signal, atol=1e-4)


@pytest.mark.parametrize(
    ("unit", "factor"), [("uV", 1e3), ("mV", 1), ("V", 1e-3), ("nV", 1e6), ("MV", 1)]
)
def test_units_of_the_file_are_converted(tmp_path, ecg, unit, factor):
    path = write(tmp_path / "a.edf", ecg.signal[:2], ["i", "ii"], 257, unit, factor=factor)
    np.testing.assert_allclose(read_ecg(path).signal, ecg.signal[:2], atol=1e-3)


def test_the_micro_sign_of_devices_is_read(tmp_path, ecg):
    path = write(tmp_path / "a.edf", ecg.signal[:1], ["II"], 257, "uV", factor=1e3)
    content = path.read_bytes()
    path.write_bytes(content.replace(b"uV      ", b"\xb5V      "))
    np.testing.assert_allclose(read_ecg(path).signal, ecg.signal[:1], atol=1e-3)


def test_files_without_units_need_them(tmp_path, ecg):
    path = write(tmp_path / "a.edf", ecg.signal[:1], ["II"], 257, "", factor=1e3)
    with pytest.raises(DataError, match=r"a\.edf: lead II has no unit\. Give units"):
        read_ecg(path)
    np.testing.assert_allclose(read_ecg(path, units="uV").signal, ecg.signal[:1], atol=1e-3)
    by_gain = read_ecg(path, gain=1000)
    np.testing.assert_allclose(by_gain.signal, ecg.signal[:1], atol=1e-3)


def test_signals_of_other_kinds_and_annotations_are_left_out(tmp_path, ecg):
    slow = np.linspace(0, 5, 50)
    extra = [
        edfio.EdfSignal(slow, 25, label="Resp", physical_dimension="mV"),
        edfio.EdfSignal(slow, 25, label="SpO2", physical_dimension="%"),
        edfio.EdfSignal(ecg.signal[6], 257, label="EMG", physical_dimension="mV"),
        edfio.EdfSignal(ecg.signal[7], 257, label="EMG", physical_dimension="mV"),
        edfio.EdfSignal(ecg.signal[8], 257, label="ECG V7", physical_dimension="mV"),
    ]
    path = write(
        tmp_path / "a.edf",
        ecg.signal[:2],
        ["ECG I", "ECG II"],
        257,
        extra=extra,
        annotations=[edfio.EdfAnnotation(0.5, None, "beat")],
        starttime=datetime.time(1, 2, 3),
    )
    read = read_ecg(path)
    assert read.leads == ("I", "II", "ECG V7")
    assert read.metadata["left_out"] == "Resp, SpO2, EMG, EMG"


def test_leads_of_several_rates_are_refused(tmp_path, ecg):
    extra = [edfio.EdfSignal(np.zeros(250), 125, label="V1", physical_dimension="mV")]
    path = write(tmp_path / "a.edf", ecg.signal[:1], ["I"], 257, extra=extra)
    with pytest.raises(DataError, match=r"I has 514 samples at 257.* V1 has 250 at 125"):
        read_ecg(path)


def test_the_same_lead_twice_is_refused(tmp_path, ecg):
    path = write(tmp_path / "a.edf", ecg.signal[:2], ["ECG II", "Lead II"], 257)
    with pytest.raises(DataError, match=r"a\.edf: lead II is there twice"):
        read_ecg(path)


def test_recordings_with_gaps_are_refused(tmp_path, ecg):
    path = write(
        tmp_path / "a.edf",
        ecg.signal[:1],
        ["II"],
        257,
        data_record_duration=1,
        annotations=[edfio.EdfAnnotation(0.5, None, "beat")],
    )
    discontinuous = path.read_bytes().replace(b"EDF+C", b"EDF+D")
    path.write_bytes(discontinuous)
    assert read_ecg(path).n_samples == 514  # without a gap after all
    assert b"+1\x14\x14" in discontinuous
    path.write_bytes(discontinuous.replace(b"+1\x14\x14", b"+9\x14\x14"))
    with pytest.raises(DataError, match=r"a\.edf: has gaps \(EDF\+D\)"):
        read_ecg(path)


@pytest.mark.parametrize("name", ["a.edf", "a.bdf"])
@pytest.mark.parametrize("part", [0.01, 0.3, 0.9, 0.999])
def test_a_cut_off_file_is_refused(tmp_path, ecg, name, part):
    path = write(tmp_path / name, ecg.signal, LEADS, 257)
    content = path.read_bytes()
    path.write_bytes(content[: int(part * len(content))])
    with pytest.raises(DataError, match=rf"{name}: is no {name[2:].upper()} file, or damaged \("):
        read_ecg(path)


def test_a_damaged_header_is_refused(tmp_path, ecg):
    path = write(tmp_path / "a.edf", ecg.signal, LEADS, 257)
    content = bytearray(path.read_bytes())
    content[252:256] = b"many"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"a\.edf: is no EDF file, or damaged \("):
        read_ecg(path)


@settings(max_examples=20, deadline=None)
@given(arrays(np.int16, (2, 30), elements=st.integers(-(2**15), 2**15 - 1)))
def test_counts_survive(tmp_path_factory, counts):
    path = tmp_path_factory.mktemp("edf") / "a.edf"
    signals = [
        edfio.EdfSignal.from_digital(
            row, 30, label=lead, physical_dimension="uV", physical_range=(-32768, 32767)
        )
        for lead, row in zip(("I", "II"), counts, strict=True)
    ]
    edfio.Edf(signals).write(path)
    np.testing.assert_allclose(read_ecg(path).signal * 1000, counts, rtol=0, atol=1e-6)


def test_a_file_of_another_kind_is_read_as_what_it_is(tmp_path, ecg):
    written = write(tmp_path / "a.edf", ecg.signal[:1], ["II"], 257)
    other = written.rename(tmp_path / "a.csv")
    np.testing.assert_allclose(read_ecg(other).signal, ecg.signal[:1], atol=1e-4)
    named = tmp_path / "b.edf"
    named.write_bytes(struct.pack("<100d", *range(100)))
    with pytest.raises(DataError, match=r"b\.edf: is no EDF file, or damaged"):
        read_ecg(named)


FIELDS = ((16, "label"), (80, "transducer"), (8, "unit"), (8, "physical_min"), (8, "physical_max"),
          (8, "digital_min"), (8, "digital_max"), (80, "filters"), (8, "n_samples"))  # fmt: skip
OF_FILE = {"patient": (8, 80), "recording": (88, 80), "reserved": (192, 44), "n_records": (236, 8),
           "duration": (244, 8), "n_signals": (252, 4)}  # fmt: skip


def change(path, signal=None, **texts):
    """Overwrite fields of the header, of the file or of a signal; None of all signals."""
    content = bytearray(path.read_bytes())
    n_signals = int(content[252:256].partition(b"\0")[0])
    for name, text in texts.items():
        field = text.encode("latin-1") if isinstance(text, str) else text
        if name in OF_FILE:
            offsets, width = [OF_FILE[name][0]], OF_FILE[name][1]
        else:
            start = 256
            for width, each in FIELDS:
                if each == name:
                    break
                start += width * n_signals
            chosen = range(n_signals) if signal is None else [signal]
            offsets = [start + width * i for i in chosen]
        for offset in offsets:
            content[offset : offset + width] = field.ljust(width)[:width]
    path.write_bytes(content)
    return path


def agree(path, **given):
    """Read the whole and in chunks, which raise the same."""
    errors = []
    for at_once in (None, 100):
        try:
            read = read_ecg(path, at_once=at_once, **given)
        except DataError as error:
            errors.append(str(error))
    if errors:
        assert len(errors) == 2
        assert errors[0] == errors[1]
        raise DataError(errors[0])
    np.testing.assert_array_equal(read.signal[:, :], read_ecg(path, **given).signal)
    return read_ecg(path, **given)


@pytest.mark.parametrize("name", ["a.edf", "a.bdf"])
@pytest.mark.parametrize(
    ("field", "text", "reason"),
    [
        ("physical", ("0", "0"), "its physical minimum and maximum are the same"),
        ("physical", ("5", "5"), "its physical minimum and maximum are the same"),
        ("physical", ("", ""), "its physical minimum is missing"),
        ("physical", ("low", "5"), "its physical minimum is 'low', which is no clear number"),
        ("physical", ("-inf", "inf"), "its physical minimum is '-inf'"),
        ("physical", ("nan", "5"), "its physical minimum is 'nan'"),
        ("physical", ("-5,000", "5,000"), "its physical minimum is '-5,000', which is no clear"),
        ("physical", ("-1e308", "1e308"), "its physical range is out of all proportion"),
        ("physical", ("-1_0", "1_0"), "its physical minimum is '-1_0'"),
        ("digital", ("7", "7"), "its digital minimum and maximum are the same"),
        ("digital", ("9", "-9"), "its digital maximum is below its digital minimum"),
        ("digital", ("", "9"), "its digital minimum is missing"),
    ],
)
def test_without_calibration_samples_are_counts(tmp_path, ecg, name, field, text, reason):
    path = write(tmp_path / name, ecg.signal[:2], ["I", "II"], 257)
    per_millivolt = (2**16 if path.suffix == ".edf" else 2**24) / 10
    low, high = text
    change(path, 0, **{f"{field}_min": low, f"{field}_max": high})
    with pytest.raises(
        DataError, match=rf"{name}: lead I has no calibration \({reason}"
    ) as refused:
        agree(path)
    assert "Give units ('mV', 'uV', 'V'), or gain" in str(refused.value)
    by_gain = agree(change(path, **{f"{field}_min": low, f"{field}_max": high}), gain=per_millivolt)
    np.testing.assert_allclose(by_gain.signal, ecg.signal[:2], atol=1e-3)
    by_unit = agree(path, units="uV")
    np.testing.assert_allclose(by_unit.signal * 1000 / per_millivolt, by_gain.signal)
    assert by_unit.stated_unit is None


def test_counts_are_from_the_middle_of_the_range(tmp_path, ecg):
    counts = np.round(ecg.signal[:1] * 20 + 128).astype(np.int16)
    signals = [edfio.EdfSignal.from_digital(counts[0], 257, label="I", digital_range=(0, 255))]
    edfio.Edf(signals).write(tmp_path / "a.edf")
    path = change(tmp_path / "a.edf", physical_min="0", physical_max="0", unit="mV")
    read = agree(path, gain=20)
    np.testing.assert_allclose(read.signal, ecg.signal[:1], atol=0.5 / 20 + 1e-12)


def test_other_signals_without_calibration_are_left_out(tmp_path, ecg):
    path = write(tmp_path / "a.edf", ecg.signal[:2], ["I", "Spare"], 257)
    read = agree(change(path, 1, physical_min="0", physical_max="0"))
    assert (read.leads, read.metadata["left_out"]) == (("I",), "Spare")


@pytest.mark.parametrize("name", ["a.edf", "a.bdf"])
@pytest.mark.parametrize(
    ("low", "high", "factor"),
    [("-5,0", "5,0", 1), ("-5,000", "5,0", 1), ("-0,500", "0,500", 0.1), ("5,0", "-5,0", -1)],
)
def test_decimal_commas_are_read(tmp_path, ecg, name, low, high, factor):
    path = write(tmp_path / name, ecg.signal[:2], ["I", "II"], 257)
    change(path, physical_min=low, physical_max=high, duration="1,0")
    read = agree(path)
    assert read.sample_rate == 257
    np.testing.assert_allclose(read.signal, factor * ecg.signal[:2], atol=2e-4)


def test_ranges_that_are_both_turned_round_are_one_line(tmp_path, ecg):
    path = write(tmp_path / "a.edf", ecg.signal[:1], ["II"], 257)
    change(path, physical_min="5", physical_max="-5", digital_min="32767", digital_max="-32768")
    np.testing.assert_allclose(agree(path).signal, ecg.signal[:1], atol=1e-3)


@pytest.mark.parametrize("name", ["a.edf", "a.bdf"])
def test_texts_and_numbers_end_at_nul(tmp_path, ecg, name):
    note = edfio.EdfAnnotation(0.5, None, "note")
    path = write(
        tmp_path / name,
        ecg.signal[:2],
        ["I", "II"],
        257,
        annotations=[note],
        data_record_duration=1,
    )
    kind = name[2:].upper()
    change(path, patient=b"X X\0rest", reserved=f"{kind}+C\0rest", n_signals="3\0", duration="1\0")
    change(path, 0, label="I\0\0\0", unit="mV\0\0\0\0\0\0", transducer=b"\0" * 80)
    change(
        path, 1, label="II\0V1", unit="mV\0rest", physical_max=b"5\0\0\0\0\0\0\0", n_samples="257\0"
    )
    change(path, 2, label=f"{kind} Annotations\0")
    read = agree(path)
    assert (read.leads, read.metadata["patient"]) == (("I", "II"), "X X")
    np.testing.assert_allclose(read.signal, ecg.signal[:2], atol=1e-3)


def test_a_signal_without_name_stays_beside_leads(tmp_path, ecg):
    path = write(tmp_path / "a.edf", ecg.signal[:2], ["I", "II"], 257)
    assert agree(change(path, 1, label=b"\0" * 16)).leads == ("I", "signal 2")
    with pytest.raises(DataError, match="does not name its 2 leads"):
        agree(change(path, label=b"\0" * 16))
    assert agree(path, leads=["I", "II"]).leads == ("I", "II")


def test_what_is_behind_the_records_is_a_doubt(tmp_path, ecg):
    path = write(tmp_path / "a.edf", ecg.signal[:2], ["I", "II"], 257, data_record_duration=1)
    content = path.read_bytes()
    path.write_bytes(content + bytes(500))
    read = agree(path)
    np.testing.assert_allclose(read.signal, ecg.signal[:2], atol=1e-3)
    assert read.metadata["doubts"] == ("500 bytes follow its data records",)
    path.write_bytes(content)
    read = agree(change(path, n_records="1"))
    np.testing.assert_allclose(read.signal, ecg.signal[:2], atol=1e-3)
    assert read.metadata["doubts"] == ("it has 2 data records, its header says 1",)


def test_an_interrupted_recording_is_read(tmp_path, ecg):
    path = write(tmp_path / "a.edf", ecg.signal[:2], ["I", "II"], 257, data_record_duration=1)
    change(path, n_records="-1")
    read = agree(path)
    assert (read.n_samples, "doubts" in read.metadata) == (514, False)
    path.write_bytes(path.read_bytes()[:-100])
    read = agree(path)
    assert read.n_samples == 257
    assert read.metadata["doubts"] == (
        "its last data record is not whole: 928 bytes of it are there",
    )


@pytest.mark.parametrize("name", ["a.edf", "a.bdf"])
def test_annotations_without_samples_say_nothing(tmp_path, ecg, name):
    path = write(tmp_path / name, ecg.signal[:3], ["I", "II", "V1"], 257, data_record_duration=2)
    size = 2 if name == "a.edf" else 3
    n_bytes = 514 * size
    change(path, 2, label=name[2:].upper() + " Annotations", n_samples="0")
    path.write_bytes(path.read_bytes()[:-n_bytes])
    read = agree(path)
    assert read.leads == ("I", "II")
    np.testing.assert_allclose(read.signal, ecg.signal[:2], atol=1e-3)
    read = agree(change(path, reserved=f"{name[2:].upper()}+D"))
    assert "gaps" in read.metadata["doubts"][0]


def test_records_of_no_duration_have_no_rate(tmp_path, ecg):
    path = write(tmp_path / "a.edf", ecg.signal[:2], ["I", "II"], 257)
    change(path, duration="0")
    with pytest.raises(
        DataError, match=r"a\.edf: says that its data records last 0 s.* sample_rate"
    ):
        agree(path)
    read = agree(path, sample_rate=257)
    assert read.sample_rate == 257
    np.testing.assert_allclose(read.signal, ecg.signal[:2], atol=1e-3)


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ({"duration": "-1"}, "data records that last '-1' s"),
        ({"duration": "1,000"}, "data records that last '1,000' s"),
        ({"duration": "99999999"}, "Hz, fewer than the least that is plausible"),
        ({"duration": "1e-7"}, "Hz, more than the most that is plausible"),
        ({"n_records": "99999999"}, "99999999 data records, of which 2 are whole"),
        ({"n_records": "-2"}, "-2 data records"),
        ({"n_records": "1.5"}, "'1.5' is no whole number"),
        ({"n_records": ""}, "is no EDF file, or damaged"),
        ({"n_samples": "0"}, "data records without samples"),
        ({"n_samples": "-7"}, "data records without samples"),
        ({"n_samples": "99999999"}, "data records, of which 0 are whole"),
        ({"n_samples": "1e300"}, "data records, of which 0 are whole"),
        ({"n_signals": "9999"}, "a header of 768 bytes for 9999 signals"),
        ({"n_signals": "0"}, "a header of 768 bytes for 0 signals"),
    ],
)
def test_headers_that_lie_are_refused_at_once(tmp_path, ecg, texts, message):
    path = write(tmp_path / "a.edf", ecg.signal[:2], ["I", "II"], 257)
    with pytest.raises(DataError, match=rf"a\.edf: .*{message}"):
        agree(change(path, **texts))


def test_a_file_of_too_many_signals_is_refused(tmp_path):
    header = b"0".ljust(184) + f"{256 * 9000:<8}{'':44}{1:<8}{1:<8}8999".encode()
    (tmp_path / "a.edf").write_bytes(header + bytes(256 * 8999 + 10))
    with pytest.raises(DataError, match=r"a\.edf: says 8,999 channels"):
        agree(tmp_path / "a.edf")
