"""Every implementation of the patient contrastive loss against its definition in float64."""

import pytest
import torch

from fairseq_ecg.ops.backends import OPERATIONS
from fairseq_ecg.ops.cmsc import cmsc_loss, positive_pairs, reference, torch_kernel
from tests.ops import kernels
from tests.tolerances import TOLERANCES


@pytest.fixture(params=OPERATIONS["cmsc"])
def backend(request) -> str:
    kernels.skip_if_missing(request.param)
    return request.param


def batch(rows=6, dim=5, patients=None, seed=0):
    """Features, ids and segments; by default pairs of rows that belong together."""
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(rows, dim, generator=generator)
    if patients is None:
        return features, torch.arange(rows) // 2 * 3, torch.arange(rows) % 2
    draw = torch.randint(0, patients, (rows,), generator=generator)
    return features, draw, torch.randint(0, 2, (rows,), generator=generator)


def by_the_definition(features, patient_id, segment, temperature, eps):
    """In float64, one positive pair after the other."""
    unit = features / features.detach().norm(dim=1, keepdim=True).clamp(min=eps)
    losses = []
    for i in range(len(unit)):
        others = [j for j in range(len(unit)) if {int(segment[i]), int(segment[j])} == {0, 1}]
        if not others:
            continue
        logits = unit[others] @ unit[i] / temperature
        for logit, j in zip(logits, others, strict=True):
            if patient_id[i] == patient_id[j]:
                losses.append(logits.logsumexp(0) - logit)
    return torch.stack(losses).mean()


def gradient(function, features, *arguments):
    """The function's loss and its gradient."""
    features = features.detach().clone().requires_grad_()
    loss = function(features, *arguments)
    loss.backward()
    return loss.detach(), features.grad


def run(backend, features, patient_id, segment, temperature=0.1, eps=1e-8):
    """Run a backend on its device from memory full of NaN; the results come back to the CPU."""
    device = kernels.device_of(backend)
    batch = [tensor.to(device) for tensor in (features, patient_id, segment)]
    with kernels.nan_in_new_memory():
        loss, grad_features = gradient(cmsc_loss, *batch, temperature, eps, backend)
    return loss.cpu(), grad_features.cpu()


def check(backend, features, patient_id, segment, temperature=0.1, eps=1e-8):
    loss, grad_features = run(backend, features, patient_id, segment, temperature, eps)
    expected, expected_gradient = gradient(
        by_the_definition, features.double(), patient_id, segment, temperature, eps
    )
    rtol, atol, _ = TOLERANCES["cmsc", backend, "loss"]
    torch.testing.assert_close(loss.double(), expected, rtol=rtol, atol=atol)
    rtol, atol, _ = TOLERANCES["cmsc", backend, "gradient"]
    atol *= expected_gradient.abs().max().item()
    torch.testing.assert_close(grad_features.double(), expected_gradient, rtol=rtol, atol=atol)


@pytest.mark.parametrize(
    ("rows", "dim"), [(2, 3), (6, 5), (10, 16), (34, 33), (8, 70), (16, 1), (66, 20)]
)
def test_a_pair_of_every_recording(backend, rows, dim):
    check(backend, *batch(rows, dim))


@pytest.mark.parametrize("seed", range(4))
def test_several_segments_of_a_patient(backend, seed):
    check(backend, *batch(13, 9, patients=4, seed=seed))


def test_order_of_rows_does_not_matter(backend):
    features, patient_id, segment = batch(8)
    order = torch.tensor([6, 2, 0, 7, 3, 5, 1, 4])
    check(backend, features[order], patient_id[order], segment[order])


def test_rows_of_other_segments_do_not_count(backend):
    features, patient_id, segment = batch(9, patients=3)
    segment[[2, 5]] = torch.tensor([2, -1])
    check(backend, features, patient_id, segment)
    assert not run(backend, features, patient_id, segment)[1][[2, 5]].any()


@pytest.mark.parametrize("temperature", [0.01, 1.0, 20.0])
def test_temperatures(backend, temperature):
    check(backend, *batch(12, 8), temperature)


def test_short_and_empty_features(backend):
    features, *ids = batch(8, 6)
    features[1] *= 1e-10
    features[4] = 0
    check(backend, features, *ids)
    check(backend, features, *ids, 0.1, 5.0)


def test_ids_of_any_integer_type_and_layout(backend):
    features, patient_id, segment = batch(8, 6)
    strided = features.T.contiguous().T
    ids = [torch.stack([i, i], dim=1).to(torch.int32)[:, 0] for i in (patient_id, segment)]
    check(backend, strided, *ids)


@pytest.mark.parametrize(
    ("patients", "segments"),
    [([0, 1, 2, 3], [0, 1, 0, 1]), ([0, 0], [0, 0]), ([0, 0], [1, 1]), ([4], [2])],
)
def test_without_positive_pair(backend, patients, segments):
    features = batch(len(patients))[0]
    loss, grad_features = run(backend, features, torch.tensor(patients), torch.tensor(segments))
    assert loss.isnan()
    assert not grad_features.any()


@pytest.mark.parametrize("row", [0, 3])
def test_nan_stays_visible(backend, row):
    features, *ids = batch(8)
    features[row, 2] = torch.nan
    loss, grad_features = run(backend, features, *ids)
    assert loss.isnan()
    assert grad_features[row].isnan().all()


