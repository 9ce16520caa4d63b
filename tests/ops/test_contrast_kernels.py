"""Every implementation of the contrastive losses against their definition in float64."""

import pytest
import torch

from fairseq_ecg.ops.backends import OPERATIONS
from fairseq_ecg.ops.contrast import contrast, reference, torch_kernel
from tests.ops import kernels
from tests.tolerances import TOLERANCES


@pytest.fixture(params=OPERATIONS["contrast"])
def backend(request) -> str:
    kernels.skip_if_missing(request.param)
    return request.param


@pytest.fixture(params=[True, False], ids=["both ways", "every row"])
def has_segments(request) -> bool:
    return request.param


def batch(has_segments=True, rows=6, dim=5, patients=None, seed=0):
    """Features, groups and segments; by default pairs of rows that belong together."""
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(rows, dim, generator=generator)
    group, segment = torch.arange(rows) // 2 * 3, torch.arange(rows) % 2
    if patients is not None:
        group = torch.randint(0, patients, (rows,), generator=generator)
        segment = torch.randint(0, 2, (rows,), generator=generator)
    return features, group, segment if has_segments else None


def by_the_definition(features, group, segment, temperature, eps):
    """In float64, one positive pair after the other; the loss, and counts of the pairs."""
    unit = features / features.detach().norm(dim=1, keepdim=True).clamp(min=eps)
    losses, counts = [unit.sum() * 0], torch.zeros(3, dtype=torch.long)
    rows = range(len(unit))
    for i in rows:
        if segment is None:
            others = [j for j in rows if j != i]
        else:
            others = [j for j in rows if {int(segment[i]), int(segment[j])} == {0, 1}]
        logits = {j: unit[j] @ unit[i] / temperature for j in others}
        negatives = [logits[j] for j in others if group[j] != group[i]]
        for j in others:
            if group[j] != group[i]:
                continue
            compared = list(logits.values()) if segment is not None else [logits[j], *negatives]
            losses.append(torch.stack(compared).logsumexp(0) - logits[j])
            is_highest = all(logits[j] >= other for other in negatives)
            is_level = is_highest and all(logits[j] <= other for other in negatives)
            counts += torch.tensor([1, is_highest, is_level])
    total = torch.stack(losses).sum()
    return total if segment is None else total / (len(losses) - 1), counts


def gradient(function, features, *arguments):
    """The function's loss, its counts and its gradient."""
    features = features.detach().clone().requires_grad_()
    loss, counts = function(features, *arguments)
    loss.backward()
    return loss.detach(), counts, features.grad


def run(backend, features, group, segment, temperature=0.1, eps=1e-8):
    """Run a backend on its device from memory full of NaN; the results come back to the CPU."""
    device = kernels.device_of(backend)
    batch = [None if each is None else each.to(device) for each in (features, group, segment)]
    with kernels.nan_in_new_memory():
        results = gradient(contrast, *batch, temperature, eps, backend)
    return [result.cpu() for result in results]


def check(backend, features, group, segment, temperature=0.1, eps=1e-8, counts_too=True):
    loss, counts, grad_features = run(backend, features, group, segment, temperature, eps)
    expected, expected_counts, expected_gradient = gradient(
        by_the_definition, features.double(), group, segment, temperature, eps
    )
    rtol, atol, _ = TOLERANCES["contrast", backend, "loss"]
    # A sum has the rounding of all its pairs.
    atol *= 1 if segment is not None else max(expected_counts[0].item(), 1)
    torch.testing.assert_close(loss.double(), expected, rtol=rtol, atol=atol)
    assert not counts_too or torch.equal(counts, expected_counts)
    rtol, atol, _ = TOLERANCES["contrast", backend, "gradient"]
    atol *= expected_gradient.abs().max().item()
    torch.testing.assert_close(grad_features.double(), expected_gradient, rtol=rtol, atol=atol)


@pytest.mark.parametrize(
    ("rows", "dim"), [(2, 3), (6, 5), (10, 16), (34, 33), (8, 70), (16, 1), (66, 20)]
)
def test_pairs_of_rows(backend, has_segments, rows, dim):
    # All similarities of single numbers are 1 or -1 up to rounding, which decides on counts.
    check(backend, *batch(has_segments, rows, dim), counts_too=dim > 1)


@pytest.mark.parametrize("seed", range(4))
def test_several_rows_of_a_patient(backend, has_segments, seed):
    check(backend, *batch(has_segments, 13, 9, patients=4, seed=seed))


def test_order_of_rows_does_not_matter(backend):
    features, group, segment = batch(rows=8)
    order = torch.tensor([6, 2, 0, 7, 3, 5, 1, 4])
    check(backend, features[order], group[order], segment[order])
    check(backend, features[order], group[order], None)


def test_rows_of_other_segments_do_not_count(backend):
    features, group, segment = batch(rows=9, patients=3)
    segment[[2, 5]] = torch.tensor([2, -1])
    check(backend, features, group, segment)
    assert not run(backend, features, group, segment)[2][[2, 5]].any()


