"""Lines above the numbers of a text that say what they are, in whatever language.

Devices write the same few things: the rate or the interval of samples, units, and names. Known are
``key: value`` in all its spellings, and the blocks of Apple's watch, LabChart, AcqKnowledge and
OpenSignals.
"""

import json
import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from fairseq_ecg.ecg.lead_names import standard_lead
from fairseq_ecg.ecg.leads import LEADS
from fairseq_ecg.ecg.units import SECONDS_PER, is_counts, millivolts_per
from fairseq_ecg.errors import DataError
from fairseq_ecg.formats.channels import RATE_TOLERANCE
from fairseq_ecg.formats.times import TIME_NAMES
from fairseq_ecg.limits import limit_of

_SAMPLING = re.compile(
    # How often samples are taken, the words of a language in a line of their own.
    r"sampl\w* ?(?:rate|freq|interval|period|time|step|distance|per)|samp(?:le)?s? ?(?:/|per) ?s"
    r"|\bsampling\b|samp(?:ling)? ?(?:rate|freq)|samples? per|\bsps\b|\bfs\b|\bsr\b|\bsfreq\b"
    r"|abtast(?:rate|freq|interv|period|zeit)|mess(?:rate|freq|interv)|erfassungsrate"
    r"|echantillonnage"
    r"|muestreo"
    r"|amostragem"
    r"|campionamento"
    r"|mostreig"
    r"|bemonster\w*|samplefreq|meet(?:freq|snelheid)"
    r"|sampling\w*|malefrek|punktprov"
    r"|naytteenotto\w*|naytteistys"
    r"|probkowan"
    r"|vzorkova"
    r"|mintavet"
    r"|ornekleme"
    r"|esantionare"
    r"|uzorkovan"
    r"|дискретизац|частота выборк|семплиров|сэмплиров"
    r"|δειγματοληψ"
    r"|サンプリング|サンプルレート|標本化"
    r"|采样|采集率|抽样率|取样率|取樣率|採樣"
    r"|샘플링|샘플 ?속도|표본 ?추출"
)
_INTERVAL = re.compile(
    r"interval|period|\btime\b|\bstep\b|\bdt\b|distance|intervall|zeit|intervalle|periode|pas d"
    r"|tiempo|periodo|tempo|interwal|okres"
)
_COUNT = re.compile(r"\b(?:number|no|num|count|total|anzahl|nombre|numero|n)\b")
_UNIT = re.compile(
    r"\bunits?\b|einheit|\bunites?\b|unidad|\bunita\b|eenheid|enhet|enhed|yksik|jednostk|jednotk"
    r"|egyseg|\bbirim|unitat|jedinic|единиц|μοναδ|単位|单位|單位|단위"
)
_NAMES = re.compile(r"^(?:leads?|lead names?|channels?|channel names?|columns?|signals?|labels?)$")
_FILTER = re.compile(r"filt|notch|pass|paso|passa|cut|coup|cort|grenz|netz|mains|hum|power|red\b")

_ACCENTS = re.compile("[\u0300-\u036f]")
_BETWEEN_WORDS = re.compile("[_.'\"\N{RIGHT SINGLE QUOTATION MARK}-]+")
_NUMBER = r"[+-]?\d(?:[\d.,]*\d)?(?:[eE][+-]?\d+)?"
_VALUE = re.compile(rf"({_NUMBER})\s*([^\d\s].*)?")
_PAIR = re.compile(r"([^=:,;\t]+?)\s*[=:,;\t]\s*[=:]?\s*(.+)")
_WORDS_AND_DECIMALS = re.compile(r"[^\d=:;\t,]+\s\d+,\d")
_WORDS_AND_NUMBER = re.compile(r"(\D+)\s(\d.*)")
_SEVERAL = re.compile(r"[,;\t]\s*|\s{2,}")
_KEY_OF_LABCHART = re.compile(r"[A-Za-z]+=")
_PER_SAMPLE = re.compile(rf"({_NUMBER})\s*([^\W\d]+)\s*(?:/|per)\s*samp", re.IGNORECASE)
_PER_SECOND = re.compile(
    rf"({_NUMBER})\s*samp\w*\s*(?:/|per|pro|par|por)\s*s(?:ec\w*)?\b", re.IGNORECASE
)
_HERTZ = re.compile(
    r"(k|kilo|к)?(?:hz|her[tcz]\w*|гц|герц\w*|ヘルツ|赫兹|赫茲|헤르츠|sps|samples ?(?:/|per) ?s\w*)"
)
_SLOWEST_UNKNOWN = 100.0
"""Hz; a lower one under a key that nobody knows may be that of a filter."""
_MANY, _LONG = 200, 1000
"""Lines of a block that are looked at, and the characters of one; JSON may have more."""


