import pytest

from fairseq_ecg.errors import DataError
from fairseq_ecg.labeler.rewriting import (
    Append,
    Cut,
    Family,
    LeadList,
    Lower,
    Measurement,
    Regex,
    Replace,
    Rewriter,
    Spelling,
)
from fairseq_ecg.labeler.rules import read_rules


def rewrite(text: str, *rules) -> str:
    rewriter = Rewriter(rules)
    return rewriter.rewrite(rewriter.cut(text))[0]


def test_cut():
    rule = Cut(("compared to the previous ecg", "confirmed by"))
    assert rewrite("Sinus; Confirmed BY x compared to", rule) == "Sinus;"
    assert rewrite("İ Confirmed by x", rule) == "İ"
    assert rewrite(" Sinus ", rule) == "Sinus"


def test_replacements_chain_in_the_order_of_the_table():
    rule = Replace((("a", "b"), ("b", "c d"), ("d", "e"), ("a", "never")))
    assert rewrite("a x b", rule) == "c e x c e"
    assert rewrite("ab", rule) == "ab"


def test_regular_expressions_only_where_a_word_is():
    rule = Regex((("a", "b"), ("b", "c")), where=("x", "yy"))
    assert [rewrite(text, rule) for text in ("a", "ax", "ay", "ayy")] == ["a", "cx", "ay", "cyy"]


def test_replacements_do_not_go_back_in_the_table():
    assert rewrite("b", Replace((("a", "x"), ("b", "a")))) == "a"


def test_replacements_inside_words_and_in_any_case():
    assert rewrite("xABx", Replace((("ab", "-"),), bordered=False, ignore_case=True)) == "x-x"
    assert rewrite("AB abx", Replace((("ab", r"\1"),), ignore_case=True)) == r"\1 abx"
    assert rewrite("xabx", Replace((("ab", "-"),), bordered=False)) == "x-x"


def test_lower_append_and_regex():
    assert rewrite("NOT NORMAL", Lower(), Append((" normal",), " ecg")) == "not normal ecg"
    assert rewrite("normal", Append((" normal",), " ecg")) == "normal"
    assert rewrite("a1b2", Regex(((r"(\d)", r"<\1>"), ("<1>", "")))) == "ab<2>"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("artifact in lead(s) v1", "artifact in lead v1"),
        (
            "artifact in lead(s) i, avl, v6 and x",
            "artifact in lead i; artifact in lead avl; artifact in lead v6 and x",
        ),
        ("artifact in lead(s) v10", "artifact in lead(s) v10"),
        (
            "artifact in lead(s) v1; artifact in lead(s) v2, v1",
            "; ".join(["artifact in lead v1; artifact in lead v2; artifact in lead v1"] * 2),
        ),
    ],
)
def test_lead_lists(text, expected):
    rule = LeadList(r"artifact in lead\(s\) ", "", "artifact in lead {lead}")
    assert rewrite(text, rule) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("rate 120 bpm", "fast bpm"),
        ("rate 101", "fast"),
        ("rate 100", "rate 100"),
        ("rate 59.5", "slow"),
        ("rate 120x", "rate 120x"),
        ("rate " + "1" * 50, "rate " + "1" * 50),
    ],
)
def test_measurements(text, expected):
    rule = Measurement("rate ", "", ((101, float("inf"), "fast"), (float("-inf"), 60, "slow")))
    assert rewrite(text, rule) == expected


def test_families_are_replaced_longest_first_and_once():
    family = Family(
        ({"x": "y", "y": "x", "x y": "both"}, {"beat": "beats"}),
        (("[0] [1]", "[1] of [0]"), ("[1]s", "[0]")),
    )
    assert family.table == {
        "x y beat": "beats of both",
        "x beat": "beats of y",
        "y beat": "beats of x",
        "beats": "beats",
    }
    assert rewrite("x y beat, x beat, beats, xx beat", family) == (
        "beats of both, beats of y, beats, xx beat"
    )


WORDS = ("atrial", "fibrillation", "infarct", "ischemia", "ischemic", "complete", "rhythm")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("atrail fibrilation", "atrial fibrillation"),
        ("(artial) fibrillaton, infract", "(atrial) fibrillation, infarct"),
        ("infarcts", "infarct"),
        ("ischemiac", "ischemiac"),  # one slip from two words
        ("complement", "complement"),
        ("trial", "trial"),  # too short to say
        ("arterial", "arterial"),  # two slips
        ("infarct1", "infarct1"),
        ("rhythmrhythm" * 5, "rhythmrhythm" * 5),
    ],
)
def test_spelling(text, expected):
    assert rewrite(text, Spelling(WORDS)) == expected


def slips(word):
    """All texts that are one slip away, made by brute force."""
    for i in range(len(word) + 1):
        yield word[:i] + word[i + 1 :]
        for letter in "abcdefghijklmnopqrstuvwxyz":
            yield word[:i] + letter + word[i:]
            yield word[:i] + letter + word[i + 1 :]
        if i + 1 < len(word):
            yield word[:i] + word[i + 1] + word[i] + word[i + 2 :]


def test_every_slip_is_corrected_unless_two_words_are_near():
    rule = Spelling(WORDS)
    near = {word: set(slips(word)) - {word} for word in WORDS}
    for word, texts in near.items():
        for text in texts:
            owners = {known for known, others in near.items() if text in others}
            if len(text) >= 6 and text not in WORDS:
                assert rewrite(text, rule) == (word if owners == {word} else text)


def test_words_for_spelling_are_plain(tmp_path):
    path = tmp_path / "rules.yaml"
    path.write_text("- spelling: [atrial, ST-T]\n")
    with pytest.raises(DataError, match="line 1: 'ST-T' must be five lower-case letters or more"):
        read_rules(path, tmp_path)
