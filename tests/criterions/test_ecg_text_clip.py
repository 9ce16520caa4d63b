"""Contrastive ECG-report pre-training: the criterion by its equation, on one process and on two."""

import math

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from fairseq.criterions import build_criterion
from omegaconf import OmegaConf
from torch import nn
from torch.nn import functional as F

import fairseq_ecg.criterions  # noqa: F401 (registers)

ROWS, DIM, TEMPERATURE = 7, 5, 0.2


class Embedded(nn.Module):
    """Embeds ECGs and texts, which come as vectors, by a weight each."""

    def __init__(self, dtype=torch.float32):
        super().__init__()
        generator = torch.Generator().manual_seed(1)
        weights = torch.randn(2, DIM, DIM, generator=generator).to(dtype)
        self.of_ecg, self.of_text = map(nn.Parameter, weights)
        self.log_scale = nn.Parameter(torch.tensor(-math.log(TEMPERATURE), dtype=dtype))

    def forward(self, ecg, text):
        return {
            "ecg": F.normalize(ecg @ self.of_ecg, dim=1),
            "text": F.normalize(text @ self.of_text, dim=1),
            "scale": self.log_scale.exp(),
        }


def batch(rows=slice(None), dtype=torch.float32) -> dict:
    vectors = torch.randn(2, ROWS, DIM, generator=torch.Generator().manual_seed(0)).to(dtype)
    ecg, text = vectors[0], vectors[0] + vectors[1]
    return {
        "id": torch.arange(ROWS)[rows],
        "net_input": {"ecg": ecg[rows], "text": text[rows]},
    }


def by_the_equation(model: Embedded) -> tuple[float, int, int]:
    """Mean cross entropy both ways in float64, and how many rows find their partner each way."""
    found = model.double()(**batch(dtype=torch.float64)["net_input"])
    ecg, text = found["ecg"].detach().numpy(), found["text"].detach().numpy()
    similarity = np.array([[e @ t / TEMPERATURE for t in text] for e in ecg])
    loss = 0.0
    for i in range(ROWS):
        loss += math.log(sum(math.exp(x) for x in similarity[i])) - similarity[i, i]
        loss += math.log(sum(math.exp(x) for x in similarity[:, i])) - similarity[i, i]
    to_text = sum(similarity[i].argmax() == i for i in range(ROWS))
    to_ecg = sum(similarity[:, i].argmax() == i for i in range(ROWS))
    return loss / (2 * ROWS), to_text, to_ecg


def test_loss_and_metrics_are_those_of_the_equation(build, validated):
    criterion = build("ecg_text_clip")
    loss, sample_size, log = criterion(Embedded(), batch())
    expected, to_text, to_ecg = by_the_equation(Embedded())
    assert loss.item() == pytest.approx(expected * ROWS, rel=1e-6)
    assert sample_size == ROWS
    assert (log["ecg_to_text_correct"], log["text_to_ecg_correct"]) == (to_text, to_ecg)
    assert 0 < to_text < ROWS
    assert 0 < to_ecg < ROWS
    stats = validated(criterion, [[log, log], [log]])
    assert stats == pytest.approx(
        {
            "loss": round(expected / math.log(2), 3),
            "nsignals": (2 * ROWS + ROWS) / 2,
            "ecg_to_text_accuracy": round(to_text / ROWS, 5),
            "text_to_ecg_accuracy": round(to_ecg / ROWS, 5),
            "temperature": TEMPERATURE,
        }
    )


