"""Questions about recordings, answered in Python."""

import numpy as np
import pandas as pd
import pytest
import torch

from fairseq_ecg import load_model
from fairseq_ecg.ecg.leads import LEADS
from fairseq_ecg.errors import CheckpointError, DataError
from fairseq_ecg.inference import ECGTextModel
from fairseq_ecg.modules.text import TEXT_NETWORKS
from tests.text_networks import ANSWERS, VOCABULARY, TinyTextNetwork, tiny_text_checkpoint

ECG = np.random.default_rng(0).normal(0, 0.5, (12, 5000)).round(3)
OTHER = ECG[:, ::-1] * 2
QUESTION = "Is this ECG normal?"


@pytest.fixture(scope="module", autouse=True)
def registered():
    TEXT_NETWORKS["tiny_text"] = TinyTextNetwork
    yield
    del TEXT_NETWORKS["tiny_text"]


@pytest.fixture(scope="module")
def model(registered, tmp_path_factory):
    path = tiny_text_checkpoint(tmp_path_factory.mktemp("ask") / "qa.pt", num_ecgs=2)
    return load_model(path, device="cpu")


def expected(model, ecg, ids, second=None):
    """Probabilities of the answers, from the network alone."""
    batch = {"ecg": torch.tensor(ecg[None], dtype=torch.float32), "text": torch.tensor([ids])}
    if second is not None:
        batch["ecg_2"] = torch.tensor(second[None].copy(), dtype=torch.float32)
    with torch.no_grad():
        return model.network(**batch)["out"].double().sigmoid().numpy()[0]


def ids_of(*tokens):
    return [VOCABULARY.index(token) for token in ("[CLS]", *tokens, "[SEP]")]


NORMAL = ids_of("is", "this", "ecg", "normal", "?")


def test_a_question_about_a_recording(model):
    assert isinstance(model, ECGTextModel)
    answers = model.answer(ECG, QUESTION, sample_rate=500)
    right = expected(model, ECG, NORMAL)
    np.testing.assert_allclose(answers.of_recordings, [right], rtol=0, atol=1e-6)
    assert list(answers.table.columns) == ANSWERS
    assert answers.table.index.tolist() == [(0, QUESTION)]
    order = np.argsort(-right)
    above = [ANSWERS[column] for column in order if right[column] > 0.5]
    assert answers.answers == [tuple(above) or ("none",)]
    top = answers.top(2)
    assert top["answer"].tolist() == [ANSWERS[column] for column in order[:2]]
    assert top["rank"].tolist() == [1, 2]
    np.testing.assert_allclose(top["probability"], right[order[:2]], rtol=0, atol=1e-6)
    table = answers.to_dataframe()
    assert table.loc[0, "answer"] == "; ".join(answers.answers[0])
    assert table.loc[0, "tokens_cut"] == 0


def test_no_answer_is_probable_enough(model):
    answers = model.answer(ECG, QUESTION, sample_rate=500, threshold=1)
    assert answers.answers == [("none",)]


def test_two_ecgs(model):
    answers = model.answer(ECG, QUESTION, OTHER, sample_rate=500)
    right = expected(model, ECG, NORMAL, OTHER)
    np.testing.assert_allclose(answers.of_recordings, [right], rtol=0, atol=1e-6)
    assert answers.table.index.names == ["recording", "second", "question"]


def test_an_answer_depends_on_no_other_question(model):
    asked = [QUESTION, "does it show af or sinus rhythm?", "Is it normal?"] * 3
    for batch_size in (1, 2, 32):
        answers = model.answer([ECG] * 9, asked, sample_rate=500, batch_size=batch_size)
        for row, text in zip(answers.of_recordings, asked, strict=True):
            alone = model.answer(ECG, text, sample_rate=500).of_recordings[0]
            np.testing.assert_allclose(row, alone, rtol=0, atol=1e-6)
    names = [(number, text, 0) for number, text in enumerate(asked)]
    assert answers.segments.index.tolist() == names


@pytest.mark.parametrize(
    ("ecgs", "questions", "n"), [([ECG, OTHER], "Normal?", 2), (ECG, ["normal", "af"], 2)]
)
def test_one_for_all(model, ecgs, questions, n):
    assert len(model.answer(ecgs, questions, sample_rate=500).answers) == n


