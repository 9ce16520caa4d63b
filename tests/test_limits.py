"""The table of limits, its variable and its message."""

import math
import re
from pathlib import Path

import pytest

from fairseq_ecg import formats
from fairseq_ecg.errors import DataError
from fairseq_ecg.limits import (
    FREELY_UNPACKED,
    LIMITS,
    VARIABLE,
    check_limit,
    check_rate,
    check_unpacked,
    limit_of,
)


@pytest.mark.parametrize("name", LIMITS)
def test_the_limit_itself_is_allowed_and_what_is_beyond_refused(name: str) -> None:
    bound = limit_of(name)
    check_limit("a.edf", name, bound)
    beyond = bound / 2 if LIMITS[name].is_least else bound * 2
    with pytest.raises(DataError, match=rf"^a\.edf: says .*{VARIABLE}={name}="):
        check_limit("a.edf", name, beyond)


@pytest.mark.parametrize("name", LIMITS)
def test_nan_is_beyond_every_limit(name: str) -> None:
    with pytest.raises(DataError):
        check_limit("a.edf", name, math.nan)


def test_the_remedy_of_the_message_works(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError) as refused:
        check_limit("a.edf", "channels", 12_345)
    remedy = str(refused.value).partition(f"{VARIABLE}=")[2].split()[0]
    monkeypatch.setenv(VARIABLE, f"highest_rate=1e6, {remedy}")
    check_limit("a.edf", "channels", 12_345)
    check_limit("a.edf", "highest_rate", 1e6)


@pytest.mark.parametrize(
    "text", ["channels", "channels=many", "rate=5", "channels=-1", "channels=nan"]
)
def test_what_is_no_limit_is_refused_by_name(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv(VARIABLE, text)
    with pytest.raises(DataError, match=VARIABLE):
        limit_of("channels")


def test_the_table_of_the_documentation_is_that_of_the_code() -> None:
    text = (Path(formats.__file__).parent / "README.md").read_text(encoding="utf-8")
    section = text.partition("\n## Limits\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `(\w+)` \| ([\d,]+)", section, re.MULTILINE)
    documented = {name: float(value.replace(",", "")) for name, value in rows}
    assert documented == {name: limit.value for name, limit in LIMITS.items()}
    (example,) = re.findall(rf"`{VARIABLE}=(\S+)`", section)
    assert {entry.partition("=")[0] for entry in example.split(",")} <= LIMITS.keys()


@pytest.mark.parametrize("value", [10**400, 2**200, math.inf, 4e9 + 1])
def test_numbers_of_any_size_are_said(value: float, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match="says") as refused:
        check_limit("a.hea", "samples", value)
    monkeypatch.setenv(VARIABLE, str(refused.value).partition(f"{VARIABLE}=")[2].split()[0])
    check_limit("a.hea", "samples", value)


@pytest.mark.parametrize("rate", [0, -500, math.nan, 1e-300])
def test_no_remedy_is_offered_for_what_cannot_be(rate: float) -> None:
    with pytest.raises(DataError) as refused:
        check_rate("a.edf", rate)
    assert (VARIABLE in str(refused.value)) == (rate > 0)


def test_what_is_packed_may_grow_as_ecgs_do() -> None:
    check_unpacked("a.gz", 1, FREELY_UNPACKED)
    check_unpacked("a.gz", 2**30, 100 * 2**30 // 2)
    check_unpacked("a.gz", None, 2**36)
    for n_packed, n_bytes in ((1_000_000, 300_000_000), (0, 2**29), (2**35, 2**37), (None, 2**37)):
        with pytest.raises(DataError, match=VARIABLE):
            check_unpacked("a.gz", n_packed, n_bytes)


def test_real_recordings_are_within() -> None:
    for rate in (50, 100, 128, 500, 1000, 128_000):
        check_rate("a", rate)
    check_limit("a", "samples", 14 * 24 * 3600 * 1000)
    check_limit("a", "channels", 352)
