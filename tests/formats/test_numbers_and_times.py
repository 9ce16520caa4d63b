"""Numbers and times in the cells of tables, in all the ways that people write them."""

import datetime

import numpy as np
import pytest

from fairseq_ecg.errors import DataError
from fairseq_ecg.formats import delimited, read_ecg
from tests.formats.test_text_exports import read, write

__all__ = ["write"]

N = 900
WAVE = np.round(2000 * np.sin(np.arange(N) / 9) * np.exp(-np.arange(N) % 97 / 30), 1)
"""In uV, with one digit behind the decimal sign."""
ZEROS = np.concatenate([np.zeros(50), WAVE[50:]])


@pytest.fixture(autouse=True)
def few_lines_at_once(monkeypatch):
    """Formats are recognised by several parts."""
    monkeypatch.setattr(delimited, "_LINES_AT_ONCE", 130)


def rows(*columns, delimiter=";"):
    return "".join(f"{delimiter.join(cells)}\n" for cells in zip(*columns, strict=True))


def whole(values):
    return [f"{value:g}" for value in values]


def comma(values, spec="{:.1f}"):
    return [spec.format(value).replace(".", ",") for value in values]


def grouped(values, thousands=",", decimal=".", spec="{:,.1f}"):
    swapped = {",": thousands, ".": decimal}
    return ["".join(swapped.get(letter, letter) for letter in spec.format(v)) for v in values]


@pytest.mark.parametrize("name", ["ECG", "ECG1", "I"])
def test_decimal_commas_that_begin_later(write, name):
    values = [*whole(ZEROS[:50]), *comma(ZEROS[50:])]
    text = f"time (ms);{name} (uV);V2 (uV)\n" + rows(whole(np.arange(N) * 4.0), values, values)
    ecg = read(write(text))
    assert ecg.sample_rate == 250
    np.testing.assert_allclose(ecg.signal, [ZEROS / 1000] * 2)
    assert "left_out" not in ecg.metadata


@pytest.mark.parametrize("name", ["ECG1", "I"])
@pytest.mark.parametrize(
    ("thousands", "decimal"),
    [
        (",", "."), (".", ","), ("'", "."), ("\N{NO-BREAK SPACE}", ","), (" ", ","),
        ("\N{RIGHT SINGLE QUOTATION MARK}", "."), ("\N{NARROW NO-BREAK SPACE}", ","),
    ],
)  # fmt: skip
def test_signs_between_thousands(write, name, thousands, decimal):
    values = grouped(ZEROS, thousands, decimal)
    text = f"{name} (uV);II (uV)\n" + rows(values, grouped(ZEROS / 2, thousands, decimal))
    np.testing.assert_allclose(
        read(write(text), sample_rate=250).signal, [ZEROS / 1000, ZEROS / 2000], atol=1e-4
    )


def test_signs_between_the_thousands_of_whole_numbers(write):
    values = np.round(ZEROS)
    text = "I (uV);II (uV)\n" + rows(grouped(values, spec="{:,.0f}"), whole(values / 1e3))
    np.testing.assert_allclose(
        read(write(text), sample_rate=250).signal, [values / 1000, values / 1e6]
    )
    text = "I (uV)\n" + rows(grouped(values, spec="{:,.0f}"))
    np.testing.assert_allclose(read(write(text), sample_rate=250).signal, [values / 1000])


def test_three_digits_behind_each_comma_are_a_fraction(write):
    values = 1.5 + np.abs(ZEROS) / 1000
    text = "I (mV);II (mV)\n" + rows(comma(values, "{:.3f}"), comma(values, "{:.3f}"))
    expected = [float(f"{value:.3f}") for value in values]
    np.testing.assert_array_equal(read(write(text), sample_rate=250).signal[0], expected)


def test_long_numbers_without_commas_mean_that_commas_are_decimal(write):
    values = ["1,281", "2,003", "1200", "7"] * 100
    text = "I (uV);n\n" + rows(values, ["1"] * 400)
    expected = [float(value.replace(",", ".")) / 1000 for value in values]
    np.testing.assert_allclose(read(write(text), sample_rate=250).signal[0], expected)


def test_points_and_commas_in_one_column_are_refused(write):
    text = "I (mV);II (mV)\n" + rows(["0.5", "0,5"] * 200, ["1"] * 400)
    for at_once in (None, 100):
        with pytest.raises(DataError, match=r"I has decimal points and decimal commas \('0.5' and"):
            read_ecg(write(text.replace("I (mV)", "I", 1)), at_once=at_once, sample_rate=250)
    in_one_way = read(write(text.replace("0,5", "0.5")), sample_rate=250)
    np.testing.assert_array_equal(in_one_way.signal[0], 0.5)


