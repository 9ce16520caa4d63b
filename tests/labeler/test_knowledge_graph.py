import pytest

from fairseq_ecg.errors import DataError
from fairseq_ecg.labeler import Labeler
from fairseq_ecg.labeler.drawing import draw_graph


def test_queries(small):
    graph = small.graph
    assert graph.ancestors("Infarction") == ["Injury", "Ischemia"]
    assert graph.descendants("Ischemia") == ["Injury", "Infarction", "Anterior infarction"]
    assert graph.paths("Infarction", "Ischemia") == [("Infarction", "Injury", "Ischemia")]
    assert graph.paths("Ischemia", "Infarction") == []
    assert graph.follows_from("Anterior infarction") == ["Infarction [Anterior]"]
    assert graph.follows_from("Both") == ["Infarction + Atrial fibrillation without Sinus rhythm"]
    with pytest.raises(DataError, match="no entity 'Infarct'"):
        graph.ancestors("Infarct")


def test_a_cycle_is_named(folder):
    text = (folder / "entities.yaml").read_text()
    text = text.replace("{name: Ischemia,", "{name: Ischemia, parents: [Infarction],")
    (folder / "entities.yaml").write_text(text)
    with pytest.raises(DataError, match=r"cycle, .*Injury.* -> .*entities\.yaml, line \d+"):
        Labeler.from_vocabulary(folder)


def test_drawing_is_the_same_every_time(small, tmp_path):
    pictures = []
    for name in ("a.svg", "b.svg"):
        draw_graph(small.graph, "Injury", tmp_path / name)
        pictures.append((tmp_path / name).read_text())
    assert pictures[0] == pictures[1]
    for word in (">Ischemia<", ">Injury<", ">Anterior infarction<", "= Infarction [Anterior]"):
        assert word in pictures[0]
    assert "Sinus rhythm<" not in pictures[0]
    with pytest.raises(DataError, match="no entity"):
        draw_graph(small.graph, "none", tmp_path / "c.svg")
    with pytest.raises(DataError, match=r"kind 'xyz' can be written; there are .*svg"):
        draw_graph(small.graph, "Injury", tmp_path / "c.xyz")