def test_gradients_are_those_of_cross_entropy(build):
    """Of all parameters, the temperature's among them, in float64."""
    model, plain = Embedded(), Embedded(torch.float64)
    build("ecg_text_clip")(model, batch())[0].backward()
    found = plain(**batch(dtype=torch.float64)["net_input"])
    similarity = found["ecg"] @ found["text"].T * found["scale"]
    own = torch.arange(ROWS)
    (F.cross_entropy(similarity, own) + F.cross_entropy(similarity.T, own)).mul(ROWS / 2).backward()
    for (name, one), other in zip(model.named_parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(one.grad.double(), other.grad, rtol=1e-4, atol=1e-5, msg=name)


def test_gradcheck(build):
    """By the vectors that are embedded and by the scale."""
    criterion = build("ecg_text_clip")

    class Given(nn.Module):
        def forward(self, ecg, text):
            # float64 stays float64 in the operation; the criterion asks for float32.
            return {"ecg": Wide(ecg), "text": Wide(text), "scale": Wide(self.scale)}

    class Wide:
        def __init__(self, tensor):
            self.tensor = tensor

        def float(self):
            return self.tensor

    def loss_of(ecg, text, scale):
        model = Given()
        model.scale = scale
        units = {"ecg": F.normalize(ecg, dim=1), "text": F.normalize(text, dim=1)}
        return criterion(model, batch() | {"net_input": units})[0]

    vectors = [x.double().requires_grad_() for x in batch()["net_input"].values()]
    scale = torch.tensor(5.0, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(loss_of, (*vectors, scale))


def test_half_precision_is_computed_in_float32(build):
    model = Embedded(torch.bfloat16)
    loss, *_ = build("ecg_text_clip")(model, batch(dtype=torch.bfloat16))
    assert loss.dtype == torch.float32
    loss.backward()
    assert all(p.grad.isfinite().all() and p.grad.any() for p in model.parameters())


def test_rows_that_are_all_alike_are_not_found(build):
    alike = {"ecg": torch.ones(ROWS, DIM), "text": torch.ones(ROWS, DIM)}
    loss, _, log = build("ecg_text_clip")(Embedded(), batch() | {"net_input": alike})
    assert loss.item() == pytest.approx(ROWS * math.log(ROWS), rel=1e-6)
    assert log["ecg_to_text_correct"] == log["text_to_ecg_correct"] == 0


def rank_main(rank: int, all_gather: bool, folder: str) -> None:
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2
    )
    cfg = OmegaConf.create({"_name": "ecg_text_clip", "all_gather": all_gather})
    model = Embedded()
    rows = slice(0, 5) if rank == 0 else slice(5, ROWS)
    loss, sample_size, log = build_criterion(cfg, None).eval()(model, batch(rows))
    loss.backward()
    for parameter in model.parameters():
        dist.all_reduce(parameter.grad)
    gradients = [parameter.grad for parameter in model.parameters()]
    torch.save((loss.item(), sample_size, log, gradients), f"{folder}/{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.parametrize("all_gather", [True, False])
def test_ranks_contrast_the_batch_of_all(build, validated, all_gather, tmp_path):
    """What is logged and applied is that of one process, the gradient of the scale too."""
    mp.start_processes(rank_main, (all_gather, str(tmp_path)), nprocs=2, start_method="fork")
    of_ranks = [torch.load(tmp_path / f"{rank}.pt") for rank in range(2)]
    model = Embedded()
    if all_gather:
        loss, sample_size, log = build("ecg_text_clip")(model, batch())
        loss.backward()
        logs = [log]
    else:
        parts = [build("ecg_text_clip")(model, batch(r)) for r in (slice(0, 5), slice(5, ROWS))]
        sum(loss for loss, *_ in parts).backward()
        sample_size = sum(size for _, size, _ in parts)
        logs = [log for *_, log in parts]
    # fairseq divides the sum of gradients by that of sample sizes.
    total = sum(size for _, size, *_ in of_ranks)
    assert total == (2 if all_gather else 1) * sample_size
    for parameter, gradient in zip(model.parameters(), of_ranks[0][3], strict=True):
        torch.testing.assert_close(gradient / total, parameter.grad / sample_size)
    one = validated(build("ecg_text_clip"), [logs])
    assert validated(build("ecg_text_clip"), [[each[2] for each in of_ranks]]) == one
