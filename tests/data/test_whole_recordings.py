"""Views that take recordings whole, and those of SimCLR and 3KG among them."""

import numpy as np
import pytest
import torch
from scipy.io import savemat

from fairseq_ecg.data import DataError, ECGDataset
from fairseq_ecg.data.views import TwoViews, VectorcardiogramsView, View
from fairseq_ecg.ops.augment import (
    EMGNoise,
    RandomLeadsMask,
    VectorcardiogramView,
    apply_batch,
    pack_draws,
)
from fairseq_ecg.ops.augment.vectorcardiogram_view import ViewDraws, view_matrices
from fairseq_ecg.ops.backends import OPERATIONS
from fairseq_ecg.prepare.pack import pack
from tests.ops import kernels

N_SAMPLES = 60
COPIED = {"simclr": TwoViews, "3kg": VectorcardiogramsView}


class WholeView(View):
    """An item is a recording as it is stored."""

    takes_whole = True


@pytest.fixture
def manifest(tmp_path):
    """Write recordings, and give the path of their manifest or of their store."""

    def write(ecgs, source="files", **variables):
        root = tmp_path / source
        root.mkdir()
        lines = []
        for number, feats in enumerate(ecgs):
            own = {key: values[number] for key, values in variables.items()}
            kept = {key: value for key, value in own.items() if value is not None}
            savemat(root / f"{number}.mat", {"feats": feats, "curr_sample_rate": 250} | kept)
            lines.append(f"{number}.mat\t{feats.shape[1]}\n")
        (root / "train.tsv").write_text(f"{root}\n{''.join(lines)}")
        if source == "files":
            return root / "train.tsv"
        pack(root, tmp_path / "packed")
        return tmp_path / "packed" / "train"

    return write


def ecgs(n=3, rows=12, n_samples=N_SAMPLES) -> list[np.ndarray]:
    return list(np.random.default_rng(n).normal(2, 3, size=(n, rows, n_samples)))


def batch_of(dataset: ECGDataset, indices=None) -> torch.Tensor:
    """What a model would see of items; all of them by default."""
    samples = dataset.__getitems__(range(len(dataset)) if indices is None else indices)
    return dataset.augment(dataset.collate(samples))


def layer_norm(feats: np.ndarray) -> np.ndarray:
    """In float64: over all samples of all leads, with the biased variance."""
    return (feats - feats.mean()) / np.sqrt(feats.var() + 1e-5)


SOURCES = pytest.mark.parametrize("source", ["files", "store"])


@SOURCES
@pytest.mark.parametrize("view", [WholeView, TwoViews])
def test_options_of_leads_have_no_effect(manifest, view, source):
    feats = ecgs()
    options = {"leads_to_load": "[1, 0]", "leads_bucket": [1], "enable_padding_leads": True}
    dataset = ECGDataset(manifest(feats, source), view(), filter=True, **options)
    expected = np.stack(feats).astype(np.float32).repeat(view.copies, axis=0)
    np.testing.assert_array_equal(batch_of(dataset), expected)


@SOURCES
@pytest.mark.parametrize("rows", [1, 3, 12])
def test_normalisation_is_the_layer_norm_of_a_recording(manifest, rows, source):
    """Before it is cropped; files of statistics are not read, if they are named."""
    feats = ecgs(rows=rows)
    options = {"mean_path": "/nowhere", "std_path": "/nowhere", "max_sample_size": 40}
    path = manifest(feats, source)
    dataset = ECGDataset(path, WholeView(), normalize=True, **options)
    whole = batch_of(ECGDataset(path, WholeView(), normalize=True))
    np.testing.assert_allclose(whole, [layer_norm(each) for each in feats], rtol=1e-5, atol=1e-6)
    for cropped, ecg in zip(batch_of(dataset), whole, strict=True):
        starts = [s for s in range(21) if torch.equal(ecg[:, s : s + 40], cropped)]
        assert len(starts) == 1


