"""Texts of devices and programs, with lines above the numbers that say what they are."""

import json

import numpy as np
import pytest

from fairseq_ecg.ecg.leads import LEADS
from fairseq_ecg.errors import DataError
from fairseq_ecg.formats import read_ecg

N = 700
WAVE = np.round(1000 * np.sin(np.arange(N) / 9) * np.exp(-np.arange(N) % 97 / 30), 3)
"""In uV."""


@pytest.fixture
def write(tmp_path):
    def write(text, name="a.txt", encoding="utf-8"):
        path = tmp_path / name
        path.write_text(text, encoding=encoding)
        return path

    return write


def read(path, **given):
    """Read a file whole, and compare that with chunks."""
    whole = read_ecg(path, **given)
    long = read_ecg(path, at_once=100, **given)
    assert (long.leads, long.sample_rate, long.metadata) == (
        whole.leads,
        whole.sample_rate,
        whole.metadata,
    )
    np.testing.assert_array_equal(long.signal[:, :], whole.signal)
    return whole


def numbers(decimal=".", values=WAVE):
    return "".join(f"{value}\n".replace(".", decimal) for value in values)


APPLE = {
    "en": ("Name", "Sample Rate", "512 hertz", "Lead,Lead I", "Unit", "."),
    "en_short": ("Name", "Sample Rate", "512 Hz", "Lead,Lead I", "Unit", "."),
    "de": ("Name", "Messrate", "511,562\N{NO-BREAK SPACE}Hertz", "Ableitung,Ableitung I", "Einheit",
           ","),
    "fr": ("Nom", "Fréquence d\N{RIGHT SINGLE QUOTATION MARK}échantillonnage", "512 hertz",
           "Dérivation,Dérivation I", "Unité", ","),
    "fr_2": ("Nom", "Taux d'échantillonnage", '"511,562 hertz"', "Dérivation,Dérivation I", "Unité",
             ","),
    "es": ("Nombre", "Frecuencia de muestreo", "512 hercios", "Derivación,Derivación I", "Unidad",
           ","),
    "it": ("Nome", "Frequenza di campionamento", "512 hertz", "Derivazione,Derivazione I", "Unità",
           ","),
    "pt": ("Nome", "Taxa de amostragem", "512 hertz", "Derivação,Derivação I", "Unidade", ","),
    "nl": ("Naam", "Bemonsteringsfrequentie", "512 hertz", "Afleiding,Afleiding I", "Eenheid", ","),
    "sv": ("Namn", "Samplingsfrekvens", "512 Hz", "Avledning,Avledning I", "Enhet", ","),
    "pl": ("Nazwisko", "Częstotliwość próbkowania", "512 Hz", "Odprowadzenie,Odprowadzenie I",
           "Jednostka", ","),
    "ru": ("Имя", "Частота дискретизации", "512 Гц", "Отведение,Отведение I", "Единица", ","),
    "ja": ("名前", "サンプリングレート", "512ヘルツ", "誘導,誘導 I", "単位", "."),
    "ko": ("이름", "샘플링 속도", "512헤르츠", "리드,리드 I", "단위", "."),
    "zh": ("姓名", "采样率", "512赫兹", "导联,导联 I", "单位", "."),
    "unknown": ("Xxx", "Yyyy", "512 hertz", "Zzz,Zzz I", "Wwww", ","),
}  # fmt: skip


@pytest.mark.parametrize("language", APPLE)
def test_apples_watch_in_its_languages(write, language):
    name, key, rate, lead, unit, decimal = APPLE[language]
    micro = "μ" if language == "fr_2" else "µ"
    path = write(
        f'{name},Test\nBirth,"Jan 1, 1970"\nDate,2024-01-01 10:00:00 +0100\nClass,Sinus\n'
        f'Symptoms,\nVersion,1.90\nDevice,"Watch6,7"\n{key},{rate}\n\n\n{lead}\n'
        f"{unit},{micro}V\n\n\n{numbers(decimal)}",
        "ecg.csv",
    )
    ecg = read(path)
    assert ecg.leads == ("I",)
    assert ecg.sample_rate == (511.562 if "511" in rate else 512)
    np.testing.assert_allclose(ecg.signal[0], WAVE / 1000)
    for given, reason in (
        ({"sample_rate": 250}, "according to the file, and at 250 Hz"),
        ({"units": "mV"}, "according to the file, and in mV"),
        ({"leads": ["II"]}, "is lead I according to the file, and II"),
    ):
        with pytest.raises(DataError, match=reason):
            read_ecg(path, **given)


