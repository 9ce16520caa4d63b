from fairseq_ecg.labeler import Labeler
from fairseq_ecg.labeler.memory import Memory


def test_a_memory_returns_what_it_is_given_and_forgets_everything_when_full():
    memory = Memory(entries=2)
    assert [memory.remember(text, len(text)) for text in ("a", "bb")] == [1, 2]
    assert memory == {"a": 1, "bb": 2}
    memory.remember("ccc", 3)
    assert memory == {"ccc": 3}


def test_long_texts_are_not_remembered():
    memory = Memory(length=3)
    assert memory.remember("long", 4) == 4
    assert not memory


def test_long_reports_are_read_and_translated_but_not_remembered():
    labeler = Labeler.from_vocabulary()
    for text in ("Sinus rhythm, infarct. ", "Sinusrhythmus, kein Infarkt und keine Ischämie. "):
        assert "Sinus rhythm" in labeler.find(text * 100).labels_flat
    translator = labeler._translator
    memories = (
        labeler._reader._remembered,
        translator._words,
        translator._evidence,
        translator._english_statements,
        *translator._translations.values(),
    )
    assert max(len(text) for memory in memories for text in memory) <= 2_000
