"""Pre-training on ECGs and reports by the documented commands, on made recordings."""

import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import torch

from fairseq_ecg.data.text import Tokenizer
from fairseq_ecg.prepare.pack import pack
from tests.conftest import ROOT, TINY_CMSC_MODEL
from tests.ecg_texts import write_corpus
from tests.tiny_checkpoints import made

SIZES = (
    "model.encoder_layers=1",
    "model.encoder_embed_dim=16",
    "+model.encoder_ffn_embed_dim=16",
    "+model.encoder_attention_heads=2",
    "+model.conv_feature_layers='[(8, 2, 2)] * 4'",
    "+model.conv_pos=4",
    "+model.conv_pos_groups=2",
)
BERT = (
    "hidden_size:16,num_hidden_layers:1,num_attention_heads:2,intermediate_size:16,"
    "max_position_embeddings:64,type_vocab_size:2,vocab_size:{vocab_size}"
)
CONFIGS = {
    "m3ae": (
        f"+model.bert_config={{{BERT}}}",
        "+model.vocab_size={vocab_size}",
        "+model.hidden_dim=16",
        "+model.num_heads=2",
        "+model.num_top_layer=1",
        "+model.mim_layer=0",
        "+model.mim_decoder_hidden_dim=8",
        "+model.mim_decoder_num_layers=1",
        "+model.mim_decoder_num_heads=2",
    ),
    "medvill": ("+model.load_bert_embedding=false", "+model.vocab_size={vocab_size}"),
}
"""What makes the networks small, by config."""

MEASURES = {
    "m3ae": {"loss", "loss_0", "loss_1", "loss_2", "mlm_accuracy", "itm_accuracy"},
    "medvill": {"loss", "loss_0", "loss_1", "mlm_accuracy", "align_accuracy"},
}
N_UPDATES = 5


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """Manifests and a store of ECGs and reports, and a checkpoint of an ECG encoder."""
    folder = tmp_path_factory.mktemp("reports")
    short = dict.fromkeys((2, 3, 7), "sinus rhythm")
    long = " ".join(["sinus rhythm"] * 8)
    texts = dict.fromkeys(range(20), long) | short
    texts = {number: text + ". low qrs" * (number % 4) for number, text in texts.items()}
    write_corpus(folder, {"train": 12, "valid": 8}, n_samples=400, texts=texts | short)
    pack(folder, folder / "store")
    torch.save(made(TINY_CMSC_MODEL), folder / "encoder.pt")
    return folder


def documented(config: str) -> list[str]:
    """Arguments of the command that the README of a method trains by."""
    readme = (ROOT / "examples" / config / "README.md").read_text()
    (block,) = re.findall(r"^```bash\n(.*?)^```$", readme, re.S | re.M)
    program, *arguments = shlex.split(block.replace("\\\n", " "))
    assert program == "fairseq-hydra-train"
    return arguments


def command(config: str, data: Path, folder: Path, *options: str, store: str = "") -> list[str]:
    """The documented command, of a small network and few updates; checkpoints go into a folder."""
    places = {
        "$ROOT": ROOT,
        "/path/to/manifests": data / store,
        "/path/to/w2v_cmsc/checkpoint_last.pt": data / "encoder.pt",
        "/path/to/checkpoints": folder,
    }
    arguments = documented(config)
    for shown, path in places.items():
        arguments = [argument.replace(shown, str(path)) for argument in arguments]
    assert not any("/path/" in argument for argument in arguments)
    assert arguments[:2] == ["--config-name", config]
    vocab_size = str(len(Tokenizer.load(data / "vocab.txt")))
    return [
        f"--config-name={config}",
        *arguments[2:],
        *SIZES,
        *(option.replace("{vocab_size}", vocab_size) for option in CONFIGS[config]),
        f"{'' if config == 'm3ae' else '+'}task.tokenizer={data / 'vocab.txt'}",
        "+task.max_text_size=64",
        "dataset.batch_size=2",
        "dataset.required_batch_size_multiple=1",
        "dataset.num_workers=0",
        "dataset.valid_subset=valid",
        "dataset.disable_validation=false",
        "distributed_training.distributed_world_size=1",
        "++optimization.max_epoch=0",
        f"++optimization.max_update={N_UPDATES}",
        "optimization.update_freq=[1]",
        "optimization.lr=[1e-2]",
        *options,
    ]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return torch.load(folder / "checkpoint_last.pt", weights_only=True)["model"]


