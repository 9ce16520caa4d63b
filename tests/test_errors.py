"""The boundary at which whatever fails becomes the one error of bad data."""

import pytest

from fairseq_ecg.errors import DataError, as_data_error, damage_as_data_error


@pytest.mark.parametrize(
    "error", [ValueError("no"), MemoryError(), RecursionError(), KeyError("x"), OSError("gone")]
)
def test_whatever_fails_is_a_data_error_that_names_file_and_remedy(error):
    with (
        pytest.raises(DataError, match=r"^a\.edf: cannot be read \(.*\)\. Copy it again$") as found,
        as_data_error("a.edf: cannot be read", "Copy it again"),
    ):
        raise error
    assert type(error).__name__ in str(found.value)
    assert found.value.__cause__ is error


def test_data_errors_and_those_that_are_named_pass_as_they_are():
    for error, but in ((DataError("a.edf: is empty"), ()), (OSError("full"), (OSError,))):
        with pytest.raises(type(error)) as found, as_data_error("b.edf: cannot be read", but=but):
            raise error
        assert found.value is error


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_what_ends_the_program_passes(error):
    with pytest.raises(error), as_data_error("a.edf: cannot be read"):
        raise error


def test_a_reason_that_repeats_the_file_is_shortened_to_one_line():
    with (
        pytest.raises(DataError, match="is no EDF file, or damaged") as found,
        damage_as_data_error("a.edf", "EDF file"),
    ):
        raise ValueError("line\n" * 10_000)
    assert len(str(found.value)) < 600
    assert "\n" not in str(found.value)
