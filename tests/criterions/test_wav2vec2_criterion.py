import logging
import math

import numpy as np
import pytest
import torch
from torch import nn

from fairseq_ecg.criterions import NonFiniteLossError
from fairseq_ecg.criterions.wav2vec2 import _binary_loss
from fairseq_ecg.modules.wav2vec2 import Wav2Vec2
from fairseq_ecg.ops.philox import origin

N_GROUPS_TIMES_VARS = 32
RECORDINGS = ["pretrain_small", "pretrain_small_padded"]


def unpadded_features(recording) -> torch.Tensor:
    """Features with zeros in the padded frames, of 16 samples each."""
    features = torch.from_numpy(recording["features"])
    if "padding_mask" in recording:
        n_frames = (~recording["padding_mask"][:, 0]).sum(axis=1) // 16
        features[np.arange(features.shape[1]) >= n_frames[:, None]] = 0
    return features


class Recorded(nn.Module):
    """Returns what a wav2vec 2.0 model gave in a recording of fairseq_signals."""

    def __init__(self, recording):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))
        size = int(recording["sample_size"])
        self.output = {
            "x": torch.from_numpy(recording["logits"]),
            "features": unpadded_features(recording),
            "features_pen": torch.tensor(float(recording["log/loss_2"]) / 10 / size),
            "num_vars": N_GROUPS_TIMES_VARS,
            "prob_perplexity": torch.tensor(float(recording["log/prob_perplexity"])),
            "code_perplexity": torch.tensor(float(recording["log/code_perplexity"])),
            "temp": float(recording["log/temp"]),
        }

    def forward(self, source):
        return {**self.output, "x": self.output["x"] * self.scale}

    def get_logits(self, net_output):
        x = net_output["x"].transpose(0, 2)
        return x.reshape(-1, x.size(-1))

    def get_targets(self, sample, net_output):
        x = net_output["x"]
        return x.new_zeros(x.size(1) * x.size(2), dtype=torch.long)

    def get_extra_losses(self, net_output):
        n, perplexity = net_output["num_vars"], net_output["prob_perplexity"]
        return [(n - perplexity) / n, net_output["features_pen"]]

    def get_features(self, net_output, aggregate):
        x = net_output["features"]
        return x.sum(dim=1) / (x != 0).sum(dim=1)


def batch(recording) -> dict:
    return {
        "id": torch.arange(8) // 2,
        "net_input": {"source": torch.from_numpy(recording["source"])},
        "patient_id": torch.from_numpy(recording["patient_id"]),
        "segment": torch.from_numpy(recording["segment"]),
    }


def logged(recording) -> dict[str, float]:
    return {k.removeprefix("log/"): float(recording[k]) for k in recording if k.startswith("log/")}


@pytest.fixture(params=RECORDINGS)
def recording(shared, request):
    return np.load(shared / "golden" / f"{request.param}.npz")


LOG_KEYS = ["prob_perplexity", "code_perplexity", "temp"]
OPTIONS = {"infonce": True, "loss_weights": [0.1, 10], "log_keys": LOG_KEYS}


def test_recorded_loss_with_cmsc(recording, build, validated):
    criterion = build("wav2vec2_with_cmsc", **OPTIONS)
    loss, sample_size, log = criterion(Recorded(recording), batch(recording))
    assert sample_size == recording["sample_size"]
    assert loss.item() == pytest.approx(float(recording["loss"]), rel=1e-6)
    assert log == pytest.approx(logged(recording), rel=2e-6)
    for key in ("nsignals", "sample_size", "correct"):
        assert type(log[key]) is int

    stats = validated(criterion, [[log], [log]])
    bits = float(recording["loss"]) / sample_size / math.log(2)
    assert stats["loss"] == pytest.approx(bits, abs=6e-4)
    assert stats["loss"] == round(stats["loss"], 3)
    assert stats["accuracy"] == round(log["correct"] / log["count"], 5)
    assert stats["nsignals"] == 8
    assert stats["temp"] == 2.0
    assert stats["prob_perplexity"] == round(log["prob_perplexity"], 3)
    assert sum(stats[f"loss_{i}"] for i in range(4)) == pytest.approx(stats["loss"], abs=3e-3)
    assert set(stats) == {
        *("loss", "nsignals", "accuracy", "loss_0", "loss_1", "loss_2", "loss_3"),
        *LOG_KEYS,
    }


