"""MedViLL's loss against its equation in float64."""

import math

import numpy as np
import pytest
import torch
from torch import nn

GENERATOR = np.random.default_rng(0)
TOKENS = GENERATOR.integers(0, 7, 6)
LOGITS = GENERATOR.normal(size=(6, 7))
ALIGN = GENERATOR.normal(size=(3, 1))
ALIGNED = np.array([1.0, 0.0, 1.0])


class Predicted(nn.Module):
    """Returns its input as what MedViLL predicts."""

    def forward(self, mlm_x, mlm_y, align_x):
        return {"mlm_x": mlm_x, "mlm_y": mlm_y, "align_x": align_x}

    def get_logits(self, net_output):
        align = net_output["align_x"].squeeze(-1).sigmoid()
        return {"mlm_x": net_output["mlm_x"], "align_x": align}

    def get_targets(self, sample, net_output):
        return {"mlm_y": net_output["mlm_y"], "align_y": sample["is_aligned"]}


def sample(tokens=slice(None), rows=slice(None), kind=torch.float32) -> dict:
    net_input = {
        "mlm_x": torch.tensor(LOGITS[tokens]).to(kind),
        "mlm_y": torch.tensor(TOKENS[tokens]),
        "align_x": torch.tensor(ALIGN[rows]).to(kind),
    }
    is_aligned = torch.tensor(ALIGNED[rows], dtype=torch.float32)
    return {"id": torch.arange(len(is_aligned)), "net_input": net_input, "is_aligned": is_aligned}


def expected(tokens=slice(None), rows=slice(None)) -> tuple[float, float]:
    logits, labels = LOGITS[tokens], TOKENS[tokens]
    mlm = sum(np.log(np.exp(x).sum()) - x[y] for x, y in zip(logits, labels, strict=True))
    p, y = 1 / (1 + np.exp(-ALIGN[rows].ravel())), ALIGNED[rows]
    align = -(y * np.log(p) + (1 - y) * np.log(1 - p)).sum()
    return mlm, align * len(labels) / len(y)


@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
def test_equation(kind, build):
    loss, size, log = build("medvill")(Predicted(), sample(kind=kind))
    terms = expected()
    rel = 1e-6 if kind == torch.float32 else 1e-2
    assert [log["loss_0"], log["loss_1"]] == pytest.approx(terms, rel=rel)
    assert loss.item() == pytest.approx(sum(terms), rel=rel)
    assert loss.dtype == torch.float32
    assert size == log["sample_size"] == log["mlm_count"] == 6
    assert log["align_count"] == log["nsignals"] == 3
    assert log["mlm_correct"] == (LOGITS.argmax(1) == TOKENS).sum()
    assert log["align_correct"] == ((ALIGN.ravel() > 0) == ALIGNED).sum()


def test_gradient(build):
    batch = sample()
    for key in ("mlm_x", "align_x"):
        batch["net_input"][key].requires_grad_()
    build("medvill")(Predicted(), batch)[0].backward()
    shares = np.exp(LOGITS) / np.exp(LOGITS).sum(1, keepdims=True)
    shares[np.arange(6), TOKENS] -= 1
    np.testing.assert_allclose(batch["net_input"]["mlm_x"].grad, shares, rtol=1e-5, atol=1e-6)
    errors = (1 / (1 + np.exp(-ALIGN)) - ALIGNED[:, None]) * 6 / 3
    np.testing.assert_allclose(batch["net_input"]["align_x"].grad, errors, rtol=1e-5, atol=1e-6)


def test_without_tokens_it_is_of_alignment_alone(build, validated):
    nothing = slice(0, 0)
    loss, size, log = build("medvill")(Predicted(), sample(nothing))
    assert size == 3
    assert log["loss_0"] == log["mlm_count"] == 0
    p = 1 / (1 + np.exp(-ALIGN.ravel()))
    entropy = -(ALIGNED * np.log(p) + (1 - ALIGNED) * np.log(1 - p)).sum()
    assert loss.item() == pytest.approx(entropy, rel=1e-6)
    criterion = build("medvill")
    stats = validated(criterion, [[log]])
    assert stats["loss"] == pytest.approx(entropy / 3 / math.log(2), abs=5e-4)
    assert "mlm_accuracy" not in stats


def test_sure_predictions_are_finite(build):
    batch = sample()
    batch["net_input"]["align_x"] = torch.tensor([[-200.0], [200.0], [0.0]])
    loss, *_ = build("medvill")(Predicted(), batch)
    assert loss.isfinite()


def test_metrics_of_several_batches(build, validated):
    criterion = build("medvill")
    parts = [(slice(0, 2), slice(0, 1)), (slice(2, 6), slice(1, 3))]
    logs = [criterion(Predicted(), sample(*part))[2] for part in parts]
    stats = validated(criterion, [logs])
    terms = [sum(x) for x in zip(*(expected(*part) for part in parts), strict=True)]
    for key, value in {"loss_0": terms[0], "loss_1": terms[1], "loss": sum(terms)}.items():
        assert stats[key] == pytest.approx(value / 6 / math.log(2), abs=5e-4)
    right = (LOGITS.argmax(1) == TOKENS).sum()
    assert stats["mlm_accuracy"] == pytest.approx(right / 6, abs=5e-6)
    assert stats["mlm_correct"] == pytest.approx(right / 2, abs=5e-4)
    assert (stats["mlm_count"], stats["align_count"], stats["ntokens"]) == (3, 1.5, 0)
    assert stats.keys() == {
        *("loss", "loss_0", "loss_1", "ntokens", "nsignals", "mlm_accuracy", "align_accuracy"),
        *("mlm_correct", "mlm_count", "align_correct", "align_count"),
    }