@pytest.mark.parametrize(
    ("start", "rate"),
    [
        ("0.000\n0.000\n", 500), ("12\n7\n-3\n", 500), ("1,5\n12\n0,5\n", 500),
        ("12,5\n11,25\n", 500),
    ],
)  # fmt: skip
def test_a_block_says_that_there_is_one_column(write, start, rate):
    text = "Name,X\nSample Rate,500 Hz\nLead,Lead I\nUnit,µV\n" + start
    ecg = read_ecg(write(text, "a.csv"))
    expected = [float(line.replace(",", ".")) / 1000 for line in start.split()]
    np.testing.assert_allclose(ecg.signal[0], expected)
    assert ecg.sample_rate == rate


@pytest.mark.parametrize("has_times", [True, False])
@pytest.mark.parametrize(("delimiter", "decimal"), [("\t", "."), ("\t", ","), (",", ".")])
@pytest.mark.parametrize("interval", ["4 msec/sample", "0.004 sec/sample", "250 samples/second"])
def test_acqknowledge(write, has_times, delimiter, decimal, interval):
    if interval.startswith("250") and delimiter == ",":
        interval = "4 msec/sample"
    end = "" if delimiter == "," else delimiter
    names = ["min", "CH1", "CH2"] if has_times else ["CH1", "CH2"]
    counts = ["", str(N), str(N)] if has_times else [str(N)] * 2
    lines = ["test.acq", interval, "2 channels", "ECG", "mV", "Lead II", "uV"]
    lines += [delimiter.join(row) + end for row in (names, counts)]
    for i, value in enumerate(WAVE / 1000):
        cells = [f"{i * 0.004 / 60:.6f}", f"{value:.6f}", f"{500 * value:.4f}"][not has_times :]
        lines.append(delimiter.join(cells).replace(".", decimal) + end)
    ecg = read(write("\n".join(lines) + "\n"))
    assert ecg.sample_rate == 250
    assert ecg.leads == ("ECG", "II")
    np.testing.assert_allclose(ecg.signal, [WAVE / 1000, WAVE / 2000], atol=1e-6)


@pytest.mark.parametrize("has_times", [True, False])
@pytest.mark.parametrize("decimal", [".", ","])
@pytest.mark.parametrize("has_names_of_units", [True, False])
def test_labchart(write, has_times, decimal, has_names_of_units):
    lines = [
        f"Interval=\t0{decimal}004 s", "ExcelDateTime=\t4.5352e+04\t01/03/2024 10:00:00.000",
        "TimeFormat=\tStartOfBlock", "DateFormat=\t", "ChannelTitle=\tECG\tII",
        "Range=\t10.000 mV\t2.000 mV",
    ]  # fmt: skip
    lines += ["UnitName=\t*\tuV", "TopValue=\t*\t*"] if has_names_of_units else []
    for i, value in enumerate(WAVE / 1000):
        cells = [f"{i * 0.004:g}", f"{value:.6f}", f"{value:.6f}"][not has_times :]
        lines.append("\t".join(cells).replace(".", decimal))
    lines[-5] += "\t#1 patient moves"
    ecg = read(write("\n".join(lines) + "\n"))
    assert (ecg.leads, ecg.sample_rate) == (("ECG", "II"), 250)
    second = 1e-3 if has_names_of_units else 1
    np.testing.assert_allclose(ecg.signal, [WAVE / 1000, second * WAVE / 1000], atol=1e-6)


def twelve_leads():
    one, two = WAVE / 1000, np.roll(WAVE, 20) / 1500
    limbs = [one, two, two - one, -(one + two) / 2, two - one / 2, one - two / 2]
    return np.array([*limbs, *(one * factor for factor in (-0.5, 0.3, 0.8, 1.1, 1, 0.9))])