@SOURCES
@pytest.mark.parametrize("view", COPIED)
def test_normalisation_of_copies(manifest, view, source):
    feats = [feats * 5 for feats in ecgs()]
    none = {} if view == "simclr" else {"angle": 0, "scale": 0, "mask_ratio": 0}
    ids = {"idx": [5, 6, 7]}
    dataset = ECGDataset(manifest(feats, source, **ids), COPIED[view](**none), normalize=True)
    expected = np.stack([layer_norm(each) for each in feats]).repeat(2, axis=0)
    if view == "3kg":  # what no vectorcardiogram has is lost all the same
        matrix = view_matrices(torch.zeros(1, 3), torch.ones(1, 3))[0].numpy()
        expected = matrix @ expected[:, [0, 1, 6, 7, 8, 9, 10, 11]]
    np.testing.assert_allclose(batch_of(dataset), expected, rtol=1e-4, atol=1e-5)


@SOURCES
@pytest.mark.parametrize("view", COPIED)
@pytest.mark.parametrize("rows", [8, 1, 13])
def test_other_numbers_of_leads_are_refused(manifest, view, source, rows):
    feats = [*ecgs(1), *ecgs(1, rows=rows)]
    dataset = ECGDataset(manifest(feats, source, idx=[0, 1]), COPIED[view]())
    with pytest.raises(DataError, match=rf"1\.mat.*: has {rows} leads, where the twelve.* again"):
        batch_of(dataset)
    assert batch_of(dataset, [0]).shape == (2, 12, N_SAMPLES)


