import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fairseq_ecg.ecg.leads import LEADS
from fairseq_ecg.errors import DataError
from fairseq_ecg.formats import read_ecg


@pytest.fixture
def write(tmp_path):
    def write(text, name="a.csv", encoding="utf-8"):
        path = tmp_path / name
        path.write_text(text, encoding=encoding)
        return path

    return write


def table(columns, header=None, delimiter=",", decimal="."):
    lines = [] if header is None else [delimiter.join(header)]
    for row in np.transpose(columns):
        cells = ("" if np.isnan(value) else repr(float(value)) for value in row)
        lines.append(delimiter.join(cell.replace(".", decimal) for cell in cells))
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize(("delimiter", "name"), [(",", "a.csv"), (";", "a.csv"), ("\t", "a.tsv"),
                                                 ("|", "a.txt"), (" ", "a.txt")])  # fmt: skip
def test_delimiters(write, ecg, delimiter, name):
    path = write(table(ecg.signal, LEADS, delimiter), name)
    read = read_ecg(path, sample_rate=257, units="mV")
    assert read.leads == LEADS
    np.testing.assert_array_equal(read.signal, ecg.signal)


@pytest.mark.parametrize("delimiter", [";", "\t"])
def test_decimal_commas(write, ecg, delimiter):
    path = write(table(ecg.signal, LEADS, delimiter, ","))
    np.testing.assert_allclose(read_ecg(path, sample_rate=257, units="mV").signal, ecg.signal)


@pytest.mark.parametrize(
    ("header", "scale"),
    [
        ("time", 1),
        ("Time (s)", 1),
        ("ms", 1e3),
        ("t [ms]", 1e3),
        ("time_ms", 1e3),
        ("timestamp (us)", 1e6),
    ],
)
@pytest.mark.parametrize("rate", [257.0, 1000.0, 128.5])
def test_times_tell_the_rate(write, ecg, header, scale, rate):
    time = 7 + np.arange(514) / rate
    path = write(table([time * scale, *ecg.signal], [header, *(f"{lead} (uV)" for lead in LEADS)]))
    read = read_ecg(path)
    assert read.leads == LEADS
    assert read.sample_rate == pytest.approx(rate, rel=1e-9)
    np.testing.assert_allclose(read.signal, ecg.signal / 1000)


def test_a_rate_that_is_given_replaces_that_of_rounded_times(write, ecg):
    time = np.round(np.arange(514) / 257, 3)
    path = write(table([time, ecg.signal[0]], ["time", "II (mV)"]))
    assert read_ecg(path).sample_rate == pytest.approx(257, rel=1e-3)
    assert read_ecg(path, sample_rate=257).sample_rate == 257
    with pytest.raises(DataError, match=r"is sampled at 25.* according to the file, and at 250 Hz"):
        read_ecg(path, sample_rate=250)


def test_samples_as_physionets_rdsamp_prints_them(write):
    path = write(
        "'Elapsed time','MLII','V5'\n'hh:mm:ss.mmm','mV','mV'\n"
        + "".join(f"'0:00.{4 * i:03}',{i / 10},-{i / 10}\n" for i in range(50))
    )
    read = read_ecg(path)
    assert read.leads == ("MLII", "V5")
    assert read.sample_rate == pytest.approx(250)
    np.testing.assert_allclose(read.signal[1], -np.arange(50) / 10)


def test_times_of_day(write):
    lines = "".join(f"2024-01-01T23:59:59.{2 * i:03},{i}\n" for i in range(100))
    assert read_ecg(write(f"timestamp,II (uV)\n{lines}")).sample_rate == pytest.approx(500)


@pytest.mark.parametrize(
    ("times", "reason"),
    [
        ([0, 1, 2, 5, 6], r"not evenly spaced \(sample \d\)"),
        ([3, 2, 1, 0], "do not increase"),
        ([0, 0, 0], "do not increase"),
        ([0, 200, 400], "mean 5 Hz. Write their unit into the header"),
        ([0.1], "a single time gives no sampling rate"),
        ([0, np.nan, 2], "not evenly spaced"),
    ],
)
def test_times_that_give_no_rate_are_refused(write, times, reason):
    path = write(table([times, np.zeros(len(times))], ["time (ms)", "II (mV)"]))
    with pytest.raises(DataError, match=rf"a\.csv: .*{reason}"):
        read_ecg(path)


def test_columns_that_are_no_signals_are_passed_over(write):
    text = "# exported\n,sample #,II_mV,note\n" + "".join(f"{i},{i},{i / 9},x\n" for i in range(9))
    read = read_ecg(write(text), sample_rate=500)
    assert read.leads == ("II",)
    np.testing.assert_allclose(read.signal[0], np.arange(9) / 9)


def test_many_comments_come_before_a_table(write):
    read = read_ecg(write("# fs=250\n" + "# more\n" * 1500 + "II (mV)\n1\n2\n"))
    assert read.sample_rate == 250
    np.testing.assert_array_equal(read.signal, [[1, 2]])


def test_empty_cells_have_no_value(write, ecg):
    signal = ecg.signal.copy()
    signal[2, 100:120] = np.nan
    read = read_ecg(write(table(signal, LEADS)), sample_rate=257, units="mV")
    np.testing.assert_array_equal(read.signal, signal)


