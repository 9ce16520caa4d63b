"""The criterion of M3AE against its equations in float64."""

import math

import numpy as np
import pytest
import torch

from fairseq_ecg.modules.text.m3ae import M3AE
from tests.modules.test_m3ae import TINY, inputs

NOISE = torch.rand(3, 10, generator=torch.Generator().manual_seed(4))


def sample(hidden=4, samples=165, **net_input):
    batch = inputs(samples=samples) | {"mim_noise": NOISE} | net_input
    labels = torch.full_like(batch["text"], -100)
    labels.view(-1)[6 : 6 + hidden] = torch.arange(1, hidden + 1)
    aligned = torch.tensor([1.0, 0.0, 1.0])
    return {"id": torch.arange(3), "net_input": batch, "mlm_labels": labels, "is_aligned": aligned}


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return M3AE(**TINY).double().eval()


def cross_entropy(logits, target):
    return np.mean(
        [np.log(np.exp(row).sum()) - row[t] for row, t in zip(logits, target, strict=True)]
    )


def expected(model, batch, normalised):
    out = {key: x.detach().numpy() for key, x in model(**batch["net_input"]).items()}
    labels = batch["mlm_labels"].numpy()
    rows = out["mlm_logits"][labels != -100]
    words = cross_entropy(rows, labels[labels != -100]) if len(rows) else 0.0
    errors = []
    for row in range(3):
        signal = batch["net_input"]["ecg"][row].double().numpy()[:, :160]
        if normalised:
            variance = signal.var(axis=1, ddof=1, keepdims=True)
            signal = (signal - signal.mean(axis=1, keepdims=True)) / np.sqrt(variance + 1e-6)
        for frame in np.flatnonzero(out["mim_masks"][row]):
            target = signal[:, 16 * frame : 16 * (frame + 1)]
            errors.append(((out["mim_logits"][row, frame] - target) ** 2).mean())
    return words, np.mean(errors), cross_entropy(out["itm_logits"], batch["is_aligned"].long())


@pytest.mark.parametrize("normalised", [True, False])
@pytest.mark.parametrize("hidden", [4, 0])
def test_equations(hidden, normalised, model, build):
    batch = sample(hidden)
    batch["net_input"]["ecg"] = batch["net_input"]["ecg"].double()
    loss, size, log = build("m3ae", norm_pix_loss=normalised)(model, batch)
    terms = expected(model, batch, normalised)
    assert loss.item() == pytest.approx(sum(terms), rel=1e-9)
    assert [log[f"loss_{i}"] for i in range(3)] == pytest.approx(terms, rel=1e-9)
    assert size == log["sample_size"] == 1
    assert log["mlm_count"] == hidden
    assert log["itm_count"] == log["nsignals"] == 3
    loss.backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)
    model.zero_grad()


class Logits:
    """A model that gives what it is given."""

    def __call__(self, **net_input):
        return net_input

    get_logits = M3AE.get_logits
    get_targets = M3AE.get_targets


def test_gradient(build):
    draw = torch.Generator().manual_seed(2)
    batch = sample(samples=160)
    shapes = {"mlm_logits": (3, 6, 50), "mim_logits": (3, 10, 12, 16), "itm_logits": (3, 2)}
    logits = [torch.randn(x, generator=draw).double().requires_grad_() for x in shapes.values()]
    fixed = {"mim_masks": NOISE > 0.3, "ecg": batch["net_input"]["ecg"].double()}
    criterion = build("m3ae")

    def loss(*logits):
        net_input = fixed | dict(zip(shapes, logits, strict=True))
        return criterion(Logits(), batch | {"net_input": net_input})[0]

    assert torch.autograd.gradcheck(loss, logits, fast_mode=True)


def test_metrics_of_batches_and_ranks(build, validated):
    logs = [
        {
            **{"loss": 3.0, "loss_0": 1.5, "loss_1": 1.0, "loss_2": 0.5, "sample_size": 1},
            **{"nsignals": 4, "mlm_correct": 1, "mlm_count": 4, "itm_correct": 3, "itm_count": 4},
        },
        {
            **{"loss": 1.0, "loss_0": 0.0, "loss_1": 0.5, "loss_2": 0.5, "sample_size": 1},
            **{"nsignals": 2, "mlm_correct": 0, "mlm_count": 0, "itm_correct": 1, "itm_count": 2},
        },
    ]
    found = validated(build("m3ae"), [logs])
    bits = math.log(2)
    assert found["loss"] == round(2 / bits, 3)
    assert found["loss_0"] == round(0.75 / bits, 3)
    assert found["loss_1"] == round(0.75 / bits, 3)
    assert found["ntokens"] == 0
    assert found["nsignals"] == 6
    assert found["mlm_accuracy"] == 0.25
    assert found["itm_accuracy"] == round(4 / 6, 5)
    assert found["mlm_correct"] == 0.5  # the mean of processes
    assert found["itm_count"] == 3
    assert "mlm_accuracy" not in validated(build("m3ae"), [logs[1:]])