def test_two_views_are_independent_in_training_and_equal_outside(manifest):
    path, feats = manifest(ecgs()), np.stack(ecgs()).astype(np.float32)
    augmentations = [RandomLeadsMask(mask_leads_prob=0.5), EMGNoise(p=0.5, max_amplitude=0.2)]
    outside = ECGDataset(path, TwoViews(), augmentations=augmentations)
    first, second = batch_of(outside).unflatten(0, (3, 2)).unbind(1)
    np.testing.assert_array_equal(first, feats)
    np.testing.assert_array_equal(second, feats)
    training = ECGDataset(path, TwoViews(), augmentations=augmentations, training=True)
    first, second = batch_of(training).unflatten(0, (3, 2)).unbind(1)
    assert all(not torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert all(not np.array_equal(a, ecg) for a, ecg in zip(first, feats, strict=True))
    masked = (first == 0).all(dim=2)
    assert 0 < masked.sum() < masked.numel()
    assert not torch.equal(masked, (second == 0).all(dim=2))
    single = ECGDataset(path, augmentations=augmentations, training=True)
    assert torch.equal(first, batch_of(single)), "the first view has the draws of a lone recording"
    again = ECGDataset(path, TwoViews(), augmentations=augmentations, training=True)
    assert torch.equal(batch_of(again), batch_of(training))
    again.set_epoch(2)
    assert not torch.equal(batch_of(again), batch_of(training))


@pytest.mark.parametrize("view", COPIED)
def test_crops_are_drawn_for_each_view_and_padding_is_masked(manifest, view):
    feats = [ecgs(1, n_samples=n)[0] for n in (400, 500)]
    path = manifest(feats, idx=[1, 2])
    none = {} if view == "simclr" else {"angle": None, "scale": None, "mask_ratio": None}
    cropped = ECGDataset(path, COPIED[view](**none), max_sample_size=100)
    first, second = batch_of(cropped).unflatten(0, (2, 2)).unbind(1)
    assert first.shape == (2, 12, 100)
    assert all(not torch.equal(a, b) for a, b in zip(first, second, strict=True))
    padded = ECGDataset(path, COPIED[view](**none), enable_padding=True)
    batch = padded.collate(padded.__getitems__([0, 1]))
    assert batch["id"].tolist() == [0, 0, 1, 1]
    assert batch["net_input"]["padding_mask"][:, 0].sum(dim=1).tolist() == [100, 100, 0, 0]
    assert not padded.augment(batch)[:2, :, 400:].any()


@pytest.mark.parametrize("training", [False, True])
def test_vectorcardiograms_are_drawn_in_every_split_and_nothing_else(manifest, training):
    feats, ids = ecgs(), {"idx": [4, None, 9], "patient_id": [1, 2, 3]}
    path = manifest(feats, **ids)
    options = {"augmentations": [EMGNoise()], "training": training, "filter": True}
    dataset = ECGDataset(path, VectorcardiogramsView(), **options)
    batch = dataset.collate(dataset.__getitems__(range(3)))
    assert batch["patient_id"].dtype == torch.int32
    assert batch["patient_id"].tolist() == [4, 4, 2, 2, 9, 9]
    views = dataset.augment(batch)
    assert (views == 0).sum(dim=2).tolist() == [[N_SAMPLES // 2] * 12] * 6
    starts = {tuple((view == 0).int().argmax(dim=1).tolist()) for view in views}
    assert len(starts) == 6
    one, two = views[:, 0], views[:, 1]
    seen = (one != 0) & (two != 0)
    for row, lead in (
        (2, two - one),
        (3, -(one + two) / 2),
        (4, one - two / 2),
        (5, two - one / 2),
    ):
        both = seen & (views[:, row] != 0)
        torch.testing.assert_close(views[:, row][both], lead[both], rtol=1e-4, atol=1e-4)
    other = ECGDataset(path, VectorcardiogramsView(), training=not training)
    assert torch.equal(batch_of(other), views)


def test_options_of_vectorcardiograms(manifest):
    path = manifest(ecgs(), idx=[1, 2, 3])

    def views(**options):
        return batch_of(ECGDataset(path, VectorcardiogramsView(**options)))

    still = views(angle=None, scale=None, mask_ratio=None)
    assert torch.equal(still[0::2], still[1::2])
    assert torch.equal(views(angle=0, scale=0, mask_ratio=0), still)
    scaled = views(angle=0, scale=3.0, mask_ratio=0)
    assert not torch.equal(scaled[0::2], scaled[1::2])
    turned = views(angle=10, scale=None, mask_ratio=0)
    assert not torch.equal(turned[0::2], turned[1::2])
    masked = views(angle=0, scale=1, mask_ratio=0.25)
    assert ((masked == still) | (masked == 0)).all()
    assert (masked == 0).sum(dim=2).unique().tolist() == [N_SAMPLES // 4]
    with pytest.raises(ValueError, match="mask_ratio=2 from 0 to 1"):
        VectorcardiogramsView(mask_ratio=2)


def test_vectorcardiograms_need_all_leads_and_a_patient(manifest):
    path = manifest(ecgs(), idx=[1, None, 2])
    with pytest.raises(ValueError, match=r"leads_to_load=\[0, 1\].*leads_to_load=null"):
        ECGDataset(path, VectorcardiogramsView(), leads_to_load=[0, 1])
    with pytest.raises(DataError, match=r"1\.mat.*has neither 'idx' nor 'patient_id'"):
        batch_of(ECGDataset(path, VectorcardiogramsView()))


def turn(axis: int, degrees: float) -> np.ndarray:
    """Right-handed rotation about an axis."""
    angle = np.deg2rad(degrees)
    matrix = np.eye(3)
    one, other = (axis + 1) % 3, (axis + 2) % 3
    matrix[one, one] = matrix[other, other] = np.cos(angle)
    matrix[other, one], matrix[one, other] = np.sin(angle), -np.sin(angle)
    return matrix


VCG_OF_ECG = np.array(
    [
        [0.156, -0.009, -0.172, -0.073, 0.122, 0.231, 0.239, 0.193],
        [-0.227, 0.886, 0.057, -0.019, -0.106, -0.022, 0.040, 0.048],
        [0.021, 0.102, -0.228, -0.310, -0.245, -0.063, 0.054, 0.108],
    ]
)


def by_the_definition(ecg, angles, scales, starts, mask_ratio) -> np.ndarray:
    """A view in float64, step by step."""
    rotation = turn(0, angles[2]) @ turn(1, angles[1]) @ turn(2, angles[0])
    vcg = np.diag(scales) @ rotation @ VCG_OF_ECG @ ecg[[0, 1, 6, 7, 8, 9, 10, 11]]
    eight = np.linalg.pinv(VCG_OF_ECG) @ vcg
    one, two = eight[:2]
    derived = two - one, -(one + two) / 2, one - two / 2, two - one / 2
    view = np.stack([one, two, *derived, *eight[2:]])
    n_samples = ecg.shape[1]
    span = int(n_samples * mask_ratio)
    for lead, start in zip(view, starts, strict=True):
        lead[start : min(start + span, n_samples)] = 0
        if start + span > n_samples:
            lead[: start + span - n_samples] = 0
    return view


def views_of(feats, angles, scales, starts, mask_ratio, backend) -> torch.Tensor:
    """Views (B, 12, T) by a backend, of recorded draws."""
    kernels.skip_if_missing(backend)
    n_samples = feats.shape[-1]
    matrices = view_matrices(torch.from_numpy(angles), torch.from_numpy(scales)).numpy()
    span = int(n_samples * mask_ratio)
    draws = [
        [ViewDraws(matrix, start, span, n_samples)]
        for matrix, start in zip(matrices, starts, strict=True)
    ]
    augmentations = [VectorcardiogramView()]
    packed = pack_draws(
        augmentations,
        draws,
        n_samples=n_samples,
        sample_rates=torch.full((len(draws),), 500.0),
        layouts=torch.arange(12).expand(len(draws), -1),
    )
    device = kernels.device_of(backend)
    packed = {key: value.to(device) for key, value in packed.items()}
    ecgs = torch.from_numpy(feats).float().to(device)
    return apply_batch(ecgs, augmentations, packed, backend).cpu()


@pytest.mark.parametrize("backend", OPERATIONS["augment"])
@pytest.mark.parametrize("mask_ratio", [0.0, 0.3, 1.0])
def test_views_are_the_definition(backend, mask_ratio):
    rng = np.random.default_rng(0)
    feats = np.stack(ecgs(6))
    angles, scales = rng.uniform(-90, 90, (6, 3)), rng.uniform(1, 3, (6, 3))
    starts = rng.integers(0, N_SAMPLES, (6, 12))
    starts[0, :2] = 0, N_SAMPLES - 1
    found = views_of(feats, angles, scales, starts, mask_ratio, backend)
    for view, *given in zip(found, feats, angles, scales, starts, strict=True):
        expected = by_the_definition(*given, mask_ratio)
        np.testing.assert_allclose(
            view, expected, rtol=1e-5, atol=2e-6 * np.abs(expected).max(initial=1)
        )


@pytest.mark.parametrize("backend", OPERATIONS["augment"])
def test_recorded_vectorcardiograms(shared, backend):
    recorded = np.load(shared / "golden" / "rest" / "threekg.npz")
    feats = recorded["feats"].repeat(2, axis=0)
    angles, scales = (recorded[key].reshape(-1, 3) for key in ("angles", "scales"))
    starts = recorded["starts"].reshape(-1, 12)
    found = views_of(feats, angles, scales, starts, 0.5, backend)
    np.testing.assert_allclose(found, recorded["source"], rtol=1e-6, atol=2e-6)
    np.testing.assert_allclose(
        found[:2], [recorded["item0_view1"], recorded["item0_view2"]], atol=2e-6
    )


def test_recorded_masked_leads(shared):
    """The views of the recorded SimCLR, from what NumPy drew after the recorded seed."""
    recorded = np.load(shared / "golden" / "rest" / "simclr.npz")
    rng = np.random.RandomState(int(recorded["np_seed"]))
    mask = RandomLeadsMask()
    feats = torch.from_numpy(recorded["feats"].repeat(2, axis=0))
    for ecg, weights, source in zip(feats, recorded["draw_w"], recorded["source"], strict=True):
        draws = mask.draw(rng, 12, ecg.shape[1])
        np.testing.assert_array_equal(draws.keep, weights >= 0.5)
        np.testing.assert_array_equal(mask.apply(ecg, draws, sample_rate=500), source)