def test_columns_with_texts_are_named(write):
    remarks = ["", "paced, once"] * (N // 2)
    doubtful = ["1.5"] * (N - 1) + ["off"]
    text = "II (mV),remark,C7\n" + "".join(
        f'{value},"{remark}",{other}\n'
        for value, remark, other in zip(WAVE, remarks, doubtful, strict=True)
    )
    ecg = read(write(text, "a.csv"), sample_rate=500)
    assert ecg.leads == ("II",)
    assert ecg.metadata["left_out"] == "remark, C7"
    text = text.replace("C7", "C7 (mV)", 1)
    with pytest.raises(DataError, match=r"line 901: 'off' in .* is no number"):
        read_ecg(write(text, "a.csv"), sample_rate=500)


def test_the_only_signal_with_a_text_in_it_says_so(write):
    text = "n,pulse\n" + rows(whole(np.arange(N)), [*whole(WAVE[1:]), "off"], delimiter=",")
    with pytest.raises(DataError, match=r"holds no signals.*line 901: 'off' in pulse is no n"):
        read_ecg(write(text, "a.csv"), sample_rate=500)


@pytest.mark.parametrize("header", ["I (mV)\n", "I\nmV\n", ""])
def test_one_column_of_decimal_commas(write, header):
    given = {"sample_rate": 250} | ({} if header else {"leads": ["I"], "units": "mV"})
    path = write(header + rows(comma(ZEROS / 1000, "{:.3f}")), "a.csv")
    expected = [float(f"{value:.3f}") for value in ZEROS / 1000]
    np.testing.assert_array_equal(read(path, **given).signal, [expected])
    path = write(header + rows([*whole(ZEROS[:50]), *comma(ZEROS[50:])]), "a.csv")
    np.testing.assert_allclose(read(path, **given).signal, [ZEROS])
    path = write(header + rows(comma(np.abs(WAVE) + 12, "{:g}")), "a.csv")
    np.testing.assert_allclose(read(path, **given).signal, [np.abs(WAVE) + 12])


def test_two_columns_of_whole_numbers_stay_two(write):
    left, right = np.round(WAVE), np.round(np.abs(WAVE)) + 5
    given = {"sample_rate": 250, "units": "uV"}
    path = write("I,II\n" + rows(whole(left), whole(right), delimiter=","), "a.csv")
    np.testing.assert_allclose(read(path, **given).signal, [left / 1000, right / 1000])
    path = write(rows(whole(right), whole(right), delimiter=","), "a.csv")
    read_both = read(path, leads=["I", "II"], **given)
    np.testing.assert_allclose(read_both.signal, [right / 1000] * 2)
    path = write(rows(whole(left), whole(left), delimiter=","), "a.csv")
    np.testing.assert_allclose(read(path, leads=["I", "II"], **given).signal[1], left / 1000)


@pytest.mark.parametrize("quote", ['"', "'"])
@pytest.mark.parametrize("name", ["quoted", "bare"])
def test_cells_in_quotes_that_hold_the_delimiter(write, quote, name):
    cells = [[f"{quote}{cell}{quote}" for cell in comma(values)] for values in (WAVE, WAVE / 2)]
    time = [f"{quote}{4 * i}{quote}" for i in range(N)]
    header = "time (ms),I (uV),II (uV)\n"
    if name == "quoted":
        header = ",".join(f"{quote}{each}{quote}" for each in header.strip().split(",")) + "\n"
    ecg = read(write(header + rows(time, *cells, delimiter=","), "a.csv"))
    assert ecg.sample_rate == 250
    np.testing.assert_allclose(ecg.signal, [WAVE / 1000, WAVE / 2000], atol=1e-4)


def test_quotes_that_are_not_closed_are_refused(write):
    path = write('I;II\n1;2\n"3;4\n5;6\n')
    for at_once in (None, 2):
        with pytest.raises(DataError, match=r"line 3: has a quote that is not closed\. Remove it"):
            read_ecg(path, sample_rate=500, units="mV", at_once=at_once)
    path.write_text(path.read_text().replace('"', ""))
    assert read_ecg(path, sample_rate=500, units="mV").signal.tolist() == [[1, 3, 5], [2, 4, 6]]


def test_samples_without_value_as_a_dash(write):
    values = [f"{value / 1000:.3f}" for value in WAVE]
    values[3] = values[700] = "-"
    lines = [f"  {0.004 * i:.3f}\t  {v:>8}\t  {v:>8}\n" for i, v in enumerate(values)]
    text = "   Elapsed time\t      I\t     V5\n      (seconds)\t   (mV)\t   (mV)\n" + "".join(lines)
    ecg = read(write(text))
    assert (ecg.leads, ecg.sample_rate) == (("I", "V5"), pytest.approx(250))
    assert np.flatnonzero(np.isnan(ecg.signal[0])).tolist() == [3, 700]
    text = text.replace("\t", " ").replace("Elapsed time", "time")
    assert np.isnan(read(write(text)).signal).sum() == 4


def test_rows_are_numbered_and_their_interval_is_the_unit(write):
    text = "'sample interval','I','V5'\n'0.004 sec','mV','mV'\n"
    text += "".join(f"{i},{value / 1000},-\n" for i, value in enumerate(WAVE))
    ecg = read(write(text, "a.csv"))
    assert (ecg.leads, ecg.sample_rate) == (("I", "V5"), pytest.approx(250))


def moments(start, milliseconds=4.0, n=N):
    step = datetime.timedelta(milliseconds=milliseconds)
    return [start + i * step for i in range(n)]


NIGHT = datetime.datetime(2024, 2, 1, 23, 59, 58, 500_000)
WAYS = {
    "iso": lambda t: t.isoformat(),
    "iso with a blank": str,
    "iso in UTC": lambda t: f"{t.isoformat()}Z",
    "iso in a zone": lambda t: f"{t.isoformat()}+01:00",
    "zone without colon": lambda t: f"{t} -0530",
    "decimal comma": lambda t: str(t).replace(".", ","),
    "day first": lambda t: f"{t:%d.%m.%Y %H:%M:%S.%f}",
    "day first, slashes": lambda t: f"{t:%d/%m/%Y %H:%M:%S.%f}",
    "month first": lambda t: f"{t:%m/%d/%Y %H:%M:%S.%f}",
    "two digits of the year": lambda t: f"{t:%d/%m/%y %H:%M:%S.%f}",
    "day first, decimal comma": lambda t: f"{t:%d.%m.%Y %H:%M:%S,%f}",
    "rdsamp": lambda t: f"'[{t:%H:%M:%S}.{t.microsecond // 1000:03} {t:%d/%m/%Y}]'",
    "before noon and after": lambda t: f"{t:%m/%d/%Y %I:%M:%S.%f %p}",
    "time of day": lambda t: f"{t:%H:%M:%S.%f}",
    "time of day, comma": lambda t: f"{t:%H:%M:%S,%f}"[:-3],
    "time of day, colons": lambda t: f"{t:%H:%M:%S}:{t.microsecond // 1000:03}",
    "minutes": lambda t: f"{t:%M:%S.%f}",
    "name of the month": lambda t: f"{t:%d %b %Y %H:%M:%S.%f}",
}


@pytest.mark.parametrize("start", [NIGHT, NIGHT.replace(microsecond=3000, day=29)])
@pytest.mark.parametrize("way", WAYS)
def test_times_in_all_ways_over_midnight(write, way, start):
    name = {"rdsamp": "Time and date", "iso": "Aufnahme"}.get(way, "timestamp")
    times = [WAYS[way](moment) for moment in moments(start)]
    ecg = read(write(f"{name};I (uV)\n" + rows(times, whole(np.round(WAVE)))))
    assert ecg.sample_rate == pytest.approx(250, rel=1e-9)
    assert ecg.leads == ("I",)


def test_dates_are_recognised_from_the_whole_column(write):
    """January 2 and February 2 are further apart than February 1 and 2."""
    times = [f"{t:%d.%m.%Y %H:%M:%S.%f}" for t in moments(NIGHT)]
    assert read(write("time;I (uV)\n" + rows(times, whole(WAVE)))).sample_rate == pytest.approx(250)
    path = write("time;I (uV)\n" + rows([t.replace("01.02", "32.01") for t in times], whole(WAVE)))
    with pytest.raises(DataError, match="its dates, such as 32/01/2024, are none"):
        read_ecg(path)


def test_a_change_to_summer_time_is_no_gap(write):
    start = datetime.datetime(2024, 3, 31, 1, 59, 59)
    times = [
        f"{t.isoformat()}+01:00" if t.hour < 2 else f"{t.replace(hour=3).isoformat()}+02:00"
        for t in moments(start)
    ]
    assert read(write("time;I (uV)\n" + rows(times, whole(WAVE)))).sample_rate == pytest.approx(250)


def test_elapsed_times_over_an_hour(write):
    def elapsed(i):
        minutes, milliseconds = divmod(3_598_000 + 4 * i, 60_000)
        hours, minutes = divmod(minutes, 60)
        text = f"{minutes:02}:{milliseconds / 1000:06.3f}"
        return f"'{hours}:{text}'" if hours else f"'{text}'"

    text = "'Elapsed time','I'\n'hh:mm:ss.mmm','mV'\n"
    text += "".join(f"{elapsed(i)},{value}\n" for i, value in enumerate(WAVE))
    assert read(write(text, "a.csv")).sample_rate == pytest.approx(250)


def test_what_is_no_time_is_shown(write):
    times = [f"{t:%H:%M:%S.%f}" for t in moments(NIGHT)]
    times[600] = "later"
    for at_once in (None, 100):
        with pytest.raises(DataError, match="its times, such as 'later', are none"):
            read_ecg(write("time;I (uV)\n" + rows(times, whole(WAVE))), at_once=at_once)


def test_a_column_of_times_without_a_header(write):
    times = [f"{t:%H:%M:%S.%f}" for t in moments(NIGHT)]
    ecg = read(write(rows(times, whole(WAVE), whole(WAVE))), leads=["I", "II"], units="uV")
    assert ecg.sample_rate == pytest.approx(250)
    np.testing.assert_allclose(ecg.signal, [WAVE / 1000] * 2)
