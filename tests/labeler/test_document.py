import pytest

from fairseq_ecg.errors import DataError
from fairseq_ecg.labeler.document import read_document


@pytest.fixture
def read(tmp_path):
    def read(text):
        path = tmp_path / "a.yaml"
        path.write_text(text)
        return read_document(path)

    return read


def test_words_of_reports_are_text(read):
    words = read("[no, off, yes, 2:1, 1_000, 2020-01-01, '7', \"true\", +, null, ~]")
    assert words == ["no", "off", "yes", "2:1", "1_000", "2020-01-01", "7", "true", "+", None, None]


def test_numbers_and_flags(read):
    assert read("[1, -2, 0.5, 1e-3, true, false]") == [1, -2, 0.5, 0.001, True, False]


def test_json_is_read_with_its_lines(read):
    document = read('{\n "a": [\n  "x",\n  {"b": "y"}\n ]\n}')
    assert document == {"a": ["x", {"b": "y"}]}
    assert document.location("a").endswith("a.yaml, line 2")
    assert document["a"].location(0).endswith("line 3")
    assert document["a"][1].location("b").endswith("line 4")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: 2\na: 3", r"line 3: 'a' is already in line 1"),
        ("a: [1,", r"a\.yaml, line \d"),
        ("? [a]\n: 1", "a key must be text"),
        ("a: &a [*a]", "stands within itself"),
    ],
)
def test_mistakes_name_the_line(read, text, message):
    with pytest.raises(DataError, match=message):
        read(text)


def test_no_such_file(tmp_path):
    with pytest.raises(DataError, match=r"none\.yaml: no such file"):
        read_document(tmp_path / "none.yaml")


def test_an_empty_file_is_nothing(read):
    assert read("# nothing\n") is None