def test_recorded_loss_without_cmsc(recording, build):
    _, _, log = build("wav2vec2", **OPTIONS)(Recorded(recording), batch(recording))
    expected = logged(recording)
    expected["loss"] -= expected.pop("loss_3")
    assert log == pytest.approx(expected, rel=2e-6)


def test_zero_weights_are_skipped_in_the_numbering(recording, build):
    options = {**OPTIONS, "loss_weights": [0, 10], "log_keys": [], "cmsc_weights": 2}
    _, _, log = build("wav2vec2_with_cmsc", **options)(Recorded(recording), batch(recording))
    assert log["loss_1"] == pytest.approx(float(recording["log/loss_2"]), rel=2e-6)
    assert log["loss_2"] == pytest.approx(2 * float(recording["log/loss_3"]), rel=2e-6)
    assert "loss_3" not in log


def test_a_single_weight_serves_all_extra_losses(recording, build):
    model, sample = Recorded(recording), batch(recording)
    _, _, log = build("wav2vec2", infonce=True, loss_weights=[10])(model, sample)
    assert log["loss_1"] == pytest.approx(100 * float(recording["log/loss_1"]), rel=2e-6)
    assert log["loss_2"] == pytest.approx(float(recording["log/loss_2"]), rel=2e-6)
    with pytest.raises(ValueError, match="3 weights, but the model has 2"):
        build("wav2vec2", infonce=True, loss_weights=[1, 1, 1])(model, sample)


def test_a_lone_term_is_logged_as_loss_alone(recording, build, validated):
    criterion = build("wav2vec2", infonce=True)
    _, _, log = criterion(Recorded(recording), batch(recording))
    assert set(log) == {"loss", "nsignals", "sample_size", "correct", "count"}
    assert set(validated(criterion, [[log]])) == {"loss", "nsignals", "accuracy"}


def test_logits_and_target_are_logged_in_evaluation(recording, build, validated):
    criterion = build("wav2vec2", infonce=True, log_keys=["logits", "target", "absent"])
    model, sample = Recorded(recording), batch(recording)
    _, size, log = criterion(model, sample)
    assert log["logits"].shape == (size, 11)
    assert log["target"].tolist() == [0] * size
    assert "logits" not in validated(criterion, [[log]])
    assert "logits" not in criterion.train()(model, sample)[2]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"cross_sample_negatives": 3},
        {"num_negatives": 0, "codebook_negatives": 3},
        {"negatives_from_everywhere": True, "target_glu": True},
        {"num_negatives": 0},
    ],
    ids=lambda options: "+".join(options) or "own row",
)
@pytest.mark.parametrize("has_origins", [False, True], ids=["torch's draws", "origins"])
def test_loss_without_logits_is_that_of_logits(build, options, has_origins):
    torch.manual_seed(0)
    network = Wav2Vec2(
        encoder_layers=1,
        encoder_embed_dim=16,
        encoder_ffn_embed_dim=32,
        encoder_attention_heads=2,
        conv_feature_layers="[(8, 2, 2)] * 3",
        apply_mask=True,
        mask_prob=0.65,
        quantize_targets=True,
        latent_vars=6,
        **({"num_negatives": 5} | options),
    ).eval()
    net_input = {"source": torch.randn(3, 12, 200), "mask_indices": torch.zeros(3, 25).bool()}
    net_input["mask_indices"][:, [3, 4, 9, 20]] = True
    if has_origins:
        net_input["origins"] = torch.stack([origin(1, 1, record) for record in range(3)])
    sample = {"id": torch.arange(3), "net_input": net_input}

    results = []
    for log_keys in ([], ["logits"]):
        network.zero_grad()
        torch.manual_seed(1)
        loss, _, log = build("wav2vec2", infonce=True, log_keys=log_keys)(network, sample)
        loss.backward()
        gradients = [p.grad for p in network.parameters() if p.grad is not None]
        results.append((loss.detach(), log["correct"], gradients))
    torch.testing.assert_close(*results, rtol=1e-4, atol=1e-4)