def test_longer_recordings_are_cut_into_segments(model):
    long = np.concatenate([ECG, OTHER], axis=1)
    each = np.stack([expected(model, ecg, NORMAL) for ecg in (ECG, OTHER)])
    mean = model.answer(long, QUESTION, sample_rate=500)
    np.testing.assert_allclose(mean.of_recordings[0], each.mean(axis=0), rtol=0, atol=1e-6)
    largest = model.answer(long, QUESTION, sample_rate=500, aggregation="max")
    np.testing.assert_allclose(largest.of_recordings[0], each.max(axis=0), rtol=0, atol=1e-6)
    with pytest.raises(DataError, match="2 segments, the other 1"):
        model.answer(long, QUESTION, ECG, sample_rate=500)


def test_choices(model):
    answers = model.answer(ECG, QUESTION, sample_rate=500, choices=["no", "yes"])
    assert list(answers.table.columns) == ["no", "yes"]
    whole = model.answer(ECG, QUESTION, sample_rate=500).table
    np.testing.assert_array_equal(answers.table.to_numpy(), whole[["no", "yes"]].to_numpy())
    with pytest.raises(DataError, match=r"no answer 'Atrial fibrilation'.*mean atrial"):
        model.answer(ECG, QUESTION, sample_rate=500, choices=["Atrial fibrilation"])


@pytest.mark.parametrize("text", ["", "  ", "?!", "\n"])
def test_a_question_of_no_words(model, text):
    with pytest.raises(DataError, match="no word"):
        model.answer(ECG, text, sample_rate=500)


@pytest.mark.parametrize("text", ["심전도가 정상입니까?", "нормально"])
def test_a_question_in_words_that_the_vocabulary_lacks(model, text):
    with pytest.warns(UserWarning, match="the vocabulary knows no word of"):
        model.answer(ECG, text, sample_rate=500)


def test_a_text_that_is_too_long_is_cut_with_a_note(model):
    words = ["is"] * 30
    with pytest.warns(UserWarning, match="18 tokens longer than the 14"):
        answers = model.answer(ECG, " ".join(words), sample_rate=500)
    right = expected(model, ECG, ids_of(*words[:12]))
    np.testing.assert_allclose(answers.of_recordings, [right], rtol=0, atol=1e-6)
    assert answers.to_dataframe()["tokens_cut"].tolist() == [18]


def test_a_table_of_questions(model, tmp_path):
    np.save(tmp_path / "a.npy", ECG)
    table = pd.DataFrame(
        {
            "path": ["a.npy", "a.npy", "b.npy", "a.npy"],
            "question": [QUESTION, "", "Is it normal?", "Is it normal?"],
            "second": ["a.npy", "a.npy", None, None],
        }
    )
    table.to_csv(tmp_path / "asked.csv", index=False)
    said = {"sample_rate": 500, "leads": LEADS, "units": "mV"}
    answers = model.answer(tmp_path / "asked.csv", **said, on_error="skip")
    assert [name.partition(":")[0] for name in answers.errors] == ["a.npy", "b.npy"]
    assert [len(answers.answers), len(answers.errors)] == [2, 2]
    whole = answers.to_dataframe()
    assert whole["recording"].tolist() == ["a.npy", "a.npy"]
    assert whole["second"].tolist() == ["a.npy", ""]
    right = (
        expected(model, ECG, NORMAL, ECG),
        expected(model, ECG, ids_of("is", "it", "normal", "?")),
    )
    np.testing.assert_allclose(answers.of_recordings, right, rtol=0, atol=1e-6)


def test_bfloat16(model, tmp_path):
    path = tiny_text_checkpoint(tmp_path / "qa.pt", num_ecgs=2)
    answers = load_model(path, device="cpu", dtype="bfloat16").answer(
        ECG, QUESTION, sample_rate=500
    )
    right = model.answer(ECG, QUESTION, sample_rate=500).of_recordings
    np.testing.assert_allclose(answers.of_recordings, right, rtol=0, atol=0.03)


def test_a_folder_holds_the_vocabulary(model, tmp_path):
    model.save_pretrained(tmp_path / "saved")
    assert (tmp_path / "saved" / "vocab.txt").read_text().splitlines() == VOCABULARY
    again = ECGTextModel.from_pretrained(tmp_path / "saved", device="cpu")
    assert again.labels == tuple(ANSWERS)
    found, right = (
        one.answer(ECG, QUESTION, sample_rate=500).of_recordings for one in (again, model)
    )
    np.testing.assert_array_equal(found, right)
    assert "Is this ECG normal?" in (tmp_path / "saved" / "README.md").read_text()