def test_a_first_line_of_samples_without_value_is_no_header(write):
    read = read_ecg(write("I,II\n,\n1,2\n"), sample_rate=500, units="mV")
    np.testing.assert_array_equal(read.signal, [[np.nan, 1], [np.nan, 2]])
    read = read_ecg(write(",\n1,2\n3,4\n"), leads=["I", "II"], sample_rate=500, units="mV")
    np.testing.assert_array_equal(read.signal, [[np.nan, 1, 3], [np.nan, 2, 4]])


@pytest.mark.parametrize("index", [False, True])
@pytest.mark.parametrize("first", [0, 1])
def test_numbers_of_columns_are_a_header_that_names_no_leads(tmp_path, ecg, index, first):
    columns = range(first, first + 12)
    pd.DataFrame(ecg.signal.T, columns=columns).to_csv(tmp_path / "a.csv", index=index)
    read = read_ecg(tmp_path / "a.csv", leads=LEADS, sample_rate=257, units="mV")
    np.testing.assert_array_equal(read.signal, ecg.signal)


def test_a_comma_in_a_text_is_no_decimal_sign(write):
    read = read_ecg(write("II (mV);note\n1.5;a, b\n2.5;c\n"), sample_rate=500)
    np.testing.assert_array_equal(read.signal, [[1.5, 2.5]])


@pytest.mark.parametrize("transposed", [False, True])
def test_without_a_header_leads_are_given(write, ecg, transposed):
    path = write(table(ecg.signal.T if transposed else ecg.signal))
    read = read_ecg(path, leads=LEADS, sample_rate=257, units="mV")
    np.testing.assert_array_equal(read.signal, ecg.signal)
    with pytest.raises(DataError, match=r"no names of leads\. Give leads"):
        read_ecg(path, sample_rate=257, units="mV")


def test_a_line_for_each_lead(write, ecg):
    lines = (
        f"{lead.lower()} (mV)," + ",".join(map(repr, row.tolist()))
        for lead, row in zip(LEADS, ecg.signal, strict=True)
    )
    read = read_ecg(write("\n".join(lines)), sample_rate=257)
    assert read.leads == LEADS
    np.testing.assert_array_equal(read.signal, ecg.signal)


def test_a_byte_order_mark_windows_lines_and_quotes(write):
    path = write('"I","II"\r\n"1.5","2"\r\n"3","4"\r\n', encoding="utf-8-sig")
    read = read_ecg(path, sample_rate=500, units="mV")
    assert read.leads == ("I", "II")
    np.testing.assert_array_equal(read.signal, [[1.5, 3], [2, 4]])


def test_the_micro_sign_in_latin_1(write):
    read = read_ecg(write("II (µV)\n1000\n2000\n", encoding="latin-1"), sample_rate=500)
    np.testing.assert_allclose(read.signal, [[1, 2]])


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "is empty"),
        ("\n\n", "holds no lines of numbers"),
        ("I,II\n", "holds a header, but no samples"),
        ("I,II\n1,2\n3\n", "line 3: has 1 cells, the first line has 2"),
        ("I,II\n1,2\n3,4,5\n", "line 3: has 3 cells, the first line has 2"),
        ("I,II\nmV\n1,2\n", "line 2: has 1 cells, the first line has 2"),
        ("# x\nI,II\n1,2\n3,oops\n", "line 4: 'oops' in II is no number"),
        ("I,I\n1,2\n3,4\n", "lead I is there twice"),
        ("note\nwell\nwell\n", "holds no signals"),
    ],
)
def test_what_is_no_table_of_samples_is_refused(write, text, reason):
    with pytest.raises(DataError, match=rf"a\.csv.*{reason}"):
        read_ecg(write(text), sample_rate=500, units="mV")


def test_binary_data_is_no_table(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes(bytes(range(200)))
    with pytest.raises(DataError, match=r"a\.csv: is no text"):
        read_ecg(path, sample_rate=500, units="mV")


@settings(max_examples=30, deadline=None)
@given(arrays(np.float64, (2, 6), elements=st.floats(-30, 30)), st.sampled_from([",", ";", "\t"]))
def test_millivolts_survive(tmp_path_factory, signal, delimiter):
    path = tmp_path_factory.mktemp("csv") / "a.csv"
    path.write_text(table(signal, ["I (mV)", "V6 (mV)"], delimiter))
    read = read_ecg(path, sample_rate=500)
    np.testing.assert_allclose(read.signal, signal, rtol=1e-15)


@pytest.mark.parametrize("cell", ["=1+1", "abc", "OVL", "1.0 mV", "0x1F"])
@pytest.mark.parametrize("head", ["time,I", "time,I\ns,mV", "a: b\n\ntime,I"])
@pytest.mark.parametrize("n_wrong", [1, 3])
def test_first_lines_of_numbers_are_no_units_and_no_names(head, cell, n_wrong, tmp_path):
    rows = [f"{i / 500},{cell if i < n_wrong else i / 1000}" for i in range(400)]
    (tmp_path / "a.csv").write_text("\n".join([head, *rows]))
    line = head.count("\n") + 2
    column = "mV" if "mV" in head else "I"
    with pytest.raises(DataError, match=rf"line {line}: '.*' in {column} is no number"):
        read_ecg(tmp_path / "a.csv", units="mV")


def test_a_line_below_the_header_that_is_neither_numbers_nor_units(tmp_path):
    (tmp_path / "a.csv").write_text("time,I\nabc,1.0\n" + "0.002,0.5\n0.004,0.5\n" * 9)
    with pytest.raises(DataError, match="line 2: is neither a line of numbers nor one of units"):
        read_ecg(tmp_path / "a.csv", units="mV")
