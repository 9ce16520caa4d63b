"""Random numbers: known answers, equal bits on every backend, and the distributions."""

import numpy as np
import pytest
import torch

from fairseq_ecg.ops.backends import OPERATIONS
from fairseq_ecg.ops.philox import Stream, origin, random_numbers, random_words, reference
from tests.ops import kernels
from tests.tolerances import TOLERANCES

# Counter, seed and words of Random123 (Salmon et al., 2011), file kat_vectors.
KNOWN_ANSWERS = [
    ((0, 0, 0, 0), 0, (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((0xFFFFFFFF,) * 4, -1, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        0x299F31D0A4093822,
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]


@pytest.fixture(params=OPERATIONS["philox"])
def backend(request) -> str:
    kernels.skip_if_missing(request.param)
    return request.param


def counters_and_seeds(rows: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(rows)
    counters = torch.randint(0, 2**32, (rows, 4), generator=generator)
    return counters, torch.randint(-(2**63), 2**63 - 1, (rows,), generator=generator)


def run(backend, counters, seeds, kind):
    device = kernels.device_of(backend)
    with kernels.nan_in_new_memory():
        return random_numbers(counters.to(device), seeds.to(device), kind, backend).cpu()


def test_known_answers(backend):
    counters, seeds, expected = (
        torch.tensor(column) for column in zip(*KNOWN_ANSWERS, strict=True)
    )
    assert torch.equal(run(backend, counters, seeds, "words"), expected)


@pytest.mark.parametrize("rows", [0, 1, 63, 64, 65, 1000])
@pytest.mark.parametrize("kind", reference.KINDS)
def test_every_backend_gives_the_same_bits(backend, kind, rows):
    counters, seeds = counters_and_seeds(rows)
    expected = random_numbers(counters, seeds, kind, "reference")
    assert torch.equal(run(backend, counters, seeds, kind), expected)


def test_uniforms_are_exact(backend):
    counters, seeds = counters_and_seeds(100)
    words = run(backend, counters, seeds, "words")
    uniforms = run(backend, counters, seeds, "uniforms")
    assert torch.equal(uniforms.double(), (words >> 8) / 2.0**24)


def test_normals_are_those_of_box_and_muller(backend):
    counters, seeds = counters_and_seeds(1000)
    words = run(backend, counters, seeds, "words")
    one, other = words.view(-1, 2, 2).unbind(-1)
    radius = (-2 * (((one >> 8) + 1) / 2.0**24).double().log()).sqrt()
    angle = 2 * np.pi * ((other >> 8) / 2.0**24).double()
    expected = torch.stack([radius * angle.cos(), radius * angle.sin()], -1).view(-1, 4)
    rtol, atol, _ = TOLERANCES["philox", backend, "normals"]
    normals = run(backend, counters, seeds, "normals").double()
    torch.testing.assert_close(normals, expected, rtol=rtol, atol=atol)


def test_moments(backend):
    rows = 250 if backend == "triton" else 50_000
    counters = torch.zeros(rows, 4, dtype=torch.long)
    counters[:, 0] = torch.arange(rows)
    seeds = torch.full((rows,), 7)
    count = 4 * rows
    uniforms = run(backend, counters, seeds, "uniforms").double()
    normals = run(backend, counters, seeds, "normals").double()
    # Four standard deviations of each estimate.
    for numbers, power, moment, variance in [
        (uniforms - 0.5, 1, 0, 1 / 12),
        (uniforms - 0.5, 2, 1 / 12, 1 / 180),
        (normals, 1, 0, 1),
        (normals, 2, 1, 2),
        (normals, 3, 0, 15),
        (normals, 4, 3, 96),
    ]:
        assert abs((numbers**power).mean() - moment) < 4 * (variance / count) ** 0.5
    in_order = normals.flatten()
    assert abs((in_order[1:] * in_order[:-1]).mean()) < 4 / count**0.5


def test_below_is_uniform():
    words = random_words(origin(1, 1, 1).unsqueeze(0), Stream.NEGATIVES, 0, 70_000)
    counts = reference.below(words, 7).flatten().bincount(minlength=7)
    assert counts.numel() == 7
    # Four standard deviations of a count.
    assert (counts - 10_000).abs().max() < 4 * (70_000 * 6 / 49) ** 0.5


def test_words_of_lanes_are_those_of_their_counters():
    origins = torch.stack([origin(2**40 + 3, 5, 6, 7), origin(-1, 1, 2**32 - 1, 2**16 - 1)])
    drawn = random_words(origins, Stream.AUGMENTATION + 2, torch.tensor([0, 11, 255]), 10)
    assert drawn.shape == (2, 3, 10)
    for row, (seed, epoch, record, segment) in enumerate(origins.tolist()):
        for column, lane in enumerate([0, 11, 255]):
            purpose = segment << 16 | 18 << 8 | lane
            counters = torch.tensor([[block, record, epoch, purpose] for block in range(3)])
            words = random_numbers(counters, torch.full((3,), seed), "words", "reference")
            assert torch.equal(drawn[row, column], words.flatten()[:10])


def test_threads_change_nothing():
    kernels.skip_if_missing("cpu")
    counters, seeds = counters_and_seeds(10_000)
    threads = torch.get_num_threads()
    try:
        results = []
        for number in (1, 2):
            torch.set_num_threads(number)
            results.append(run("cpu", counters, seeds, "normals"))
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(*results)


def test_any_layout_of_memory(backend):
    counters, seeds = counters_and_seeds(20)
    expected = run(backend, counters, seeds, "words")
    strided = counters.T.contiguous().T, seeds.repeat_interleave(2)[::2]
    assert torch.equal(run(backend, *strided, "words"), expected)


@pytest.mark.parametrize("kind", range(3))
def test_operator_is_registered_soundly(backend, kind):
    device = kernels.device_of(backend)
    counters, seeds = (tensor.to(device) for tensor in counters_and_seeds(5))
    operator = torch.ops.fairseq_ecg.random_numbers.default
    torch.library.opcheck(operator, (counters, seeds, kind, backend))


def test_wrong_arguments_are_named():
    counters, seeds = counters_and_seeds(5)
    with pytest.raises(ValueError, match=r"\(5, 3\) and \(5,\)"):
        random_numbers(counters[:, :3], seeds, "words")
    with pytest.raises(ValueError, match=r"\(5, 4\) and \(4,\)"):
        random_numbers(counters, seeds[1:], "words")
    with pytest.raises(ValueError, match=r"counters must be int64, not torch\.int32"):
        random_numbers(counters.int(), seeds, "words")
    with pytest.raises(ValueError, match="choose one of words, uniforms, normals"):
        random_numbers(counters, seeds, "numbers")


def test_triton_kernels_without_a_gpu():
    kernels.run_triton_tests(__file__)


@pytest.mark.parametrize("kind", range(3))
def test_triton_kernels_compile_for_a_gpu(kind):
    pytest.importorskip("triton")
    from fairseq_ecg.ops.philox.triton_kernel import _convert

    numbers = "*i64" if kind == 0 else "*fp32"
    arguments = {"counters": "*i64", "seeds": "*i64", "numbers": numbers, "rows": "i32"}
    kernels.compile_triton(_convert, arguments, KIND=kind, COUNTERS=128)