def test_without_gradient(backend):
    device = kernels.device_of(backend)
    features, *ids = (tensor.to(device) for tensor in batch(12, 20))
    loss, _ = gradient(cmsc_loss, features, *ids, 0.1, 1e-8, backend)
    quiet = cmsc_loss(features, *ids, backend=backend)
    assert quiet.grad_fn is None
    torch.testing.assert_close(quiet, loss, rtol=0, atol=0)


def test_gradient_follows_what_the_loss_is_multiplied_by(backend):
    device = kernels.device_of(backend)
    features, *ids = (tensor.to(device) for tensor in batch())

    def scaled(*arguments):
        return -0.25 * cmsc_loss(*arguments)

    arguments = features, *ids, 0.1, 1e-8, backend
    _, grad_features = gradient(cmsc_loss, *arguments)
    torch.testing.assert_close(gradient(scaled, *arguments)[1], -0.25 * grad_features)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_other_types_are_computed_in_float32(backend, dtype):
    features, *ids = batch()
    features = features.to(dtype)
    loss, grad_features = run(backend, features, *ids)
    expected, expected_gradient = run(backend, features.float(), *ids)
    torch.testing.assert_close(loss, expected.to(dtype), rtol=0, atol=0)
    torch.testing.assert_close(grad_features, expected_gradient.to(dtype), rtol=0, atol=0)


def test_autocast_changes_nothing(backend):
    device = kernels.device_of(backend)
    arguments = *(tensor.to(device) for tensor in batch(8, 64)), 0.1, 1e-8, backend

    def under_autocast(*arguments):
        with torch.autocast(device, dtype=torch.bfloat16):
            return cmsc_loss(*arguments)

    expected = gradient(cmsc_loss, *arguments)
    torch.testing.assert_close(gradient(under_autocast, *arguments), expected, rtol=0, atol=0)


def test_threads_change_nothing():
    kernels.skip_if_missing("cpu")
    threads = torch.get_num_threads()
    try:
        results = []
        for number in (1, 2):
            torch.set_num_threads(number)
            results.append(run("cpu", *batch(66, 40)))
    finally:
        torch.set_num_threads(threads)
    torch.testing.assert_close(*results, rtol=0, atol=0)


def test_second_derivative_is_refused():
    features, *ids = batch()
    weight = torch.ones((), requires_grad=True)
    loss = weight * cmsc_loss(features.requires_grad_(), *ids, backend="torch")
    (grad_features,) = torch.autograd.grad(loss, features, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        grad_features.sum().backward()


@pytest.mark.parametrize("wanted", [True, False])
def test_operator_is_registered_soundly(wanted):
    features, *ids = batch()
    operator = torch.ops.fairseq_ecg.cmsc_loss.default
    arguments = features.requires_grad_(wanted), *ids, 0.1, 1e-8, wanted, "torch"
    torch.library.opcheck(operator, arguments)


def test_compiles_as_one_graph_for_any_number_of_rows():
    graphs = []

    def count_graphs(graph, example_inputs):
        graphs.append(graph)
        return graph.forward

    compiled = torch.compile(cmsc_loss, backend=count_graphs, fullgraph=True, dynamic=True)
    for rows in (6, 10, 4):
        arguments = *batch(rows), 0.1, 1e-8, "torch"
        expected = gradient(cmsc_loss, *arguments)
        torch.testing.assert_close(gradient(compiled, *arguments), expected)
    assert len(graphs) == 1


def test_no_device_is_waited_for():
    features, *ids = batch(8, patients=3)
    with kernels.WaitsForNoDevice():
        torch_kernel.cmsc_loss(features, *ids, 0.1, 1e-8, True)
        positive_pairs(*ids).sum()
    with pytest.raises(AssertionError, match="index"), kernels.WaitsForNoDevice():
        reference.cmsc_loss(features, *ids, 0.1, 1e-8)


def test_positive_pairs():
    pairs = positive_pairs(torch.tensor([5, 5, 7, 5]), torch.tensor([1, 0, 0, 1]))
    assert pairs.nonzero().tolist() == [[1, 0], [1, 3]]


def test_wrong_arguments_are_named():
    features, patient_id, segment = batch()
    with pytest.raises(ValueError, match=r"\(6, 5\), \(5,\) and \(6,\)"):
        cmsc_loss(features, patient_id[1:], segment)
    with pytest.raises(ValueError, match="temperature must be positive"):
        cmsc_loss(features, patient_id, segment, temperature=0.0)


def test_triton_kernels_without_a_gpu():
    kernels.run_triton_tests(__file__)


def test_triton_kernels_compile_for_a_gpu():
    pytest.importorskip("triton")
    from fairseq_ecg.ops.cmsc.triton_kernel import _contrast, _differentiate

    batch = {"pairs": "*fp32", "patient_id": "*i64", "segment": "*i64", "log_sums": "*fp32"}
    batch |= {"n_positive": "*i64"}
    sizes = {"rows": "i32", "temperature": "fp32"}
    for kernel, own in ((_contrast, {"losses": "*fp32"}), (_differentiate, {"count": "*i64"})):
        kernels.compile_triton(kernel, batch | own | sizes, may_fuse=True, ROWS=64)
