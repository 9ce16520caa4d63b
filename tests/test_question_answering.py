"""Question answering from the files of ECG-QA to evaluated checkpoints, by documented commands."""

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import scipy.io
import torch

from fairseq_ecg.cli import main
from fairseq_ecg.compat.checkpoint import NOTES, load_checkpoint
from fairseq_ecg.data.label_file import read_label_names
from fairseq_ecg.data.text import Tokenizer
from fairseq_ecg.modules.text import build_text_network
from fairseq_ecg.prepare.pack import pack
from tests.conftest import ROOT, TINY_CMSC_MODEL, USER_DIR
from tests.ecg_qa import ECGQA, make_ecg_qa
from tests.simulated_questions import ANSWERS, write_simulated_questions
from tests.test_training import assert_same_weights, weights
from tests.tiny_checkpoints import made

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
TUNED = "model.model_path={pretrained}"
M3AE_SIZES = {
    "bert_config": {
        **{"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2},
        **{"intermediate_size": 16, "max_position_embeddings": 64, "vocab_size": 300},
    },
    **{"hidden_dim": 16, "num_heads": 2, "num_top_layer": 1, "mim_layer": 0},
    **{"mim_decoder_hidden_dim": 8, "mim_decoder_num_layers": 1, "mim_decoder_num_heads": 2},
    "max_text_size": 64,
}
CONFIGS = {
    "ecg_transformer_qa": (*TRANSFORMER, *CONVOLUTIONS, *WORDS),
    "ecg_transformer_qa_small": (*TRANSFORMER, *CONVOLUTIONS, *WORDS),
    "blind_transformer_qa": (*TRANSFORMER, *WORDS),
    "deaf_transformer_qa": (*TRANSFORMER, *CONVOLUTIONS),
    "resnet_lstm_qa": (
        *("model.configuration=resnet18", "model.lstm_input_dim=8", "model.lstm_embed_dim=8"),
        *("model.lstm_num_layer=1", "+model.final_dim=8", *WORDS),
    ),
    "medvill_qa": (*TRANSFORMER, *CONVOLUTIONS, *WORDS, TUNED),
    "medvill_qa_small": (*TRANSFORMER, *CONVOLUTIONS, *WORDS, TUNED, "+model.num_ecgs=2"),
    "m3ae_qa": (*[f"+{option}" for option in TRANSFORMER[:2]], *TRANSFORMER[2:], *CONVOLUTIONS,
                *M3AE, TUNED),
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


PRETRAINED = {
    "_name": "",
    **TINY_CMSC_MODEL,
    "encoder_layers": 1,
    "conv_feature_layers": "[(8, 4, 4)] * 3",
    "apply_mask": False,
    "vocab_size": 300,
}


def pretrained(name: str, path: Path) -> Path:
    """Write a checkpoint of a network on ECGs and reports."""
    tokens = {"pad_token": 0, "sep_token": 102}
    words = {"load_bert_embedding": False, "max_text_size": 64, **tokens}
    own = {"medvill": words, "m3ae": M3AE_SIZES}
    cfg = PRETRAINED | own[name] | {"_name": name}
    state = made(TINY_CMSC_MODEL)
    task = {"_name": "ecg_text_pretraining", "data": "d", "max_text_size": 64, **tokens}
    state["cfg"] |= {"model": cfg, "task": task, "criterion": {"_name": name}}
    state["model"] = dict(build_text_network(cfg).state_dict())
    torch.save(state, path)
    return path


def command_of(config: str, ecg_qa: ECGQA, data: Path, folder: Path, *options: str) -> list[str]:
    return [
        USER_DIR,
        f"--config-name={config}",
        f"task.data={data}",
        f"+task.tokenizer={ecg_qa.vocabulary}",
        f"model.num_labels={N_ANSWERS}",
        *(
            option.replace("{pretrained}", str(tuned_of(config, folder)))
            for option in CONFIGS[config]
        ),
        "distributed_training.distributed_world_size=1",
        "++optimization.update_freq=[1]",
        "dataset.batch_size=16",
        "dataset.num_workers=0",
        "dataset.valid_subset=valid",
        f"checkpoint.save_dir={folder}",
        *options,
    ]


def tuned_of(config: str, folder: Path) -> Path | None:
    """Write the checkpoint that a config tunes, if it does."""
    names = {"m3ae_qa": "m3ae", "medvill_qa": "medvill", "medvill_qa_small": "medvill"}
    return pretrained(names[config], folder / "pretrained.pt") if config in names else None


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


@pytest.mark.parametrize("run", ["m3ae_qa"], indirect=True)
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


def options_of(readme: str, number: int) -> list[str]:
    """Arguments of a command in a README."""
    text = (ROOT / readme).read_text(encoding="utf-8")
    block = re.findall(r"^```bash\n(.*?)^```$", text, re.S | re.M)[number]
    return shlex.split(block.replace("\\\n", " "))


SCRATCH = "examples/scratch/ecg_question_answering/README.md"


def test_documented_commands(ecg_qa, hydra_train, hydra_validate, tmp_path):
    """From the files of ECG-QA to an evaluated network."""
    shown = {
        "$ROOT": ROOT,
        "/path/to/ecg-qa/ecgqa/ptbxl": ecg_qa.questions,
        "/path/to/ptb-xl": ecg_qa.ptb_xl,
        "/path/to/questions": tmp_path / "questions",
        "/path/to/store": tmp_path / "store",
        "/path/to/checkpoints": tmp_path / "checkpoints",
        "model.num_labels=103": f"model.num_labels={N_ANSWERS}",
    }

    def arguments(number: int) -> list[str]:
        words = options_of(SCRATCH, number)[1:]
        for name, path in shown.items():
            words = [word.replace(name, str(path)) for word in words]
        assert not any("/path/to" in word for word in words)
        return words

    assert main([*arguments(0), "--tokenizer", str(ecg_qa.vocabulary)]) == 0
    assert main(arguments(1)) == 0
    small = CONFIGS["ecg_transformer_qa"]
    words = [
        f"+task.tokenizer={ecg_qa.vocabulary}",
        "distributed_training.distributed_world_size=1",
    ]
    command = ["--config-name=ecg_transformer_qa", *arguments(2)[2:], *small, *words]
    few = ["optimization.max_update=2", "optimization.update_freq=[1]", "dataset.num_workers=0"]
    hydra_train(*command, *few, "dataset.valid_subset=valid", cwd=tmp_path).check()
    evaluation = ["--config-name=infer_question_answering", *arguments(3)[2:]]
    log = hydra_validate(*evaluation, "dataset.num_workers=0", cwd=tmp_path).check().log
    assert "em_accuracy by question_type1: single " in log


@pytest.mark.parametrize("name", ["m3ae", "medvill"])
def test_documented_fine_tuning(name, run_of):
    """As it is shown, the command is that of the test of the config."""
    config = f"{name}_qa"
    words = options_of(f"examples/{name}/config/finetuning/README.md", 0)
    assert words[:3] == ["fairseq-hydra-train", "--config-name", config]
    shown = {word.partition("=")[0] for word in words[3:]}
    given = {word.partition("=")[0] for word in run_of(config)}
    assert shown <= given


@pytest.fixture
def run_of(ecg_qa, questions, tmp_path):
    return lambda config: command_of(config, ecg_qa, questions, tmp_path)


def test_killed_and_resumed_from_a_store_with_workers(ecg_qa, questions, hydra_train, tmp_path):
    folders = [tmp_path / "whole", tmp_path / "killed"]
    for folder in folders:
        folder.mkdir()
    shared = ("optimization.max_update=4", "checkpoint.save_interval_updates=1")
    shared += ("dataset.disable_validation=true", "+task.max_sample_size=600")
    config = "ecg_transformer_qa"
    whole = command_of(config, ecg_qa, questions, folders[0], *shared)
    killed = command_of(config, ecg_qa, questions / "store", folders[1], *shared)
    killed = ["dataset.num_workers=2" if "num_workers" in one else one for one in killed]
    hydra_train(*whole, cwd=tmp_path).check()
    assert hydra_train(*killed, cwd=tmp_path, kill=("update", 3)).status == -9
    assert "Loaded checkpoint" in hydra_train(*killed, cwd=tmp_path).check().log
    assert_same_weights(*folders)


def test_two_processes_train_as_one(ecg_qa, questions, hydra_train, tmp_path):
    for processes in (1, 2):
        folder = tmp_path / str(processes)
        folder.mkdir()
        options = ("optimization.max_update=3", "dataset.disable_validation=true")
        options += (f"++optimization.update_freq=[{2 // processes}]",)
        options += (f"distributed_training.distributed_world_size={processes}",)
        options += ("model.activation_dropout=0", "dataset.batch_size=8")
        command = command_of("deaf_transformer_qa", ecg_qa, questions, folder, *options)
        hydra_train(*command, cwd=folder, processes=processes).check()
    one, two = weights(tmp_path / "1"), weights(tmp_path / "2")
    for key, value in one.items():
        torch.testing.assert_close(two[key], value, rtol=1e-4, atol=1e-6, msg=key)


def test_bf16_trains(ecg_qa, questions, hydra_train, tmp_path):
    options = ("common.bf16=true", "optimization.max_update=2", "dataset.disable_validation=true")
    command = command_of("ecg_transformer_qa", ecg_qa, questions, tmp_path, *options)
    hydra_train(*command, cwd=tmp_path).check()
    assert all(value.isfinite().all() for value in weights(tmp_path).values())


def test_answers_of_another_number_are_said(ecg_qa, questions, hydra_train, tmp_path):
    command = command_of("blind_transformer_qa", ecg_qa, questions, tmp_path)
    run = hydra_train(*command, "model.num_labels=108", cwd=tmp_path)
    assert run.status != 0
    assert f"names {N_ANSWERS} answers, but model.num_labels=108" in run.log


def test_what_signals_show_is_answered(hydra_train, tmp_path):
    """Of ECGs that were not trained on; half of the questions of each kind have either answer."""
    write_simulated_questions(tmp_path, {"train": 96, "valid": 32})
    pack(tmp_path, tmp_path / "store")
    run = hydra_train(
        USER_DIR,
        "--config-name=ecg_transformer_qa",
        f"task.data={tmp_path / 'store'}",
        f"+task.tokenizer={tmp_path / 'vocab.txt'}",
        f"model.num_labels={len(ANSWERS)}",
        "model.encoder_layers=2",
        "model.encoder_embed_dim=32",
        "+model.encoder_ffn_embed_dim=64",
        "+model.encoder_attention_heads=4",
        "+model.conv_feature_layers='[(16, 8, 4), (32, 4, 2), (32, 2, 2)]'",
        *CONVOLUTIONS[1:],
        *WORDS,
        "distributed_training.distributed_world_size=1",
        "dataset.batch_size=32",
        "dataset.num_workers=0",
        "dataset.valid_subset=valid",
        "dataset.validate_interval=27",
        "checkpoint.save_interval=27",
        "optimization.update_freq=[1]",
        "optimization.max_update=240",
        "optimization.lr=[3e-3]",
        f"checkpoint.save_dir={tmp_path}",
        cwd=tmp_path,
    ).check()
    named = re.findall(
        r"valid, em_accuracy by question_type1: single ([\d.]+); .* ([\d.]+)", run.log
    )
    assert min(map(float, named[-1])) > 0.8
