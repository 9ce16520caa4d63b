"""Batches of ECGs and texts: as fairseq_signals' collator made them, and corrected."""

import json
import logging
import pickle
import random

import numpy as np
import pytest
import torch
from scipy.io import savemat

from fairseq_ecg.data import DataError, ECGDataset
from fairseq_ecg.data.targets.text import Generators, TextTarget, TokenTarget
from fairseq_ecg.data.text import Tokenizer
from fairseq_ecg.data.text.alignment import draw_pairs
from fairseq_ecg.data.text.word_masks import IGNORED, WordMasking
from fairseq_ecg.prepare.pack import pack
from tests.ecg_texts import write_corpus, write_vocabulary


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    return Tokenizer.load(write_vocabulary(tmp_path_factory.mktemp("vocabulary") / "vocab.txt"))


@pytest.fixture
def dataset(tmp_path):
    """A data set of texts and diagnoses, None where there are none, with the target given."""

    def make(texts, diagnoses, target, lengths=None, **options) -> ECGDataset:
        lines = [str(tmp_path)]
        for number, (text, codes) in enumerate(zip(texts, diagnoses, strict=True)):
            n_samples = 8 if lengths is None else lengths[number]
            mat = {"feats": np.full((12, n_samples), number), "curr_sample_rate": 500}
            optional = {"text": text, "diagnoses": codes}
            given = {key: value for key, value in optional.items() if value is not None}
            savemat(tmp_path / f"{number}.mat", mat | given)
            lines.append(f"{number}.mat\t{n_samples}")
        (tmp_path / "train.tsv").write_text("\n".join(lines) + "\n")
        return ECGDataset(tmp_path / "train.tsv", target=target, **options)

    return make


def collated(dataset: ECGDataset) -> dict:
    return dataset.collate(dataset.__getitems__(range(len(dataset))))


CASES = (
    *("plain", "truncated", "medvill_drops_short", "negatives_8", "negatives_8_b", "negatives_5"),
    *("negatives_same_diagnosis", "negatives_retry_finds", "mlm", "mlm_with_negatives"),
    *("medvill_drops_short_with_negatives", "mlm_and_medvill", "one_text", "empty_text"),
)


@pytest.mark.parametrize("case", CASES)
def test_batches_of_fairseq_signals(shared, dataset, case):
    folder = shared / "golden" / "rest_text"
    recorded = json.loads((folder / "collation.json").read_text())
    assert set(recorded) == set(CASES)
    given, expected = recorded[case]["input"], recorded[case]["output"]
    seeds = (given[f"{name}_seed"] for name in ("numpy", "python", "torch"))
    target = TextTarget(
        Tokenizer.load(folder / "vocab.txt"),
        negatives=True,
        form="fairseq_signals",
        generators=Generators.seeded(*seeds),
        **{key: given[key] for key in ("max_text_size", "medvill", "mlm_prob")},
    )
    texts = given["texts"]
    diagnoses = given["diagnoses"] or [None] * len(texts)
    one = dataset(texts, diagnoses, target, given["ecg_lengths"], enable_padding=True)
    batch = collated(one)
    net_input = batch["net_input"]
    kept = batch["id"].tolist()
    assert [given["ids"][index] for index in kept] == expected["id"]
    assert list(net_input["ecg"].shape) == expected["ecg_shape"]
    padding = net_input["ecg_padding_mask"][:, 0].sum(dim=1).tolist()
    assert padding == expected["ecg_padding_frames"]
    assert net_input["ecg"][:, 0, 0].tolist() == kept
    for key in ("text", "text_padding_mask", "text_attention_mask", "is_aligned", "mlm_labels"):
        found = net_input.get(key, batch.get(key))
        wanted = expected.get(key)
        if case == "mlm_and_medvill" and key in ("text", "mlm_labels"):
            # There texts that were left out came back, more of them than ECGs.
            wanted = [wanted[row] for row in kept]
        assert (None if found is None else found.tolist()) == wanted


def labelled(n_rows: int) -> tuple[list[str], list[list[str]]]:
    """Texts that all differ, and diagnoses of which few do."""
    texts = [" ".join(["low"] * (1 + row)) for row in range(n_rows)]
    return texts, [[f"D{row % 3}"] for row in range(n_rows)]


