"""The table of limits, its variable and its message."""

import math

import pytest

from fairseq_ecg.data.errors import DataError
from fairseq_ecg.data.limits import LIMITS, VARIABLE, check_limit, limit_of


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
