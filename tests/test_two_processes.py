"""Fine-tuning and pre-training of what does not train whole, by one process and by two."""

import re

import numpy as np
import pytest
import torch

from tests.conftest import TINY_CMSC_MODEL, USER_DIR
from tests.segment_files import write_segment_files
from tests.tiny_checkpoints import made


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    write_segment_files(folder, {"train": [2] * 4}, lambda segment: 400)
    np.save(folder / "y.npy", np.random.default_rng(0).integers(0, 2, (4, 3)))
    torch.save(made(TINY_CMSC_MODEL), folder / "pretrained.pt")
    return folder


def diagnosis(data, *options):
    return [
        "--config-name=diagnosis",
        f"task.data={data}",
        f"+task.label_file={data / 'y.npy'}",
        f"model.model_path={data / 'pretrained.pt'}",
        "model.num_labels=3",
        "optimization.lr=[1e-2]",
        *options,
    ]


ENCODER_KEYS = ("encoder_layers", "encoder_ffn_embed_dim", "encoder_attention_heads")
ENCODER_KEYS += ("conv_pos", "conv_pos_groups")
DROPOUTS = ("dropout", "attention_dropout", "activation_dropout")
DROPOUTS += ("dropout_input", "dropout_features", "encoder_layerdrop")


def pretraining(data, *options):
    keys = (*ENCODER_KEYS, "mask_length")
    return [
        "--config-name=w2v_cmsc_rlm",
        f"task.data={data / 'cmsc'}",
        "model.encoder_embed_dim=16",
        "model.final_dim=8",
        "++model.latent_vars=8",
        "++model.num_negatives=5",
        "++model.conv_feature_layers='[(8, 2, 2)] * 4'",
        *(f"++model.{key}={TINY_CMSC_MODEL[key]}" for key in keys),
        *options,
    ]


COMMANDS = {
    "as published": lambda data: diagnosis(data, "++model.apply_mask=true"),
    "frozen at times": lambda data: diagnosis(
        data,
        "model.freeze_finetune_updates=1",
        "++model.feature_grad_mult=1.0",
        "++model.encoder_layerdrop=0.5",
        "+model.pooling=attentive",
    ),
    "adapters on new weights": lambda data: diagnosis(
        data,
        "+model.lora_rank=2",
        "model.no_pretrained_weights=true",
        "+model.checkpoint_architecture=true",
    ),
    "pre-training": lambda data: pretraining(
        # The contrast is that of the own batch, whatever is set.
        data,
        "++model.feature_grad_mult=0.0",
        "++model.all_gather=true",
    ),
}
"""What does not get a gradient: convolutions and the mask embedding; at times the encoder, and
layers; all but adapters; convolutions."""


def weights(folder):
    return torch.load(folder / "checkpoint_last.pt", weights_only=True)["model"]


def trained(log):
    """Parameters of the network, and those of them that train, as fairseq's log counts them."""
    found = re.search(r"shared model params: ([\d,]+) \(num. trained: ([\d,]+)\)", log)
    return tuple(int(number.replace(",", "")) for number in found.groups())


def run(hydra_train, folder, command, processes, batch_size, every):
    """Train for two epochs; return the log."""
    folder.mkdir()
    run = hydra_train(
        *command,
        USER_DIR,
        "common.log_format=json",
        f"dataset.batch_size={batch_size}",
        "dataset.required_batch_size_multiple=1",
        "dataset.num_workers=0",
        "dataset.disable_validation=true",
        "optimization.max_epoch=2",
        f"++optimization.update_freq=[{every}]",
        f"distributed_training.distributed_world_size={processes}",
        f"checkpoint.save_dir={folder}",
        cwd=folder,
        processes=processes,
    )
    return run.check().log


def assert_same_weights(tmp_path):
    one, two = weights(tmp_path / "1"), weights(tmp_path / "2")
    assert one.keys() == two.keys()
    for key, value in one.items():
        torch.testing.assert_close(two[key], value, rtol=1e-4, atol=1e-6, msg=key)


@pytest.mark.parametrize("name", COMMANDS)
def test_two_processes_train_as_one(name, hydra_train, data, tmp_path):
    command, batch_size = COMMANDS[name](data), 1 if name == "pre-training" else 2
    logs = {
        processes: run(
            hydra_train, tmp_path / str(processes), command, processes, batch_size, every
        )
        for processes, every in ((1, 2), (2, 1))
    }
    assert_same_weights(tmp_path)
    one = weights(tmp_path / "1")
    if name == "as published":
        still = sum(
            value.numel() for key, value in one.items() if "conv_layers" in key or "mask_emb" in key
        )
        total, training = trained(logs[1])
        assert (total, training) == (sum(x.numel() for x in one.values()), total - still)
        assert f"{training} of {total} parameters train" in logs[1]
        assert trained(logs[2]) == (total, training)
        # The optimizer has a place for each all the same, as fairseq_signals' states do.
        state = torch.load(tmp_path / "2" / "checkpoint_last.pt", weights_only=True)
        (group,) = state["last_optimizer_state"]["param_groups"]
        assert len(group["params"]) == len(one)


@pytest.mark.parametrize("config", ["simclr_rlm", "3kg", "cmsc"])
def test_two_processes_contrast_the_batch_of_both(config, hydra_train, data, tmp_path):
    """Weights, losses and gradient norms are those of one process with the whole batch."""
    command = [
        f"--config-name={config}",
        f"task.data={data / 'cmsc' if config == 'cmsc' else data}",
        "++model.all_gather=true",
        *(f"++model.{name}={TINY_CMSC_MODEL[name]}" for name in ENCODER_KEYS),
        "++model.encoder_embed_dim=16",
        "++model.conv_feature_layers='[(8, 2, 2)] * 4'",
        # Each process would draw its own.
        *(f"++model.{name}=0" for name in DROPOUTS),
        "optimization.lr=[1e-2]",
    ]
    # All recordings, in a batch of one process or in two.
    size = 4 if config == "cmsc" else 8
    printed = {}
    for processes in (1, 2):
        folder = tmp_path / str(processes)
        log = run(hydra_train, folder, command, processes, size // processes, 1)
        printed[processes] = re.findall(
            r'"train_(?:loss|accuracy|nsignals|gnorm)": "([\d.]+)"', log
        )
    assert_same_weights(tmp_path)
    assert len(printed[1]) == (6 if config == "cmsc" else 8)
    assert list(map(float, printed[2])) == pytest.approx(list(map(float, printed[1])), rel=2e-3)