@pytest.mark.parametrize("mlm_prob", [None, 0.3])
@pytest.mark.parametrize("has_diagnoses", [True, False])
def test_a_row_that_is_not_aligned_has_the_text_mask_and_labels_of_another(
    tokenizer, dataset, mlm_prob, has_diagnoses
):
    texts, codes = labelled(12)
    codes = codes if has_diagnoses else [None] * 12
    batches = {}
    for negatives in (True, False):
        target = TextTarget(tokenizer, negatives=negatives, mlm_prob=mlm_prob)
        batches[negatives] = collated(dataset(texts, codes, target, seed=5))
    own, batch = batches[False], batches[True]
    lengths = (~batch["net_input"]["text_padding_mask"]).sum(dim=1)
    whose = (lengths - 3).tolist()  # text i has i + 1 words and two tokens more
    is_aligned = batch["is_aligned"]
    assert is_aligned.dtype == torch.float32
    assert 4 <= (is_aligned == 0).sum() <= 8
    assert sorted(whose) == list(range(12))
    for row, other in enumerate(whose):
        assert (row == other) == bool(is_aligned[row])
        assert whose[other] == row
        if row != other and has_diagnoses:
            assert codes[row] != codes[other]
        for key in ("text", "text_padding_mask", "text_attention_mask"):
            assert torch.equal(batch["net_input"][key][row], own["net_input"][key][other])
        if mlm_prob:
            assert torch.equal(batch["mlm_labels"][row], own["mlm_labels"][other])


def test_equal_texts_and_diagnoses_in_another_order_are_not_exchanged(tokenizer, dataset):
    target = TextTarget(tokenizer, negatives=True)
    unknown = collated(dataset(labelled(8)[0], [[]] * 8, target))
    same_text = collated(dataset(["low qrs"] * 8, labelled(8)[1], target))
    reordered = [["A", "B"], ["B", "A"]] * 4
    same_codes = collated(dataset(labelled(8)[0], reordered, target))
    assert not unknown["is_aligned"].all()  # of no diagnoses the text is the diagnosis
    assert same_text["is_aligned"].all()
    assert same_codes["is_aligned"].all()


def test_pairs_exclude_each_other():
    for seed in range(50):
        rng = np.random.RandomState(seed)
        codes = rng.randint(0, 2 + seed % 3, size=1 + seed % 14).tolist()
        pairs = draw_pairs(len(codes), lambda a, b: codes[a] != codes[b], rng)  # noqa: B023
        rows = [row for pair in pairs for row in pair]
        assert len(rows) == len(set(rows))
        assert all(codes[a] != codes[b] for a, b in pairs)


@pytest.mark.parametrize(("n_rows", "n_pairs"), [(1, {0}), (3, {0, 1}), (8, {2}), (64, {16})])
def test_about_half_of_all_rows_are_exchanged(n_rows, n_pairs):
    rngs = map(np.random.RandomState, range(30))
    assert {len(draw_pairs(n_rows, lambda a, b: True, rng)) for rng in rngs} == n_pairs


def masked(tokenizer, text, probability, n=300, **_):
    tokens = tokenizer([text])
    masking = WordMasking(tokenizer, probability)
    states = [[np.random.RandomState(seed)] for seed in range(n)]
    return tokens, [masking.of_texts(tokens.ids, tokens.padding_mask, state) for state in states]


def test_words_are_masked_whole(tokenizer):
    text = "sinus tachycardia . sinus bradycardia . low qrs voltages in the limb leads"
    tokens, made = masked(tokenizer, text, 0.25)
    starts = [tokenizer.vocabulary[i].startswith("##") for i in tokens.ids[0].tolist()]
    pieces = [position for position, is_piece in enumerate(starts) if is_piece]
    assert len(pieces) == 2
    kinds = {"mask": 0, "same": 0, "other": 0}
    for ids, labels in made:
        chosen = labels[0] != IGNORED
        assert chosen.sum() == round(0.25 * tokens.ids.shape[1])
        assert not chosen[[0, -1]].any()
        for position in pieces:
            assert chosen[position] == chosen[position - 1]
        assert torch.equal(labels[0][chosen], tokens.ids[0][chosen])
        assert torch.equal(ids[0][~chosen], tokens.ids[0][~chosen])
        is_mask = ids[0][chosen] == tokenizer.id_of("[MASK]")
        is_same = ids[0][chosen] == tokens.ids[0][chosen]
        kinds["mask"] += int(is_mask.sum())
        kinds["same"] += int(is_same.sum())
        kinds["other"] += int((~is_mask & ~is_same).sum())
    total = sum(kinds.values())
    assert kinds["mask"] / total == pytest.approx(0.8, abs=0.03)
    assert kinds["same"] / total == pytest.approx(0.1, abs=0.03)