def test_embeddings_are_those_of_the_ecg(model):
    embedded = np.asarray(model.embed(ECG, sample_rate=500))
    with torch.no_grad():
        right = model.network.embed_ecg(torch.tensor(ECG[None], dtype=torch.float32))
    np.testing.assert_allclose(embedded, right, rtol=0, atol=1e-6)


def test_other_uses_say_what_to_call(model, tmp_path):
    with pytest.raises(DataError, match="use ask"):
        model.predict(ECG, sample_rate=500)
    with pytest.raises(DataError, match="not exported"):
        model.export(tmp_path / "a.onnx")


def test_without_names_answers_are_numbered(tmp_path):
    notes = {"vocabulary": VOCABULARY, "lower_case": True}
    path = tiny_text_checkpoint(tmp_path / "qa.pt", notes)
    with pytest.warns(UserWarning, match="answers have no names"):
        model = load_model(path, device="cpu")
    assert model.labels[:2] == ("answer_0", "answer_1")
    assert model.preprocessing.segment_seconds == 10
    assert not model.preprocessing.standardise
    lines = ["index,class", *(f"{number},{name}" for number, name in enumerate(["none", *ANSWERS]))]
    (tmp_path / "answers.csv").write_text("\n".join(lines))
    assert load_model(path, device="cpu").labels == tuple(ANSWERS)


def test_without_a_vocabulary_one_is_asked_for(tmp_path):
    path = tiny_text_checkpoint(tmp_path / "qa.pt", {"labels": ANSWERS})
    with pytest.raises(DataError, match=r"does not hold its vocabulary.*tokenizer="):
        load_model(path, device="cpu").answer(ECG, QUESTION, sample_rate=500)
    (tmp_path / "vocab.txt").write_text("\n".join(VOCABULARY) + "\n")
    model = load_model(path, device="cpu", tokenizer=tmp_path)
    assert len(model.answer(ECG, QUESTION, sample_rate=500).answers) == 1


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"vocabulary": "is this"}, "not a list of texts"),
        ({"vocabulary": [*VOCABULARY[1:], "a"]}, r"lacks \[PAD\]"),
        ({"vocabulary": [*VOCABULARY, "a"]}, "the network knows"),
        ({"vocabulary": [*VOCABULARY[:-1], 3]}, "not a list of texts"),
        ({"vocabulary": ["a"] * 51}, "says 51 tokens of a vocabulary"),
        ({"lower_case": "yes"}, "lower_case"),
        ({"max_text_size": "long"}, "max_text_size"),
        ({"max_text_size": 4}, "no word beside"),
        ({"labels": ["yes"]}, "names 1"),
        ({"labels": ["yes"] * len(ANSWERS)}, "name one twice"),
    ],
)
def test_notes_of_a_stranger(tmp_path, monkeypatch, change, said):
    monkeypatch.setenv("FAIRSEQ_ECG_LIMITS", "vocabulary=50")
    notes = {"labels": ANSWERS, "vocabulary": VOCABULARY, "lower_case": True, **change}
    path = tiny_text_checkpoint(tmp_path / "qa.pt", notes)
    with pytest.raises((CheckpointError, DataError), match=rf"qa\.pt.*{said}"):
        load_model(path, device="cpu")


def test_fewer_positions_than_the_task_says(tmp_path):
    path = tiny_text_checkpoint(
        tmp_path / "qa.pt",
        {"vocabulary": VOCABULARY, "labels": ANSWERS, "max_text_size": 512},
        max_text_size=8,
    )
    with pytest.warns(UserWarning, match="than the 8"):
        load_model(path, device="cpu").answer(ECG, "is it " * 20, sample_rate=500)


RECORDED = {
    "elt_1": "elt_1",
    "elt_2": "elt_2",
    "elt_2_none": "elt_2",
    "elt_from_medvill": "elt_from_medvill",
    "deaf_padded": "deaf",
    "m3ae_qa_1": "m3ae_qa_1",
    "m3ae_qa_2": "m3ae_qa_2",
    "m3ae_qa_2_none": "m3ae_qa_2",
}