def measured(log: str) -> dict[str, float]:
    """Metrics of the last validation, as printed."""
    lines = [line for line in log.splitlines() if "[valid][INFO] - {" in line]
    values = json.loads(lines[-1].partition(" - ")[2])
    ours = {key.removeprefix("valid_"): value for key, value in values.items()}
    return {key: float(value) for key, value in ours.items() if key not in ("wall", "epoch")}


@pytest.fixture(scope="module", params=CONFIGS)
def trained(request, data, hydra_train, tmp_path_factory):
    """Name of a config, the folder of its run, and what was measured."""
    folder = tmp_path_factory.mktemp(request.param)
    run = hydra_train(*command(request.param, data, folder), cwd=folder).check()
    return request.param, folder, measured(run.log)


def test_documented_commands_train(trained):
    config, folder, measures = trained
    assert measures.keys() >= MEASURES[config]
    assert np.isfinite([measures[key] for key in MEASURES[config]]).all()
    state = torch.load(folder / "checkpoint_last.pt", weights_only=True)
    assert state["optimizer_history"][-1]["num_updates"] == N_UPDATES
    notes = state["task_state"]["fairseq_ecg"]
    assert (notes["lower_case"], notes["max_text_size"]) == (True, 64)
    assert notes["vocabulary"][102] == "[SEP]"


def test_killed_and_resumed_with_workers_from_a_store(trained, data, hydra_train, tmp_path):
    config, folder, measures = trained
    arguments = command(
        config,
        data,
        tmp_path,
        "++checkpoint.save_interval_updates=1",
        "dataset.num_workers=2",
        store="store",
    )
    assert hydra_train(*arguments, cwd=tmp_path, kill=("update", 3)).status == -9
    resumed = hydra_train(*arguments, cwd=tmp_path).check()
    assert "Loaded checkpoint" in resumed.log
    assert measured(resumed.log) == pytest.approx(measures)
    for key, value in weights(folder).items():
        assert torch.equal(weights(tmp_path)[key], value), key


@pytest.mark.parametrize("config", CONFIGS)
def test_two_processes_train_as_one_though_batches_are_empty(config, data, hydra_train, tmp_path):
    for processes in (1, 2):
        folder = tmp_path / str(processes)
        folder.mkdir()
        arguments = command(
            config,
            data,
            folder,
            f"distributed_training.distributed_world_size={processes}",
            f"optimization.update_freq=[{4 // processes}]",
            # Recordings 2 and 3 are a batch, of which nothing is left.
            "dataset.batch_size=1",
            f"{'+' if config == 'm3ae' else ''}task.medvill=true",
            "optimization.max_update=4",
            "model.dropout_input=0",
            "+model.dropout=0",
            "+model.attention_dropout=0",
            *(["+model.drop_rate=0"] if config == "m3ae" else []),
        )
        hydra_train(*arguments, cwd=folder, processes=processes).check()
    one, two = weights(tmp_path / "1"), weights(tmp_path / "2")
    for key, value in one.items():
        torch.testing.assert_close(two[key], value, rtol=1e-4, atol=1e-6, msg=key)


def test_bf16_trains(data, hydra_train, tmp_path):
    options = ("common.bf16=true", "++optimization.max_update=2")
    run = hydra_train(*command("medvill", data, tmp_path, *options), cwd=tmp_path).check()
    assert np.isfinite(measured(run.log)["loss"])
    assert all(value.isfinite().all() for value in weights(tmp_path).values())


def test_the_vocabulary_of_a_checkpoint_is_enough(trained, data, hydra_validate, tmp_path):
    config, folder, measures = trained
    run = hydra_validate(
        f"task.data={data}",
        f"common_eval.path={folder / 'checkpoint_last.pt'}",
        "dataset.valid_subset=valid",
        "dataset.batch_size=2",
        "dataset.required_batch_size_multiple=1",
        "common.log_format=json",
        cwd=tmp_path,
    ).check()
    found = json.loads(re.findall(r"(\{.*\})", run.log)[-1])
    assert found.keys() >= {f"valid_{name}" for name in MEASURES[config]}
    # Other records are together in batches, and exchange their texts.
    assert float(found["valid_loss"]) == pytest.approx(measures["loss"], rel=0.3)
