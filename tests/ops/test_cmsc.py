import math

import numpy as np
import pytest
import torch

from fairseq_ecg.ops.cmsc import cmsc_loss, positive_pairs

PATIENTS = torch.tensor([4, 4, 7, 7, 1, 1])
SEGMENTS = torch.tensor([0, 1, 0, 1, 0, 1])


def features(n: int, dim: int = 5, **options) -> torch.Tensor:
    generator = torch.Generator().manual_seed(n)
    return torch.randn(n, dim, generator=generator, dtype=torch.float64, **options)


def by_the_definition(f, patient_id, segment, temperature, eps) -> float:
    f = [row / max(np.linalg.norm(row), eps) for row in f.numpy()]
    first = [i for i, s in enumerate(segment.tolist()) if s == 0]
    second = [i for i, s in enumerate(segment.tolist()) if s == 1]
    directions = []
    for anchors, others in ((first, second), (second, first)):
        terms = []
        for i in anchors:
            scores = np.array([f[i] @ f[j] / temperature for j in others])
            log_norm = np.log(np.exp(scores).sum())
            terms += [
                log_norm - score
                for j, score in zip(others, scores, strict=True)
                if patient_id[i] == patient_id[j]
            ]
        directions.append(np.mean(terms))
    return float(np.mean(directions))


@pytest.mark.parametrize(
    ("patient_id", "segment"),
    [
        ([4, 4, 7, 7, 1, 1], [0, 1, 0, 1, 0, 1]),
        ([4, 7, 1, 1, 4, 7], [0, 0, 0, 1, 1, 1]),
        ([4, 4, 4, 4, 1, 1, 2], [0, 1, 1, 0, 0, 1, 0]),
        ([9, 9], [1, 0]),
    ],
    ids=["pairs", "blocks", "several positives", "one pair"],
)
def test_loss_is_the_definition(patient_id, segment):
    f = features(len(segment))
    patient_id, segment = torch.tensor(patient_id), torch.tensor(segment)
    loss = cmsc_loss(f, patient_id, segment, temperature=0.3)
    expected = by_the_definition(f, patient_id, segment, 0.3, 1e-8)
    assert loss.item() == pytest.approx(expected, rel=1e-12, abs=1e-12)


def test_gradient_takes_the_norm_as_a_constant():
    f = features(6, requires_grad=True)
    cmsc_loss(f, PATIENTS, SEGMENTS, 0.5).backward()

    norm = f.detach().norm(dim=1, keepdim=True)
    a, s = (f.detach() / norm)[0::2], (f.detach() / norm)[1::2]
    similarity = a @ s.T / 0.5
    derivative = (similarity.softmax(1) + similarity.softmax(0) - 2 * torch.eye(3)) / 6
    expected = torch.empty(6, 5, dtype=torch.float64)
    expected[0::2] = derivative @ s / 0.5 / norm[0::2]
    expected[1::2] = derivative.T @ a / 0.5 / norm[1::2]
    torch.testing.assert_close(f.grad, expected, rtol=1e-12, atol=1e-15)
    assert (f.grad * f.detach()).sum(dim=1).abs().max() > 1e-3, "the radial part is kept"


def test_short_vectors_are_divided_by_eps():
    f = features(6)
    f[2] = 0
    assert torch.isfinite(cmsc_loss(f, PATIENTS, SEGMENTS, eps=1e-3))
    tiny = f * 1e-12
    loss = cmsc_loss(tiny, PATIENTS, SEGMENTS, eps=1.0)
    assert loss.item() == pytest.approx(math.log(3), rel=1e-9)


def test_without_positive_pair_the_loss_is_nan():
    assert cmsc_loss(features(4), torch.arange(4), SEGMENTS[:4]).isnan()
    assert positive_pairs(torch.arange(4), SEGMENTS[:4]).sum() == 0


@pytest.mark.parametrize("name", ["pretrain_small", "pretrain_small_padded"])
def test_recorded_loss(shared, name):
    recording = np.load(shared / "golden" / f"{name}.npz")
    f = torch.from_numpy(recording["features"])
    if "padding_mask" in recording:
        n_frames = (~recording["padding_mask"][:, 0]).sum(axis=1) // 16
        f[np.arange(f.shape[1]) >= n_frames[:, None]] = 0
    pooled = f.sum(dim=1) / (f != 0).sum(dim=1)
    patient_id, segment = (torch.from_numpy(recording[k]) for k in ("patient_id", "segment"))
    loss = cmsc_loss(pooled, patient_id, segment) * int(recording["sample_size"])
    assert loss.item() == pytest.approx(float(recording["log/loss_3"]), rel=2e-6)