@pytest.mark.parametrize("spec", ["%.3f", "%.5f"])
def test_unformatted_text_of_braveheart(write, spec, tmp_path):
    path = tmp_path / "a.txt"
    rows = twelve_leads()
    np.savetxt(path, rows.T, spec, header="500", comments="")
    ecg = read(path)
    assert ecg.leads == ("I", "II", "III", "aVR", "aVF", "aVL", *LEADS[6:])
    assert ecg.sample_rate == 500
    np.testing.assert_allclose(ecg.signal, rows, atol=1e-3)
    with pytest.raises(DataError, match="signal 5 is lead aVF according to the file, and aVL"):
        read_ecg(path, leads=LEADS)
    with pytest.raises(DataError, match="is sampled at 500 Hz according to the file"):
        read_ecg(path, sample_rate=250)


def test_twelve_columns_that_follow_no_law_have_no_names(tmp_path):
    rows = twelve_leads()[[0, 1, 2, 3, 5, 4, *range(6, 12)]]
    np.savetxt(tmp_path / "a.txt", rows.T, "%.4f", header="500", comments="")
    with pytest.raises(DataError, match=r"no names of leads\. Give leads"):
        read_ecg(tmp_path / "a.txt", units="mV")
    ecg = read(tmp_path / "a.txt", leads=LEADS, units="mV")
    assert ecg.sample_rate == 500
    np.testing.assert_allclose(ecg.signal, rows, atol=1e-4)


@pytest.mark.parametrize("sensor", ["ECG", "RAW"])
@pytest.mark.parametrize("ends", ["\t\n", "\n"])
def test_opensignals(write, sensor, ends):
    device = {
        "sensor": [sensor], "device name": "x", "column": ["nSeq", "DI", "CH1"],
        "sampling rate": 1000, "resolution": [4, 1, 16], "label": ["CH1"], "channels": [1],
        "date": "2017-5-22", "time": "9:39:1.0",
    }  # fmt: skip
    counts = np.arange(N) % 300
    lines = "".join(f"{i % 16}\t0\t{count}{ends}" for i, count in enumerate(counts))
    head = json.dumps({"00:07:80:D8:AB:58": device})
    path = write(f"# OpenSignals Text File Format\n# {head}\n# EndOfHeader\n{lines}")
    ecg = read(path, gain=200)
    assert ecg.sample_rate == 1000
    assert ecg.leads == ("ECG" if sensor == "ECG" else "CH1",)
    np.testing.assert_allclose(ecg.signal[0], counts / 200)
    with pytest.raises(DataError, match="is sampled at 1000 Hz according to the file"):
        read_ecg(path, gain=200, sample_rate=500)


@pytest.mark.parametrize(
    "lines",
    [
        "# fs=250\n# units=mV", "# fs = 250 Hz\n# unit: mV", "% Sampling rate: 250\n% Units: mV",
        "Sampling frequency (Hz): 250\nUnits: mV", "Abtastrate;250 Hz\nEinheit;mV",
        "Sample interval: 4 ms\nAmplitude unit: mV", "Sampling interval [s],0.004\nUnits,mV,mV",
        "Patient: A. B.\nHeart rate: 71 bpm\nLow pass filter: 150 Hz\nSampling rate: 250 Hz\n"
        "Number of samples: 700\nunit = mV", "# fs=250, units=mV", "// fs: 2.5e2\n// units: mV",
        "sample_rate=250;units=mV", "samples per second 250\nunit: mV", "SampleRate,250\nUnit,mV",
        "Fréquence d'échantillonnage : 250 Hz\nUnité : mV", '{"fs": 250}\nunits: mV',
        "Sampling rate 0,25 kHz\nUnits mV\nunits: mV",
    ],
)  # fmt: skip
@pytest.mark.parametrize("header", ["I,II\n", "# I,II\n"])
def test_lines_of_any_kind_above_the_header(write, lines, header):
    body = "".join(f"{value},{value / 2}\n" for value in WAVE / 1000)
    ecg = read(write(f"{lines}\n{header}{body}", "a.csv"))
    assert (ecg.leads, ecg.sample_rate) == (("I", "II"), 250)
    np.testing.assert_allclose(ecg.signal, [WAVE / 1000, WAVE / 2000])


def test_what_is_no_rate_is_not_taken_for_one(write):
    lines = "Heart rate: 71\nMains filter: 50 Hz\nLow pass: 150 Hz\nSamples: 700\nGain: 10 mm/mV\n"
    body = "".join(f"{value},{value / 2}\n" for value in WAVE / 1000)
    path = write(f"{lines}I (mV),II (mV)\n{body}", "a.csv")
    with pytest.raises(DataError, match="does not say its sampling rate"):
        read_ecg(path)
    assert read(path, sample_rate=500).sample_rate == 500