@pytest.mark.filterwarnings("ignore:(?s).*answers have no names")
@pytest.mark.parametrize("recording", RECORDED)
def test_networks_of_fairseq_signals(recording, shared, tmp_path):
    """Loaded without fetching anything, with the numbers that fairseq_signals recorded."""
    folder = shared / "golden" / "rest_text"
    recorded = np.load(folder / f"{recording}.npz")
    names = ("ecg", "text", "ecg_2")
    inputs = [*names, *(f"{name}_padding_mask" for name in names)]
    batch = {name: torch.tensor(recorded[name]) for name in inputs if name in recorded}
    model = load_model(folder / f"{RECORDED[recording]}.pt", device="cpu", tokenizer=folder)
    found = model.answer_probabilities(**batch)
    right = 1 / (1 + np.exp(-recorded["out"].astype(float)))
    np.testing.assert_allclose(found, right, rtol=0, atol=2e-6)
    asked = model.answer(ECG, ["Is it AF?", "Which lead?"], sample_rate=500)
    again = model.answer([ECG, ECG], "Which lead?", sample_rate=500, batch_size=1)
    np.testing.assert_allclose(asked.of_recordings[1], again.of_recordings[1], rtol=0, atol=1e-6)
    embedded = np.asarray(model.embed(ECG, sample_rate=500))
    assert embedded.shape == (1, model.embed_dim)
    assert np.isfinite(embedded).all()
    model.save_pretrained(tmp_path)
    saved = load_model(tmp_path, device="cpu").answer(ECG, "Which lead?", sample_rate=500)
    np.testing.assert_allclose(saved.of_recordings, again.of_recordings[:1], rtol=0, atol=1e-6)
    half = model.to(dtype=torch.bfloat16).answer(ECG, "Which lead?", sample_rate=500)
    np.testing.assert_allclose(half.of_recordings, saved.of_recordings, rtol=0, atol=0.03)


@pytest.mark.filterwarnings("ignore:(?s).*answers have no names")
def test_a_network_that_reads_no_ecg(shared):
    folder = shared / "golden" / "rest_text"
    model = load_model(folder / "blind.pt", device="cpu", tokenizer=folder)
    answers = model.answer([ECG, OTHER], "Which lead?", sample_rate=500).of_recordings
    np.testing.assert_array_equal(answers[0], answers[1])
    with pytest.raises(DataError, match="reads no ECGs"):
        model.embed(ECG, sample_rate=500)


def test_a_network_that_was_pretrained_only(shared):
    folder = shared / "golden" / "rest_text"
    model = load_model(folder / "m3ae_a.pt", device="cpu", tokenizer=folder)
    with pytest.raises(DataError, match="pre-trained only"):
        model.answer(ECG, QUESTION, sample_rate=500)
    assert np.asarray(model.embed(ECG, sample_rate=500)).shape == (1, model.embed_dim)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"bert_config": {"num_attention_heads": 0}}, "is no size of a BERT"),
        ({"bert_config": {"hidden_size": 10**9}}, "channels of a layer"),
        ({"num_labels": 10**12}, "channels of a layer"),
        ({"num_ecgs": 3}, "num_ecgs"),
        ({"num_top_layer": 10**6}, "layers"),
        ({"num_labels": 8}, "does not fit"),
    ],
)
def test_a_configuration_of_a_stranger(options, said, shared, tmp_path):
    path = shared / "golden" / "rest_text" / "m3ae_qa_1.pt"
    state = torch.load(path, map_location="cpu", weights_only=False)
    state["cfg"]["model"] |= options
    torch.save(state, tmp_path / "qa.pt")
    with pytest.raises((CheckpointError, DataError), match=rf"(?s)qa\.pt.*{said}"):
        load_model(tmp_path / "qa.pt", device="cpu")


@pytest.mark.filterwarnings("ignore:(?s).*answers have no names")
def test_no_other_file_is_opened_and_nothing_fetched(shared, tmp_path, monkeypatch):
    path = shared / "golden" / "rest_text" / "m3ae_qa_1.pt"
    state = torch.load(path, map_location="cpu", weights_only=False)
    other = {"bert": "someone/bert", "model_path": "other.pt", "pretrained_model_path": "other.pt"}
    state["cfg"]["model"] |= other
    state["cfg"]["task"]["tokenizer"] = "someone/bert"
    torch.save(state, tmp_path / "qa.pt")

    def refuse(*_, **__):
        raise AssertionError("a connection")

    monkeypatch.setattr("socket.socket.connect", refuse)
    model = load_model(tmp_path / "qa.pt", device="cpu")
    with pytest.raises(DataError, match="does not hold its vocabulary"):
        model.answer(ECG, QUESTION, sample_rate=500)
