"""Question answering from the files of ECG-QA to evaluated checkpoints, by documented commands."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch

from fairseq_ecg.compat.checkpoint import NOTES, load_checkpoint
from fairseq_ecg.data.label_file import read_label_names
from fairseq_ecg.data.text import Tokenizer
from fairseq_ecg.prepare.pack import pack
from tests.conftest import USER_DIR
from tests.ecg_qa import ECGQA, make_ecg_qa

TRANSFORMER = (
    "model.encoder_layers=1",
    "model.encoder_embed_dim=16",
    "+model.encoder_ffn_embed_dim=16",
    "+model.encoder_attention_heads=2",
)
CONVOLUTIONS = (
    "+model.conv_feature_layers='[(8, 4, 4)] * 3'",
    "+model.conv_pos=4",
    "+model.conv_pos_groups=2",
)
WORDS = ("+model.load_bert_embedding=false", "+model.vocab_size=300")
BERT = (
    "+model.bert_config={hidden_size:16,num_hidden_layers:1,num_attention_heads:2,"
    "intermediate_size:16,max_position_embeddings:64,type_vocab_size:2,vocab_size:300}"
)
M3AE = (
    *(BERT, "+model.vocab_size=300", "+model.hidden_dim=16", "+model.num_heads=2"),
    *("+model.num_top_layer=1", "+model.mim_layer=0", "+model.mim_decoder_hidden_dim=8"),
    *("+model.mim_decoder_num_layers=1", "+model.mim_decoder_num_heads=2"),
)
NEW = ("model.model_path=null", "model.no_pretrained_weights=true")
CONFIGS = {
    "ecg_transformer_qa": (*TRANSFORMER, *CONVOLUTIONS, *WORDS),
    "ecg_transformer_qa_small": (*TRANSFORMER, *CONVOLUTIONS, *WORDS),
    "blind_transformer_qa": (*TRANSFORMER, *WORDS),
    "deaf_transformer_qa": (*TRANSFORMER, *CONVOLUTIONS),
    "resnet_lstm_qa": (
        *("model.configuration=resnet18", "model.lstm_input_dim=8", "model.lstm_embed_dim=8"),
        *("model.lstm_num_layer=1", "+model.final_dim=8", *WORDS),
    ),
    "medvill_qa": (*TRANSFORMER, *CONVOLUTIONS, *WORDS, *NEW),
    "medvill_qa_small": (*TRANSFORMER, *CONVOLUTIONS, *WORDS, *NEW, "+model.num_ecgs=2"),
    "m3ae_qa": (*[f"+{option}" for option in TRANSFORMER[:2]], *TRANSFORMER[2:], *CONVOLUTIONS,
                *M3AE, *NEW),
}  # fmt: skip
"""What makes the networks small, by config."""

N_ANSWERS = 22


@pytest.fixture(scope="module")
def ecg_qa(tmp_path_factory) -> ECGQA:
    return make_ecg_qa(tmp_path_factory.mktemp("ecg_qa"))


@pytest.fixture(scope="module")
def questions(ecg_qa) -> Path:
    """Files of questions, and a store of them beside in ``store``."""
    folder = ecg_qa.questions.parent / "prepared"
    ecg_qa.prepare(folder)
    pack(folder, folder / "store")
    return folder


def command_of(config: str, ecg_qa: ECGQA, data: Path, folder: Path, *options: str) -> list[str]:
    return [
        USER_DIR,
        f"--config-name={config}",
        f"task.data={data}",
        f"+task.tokenizer={ecg_qa.vocabulary}",
        f"model.num_labels={N_ANSWERS}",
        *CONFIGS[config],
        "distributed_training.distributed_world_size=1",
        "++optimization.update_freq=[1]",
        "dataset.batch_size=16",
        "dataset.num_workers=0",
        "dataset.valid_subset=valid",
        f"checkpoint.save_dir={folder}",
        *options,
    ]


@pytest.fixture(scope="module", params=CONFIGS)
def run(request, ecg_qa, questions, hydra_train, tmp_path_factory) -> tuple[str, Path, str]:
    """Name of a config, the folder of two updates of its run, and what it said."""
    folder = tmp_path_factory.mktemp(request.param)
    command = command_of(request.param, ecg_qa, questions, folder, "++optimization.max_update=2")
    return request.param, folder, hydra_train(*command, cwd=folder).check().log


def test_two_updates_of_every_config(run, ecg_qa, questions):
    _, folder, log = run
    state = load_checkpoint(folder / "checkpoint_best.pt")
    assert state["optimizer_history"][-1]["num_updates"] == 2
    assert all(torch.isfinite(x).all() for x in state["model"].values())
    notes = state["task_state"][NOTES]
    assert notes["labels"] == read_label_names(questions / "label_def.csv")
    assert notes["vocabulary"] == Tokenizer.load(ecg_qa.vocabulary).vocabulary
    assert (notes["sample_rate"], notes["segment_seconds"]) == (500, 2.5)
    # What fairseq_signals does not know of is not in what it reads.
    assert "multi_class_multi_label" not in state["cfg"]["criterion"]
    assert "em_accuracy by attribute_id: " in log
    assert "sinus tachycardia" in log


def test_checkpoints_are_evaluated_by_the_published_config(run, questions, hydra_validate):
    _, folder, _ = run
    out = folder / "out"
    result = hydra_validate(
        USER_DIR,
        "--config-name=infer_question_answering",
        f"task.data={questions}",
        f"common_eval.path={folder / 'checkpoint_best.pt'}",
        "common_eval.extract=[output]",
        f"common_eval.results_path={out}",
        "dataset.num_workers=0",
        cwd=folder,
    ).check()
    measured = dict(re.findall(r" \| (\w+) ([-0-9.e]+|nan)", result.log))
    assert {"loss", "accuracy", "em_accuracy", "auroc", "auprc"} < measured.keys()
    n_questions = len((questions / "test.tsv").read_text().splitlines()) - 1
    outputs, targets = (
        np.fromfile(out / f"{name}_test.npy", np.float32).reshape(n_questions, N_ANSWERS)
        for name in ("outputs", "targets")
    )
    # Rows are in the order of the manifest.
    assert [row.sum() > 0 for row in targets] == [bool(a.any()) for a in answers(questions)]
    assert (targets == np.concatenate(answers(questions))).all()
    right = []
    for row, valid in enumerate(valid_classes(questions)):
        given = outputs[row, valid] > 0
        right.append((given == (targets[row, valid] == 1)).all())
    assert float(measured["em_accuracy"]) == pytest.approx(np.mean(right), abs=1e-5)


def variables(questions: Path, name: str) -> list[np.ndarray]:
    import scipy.io

    rows = (questions / "test.tsv").read_text().splitlines()[1:]
    names = [row.split("\t")[0] for row in rows]
    return [scipy.io.loadmat(questions / "test" / file)[name] for file in names]


def answers(questions: Path) -> list[np.ndarray]:
    return variables(questions, "answer")


def valid_classes(questions: Path) -> list[np.ndarray]:
    return [value.ravel() for value in variables(questions, "valid_classes")]


@pytest.mark.parametrize("run", ["ecg_transformer_qa"], indirect=True)
class TestInference:
    def test_answers_are_not_read(self, run, questions, hydra_inference, tmp_path):
        _, folder, _ = run
        hydra_inference(
            f"task.data={questions / 'store'}",
            f"common_eval.path={folder / 'checkpoint_best.pt'}",
            "dataset.batch_size=7",
            "dataset.valid_subset=test",
            f"common_eval.results_path={tmp_path}",
            cwd=tmp_path,
        ).check()
        assert [path.name for path in tmp_path.glob("*.npy")] == ["outputs_test.npy"]

    def test_frames_are_not_extracted(self, run, questions, hydra_inference, tmp_path):
        _, folder, _ = run
        result = hydra_inference(
            f"task.data={questions}",
            f"common_eval.path={folder / 'checkpoint_best.pt'}",
            "dataset.batch_size=7",
            "common_eval.extract=[encoder_out]",
            f"common_eval.results_path={tmp_path}",
            cwd=tmp_path,
        )
        assert result.status != 0
        assert "answers to questions are extracted alone" in result.log
