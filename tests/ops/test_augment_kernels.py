"""Every implementation of a batch's augmentation against the definition of single recordings."""

import numpy as np
import pytest
import torch

from fairseq_ecg.ops.augment import (
    AUGMENTATIONS,
    BaselineShift,
    BaselineWander,
    EMGNoise,
    PowerlineNoise,
    RandomLeadsMask,
    VectorcardiogramView,
    apply_batch,
    augment,
    build_augmentations,
    draw_batch,
    pack_draws,
)
from fairseq_ecg.ops.augment.batch import describe
from fairseq_ecg.ops.backends import OPERATIONS, missing
from tests.ops import kernels
from tests.ops.test_augment import RECORDED
from tests.tolerances import TOLERANCES

FIVE = tuple(AUGMENTATIONS)
RECIPES = {
    "none": [],
    **{name: build_augmentations([name]) for name in AUGMENTATIONS},
    "powerline": [PowerlineNoise()],
    "emg": [EMGNoise()],
    "shift": [BaselineShift(num_segment=3)],
    "wander": [BaselineWander(k=5)],
    "mask": [RandomLeadsMask()],
    "conditional": [RandomLeadsMask(mask_leads_selection="conditional")],
    "five": build_augmentations(FIVE),
    "five, independent leads": build_augmentations(FIVE, dependency=False),
    "five, half of them applied": build_augmentations(FIVE, 0.5),
    "another order": build_augmentations(FIVE[::-1]),
    "repeats": build_augmentations(
        ["emg_noise", "random_leads_masking", "emg_noise", "baseline_shift", "emg_noise"],
        [1, 0.5, 0.7, 1, 1],
    ),
    "view": [VectorcardiogramView()],
    "view among others": [EMGNoise(), VectorcardiogramView(), BaselineWander(), RandomLeadsMask()],
}


@pytest.fixture(params=OPERATIONS["augment"])
def backend(request) -> str:
    kernels.skip_if_missing(request.param)
    return request.param