@pytest.mark.parametrize("temperature", [0.01, 0.07, 1.0])
def test_learnt_temperatures(backend, has_segments, temperature):
    features, *ids = (None if x is None else x for x in batch(has_segments, 12, 8, seed=3))
    device = kernels.device_of(backend)
    expected = torch.tensor(temperature, dtype=torch.float64, requires_grad=True)
    by_the_definition(features.double(), *ids, expected, 1e-8)[0].backward()
    learnt = torch.tensor(temperature, device=device, requires_grad=True)
    group, segment = (None if x is None else x.to(device) for x in ids)
    loss, counts = contrast(features.to(device), group, segment, learnt, backend=backend)
    loss.backward()
    definition = by_the_definition(features.double(), *ids, temperature, 1e-8)
    rtol, atol, _ = TOLERANCES["contrast", backend, "loss"]
    atol *= 1 if has_segments else max(definition[1][0].item(), 1)
    torch.testing.assert_close(loss.double().cpu(), definition[0], rtol=rtol, atol=atol)
    assert torch.equal(counts.cpu(), definition[1])
    rtol, atol, _ = TOLERANCES["contrast", backend, "gradient"]
    scale = expected.grad.abs().item()
    torch.testing.assert_close(
        learnt.grad.double().cpu(), expected.grad, rtol=rtol, atol=10 * atol * scale
    )


@pytest.mark.parametrize("temperature", [0.01, 1.0, 20.0])
def test_temperatures(backend, has_segments, temperature):
    check(backend, *batch(has_segments, 12, 8), temperature)


def test_short_and_empty_features(backend, has_segments):
    features, *ids = batch(has_segments, 8, 6)
    features[1] *= 1e-10
    features[4] = 0
    check(backend, features, *ids)
    check(backend, features, *ids, 0.1, 5.0)


def test_far_and_near_rows(backend, has_segments):
    """Similarities of 100 and -100: no exponential overflows, no pair is lost."""
    features, *ids = batch(has_segments, 8, 2)
    features[[0, 1, 4]] = torch.tensor([[1.0, 0], [-1, 0], [1, 0]])
    loss, _, grad_features = run(backend, features, *ids, 0.01)
    assert loss.isfinite()
    assert grad_features.isfinite().all()
    expected, *_ = by_the_definition(features.double(), *ids, 0.01, 1e-8)
    torch.testing.assert_close(loss.double(), expected, rtol=1e-5, atol=1e-4)


def test_ids_of_any_integer_type_and_layout(backend, has_segments):
    features, *ids = batch(has_segments, 8, 6)
    strided = features.T.contiguous().T
    narrow = [None if i is None else torch.stack([i, i], 1).to(torch.int32)[:, 0] for i in ids]
    check(backend, strided, *narrow)


@pytest.mark.parametrize(
    ("patients", "segments"),
    [([0, 1, 2, 3], [0, 1, 0, 1]), ([0, 0], [0, 0]), ([0, 0], [1, 1]), ([4], [2]), ([], [])],
)
def test_without_positive_pair(backend, patients, segments):
    features = batch(rows=len(patients))[0]
    loss, counts, grad_features = run(
        backend, features, *(torch.tensor(ids, dtype=torch.long) for ids in (patients, segments))
    )
    assert loss.isnan()
    assert counts.tolist() == [0, 0, 0]
    assert not grad_features.any()


@pytest.mark.parametrize("patients", [[0, 1, 2, 3], [5], []])
def test_every_row_without_positive_pair(backend, patients):
    features = batch(rows=len(patients))[0]
    group = torch.tensor(patients, dtype=torch.long)
    loss, counts, grad_features = run(backend, features, group, None)
    assert loss == 0
    assert counts.tolist() == [0, 0, 0]
    assert not grad_features.any()


def test_every_row_without_negative_pair(backend):
    features = batch(rows=4)[0]
    loss, counts, grad_features = run(backend, features, torch.zeros(4, dtype=torch.long), None)
    assert loss == 0
    assert counts.tolist() == [12, 12, 12]
    assert not grad_features.any()


def test_rows_that_are_all_alike(backend, has_segments):
    features, *ids = batch(has_segments, 8, 4)
    loss, counts, _ = run(backend, torch.ones_like(features), *ids)
    assert counts.tolist() == [8, 8, 8]
    expected = torch.tensor(4.0 if has_segments else 7.0).log() * (1 if has_segments else 8)
    torch.testing.assert_close(loss, expected)


@pytest.mark.parametrize("row", [0, 3])
def test_nan_stays_visible(backend, has_segments, row):
    features, *ids = batch(has_segments, 8)
    features[row, 2] = torch.nan
    loss, _, grad_features = run(backend, features, *ids)
    assert loss.isnan()
    assert grad_features[row].isnan().all()


def on_device(backend, *batch):
    device = kernels.device_of(backend)
    return [None if each is None else each.to(device) for each in batch]


