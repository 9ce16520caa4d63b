"""Short words are corrected beside a word that they belong to, and nowhere else."""

import pytest

from fairseq_ecg.errors import DataError
from fairseq_ecg.labeler import Labeler
from fairseq_ecg.labeler.phrase_spelling import PhraseSpelling
from fairseq_ecg.labeler.rules import read_rules

RULE = PhraseSpelling(("heart block", "heart rate", "t wave", "left axis", "av block"), ("lift",))


@pytest.mark.parametrize(
    ("text", "corrected"),
    [
        ("hart block, haert rate 50", "heart block, heart rate 50"),
        ("av blok", "av block"),
        ("av bblock; t wvae", "av block; t wave"),
        ("hart blok", "hart blok"),  # neither is known to be right
        ("hart", "hart"),
        ("hart, block", "hart, block"),
        ("t have; t cave", "t have; t cave"),
        ("heart blocks", "heart blocks"),
        ("lift axis, lfet axis", "lift axis, left axis"),
        ("tt wave, va block", "tt wave, va block"),
    ],
)
def test_beside_its_neighbour(text, corrected):
    assert RULE.apply(text, set()) == corrected


@pytest.mark.parametrize("phrase", ["block", "Heart block", "a v block"])
def test_a_phrase_has_two_words(tmp_path, phrase):
    path = tmp_path / "rewriting.yaml"
    path.write_text(f"- phrase_spelling: [t wave, {phrase}]\n")
    with pytest.raises(DataError, match="must be two words in lower case"):
        read_rules(path, tmp_path)


@pytest.fixture(scope="module")
def labeler():
    return Labeler.from_vocabulary()


def test_no_phrase_of_the_vocabulary_is_a_slip_of_another(labeler):
    (rule,) = (one for one in labeler.vocabulary.rewriting if isinstance(one, PhraseSpelling))
    assert {rule.apply(phrase, set()) for phrase in rule.phrases} == set(rule.phrases)
    for pattern in labeler.vocabulary.patterns:
        assert rule.apply(pattern.text, set()) == pattern.text
