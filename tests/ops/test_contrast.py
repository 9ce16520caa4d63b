"""The contrastive losses against their equations, in float64."""

import math

import numpy as np
import pytest
import torch

from fairseq_ecg.ops.contrast import contrast

PATIENTS = torch.tensor([4, 4, 7, 7, 1, 1])
SEGMENTS = torch.tensor([0, 1, 0, 1, 0, 1])
WAYS = {"both ways": SEGMENTS, "every row": None}


def features(n: int, dim: int = 5, **options) -> torch.Tensor:
    generator = torch.Generator().manual_seed(n)
    return torch.randn(n, dim, generator=generator, dtype=torch.float64, **options)


def units(f: torch.Tensor, eps: float) -> list[np.ndarray]:
    return [row / max(np.linalg.norm(row), eps) for row in f.numpy()]


def both_ways(f, patient_id, segment, temperature, eps=1e-8) -> float:
    """CMSC: half the mean over positive pairs from the first segments, half from the second."""
    f = units(f, eps)
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


def every_row(f, group, temperature, eps=1e-8) -> tuple[float, list[int]]:
    """3KG: the sum over pairs (i, j) of one group; and counts of these pairs."""
    f, group = units(f, eps), group.tolist()
    rows = range(len(f))
    loss, counts = 0.0, [0, 0, 0]
    for i in rows:
        score = [f[i] @ f[j] / temperature for j in rows]
        negatives = [score[k] for k in rows if group[k] != group[i]]
        for j in rows:
            if j == i or group[j] != group[i]:
                continue
            loss += math.log(math.fsum(map(math.exp, [score[j], *negatives]))) - score[j]
            is_highest = all(score[j] >= other for other in negatives)
            counts[0] += 1
            counts[1] += is_highest
            counts[2] += is_highest and all(score[j] <= other for other in negatives)
    return loss, counts


def simclr(f, temperature) -> float:
    """NT-Xent of views 2k and 2k + 1, as it is written in the paper."""
    f = units(f, 1e-8)
    similarity = np.array([[one @ other / temperature for other in f] for one in f])
    loss = 0.0
    for i, row in enumerate(similarity):
        others = [k for k in range(len(f)) if k != i]
        loss += np.log(np.exp(row[others]).sum()) - row[i ^ 1]
    return float(loss)


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
    of_pairs = contrast(f, patient_id, segment, temperature=0.3).loss
    expected = both_ways(f, patient_id, segment, 0.3)
    assert of_pairs.item() == pytest.approx(expected, rel=1e-12, abs=1e-12)
    loss, counts = contrast(f, patient_id, temperature=0.3)
    expected, expected_counts = every_row(f, patient_id, 0.3)
    assert loss.item() == pytest.approx(expected, rel=1e-12, abs=1e-12)
    assert counts.tolist() == expected_counts