@dataclass(frozen=True)
class Block:
    """What the lines above the numbers of a text say.

    Args:
        rate: sampling rate in Hz.
        unit: of all signals.
        names: of the columns, of which those of no signal are None; or of the one signal.
        units: of the columns.
        has_counts: whether the first line of numbers is how many there are of each column.
        is_of_rate_alone: whether it is a single number, as BRAVEHEART writes.
    """

    rate: float | None = None
    unit: str | None = None
    names: Sequence[str | None] | None = None
    units: Sequence[str | None] | None = None
    has_counts: bool = False
    is_of_rate_alone: bool = False


def read_block(
    where: str, lines: Sequence[str], names: Sequence[str] | None, n_columns: int, decimal: str
) -> Block:
    """Find out what the lines above numbers say.

    Args:
        where: names the file in error messages.
        lines: above the header of the table, or above its numbers.
        names: in that header, if there is one.
        n_columns: of the table.
        decimal: sign before fractions in the table, where it is known, otherwise ``.``.

    Raises:
        DataError: they say several rates.
    """
    lines = [line.strip().lstrip("#%/;*! ").strip() for line in lines[:_MANY]]
    lines = [line for line in lines if _is_short(line) or line.startswith("{")]
    rates = _rates(lines, decimal, n_columns)
    for other in rates[1:]:
        if abs(other - rates[0]) > RATE_TOLERANCE * rates[0]:
            raise DataError(
                f"{where}: says several sampling rates ({rates[0]:g} and {other:g} Hz). Remove the "
                "lines that are about others"
            )
    rate = rates[0] if rates else None
    for special in (_of_labchart, _of_acqknowledge, _of_opensignals):
        block = special(lines, names, n_columns, rate)
        if block is not None:
            return block
    return Block(rate, _unit(lines), _names(lines, n_columns))


def says_something(line: str) -> bool:
    """Whether a line states a rate, a unit or a name, so that it is no header of columns."""
    if not _is_short(line):
        return False
    key, value = next(iter(_pairs([line])), ("", ""))
    return (
        _KEY_OF_LABCHART.match(line) is not None
        or _sampling_rate(key, value, ".") is not None
        or (_is_unit(value) and (_UNIT.search(key) is not None or key not in TIME_NAMES))
        or _lead_named_by(key, value) is not None
    )


def _folded(text: str) -> str:
    """Lower case without accents, with blanks in place of signs between words."""
    decomposed = unicodedata.normalize("NFKD", text.lower())
    letters = unicodedata.normalize("NFC", _ACCENTS.sub("", decomposed))
    return " ".join(_BETWEEN_WORDS.sub(" ", letters).split())


def _is_short(line: str) -> bool:
    return len(line) <= _LONG