def test_rates_that_contradict_each_other_are_refused(write):
    body = "".join(f"{i * 0.004:.3f},{value}\n" for i, value in enumerate(WAVE))
    with pytest.raises(DataError, match="says a sampling rate of 500 Hz, and its times mean 250"):
        read_ecg(write(f"Sampling rate: 500 Hz\nUnits: uV\ntime,II\n{body}"))
    with pytest.raises(DataError, match=r"says several sampling rates \(500 and 250 Hz\)"):
        read_ecg(write(f"Sampling rate: 500 Hz\nfs=250\nUnits: uV\ntime,II\n{body}"))
    assert read(write(f"fs=250\nUnits: uV\ntime,II\n{body}")).sample_rate == 250


def test_lines_of_a_block_do_not_hide_that_a_file_is_cut_off(write):
    body = "".join(f"{value},{value / 2}\n" for value in WAVE)
    text = f"Sampling rate: 500 Hz\nUnits: uV\nPatient: X\nI,II\n{body}12\n"
    for at_once in (None, 100):
        with pytest.raises(DataError, match="line 705: has 1 cells, the first line has 2"):
            read_ecg(write(text, "a.csv"), at_once=at_once)


@pytest.mark.parametrize(
    "text",
    [
        "key: " + " " * 200_000 + "\n" + " " * 200_000 + ":\nI,II\n1,2\n3,4\n5,6\n",
        "V1" + " " * 200_000 + "(,II\n1,2\n3,4\n",
        "# " + "[" * 100_000 + "\nI,II\n1,2\n3,4\n",
        "# {" + '"a":{' * 100_000 + "\nI,II\n1,2\n3,4\n",
        "(" * 200_000 + ",II\n1,2\n3,4\n",
        "I" + "(" + " " * 200_000 + ",II\n1,2\n3,4\n",
    ],
)
def test_long_lines_above_the_numbers_take_no_time(write, text):
    assert read_ecg(write(text, "a.csv"), sample_rate=500, units="mV").signal.shape[0] == 2
    with pytest.raises(DataError) as refusal:
        read_ecg(write(text, "a.csv"), sample_rate=500)
    assert len(str(refusal.value)) < 1000


def test_a_million_columns_are_refused_at_once(write):
    names = ",".join(f"c{i}" for i in range(10**6))
    numbers = ",".join(["1"] * 10**6)
    with pytest.raises(DataError, match=r"says 1,000,000 channels, more than the most"):
        read_ecg(write(f"{names}\n{numbers}\n{numbers}\n", "a.csv"), sample_rate=500, units="mV")


def test_long_lines_are_leads(write):
    rows = np.arange(2 * 30_000).reshape(2, -1) / 7
    lines = [",".join(map(repr, row.tolist())) for row in rows]
    given = {"sample_rate": 500, "units": "mV"}
    for at_once in (None, 1):
        path = write("\n".join(lines), "a.csv")
        ecg = read_ecg(path, leads=["I", "II"], at_once=at_once, **given)
        np.testing.assert_array_equal(ecg.signal[:, :], rows)
        path = write(f"I,{lines[0]}\nII,{lines[1]}\n", "a.csv")
        ecg = read_ecg(path, at_once=at_once, **given)
        assert ecg.leads == ("I", "II")
        np.testing.assert_array_equal(ecg.signal[:, :], rows)
        path = write(f"I;{lines[0]}\nII;{lines[1]}\n".replace(",", ";").replace(".", ","), "a.csv")
        np.testing.assert_array_equal(read_ecg(path, at_once=at_once, **given).signal[:, :], rows)
    cells = lines[1].split(",")
    path = write(f"I,{lines[0]}\nII,{','.join([*cells[:9000], 'x', *cells[9001:]])}\n", "a.csv")
    with pytest.raises(DataError, match=r"a\.csv, line 2: 'x' in II is no number"):
        read_ecg(path, **given)


def test_texts_of_windows_in_utf_16(write):
    text = "time (ms)\tI (µV)\n" + "".join(f"{2 * i}\t{value}\n" for i, value in enumerate(WAVE))
    ecg = read(write(text, encoding="utf-16"))
    assert ecg.sample_rate == 500
    np.testing.assert_allclose(ecg.signal[0], WAVE / 1000)