def test_unknown_words_are_not_to_be_predicted(tokenizer):
    _, made = masked(tokenizer, "unheard words alone", 0.5, n=5)
    for ids, labels in made:
        assert (labels == IGNORED).all()
        assert tokenizer.id_of("[MASK]") not in ids


def test_paddings_take_part_in_the_choice_of_fairseq_signals(tokenizer):
    tokens = tokenizer(["low", " ".join(["low"] * 40)])
    masking = WordMasking(tokenizer, 0.15)
    counts = []
    for seed in range(40):
        rng = torch.Generator().manual_seed(seed)
        _, labels = masking.of_batch(tokens.ids, random.Random(seed), rng)
        counts.append((labels != IGNORED).sum(dim=1))
    short, long = torch.stack(counts).float().mean(dim=0)
    assert short < 0.5
    assert long == pytest.approx(6, abs=0.5)


def test_empty_texts_are_left_out_and_counted(tokenizer, dataset, caplog):
    caplog.set_level(logging.WARNING)
    texts = ["low qrs", "", "   ", "inverted t waves"]
    one = dataset(texts, [None] * 4, TextTarget(tokenizer))
    assert collated(one)["id"].tolist() == [0, 3]
    collated(one)
    (warning,) = caplog.messages
    assert "2 of 4 texts" in warning
    assert "1.mat first: they have no more than 2 tokens, and are left out" in warning
    with caplog.at_level(logging.INFO):
        one.set_epoch(2)
        one.set_epoch(2)
    assert caplog.messages[1:] == [
        "4 of 8 texts of the last epoch: they have no more than 2 tokens, and are left out"
    ]
    assert one.collate(one.__getitems__([1, 2])) == {}
    assert one.collate([one[1]]) == {}


def test_a_store_knows_empty_texts_too(tokenizer, dataset, tmp_path):
    dataset(["low qrs", ""], [None, ["A"]], None)
    pack(tmp_path, tmp_path / "store")
    one = ECGDataset(tmp_path / "store" / "train", target=TokenTarget(tokenizer))
    assert [item["text"] for item in (one[0], one[1])] == ["low qrs", ""]
    assert collated(one)["net_input"]["text_padding_mask"].tolist() == [[0] * 4, [0, 0, 1, 1]]
    other = ECGDataset(tmp_path / "store" / "train", target=TextTarget(tokenizer))
    assert "diagnoses" not in other[0]
    assert other[1]["diagnoses"] == ["A"]


@pytest.mark.parametrize("in_store", [False, True])
def test_files_without_a_text_are_named(tokenizer, dataset, tmp_path, in_store):
    path = tmp_path / "train.tsv"
    dataset([None, None], [["A"], ["B"]], None)
    if in_store:
        pack(tmp_path, tmp_path / "store")
        path = tmp_path / "store" / "train"
    one = ECGDataset(path, target=TextTarget(tokenizer))
    with pytest.raises(DataError, match=r"0\.mat \(.*\): has no text where one is needed, in 'tex"):
        collated(one)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (["one", "other"], "holds 2 texts where one is needed"),
        (np.arange(3), "'text' must be text, found int64"),
    ],
)
def test_what_is_no_text_is_refused(tokenizer, dataset, text, message):
    one = dataset([text], [None], TextTarget(tokenizer))
    with pytest.raises(DataError, match=message):
        collated(one)


def test_diagnoses_may_be_cells(tokenizer, dataset):
    cells = np.empty(2, object)
    cells[:] = ["AFIB", "1AVB"]
    one = dataset(["low", "low"], [cells, ["AFIB", "X"]], TextTarget(tokenizer))
    assert [one[i]["diagnoses"] for i in range(2)] == [["AFIB", "1AVB"], ["AFIB", "X"]]


def test_items_are_those_of_fairseq_signals(tokenizer, dataset):
    one = dataset(["low qrs"], [["A   ", "BBBB"]], TextTarget(tokenizer))
    item = one[0]
    assert item.keys() == {"id", "sample_rate", "ecg", "text", "diagnoses"}
    assert item["ecg"].shape == (12, 8)
    assert (item["text"], item["diagnoses"]) == ("low qrs", ["A", "BBBB"])


def test_a_target_is_pickled_with_its_counts(tokenizer, tmp_path):
    write_corpus(tmp_path, {"train": 4})
    one = ECGDataset(tmp_path / "train.tsv", target=TextTarget(tokenizer, negatives=True))
    twin = pickle.loads(pickle.dumps(one))
    assert torch.equal(collated(twin)["net_input"]["text"], collated(one)["net_input"]["text"])