def _pairs(lines: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Keys, folded, and values of lines such as ``key: value``; a line may have several."""
    for line in filter(_is_short, lines):
        parts = [part for part in _SEVERAL.split(line) if part]
        if len(parts) < 2 or not all(re.search(r"\S\s*[=:]\s*\S", part) for part in parts):
            parts = [line]
        for part in parts:
            part = part.strip()
            match = None if _WORDS_AND_DECIMALS.match(part) else _PAIR.fullmatch(part)
            match = match or _WORDS_AND_NUMBER.fullmatch(part)
            if match:
                yield _folded(match[1]), match[2].strip().strip("'\"").strip()


def _rates(lines: Sequence[str], decimal: str, n_columns: int) -> list[float]:
    """Sampling rates in Hz that lines state."""
    found = [_sampling_rate(key, value, decimal) for key, value in _pairs(lines)]
    found += [rate for line in lines for rate in _rates_in_json(line)]
    for line in filter(_is_short, lines):
        for match in _PER_SAMPLE.finditer(line):
            seconds = SECONDS_PER.get(match[2].lower())
            found.append(None if seconds is None else _rate_of_interval(match[1], seconds))
        found += [_plausible(match[1], 1.0, decimal) for match in _PER_SECOND.finditer(line)]
    rates = [rate for rate in found if rate is not None]
    if rates or n_columns > 1 or _unit(lines) is None:
        return rates
    # A language that is not known here: the one value in Hz, beside a unit of voltage.
    values = [_in_hertz(key, value, decimal) for key, value in _pairs(lines)]
    rates = [value for value in values if value is not None]
    return rates if len(rates) == 1 and rates[0] >= _SLOWEST_UNKNOWN else []


def _in_hertz(key: str, value: str, decimal: str) -> float | None:
    match = _VALUE.fullmatch(value)
    if match is None or (factor := _hertz(_folded(match[2] or ""))) is None or _FILTER.search(key):
        return None
    return _plausible(match[1], factor, decimal)


def _hertz(unit: str) -> float | None:
    match = _HERTZ.fullmatch(unit)
    return None if match is None else 1e3 if match[1] else 1.0


def _sampling_rate(key: str, value: str, decimal: str) -> float | None:
    """Rate in Hz of a key about sampling and its value; None where it is about something else."""
    if not (_SAMPLING.search(key) or key in ("interval", "dt", "rate")) or _COUNT.search(key):
        return None
    match = _VALUE.fullmatch(value)
    if match is None:
        return None
    in_key = re.search(r"[(\[]\s*([^()\[\]]+?)\s*[)\]]$", key)
    unit = _folded(match[2] or (in_key[1] if in_key else "")).strip("()[]")
    if (factor := _hertz(unit)) is not None:
        return _plausible(match[1], factor, decimal)
    if unit in SECONDS_PER:
        return _rate_of_interval(match[1], SECONDS_PER[unit])
    if unit:
        return None
    if key in ("interval", "dt") or _INTERVAL.search(key):
        rate = _rate_of_interval(match[1], 1.0)
        return rate if rate is not None and rate > 1 else None
    return _plausible(match[1], 1.0, decimal)


def _meanings(text: str) -> list[float]:
    """Numbers that a text may mean: with its last sign before a fraction, or between thousands."""
    meanings = []
    for decimal, other in (".,", ",."):
        if text.count(decimal) > 1 or text.rfind(other) > text.rfind(decimal) >= 0:
            continue
        groups = text.split(decimal)[0].split(other)
        if all(len(group) == 3 for group in groups[1:]):
            meanings.append(float(text.replace(other, "").replace(decimal, ".")))
    return list(dict.fromkeys(meanings))


def _plausible(text: str, factor: float, decimal: str) -> float | None:
    """Rate in Hz that a number means; of two, the one that is written as the table is."""
    lowest, highest = limit_of("lowest_rate"), limit_of("highest_rate")
    rates = [factor * number for number in _meanings(text)]
    rates = [rate for rate in rates if lowest <= rate <= highest]
    if len(rates) < 2:
        return rates[0] if rates else None
    return min(rates) if decimal in text or min(rates) >= _SLOWEST_UNKNOWN else max(rates)


def _rate_of_interval(text: str, seconds: float) -> float | None:
    lowest, highest = limit_of("lowest_rate"), limit_of("highest_rate")
    rates = [1 / (number * seconds) for number in _meanings(text) if number > 0]
    return next((rate for rate in rates if lowest <= rate <= highest), None)


def _is_unit(value: str) -> bool:
    return millivolts_per(value) is not None or is_counts(value)


def _unit(lines: Sequence[str]) -> str | None:
    """Unit of all signals; one that is only found beside an unknown key is not accepted if V."""
    units, others = [], []
    for key, value in _pairs(lines):
        values = [each.strip().strip("'\"") for each in re.split(r"[,;\t]", value)]
        if not all(map(_is_unit, values)):
            continue
        if _UNIT.search(key):
            units += values
        elif values[0].lower() not in ("v", "1"):
            others += values
    found = set(units or others)
    return found.pop() if len(found) == 1 else None


def _lead_named_by(key: str, value: str) -> str | None:
    """Lead of a line such as ``Lead,Lead I``, in any language the same word twice."""
    word, _, rest = value.strip().rpartition(" ")
    if word and _folded(word) == key and standard_lead(rest) in LEADS:
        return standard_lead(rest)
    return standard_lead(value) if _NAMES.match(key) and standard_lead(value) in LEADS else None


def _names(lines: Sequence[str], n_columns: int) -> list[str] | None:
    """Names of the columns, where a line lists as many as there are."""
    for key, value in _pairs(lines):
        lead = _lead_named_by(key, value)
        if n_columns == 1 and lead is not None:
            return [lead]
        names = [name.strip().strip("'\"") for name in re.split(r"[,;|\t]|\s+", value) if name]
        names = [name for name in names if name]
        if _NAMES.match(key) and len(names) == n_columns and not any(map(str.isdigit, names)):
            return names
    return None


def _of_labchart(
    lines: Sequence[str], names: Sequence[str] | None, n_columns: int, rate: float | None
) -> Block | None:
    """Read ``ChannelTitle=`` and ``UnitName=``, or ``Range=`` with its unit behind a number."""
    values: dict[str, list[str]] = {}
    for line in lines:
        key, equals, value = line.partition("=")
        if equals:
            values.setdefault(key.strip().lower(), value.lstrip("\t ").split("\t"))
    if "interval" not in values or "channeltitle" not in values:
        return None
    titles = [title.strip() or None for title in values["channeltitle"]]
    titles = titles[: len(titles) - (not titles[-1])]
    units = []
    for i in range(len(titles)):
        unit = values.get("unitname", [])[i : i + 1]
        if not unit or unit[0].strip() in ("", "*"):
            unit = [each.strip().rpartition(" ")[2] for each in values.get("range", [])[i : i + 1]]
        units.append(unit[0].strip() if unit else None)
    if n_columns == len(titles) + 1:
        titles, units = ["time", *titles], ["s", *units]
    return Block(rate, None, titles if len(titles) == n_columns else None, units)


def _of_acqknowledge(
    lines: Sequence[str], names: Sequence[str] | None, n_columns: int, rate: float | None
) -> Block | None:
    """Read ``4 msec/sample``, ``2 channels``, and a line each for name and unit of each."""
    for start, line in enumerate(lines):
        match = re.fullmatch(r"(\d+) channels?", line)
        before = lines[start - 1] if start else ""
        if match and (_PER_SAMPLE.search(before) or _PER_SECOND.search(before)):
            break
    else:
        return None
    n_channels = int(match[1])
    listed = lines[start + 1 : start + 1 + 2 * n_channels]
    titles, units = list(listed[0::2]), list(listed[1::2])
    if len(units) != n_channels or n_columns not in (n_channels, n_channels + 1):
        return Block(rate)
    if n_columns > n_channels:
        scale = names[0] if names else "sec"
        titles, units = ["time", *titles], [scale, *units]
    return Block(rate, None, titles, units, has_counts=names is not None)


def _of_opensignals(
    lines: Sequence[str], names: Sequence[str] | None, n_columns: int, rate: float | None
) -> Block | None:
    """Read the columns of the devices; those without a sensor are numbers and digital lines."""
    columns: list[str | None] = []
    for line in lines:
        for device in _parsed(line).values():
            if not isinstance(device, dict) or not isinstance(device.get("column"), list):
                continue
            listed: list[str | None] = [None] * len(device["column"])
            for key in ("label", "sensor"):  # what is measured, where that is said
                found = device.get(key)
                if isinstance(found, list) and 0 < len(found) <= len(listed):
                    positions = range(len(listed) - len(found), len(listed))
                    for position, name in zip(positions, found, strict=True):
                        if isinstance(name, str) and name.upper() not in ("RAW", "CUSTOM", ""):
                            listed[position] = name
                        elif listed[position] is None:
                            listed[position] = str(device["column"][position])
            columns += listed
    return Block(rate, None, columns) if columns and len(columns) == n_columns else None


def _parsed(line: str) -> dict[str, Any]:
    """Return the object of JSON that a line is; an empty one where it is none."""
    if not line.startswith("{"):
        return {}
    try:
        parsed = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return parsed if isinstance(parsed, dict) else {}


def _rates_in_json(line: str) -> Iterator[float | None]:
    parsed = _parsed(line)
    for said in (parsed, *(each for each in parsed.values() if isinstance(each, dict))):
        for key, value in said.items():
            if isinstance(value, int | float | str):
                yield _sampling_rate(_folded(key), str(value), ".")