def test_groups_of_two_views_are_simclr():
    f = features(8)
    loss, counts = contrast(f, torch.arange(8) // 2, temperature=0.2)
    assert loss.item() == pytest.approx(simclr(f, 0.2), rel=1e-12)
    assert counts[0] == 8


def test_counts_of_both_ways():
    f = torch.eye(3, dtype=torch.float64)[[0, 0, 1, 1, 2, 0]]
    counts = contrast(f, PATIENTS, SEGMENTS).counts
    # Of the last pair the first segment is level with all others, the second one is nearest to
    # another first one; that of the first pair is as near to it as to its own.
    assert counts.tolist() == [6, 5, 1]


def test_gradient_takes_the_norm_as_a_constant():
    f = features(6, requires_grad=True)
    contrast(f, PATIENTS, SEGMENTS, 0.5).loss.backward()

    norm = f.detach().norm(dim=1, keepdim=True)
    a, s = (f.detach() / norm)[0::2], (f.detach() / norm)[1::2]
    similarity = a @ s.T / 0.5
    derivative = (similarity.softmax(1) + similarity.softmax(0) - 2 * torch.eye(3)) / 6
    expected = torch.empty(6, 5, dtype=torch.float64)
    expected[0::2] = derivative @ s / 0.5 / norm[0::2]
    expected[1::2] = derivative.T @ a / 0.5 / norm[1::2]
    torch.testing.assert_close(f.grad, expected, rtol=1e-12, atol=1e-15)
    assert (f.grad * f.detach()).sum(dim=1).abs().max() > 1e-3, "the radial part is kept"


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("group", [PATIENTS, torch.tensor([4, 4, 4, 4, 1, 1])])
def test_gradcheck(way, group):
    """Of unit vectors, on which the norm that counts as a constant is one."""

    def loss_of(f):
        return contrast(torch.nn.functional.normalize(f), group, WAYS[way], 0.4).loss

    assert torch.autograd.gradcheck(loss_of, features(6, requires_grad=True))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("temperature", [0.015625, 0.0625, 3.0])  # exact also in float32
def test_learnt_temperature(way, temperature):
    """Losses, counts and gradients of features are those of a number; its own is the derivative."""
    results = []
    learnt = torch.tensor(temperature, dtype=torch.float64, requires_grad=True)
    for value in (temperature, learnt):
        f = features(6, requires_grad=True)
        loss, counts = contrast(3 * f, PATIENTS, WAYS[way], value)
        loss.backward()
        results.append((loss.detach(), f.grad, counts))
    for found, expected in zip(results[1], results[0], strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)
    step = 1e-6 * temperature
    ends = [contrast(features(6), PATIENTS, WAYS[way], temperature + d).loss for d in (step, -step)]
    derivative = (ends[0] - ends[1]).item() / (2 * step)
    assert learnt.grad.item() == pytest.approx(derivative, rel=1e-6, abs=1e-8)


@pytest.mark.parametrize("way", WAYS)
def test_gradcheck_of_a_learnt_temperature(way):
    def loss_of(f, temperature):
        return contrast(torch.nn.functional.normalize(f), PATIENTS, WAYS[way], temperature).loss

    temperature = torch.tensor(0.4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(loss_of, (features(6, requires_grad=True), temperature))


@pytest.mark.parametrize("way", WAYS)
def test_short_vectors_are_divided_by_eps(way):
    f = features(6)
    f[2] = 0
    assert torch.isfinite(contrast(f, PATIENTS, WAYS[way], eps=1e-3).loss)
    tiny = f * 1e-12
    loss = contrast(tiny, PATIENTS, WAYS[way], eps=1.0).loss
    alike = math.log(3) if way == "both ways" else 6 * math.log(5)
    assert loss.item() == pytest.approx(alike, rel=1e-9)


def test_without_positive_pair():
    loss, counts = contrast(features(4), torch.arange(4), SEGMENTS[:4])
    assert loss.isnan()
    assert counts.tolist() == [0, 0, 0]
    loss, counts = contrast(features(4), torch.arange(4))
    assert loss == 0
    assert counts.tolist() == [0, 0, 0]


def test_without_negative_pair():
    loss, counts = contrast(features(2), torch.tensor([3, 3]))
    assert loss == 0
    assert counts.tolist() == [2, 2, 2]


@pytest.mark.parametrize("name", ["pretrain_small", "pretrain_small_padded"])
def test_recorded_loss(shared, name):
    recording = np.load(shared / "golden" / f"{name}.npz")
    f = torch.from_numpy(recording["features"])
    if "padding_mask" in recording:
        n_frames = (~recording["padding_mask"][:, 0]).sum(axis=1) // 16
        f[np.arange(f.shape[1]) >= n_frames[:, None]] = 0
    pooled = f.sum(dim=1) / (f != 0).sum(dim=1)
    patient_id, segment = (torch.from_numpy(recording[k]) for k in ("patient_id", "segment"))
    loss = contrast(pooled, patient_id, segment).loss * int(recording["sample_size"])
    assert loss.item() == pytest.approx(float(recording["log/loss_3"]), rel=2e-6)


def unit_similarity(recording) -> np.ndarray:
    z = recording["logits"].astype(np.float64)
    z /= np.linalg.norm(z, axis=1, keepdims=True)
    return z @ z.T / 0.1


def test_recorded_similarities(shared):
    """What fairseq_signals gave to its cross entropy is what the equations say."""
    folder = shared / "golden" / "rest"
    recording = np.load(folder / "simclr.npz")
    similarity = unit_similarity(recording)
    rows = [
        [row[i ^ 1], *(row[k] for k in range(8) if k not in (i, i ^ 1))]
        for i, row in enumerate(similarity)
    ]
    np.testing.assert_allclose(recording["ce_input"], rows, rtol=1e-5, atol=2e-5)
    recording = np.load(folder / "cmsc.npz")
    similarity = unit_similarity(recording)[recording["segment"] == 0][:, recording["segment"] == 1]
    np.testing.assert_allclose(recording["sim"], similarity, rtol=1e-5, atol=2e-5)
    recording = np.load(folder / "threekg.npz")
    similarity, patient = unit_similarity(recording), recording["patient_id"]
    pairs = [(i, j) for i in range(8) for j in range(8) if i != j and patient[i] == patient[j]]
    assert len(pairs) == recording["sample_size"]
    for (i, j), row in zip(pairs, recording["ce_input"], strict=True):
        negatives = [similarity[i, k] for k in range(8) if patient[k] != patient[i]]
        np.testing.assert_allclose(row[0], similarity[i, j], rtol=1e-5, atol=2e-5)
        kept = row[1:][np.isfinite(row[1:])]
        np.testing.assert_allclose(np.sort(kept), np.sort(negatives), rtol=1e-5, atol=2e-5)


@pytest.mark.parametrize("name", ["simclr", "threekg", "cmsc"])
def test_recorded_losses_of_pooled_vectors(shared, name):
    recording = np.load(shared / "golden" / "rest" / f"{name}.npz")
    group = recording["patient_id"] if "patient_id" in recording else np.arange(8) // 2
    segment = torch.from_numpy(recording["segment"]) if name == "cmsc" else None
    f = torch.from_numpy(recording["logits"]).double()
    loss, (n_pairs, n_highest, n_level) = contrast(f, torch.from_numpy(group), segment)
    assert loss.item() == pytest.approx(float(recording["loss"]), rel=2e-6)
    assert n_pairs == recording["sample_size"] * (2 if name == "cmsc" else 1)
    assert name == "cmsc" or n_highest - n_level == recording["log/correct"]
