import re

import pytest

from benchmarks import labeler as sampled
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
    SharedNoun,
    Spelling,
    required,
)
from fairseq_ecg.labeler.rules import read_rules
from fairseq_ecg.labeler.vocabulary_files import read_vocabulary


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
    rule = Regex((("a", "b"), ("b", "c")), where="x|yy")
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


SHARED = SharedNoun(("beats", "ectopic beats", "block"), ("a", "b", "b c"), ("early",))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a and b beats", "a beats and b beats"),
        ("a, b c, and b beats", "a beats, b c beats, and b beats"),
        (
            "a/b c ectopic beats; a or b block",
            "a ectopic beats/b c ectopic beats; a block or b block",
        ),
        ("early a and b beats", "early a beats and early b beats"),
        ("a and/or early b beats", "early a beats and/or early b beats"),
        ("a plus b early beats", "a early beats plus b early beats"),
        # No list, no such word, not the whole word, no such noun.
        ("a, b beats", "a, b beats"),
        ("a and x beats", "a and x beats"),
        ("xa and b beats", "xa and b beats"),
        ("a and b beatsx", "a and b beatsx"),
        ("a and b rhythm", "a and b rhythm"),
    ],
)
def test_shared_nouns(text, expected):
    assert rewrite(text, SHARED) == expected
    assert rewrite(expected, SHARED) == expected


@pytest.mark.parametrize(
    ("regex", "piece"),
    [
        (r"(?<!\w)mobitz (?:type )?(?:i|1)(?!\w)", "mobitz "),
        (r"([tqru])waves?", "wave"),
        (r" ?\+ ?", "+"),
        (r"\(cited on[^()]* x{2,3}", "(cited on"),
        (r"a+bcd*", "bc"),  # what may be repeated ends a piece
        (r"[(a]b|c(d)", ""),
        (r"\s\d(?:ab)", ""),
        (r"(?i)rate", ""),
    ],
)
def test_what_a_regular_expression_requires(regex, piece):
    assert required(regex) == piece


def test_all_regular_expressions_find_what_they_require():
    """In their own text, in the statements of machines, and in parts of them."""
    rules = [rule for rule in read_vocabulary("default").rewriting if isinstance(rule, Regex)]
    regexes = [regex for rule in rules for regex, _ in rule.table]
    texts = [*sampled.RHYTHMS, *sampled.FINDINGS, *regexes]
    texts += [text.lower().replace("-", " ") for text in texts]
    for regex in regexes:
        for text in texts:
            assert all(required(regex) in match.group() for match in re.finditer(regex, text))


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


def test_words_that_are_kept_are_no_slips():
    rule = Spelling(("flutter", "lacking"), keep=("flatter", "packing"))
    for word, expected in (("flatter", "flatter"), ("fluter", "flutter"), ("backing", "lacking")):
        assert rewrite(word, rule) == expected


def test_words_for_spelling_are_plain(tmp_path):
    path = tmp_path / "rules.yaml"
    path.write_text("- spelling: [atrial, ST-T]\n")
    with pytest.raises(DataError, match="line 1: 'ST-T' must be five lower-case letters or more"):
        read_rules(path, tmp_path)


NAMED = """
- names: {VERB: is|are, SAID: "VERB(?: now)?"}
  where: "(?<!x)st"
  regex: {"st SAID (low|VERBAL)": "\\\\1 st"}
"""


def test_names_stand_for_regular_expressions(tmp_path):
    path = tmp_path / "rules.yaml"
    path.write_text(NAMED)
    rules = read_rules(path, tmp_path)
    assert rewrite("st is low, st are now low, st VERB low", *rules) == (
        "low st, low st, st VERB low"
    )
    assert rewrite("st is VERBAL", *rules) == "VERBAL st"
    assert rewrite("xst is low", *rules) == "xst is low"


def test_a_rule_applies_where_one_of_some_texts_is(tmp_path):
    path = tmp_path / "rules.yaml"
    path.write_text("- {regex: {x: y}, where: [a., b]}\n")
    rules = read_rules(path, tmp_path)
    assert [rewrite(text, *rules) for text in ("ax", "a.x", "xb")] == ["ax", "a.y", "yb"]


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ("{names: {verb: is}, regex: {x: y}}", "'verb' must be two upper-case letters or more"),
        ("{names: {VERB: (}, regex: {x: y}}", "'\\(' is no regular expression"),
        ("{names: is, regex: {x: y}}", "names are a mapping"),
        ("{where: (, regex: {x: y}}", "'\\(' is no regular expression"),
        ("{names: {VERB: is}, lower: true}", "unknown key 'names'"),
    ],
)
def test_names_and_places_of_regular_expressions_are_checked(tmp_path, rule, message):
    path = tmp_path / "rules.yaml"
    path.write_text(f"- {rule}\n")
    with pytest.raises(DataError, match=f"line 1: .*{message}"):
        read_rules(path, tmp_path)