def test_without_gradient(backend, has_segments):
    features, *ids = on_device(backend, *batch(has_segments, 12, 20))
    loss, counts, _ = gradient(contrast, features, *ids, 0.1, 1e-8, backend)
    quiet = contrast(features, *ids, backend=backend)
    assert quiet.loss.grad_fn is None
    torch.testing.assert_close(tuple(quiet), (loss, counts), rtol=0, atol=0)


def test_gradient_follows_what_the_loss_is_multiplied_by(backend, has_segments):
    features, *ids = on_device(backend, *batch(has_segments))

    def scaled(*arguments):
        loss, counts = contrast(*arguments)
        return -0.25 * loss, counts

    arguments = features, *ids, 0.1, 1e-8, backend
    grad_features = gradient(contrast, *arguments)[2]
    torch.testing.assert_close(gradient(scaled, *arguments)[2], -0.25 * grad_features)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_other_types_are_computed_in_float32(backend, has_segments, dtype):
    features, *ids = batch(has_segments)
    features = features.to(dtype)
    loss, _, grad_features = run(backend, features, *ids)
    expected, _, expected_gradient = run(backend, features.float(), *ids)
    torch.testing.assert_close(loss, expected.to(dtype), rtol=0, atol=0)
    torch.testing.assert_close(grad_features, expected_gradient.to(dtype), rtol=0, atol=0)


def test_autocast_changes_nothing(backend, has_segments):
    arguments = *on_device(backend, *batch(has_segments, 8, 64)), 0.1, 1e-8, backend

    def under_autocast(*arguments):
        with torch.autocast(kernels.device_of(backend), dtype=torch.bfloat16):
            return contrast(*arguments)

    expected = gradient(contrast, *arguments)
    torch.testing.assert_close(gradient(under_autocast, *arguments), expected, rtol=0, atol=0)


def test_threads_change_nothing(has_segments):
    kernels.skip_if_missing("cpu")
    threads = torch.get_num_threads()
    try:
        results = []
        for number in (1, 2):
            torch.set_num_threads(number)
            results.append(run("cpu", *batch(has_segments, 66, 40)))
    finally:
        torch.set_num_threads(threads)
    torch.testing.assert_close(*results, rtol=0, atol=0)


def test_second_derivative_is_refused():
    features, *ids = batch()
    weight = torch.ones((), requires_grad=True)
    loss = weight * contrast(features.requires_grad_(), *ids, backend="torch").loss
    (grad_features,) = torch.autograd.grad(loss, features, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        grad_features.sum().backward()


@pytest.mark.parametrize("wanted", [True, False])
def test_operator_is_registered_soundly(has_segments, wanted):
    features, *ids = batch(has_segments)
    operator = torch.ops.fairseq_ecg.contrast.default
    arguments = features.requires_grad_(wanted), *ids, 0.1, 1e-8, wanted, "torch"
    torch.library.opcheck(operator, arguments)


def test_compiles_as_one_graph_for_any_number_of_rows(has_segments):
    graphs = []

    def count_graphs(graph, example_inputs):
        graphs.append(graph)
        return graph.forward

    compiled = torch.compile(contrast, backend=count_graphs, fullgraph=True, dynamic=True)
    for rows in (6, 10, 4):
        arguments = *batch(has_segments, rows), 0.1, 1e-8, "torch"
        expected = gradient(contrast, *arguments)
        torch.testing.assert_close(gradient(compiled, *arguments), expected)
    assert len(graphs) == 1


def test_no_device_is_waited_for(has_segments):
    arguments = *batch(has_segments, 8, patients=3), 0.1, 1e-8
    with kernels.WaitsForNoDevice():
        torch_kernel.contrast(*arguments, True)
    with pytest.raises(AssertionError, match=r"index|nonzero"), kernels.WaitsForNoDevice():
        reference.contrast(*arguments)


def test_wrong_arguments_are_named():
    features, group, segment = batch()
    with pytest.raises(ValueError, match=r"\(6, 5\) and \(5,\) and \(6,\)"):
        contrast(features, group[1:], segment)
    with pytest.raises(ValueError, match=r"\(6, 5\) and \(5,\)"):
        contrast(features, group[1:])
    with pytest.raises(ValueError, match="temperature must be positive"):
        contrast(features, group, segment, temperature=0.0)


def test_triton_kernels_without_a_gpu():
    kernels.run_triton_tests(__file__)


def test_triton_kernels_compile_for_a_gpu(has_segments):
    pytest.importorskip("triton")
    from fairseq_ecg.ops.contrast.triton_kernel import _contrast, _differentiate

    batch = {"pairs": "*fp32", "group": "*i64", "segment": "*i64", "log_sums": "*fp32"}
    batch |= {"weights": "*fp32"}
    sizes = {"rows": "i32", "temperature": "fp32"}
    own = {"of_rows": "*i64", "losses": "*fp32"}
    constants = {"BOTH_WAYS": has_segments, "ROWS": 64}
    kernels.compile_triton(_contrast, batch | own | sizes, may_fuse=True, **constants)
    own = {"divisor": "*i64"}
    kernels.compile_triton(_differentiate, batch | own | sizes, may_fuse=True, **constants)
