from fairseq_ecg.labeler import Labeler, Semantics


def rows(labeler, text):
    return labeler.label([text]).entities["name"].tolist()


def test_parents_once_or_for_every_path(folder):
    labeler = Labeler.from_vocabulary(folder)
    assert rows(labeler, "anterior infarct") == [
        "Infarction", "Injury", "Ischemia", "Anterior infarction",
    ]  # fmt: skip
    every = Labeler.from_vocabulary(folder, semantics=Semantics(every_path=True))
    assert rows(every, "anterior infarct")[4:] == ["Infarction", "Injury", "Ischemia"]


def test_travelling_descriptors_reach_parents(small):
    table = small.label(["old infarct"]).descriptors
    assert table["name"].tolist() == ["Old"] * 3
    assert table["source"].tolist()[1:] == ["propagated - Infarction [(0, 0, 0)]"] * 2


def test_compounds_need_all_parts_and_no_excluded_one(small):
    assert "Both" in small.find("infarct; af").labels_flat
    assert "Both" not in small.find("infarct").labels_flat
    assert "Both" not in small.find("infarct; af; sinus rhythm").labels_flat
    assert "Both" not in small.find("no infarct; af").labels_flat


def test_patterns_of_two_entities_and_of_none(small):
    table = small.label(["ischemia and injury; no change; infarct"]).entities.reset_index()
    assert table[table["source"] == "text"][["pattern", "name"]].values.tolist() == [
        [0, "Ischemia"],
        [1, "Injury"],
        [2, "Infarction"],
    ]


def test_why(small):
    ways = small.why("possible anterior infarct", "Injury")
    assert ways == ["Infarction [Possible, Anterior]: in the text -> Injury (p = 0.5)"]
    assert small.why("possible infarct", "Tachycardia") == []
    (way,) = small.why("anterior infarct", "Anterior infarction")
    assert way.endswith("-> Anterior infarction (attached) (p = 1)")
    (way,) = small.why("infarct; af", "Both")
    assert way.startswith("Both: compound - Both (+ Infarction, Atrial fibrillation)")
    assert small.why("old infarct", "Ischemia - Old") != []
    assert small.why("infarct", "Ischemia - Old") == []
