"""YAML of strangers: aliases, nesting, and what PyYAML fails with."""

import pytest

from fairseq_ecg.data.documents import compose_yaml, load_yaml
from fairseq_ecg.errors import DataError
from fairseq_ecg.limits import VARIABLE


def laughs(levels: int) -> str:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    for level in range(1, levels):
        lines.append(f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 10)}]")
    return "\n".join(lines)


@pytest.mark.parametrize("read", [load_yaml, compose_yaml])
@pytest.mark.parametrize(
    "text",
    [
        laughs(8),
        laughs(300),
        "[" * 1_000_000,
        "[" * 60 + "]" * 60,
        "{a: " * 60 + "1" + "}" * 60,
        "".join(" " * level + "a:\n" for level in range(100)),
        "- " * 60 + "x",
        "a: &a [*a]",
        "a: &a\n  b: *a",
        "&a [1, {*a : 2}]",
        "a: [1,",
        "a: *b",
        "a: \x00",
        "--- 1\n--- 2",
    ],
    ids=range(14),
)
def test_what_is_no_document_is_refused_soon(read, text: str) -> None:
    with pytest.raises(DataError, match=r"^a\.yaml"):
        read(text, "a.yaml")


@pytest.mark.parametrize("text", ["1" * 5000, "2001-99-99", "{[]: 1}", "!!python/name:os.system"])
def test_values_that_mean_nothing_are_refused(text: str) -> None:
    with pytest.raises(DataError, match=r"^a\.yaml.*is no YAML"):
        load_yaml(text, "a.yaml")


def test_aliases_and_merges_of_plausible_extent_mean_what_they_repeat() -> None:
    text = "a: &a {b: 1}\nc: *a\nd:\n  <<: *a\n  e: [*a, *a]"
    assert load_yaml(text, "") == {
        "a": {"b": 1}, "c": {"b": 1}, "d": {"b": 1, "e": [{"b": 1}, {"b": 1}]},
    }  # fmt: skip


@pytest.mark.parametrize("text", ["[" * 55 + "]" * 55, laughs(7) + "\nb: *a6"])
def test_the_remedy_of_the_message_works(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError) as refused:
        load_yaml(text, "a.yaml")
    remedy = str(refused.value).partition(f"{VARIABLE}=")[2].split()[0]
    monkeypatch.setenv(VARIABLE, remedy)
    assert load_yaml(text, "a.yaml")
