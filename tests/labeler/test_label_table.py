import numpy as np
import pandas as pd
import pytest

from fairseq_ecg.errors import DataError
from fairseq_ecg.labeler.label_table import (
    code_table,
    label_array,
    label_table,
    read_code_set,
    read_label_set,
)

TEXTS = ["possible infarct", "sinus rhythm; probable infarct", "nothing", "infarct"]


def test_threshold(small):
    results = small.label(pd.Series(TEXTS, index=[5, 6, 7, 8]))
    labels = read_label_set("two", small.vocabulary)
    table = label_table(results, labels)
    assert table.index.name == "idx"
    assert table.columns.tolist() == ["Infarction", "Sinus rhythm"]
    assert table.loc[[5, 6, 7, 8]].values.tolist() == [[0, 0], [1, 1], [0, 0], [1, 0]]
    for threshold, expected in ((0.0, [1, 1, 0, 1]), (0.5, [1, 1, 0, 1]), (0.71, [0, 0, 0, 1])):
        found = label_table(results, labels, threshold)["Infarction"].tolist()
        assert found == expected


def test_probabilities(small):
    results = small.label(TEXTS)
    table = label_array(results.labels_flat, ["Sinus rhythm", "Infarction", "Both"], range(4))
    np.testing.assert_array_equal(table, [[0, 0.5, 0], [1, 0.7, 0], [0, 0, 0], [0, 1, 0]])


def test_several_names_become_one_label(small, tmp_path):
    path = tmp_path / "labels.csv"
    path.write_text("name,label\nInjury,Damage\nIschemia,Damage\nInfarction - Old,\n")
    labels = read_label_set(str(path), small.vocabulary)
    assert labels.names == ("Damage", "Infarction - Old")
    results = small.label(["ischemia", "old infarct", "af"])
    assert label_table(results, labels).values.tolist() == [[1, 0], [1, 1], [0, 0]]


def test_defaults(small, folder):
    assert read_label_set(None, small.vocabulary).names == ("Infarction", "Sinus rhythm")
    (folder / "vocabulary.yaml").unlink()
    from fairseq_ecg.labeler import Labeler

    names = read_label_set(None, Labeler.from_vocabulary(folder).vocabulary).names
    assert "Tachycardia" in names
    assert "Rhythm" not in names


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("label\nx\n", "no column 'name'"),
        ("name\n", "names no label"),
        ("", "no column 'name'"),
        ("name\nInfarction\nInfarct\n", r"line 3: .*there is no entity 'Infarct'"),
        ("name\nInfarction - Sharp\n", r"line 2: .*there is no descriptor 'Sharp'"),
    ],
)
def test_mistakes(small, tmp_path, text, message):
    path = tmp_path / "labels.csv"
    path.write_text(text)
    with pytest.raises(DataError, match=message):
        read_label_set(str(path), small.vocabulary)
    with pytest.raises(DataError, match=r"nor a set of labels of the vocabulary \(two\)"):
        read_label_set("three", small.vocabulary)


def test_codes(small, tmp_path):
    vocabulary = small.vocabulary
    assert code_table(vocabulary).values.tolist() == [
        ["Sinus rhythm", "snomed", "426783006"],
        ["Sinus rhythm", "scp", "SR"],
    ]
    codes = read_code_set("scp", vocabulary)
    assert codes.sources == {"SR": ("Sinus rhythm",)}
    assert read_code_set("scp", vocabulary, "two") == codes
    table = label_table(small.label(["sinus rhythm", "infarct"]), codes)
    assert table["SR"].tolist() == [1, 0]
    with pytest.raises(
        DataError, match=r"no codes of 'icd' in vocabulary small; it has snomed, scp"
    ):
        read_code_set("icd", vocabulary)
    (tmp_path / "labels.csv").write_text("name\nInfarction\n")
    with pytest.raises(DataError, match="none of the labels has a code of 'scp'"):
        read_code_set("scp", vocabulary, str(tmp_path / "labels.csv"))


def test_several_entities_with_one_code(folder):
    from fairseq_ecg.labeler import Labeler

    entities = folder / "entities.yaml"
    text = entities.read_text().replace("name: Injury,", "name: Injury, codes: {scp: [SR, INJ]},")
    entities.write_text(text)
    codes = read_code_set("scp", Labeler.from_vocabulary(folder).vocabulary)
    assert codes.sources == {"SR": ("Sinus rhythm", "Injury"), "INJ": ("Injury",)}
