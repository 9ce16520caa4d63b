import re

from hypothesis import given
from hypothesis import strategies as st

from fairseq_ecg.labeler.phrases import BLANK, Phrases, replace, spans, take_out

LETTERS = "ab1_ -(é"
phrases = st.text(LETTERS, min_size=1, max_size=4)
texts = st.text(LETTERS, max_size=40)


def regex(phrase: str) -> str:
    left = r"(?<!\w)" if phrase[0].isalnum() else ""
    right = r"(?!\w)" if phrase[-1].isalnum() else ""
    return left + re.escape(phrase) + right


@given(texts, phrases)
def test_spans_are_those_of_a_regular_expression(text, phrase):
    assert list(spans(text, phrase)) == [match.span() for match in re.finditer(regex(phrase), text)]


@given(texts, phrases)
def test_every_phrase_of_a_text_is_a_candidate(text, phrase):
    if re.search(regex(phrase), text):
        assert Phrases([phrase]).candidates(text) == [0]


@given(texts, st.lists(phrases, max_size=8, unique=True))
def test_what_is_taken_out_is_what_replacing_one_by_one_finds(text, some):
    blanked, found = take_out(text, Phrases(some))
    for i, phrase in enumerate(some):
        text = re.sub(regex(phrase), chr(0xF0000 + i), text)
    ids = [i for _, _, i in sorted(found)]
    assert [ord(char) - 0xF0000 for char in text if char >= chr(0xF0000)] == ids
    assert blanked.replace(BLANK, "") == "".join(char for char in text if char < chr(0xF0000))


def test_an_underscore_that_is_taken_out_leaves_another_word():
    assert take_out("1_", Phrases(["_", "1"]))[1] == [(1, 2, 0), (0, 1, 1)]


def test_borders():
    assert replace("av avb b-av av_ (av)", "av", "X") == "X avb b-X av_ (X)"
    assert replace("xavx", "av", "X", bordered=False) == "xXx"
    assert replace("1*av 11*", "1*", "1st degree ") == "1st degree av 11*"


def test_long_texts_have_all_phrases_as_candidates():
    assert Phrases(["a", "b"]).candidates("x " * 20_000) == [0, 1]


def test_what_was_found_may_count_as_a_letter():
    phrases = Phrases([", old", ", recent"])
    assert take_out(", recent, old", phrases)[1] == [(8, 13, 0), (0, 8, 1)]
    assert take_out(", recent, old", phrases, touching=False)[1] == [(8, 13, 0)]