def test_binary_loss(build):
    class Binary(nn.Module):
        def forward(self, source):
            return source

        def get_logits(self, net_output):
            return net_output

        def get_targets(self, sample, net_output):
            return sample["target"]

    logits, target = torch.tensor([0.5, -1.0, 2.0]), torch.tensor([1, 0, 1])
    sample = {"id": torch.arange(3), "net_input": {"source": logits}, "target": target}
    loss, sample_size, log = build("wav2vec2")(Binary(), sample)
    expected = [math.log1p(math.exp(-x)) for x in (0.5, 1.0, 2.0)]
    assert loss.item() == pytest.approx(sum(expected), rel=1e-6)
    assert sample_size == 2
    assert "correct" not in log


def test_masks_and_samples_may_state_the_sample_size(recording, build):
    criterion, model, sample = (
        build("wav2vec2", infonce=True),
        Recorded(recording),
        batch(recording),
    )
    assert criterion(model, {**sample, "sample_size": 5})[1] == 5
    mask = torch.from_numpy(recording["mask_indices"])
    model.forward = lambda source, mask_indices: model.output
    sample["net_input"]["mask_indices"] = mask
    assert criterion(model, sample)[1] == mask.sum()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_loss_is_computed_in_float32(recording, build, dtype):
    model = Recorded(recording)
    for key in ("x", "features"):
        model.output[key] = model.output[key].to(dtype)
    model.scale.data = model.scale.data.to(dtype)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss, _, log = build("wav2vec2_with_cmsc", **OPTIONS)(model, batch(recording))
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(float(recording["loss"]), rel=5e-3)

    rounded = Recorded(recording)
    for key in ("x", "features"):
        rounded.output[key] = model.output[key].float()
    reference = build("wav2vec2_with_cmsc", **OPTIONS)(rounded, batch(recording))[2]
    assert log["loss_0"] == reference["loss_0"]


def test_batch_without_positive_pair(recording, build, caplog):
    model, sample = Recorded(recording), batch(recording)
    sample["patient_id"] = torch.arange(8)
    with pytest.raises(NonFiniteLossError, match="loss_3 = nan") as error:
        build("wav2vec2_with_cmsc", **OPTIONS)(model, sample)
    assert set(error.value.terms) == {"loss", "loss_3"}
    assert error.value.ids == [0, 1, 2, 3]

    criterion = build("wav2vec2_with_cmsc", nonfinite_loss="skip", **OPTIONS).train()
    with caplog.at_level(logging.WARNING):
        loss, sample_size, _ = criterion(model, sample)
    loss.backward()
    assert (loss.item(), sample_size, model.scale.grad.item()) == (0, 0, 0)
    assert "loss_3 = nan" in caplog.text


def test_binary_loss_predicts_each_candidate_by_itself():
    logits = torch.tensor([[2.0, -1.0, 0.5], [0.3, float("-inf"), 1.0]], requires_grad=True)
    loss = _binary_loss(logits, torch.tensor([[1, 0, 0], [1, 0, 0]]))
    positives = torch.nn.functional.softplus(-logits[:, 0]).sum()
    negatives = torch.nn.functional.softplus(logits[[0, 0, 1], [1, 2, 2]]).sum()
    torch.testing.assert_close(loss, positives + negatives)
    loss.backward()
    assert torch.isfinite(logits.grad).all()
    assert logits.grad[1, 1] == 0