def ecgs(rows=3, leads=12, samples=45, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(rows, leads, samples, generator=generator)


def philox_draws(augmentations, batch, *, rate=250.0, length=None, **options):
    """Draws of whole recordings in standard order, unless asked otherwise."""
    rows, leads, samples = batch.shape
    origins = torch.tensor([[2**40 + 7, 3, row, row % 2] for row in range(rows)], dtype=torch.long)
    options.setdefault("layouts", torch.arange(leads).repeat(rows, 1))
    return draw_batch(
        augmentations,
        origins.view(-1, 4),
        sample_rates=torch.full((rows,), rate),
        lengths=torch.full((rows,), length or samples),
        **options,
    )


def run(backend, batch, augmentations, draws):
    """Run a backend on its device from memory full of NaN; the result comes back to the CPU."""
    device = kernels.device_of(backend)
    draws = {name: tensor.to(device) for name, tensor in draws.items()}
    with kernels.nan_in_new_memory():
        return apply_batch(batch.to(device), augmentations, draws, backend).cpu()


def assert_close(actual, expected, backend, *others):
    """Hold to a tolerance in units of the largest number's last place."""
    rtol, atol, _ = TOLERANCES["augment", backend, "sample"]
    largest = max(tensor.abs().max().item() for tensor in (expected, *others))
    scale = 2.0 ** np.floor(np.log2(largest))
    torch.testing.assert_close(actual, expected, rtol=rtol, atol=atol * scale)


@pytest.mark.parametrize("recipe", RECIPES)
def test_recordings_one_by_one(backend, recipe):
    augmentations = RECIPES[recipe]
    batch = ecgs(rows=6)
    rng = np.random.RandomState(0)
    expected, draws = [], []
    for ecg in batch:
        state = rng.get_state()
        expected.append(augment(ecg, augmentations, rng, sample_rate=257.0))
        rng.set_state(state)
        draws.append([each.draw(rng, *ecg.shape) for each in augmentations])
    packed = pack_draws(
        augmentations,
        draws,
        n_samples=45,
        sample_rates=torch.full((6,), 257.0),
        layouts=torch.arange(12).repeat(6, 1),
    )
    before = batch.clone()
    result = run(backend, batch, augmentations, packed)
    assert result.dtype == torch.float32
    assert torch.equal(batch, before)
    assert_close(result, torch.stack(expected), backend, batch)


@pytest.mark.parametrize("index", range(len(RECORDED)))
def test_reproduces_fairseq_signals(backend, index):
    augmentation, start, sample, total, _ = RECORDED[index]
    wave = np.sin(0.05 * np.arange(1200)).reshape(12, 100).astype(np.float32)
    draws = pack_draws(
        [augmentation],
        [[augmentation.draw(np.random.RandomState(0), 12, 100)]],
        n_samples=100,
        sample_rates=torch.tensor([500]),
        layouts=torch.arange(12).unsqueeze(0),
    )
    result = run(backend, torch.from_numpy(wave).unsqueeze(0), [augmentation], draws)[0].double()
    _, atol, _ = TOLERANCES["augment", backend, "sample"]
    # The recordings have ten decimals; samples are below two.
    np.testing.assert_allclose(result[0, :3], start, rtol=0, atol=atol + 1e-10)
    np.testing.assert_allclose(result[5, 50], sample, rtol=0, atol=atol + 1e-10)
    np.testing.assert_allclose(result.sum(), total, rtol=0, atol=1200 * atol / 10 + 1e-9)


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("samples", [1, 45, 300])
def test_philox_draws(backend, recipe, samples):
    augmentations = RECIPES[recipe]
    batch = ecgs(samples=samples)
    draws = philox_draws(augmentations, batch)
    expected = apply_batch(batch, augmentations, draws, "reference")
    assert_close(run(backend, batch, augmentations, draws), expected, backend, batch)


@pytest.mark.parametrize("recipe", RECIPES)
def test_kernels_give_the_same_bits(backend, recipe):
    if backend == "reference" or missing("cpu") is not None:
        pytest.skip(f"{backend}: nothing to compare")
    augmentations = RECIPES[recipe]
    batch = ecgs(samples=301)
    draws = philox_draws(augmentations, batch)
    assert torch.equal(
        run(backend, batch, augmentations, draws), run("cpu", batch, augmentations, draws)
    )


def test_angles_late_in_a_recording(backend):
    augmentations = [PowerlineNoise(max_amplitude=1, min_amplitude=1)]
    batch = torch.zeros(4, 12, 8)
    options = {"starts": torch.full((4,), 10**6 + 1), "length": 2 * 10**6}
    for rate in (257.0, 360.5, 500.0):
        draws = philox_draws(augmentations, batch, rate=rate, **options)
        expected = apply_batch(batch, augmentations, draws, "reference")
        assert_close(run(backend, batch, augmentations, draws), expected, backend)


@pytest.mark.parametrize("starts", [[0, 0, 0], [3, 8, 17]])
@pytest.mark.parametrize("samples", [20, 23])
def test_windows_of_augmented_recordings(backend, starts, samples):
    augmentations = [*build_augmentations(FIVE), VectorcardiogramView()]
    whole = ecgs()
    expected = run(backend, whole, augmentations, philox_draws(augmentations, whole))
    columns = torch.tensor(starts).view(-1, 1, 1) + torch.arange(samples)
    columns = columns.expand(3, 12, samples)
    window = whole.gather(2, columns)
    draws = philox_draws(augmentations, window, length=45, starts=torch.tensor(starts))
    result = run(backend, window, augmentations, draws)
    assert torch.equal(result, expected.gather(2, columns))


def test_padding_stays_as_it_is(backend):
    augmentations = [*build_augmentations(FIVE), VectorcardiogramView()]
    batch = ecgs(rows=4)
    valid = torch.tensor([0, 1, 30, 45])
    draws = philox_draws(augmentations, batch, valid=valid)
    result = run(backend, batch, augmentations, draws)
    whole = run(backend, batch, augmentations, philox_draws(augmentations, batch))
    for row, count in enumerate(valid.tolist()):
        assert torch.equal(result[row, :, :count], whole[row, :, :count])
        assert torch.equal(result[row, :, count:], batch[row, :, count:])


def test_a_recording_alone_is_as_in_a_batch(backend):
    augmentations = build_augmentations(FIVE, 0.7)
    batch = ecgs(rows=5)
    together = run(backend, batch, augmentations, philox_draws(augmentations, batch))
    for row in range(5):
        draws = philox_draws(augmentations, batch)
        alone = {name: tensor[row : row + 1] for name, tensor in draws.items()}
        result = run(backend, batch[row : row + 1], augmentations, alone)
        assert torch.equal(result[0], together[row])


@pytest.mark.parametrize(
    "leads", [[7, 5, 1, 3, 0], [1], [0, 1], [6, 7, 11], [11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0]]
)
def test_leads_wherever_their_rows_are(backend, leads):
    augmentations = build_augmentations(FIVE)
    whole = ecgs(rows=2)
    # One row has the leads in this order, the other has them in another one.
    layouts = torch.tensor([leads, leads[::-1]])
    batch = torch.stack([ecg[layout] for ecg, layout in zip(whole, layouts, strict=True)])
    rng = np.random.RandomState(3)
    draws = [[each.draw(rng, *batch.shape[1:]) for each in augmentations] for _ in range(2)]
    packed = pack_draws(
        augmentations,
        draws,
        n_samples=45,
        sample_rates=torch.full((2,), 500),
        layouts=layouts,
    )
    result = run(backend, batch, augmentations, packed)
    for row in range(2):
        ecg = batch[row]
        for each, drawn in zip(augmentations, draws[row], strict=True):
            ecg = each.apply(ecg, drawn, sample_rate=500, leads=layouts[row].tolist())
        assert_close(result[row], ecg, backend, batch)


def test_dependency_holds_among_noisy_limb_leads(backend):
    augmentations = [EMGNoise(), BaselineWander()]
    batch = ecgs()
    result = run(backend, batch, augmentations, philox_draws(augmentations, batch))
    one, two = result[:, 0].double(), result[:, 1].double()
    expected = torch.stack([two - one, -(two + one) / 2, one - two / 2, two - one / 2], dim=1)
    # All backends round I and II before and what follows from them after.
    assert_close(result[:, 2:6].double(), expected, "cpu", batch)


def test_masked_leads_are_zero_whatever_they_hold(backend):
    augmentations = [RandomLeadsMask()]
    batch = torch.full((3, 12, 10), torch.nan)
    draws = philox_draws(augmentations, batch)
    result = run(backend, batch, augmentations, draws)
    is_kept = draws["parameters"][:, 4:16] > 0
    assert not result[~is_kept].any()
    assert result[is_kept].isnan().all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_other_types_are_computed_in_float32(backend, dtype):
    augmentations = build_augmentations(FIVE)
    batch = ecgs().to(dtype)
    draws = philox_draws(augmentations, batch)
    result = run(backend, batch, augmentations, draws)
    assert result.dtype == torch.float32
    assert torch.equal(result, run(backend, batch.float(), augmentations, draws))


def test_any_layout_of_memory(backend):
    augmentations = build_augmentations(FIVE)
    batch = ecgs()
    draws = philox_draws(augmentations, batch)
    expected = run(backend, batch, augmentations, draws)
    strided = {name: tensor.T.contiguous().T for name, tensor in draws.items()}
    assert torch.equal(run(backend, batch.mT.contiguous().mT, augmentations, strided), expected)
    # Not at an address that is a multiple of 16.
    shifted = torch.cat([torch.zeros(1), batch.flatten()])[1:].view(batch.shape)
    assert torch.equal(run(backend, shifted, augmentations, draws), expected)


def test_empty_batches(backend):
    augmentations = build_augmentations(FIVE)
    for shape in ((0, 12, 5), (2, 12, 0)):
        batch = torch.zeros(shape)
        draws = philox_draws(augmentations, batch)
        assert run(backend, batch, augmentations, draws).shape == shape


def test_threads_change_nothing():
    kernels.skip_if_missing("cpu")
    augmentations = build_augmentations(FIVE)
    batch = ecgs(rows=5)
    draws = philox_draws(augmentations, batch)
    threads = torch.get_num_threads()
    try:
        results = []
        for number in (1, 2):
            torch.set_num_threads(number)
            results.append(run("cpu", batch, augmentations, draws))
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(*results)


@pytest.mark.parametrize("has_normals", [False, True])
def test_operator_is_registered_soundly(backend, has_normals):
    device = kernels.device_of(backend)
    batch = ecgs(samples=9)
    draws = philox_draws([EMGNoise()], batch)
    normals = torch.ones(1, *batch.shape, dtype=torch.float64).to(device) if has_normals else None
    tensors = [draws[name].to(device) for name in ("parameters", "origins", "layouts")]
    operator = torch.ops.fairseq_ecg.augment.default
    recipe = [1, 3, 0, 1]
    torch.library.opcheck(operator, (batch.to(device), *tensors, normals, recipe, backend))


def test_compiles_as_one_graph_for_any_batch(backend):
    augmentations = [*build_augmentations(FIVE), VectorcardiogramView()]
    device = kernels.device_of(backend)
    graphs = []

    def count_graphs(graph, example_inputs):
        graphs.append(graph)
        return graph.forward

    def function(batch, draws):
        return apply_batch(2 * batch, augmentations, draws, backend)

    compiled = torch.compile(function, backend=count_graphs, fullgraph=True, dynamic=True)
    for rows, samples in ((3, 45), (5, 30), (4, 33)):
        batch = ecgs(rows, samples=samples).to(device)
        draws = philox_draws(augmentations, batch)
        draws = {name: tensor.to(device) for name, tensor in draws.items()}
        assert torch.equal(compiled(batch, draws), function(batch, draws))
    assert len(graphs) == 1


def test_wrong_arguments_are_named():
    augmentations = [EMGNoise()]
    batch = ecgs()
    draws = philox_draws(augmentations, batch)
    with pytest.raises(ValueError, match=r"\(B, L, T\), not \(12, 45\)"):
        apply_batch(batch[0], augmentations, draws)
    with pytest.raises(ValueError, match=r"parameters must be \(2, 16\), not \(3, 16\)"):
        apply_batch(batch[:2], augmentations, draws)
    with pytest.raises(ValueError, match=r"parameters must be \(3, 32\), not \(3, 16\)"):
        apply_batch(batch, [PowerlineNoise(), EMGNoise()], draws)
    with pytest.raises(ValueError, match=r"layouts must be \(3, 11\), not \(3, 12\)"):
        apply_batch(batch[:, 1:], augmentations, draws)
    with pytest.raises(ValueError, match=r"normals must be .* not \(1, 3, 12, 9\)"):
        apply_batch(batch, augmentations, draws | {"normals": torch.zeros(1, 3, 12, 9)})
    with pytest.raises(ValueError, match="no gradient"):
        apply_batch(batch.requires_grad_(), augmentations, draws)
    with torch.no_grad():
        apply_batch(batch, augmentations, draws)


def test_bad_layouts_are_refused_by_the_extension():
    kernels.skip_if_missing("cpu")
    batch = ecgs()
    draws = philox_draws([EMGNoise()], batch)
    for bad in (12, -1, 3):
        layouts = draws["layouts"].clone()
        layouts[1, 4] = bad
        with pytest.raises(ValueError, match="each once in a row"):
            apply_batch(batch, [EMGNoise()], draws | {"layouts": layouts}, "cpu")


@pytest.mark.slow
def test_triton_kernels_without_a_gpu():
    kernels.run_triton_tests(__file__)


@pytest.mark.parametrize("has_normals", [False, True])
def test_triton_kernels_compile_for_a_gpu(has_normals):
    pytest.importorskip("triton")
    from fairseq_ecg.ops.augment import triton_kernel

    kernels.compile_triton(
        triton_kernel._augment_block,
        {
            "ecgs": "*fp32",
            "parameters": "*fp64",
            "origins": "*i64",
            "layouts": "*i64",
            "normals": "*fp32",
            "augmented": "*fp32",
            "n_recordings": "i32",
            "n_leads": "i32",
            "n_samples": "i32",
            "n_columns": "i32",
        },
        RECIPE=tuple(describe([*build_augmentations(FIVE), VectorcardiogramView()])),
        HAS_NORMALS=has_normals,
        ROWS=triton_kernel._ROWS,
        SAMPLES=triton_kernel._SAMPLES,
    )
