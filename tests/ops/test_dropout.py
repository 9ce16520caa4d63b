import pytest
import torch
from torch.nn import functional as F

from fairseq_ecg.ops.backends import missing
from fairseq_ecg.ops.dropout import dropout, has_kernel


def numbers(*shape, dtype=torch.float32):
    generator = torch.Generator().manual_seed(0)
    return (torch.randn(shape, generator=generator) + 3).to(dtype)


def test_reference_is_pytorchs_own():
    x, residual = numbers(5, 7), numbers(5, 7) - 3
    torch.manual_seed(1)
    expected = residual + F.dropout(x, 0.3)
    torch.manual_seed(1)
    assert torch.equal(dropout(x, 0.3, True, residual, backend="reference"), expected)


@pytest.mark.parametrize("backend", ["reference", None])
@pytest.mark.parametrize(("p", "training"), [(0.0, True), (0.4, False)])
def test_nothing_is_dropped(backend, p, training):
    x = numbers(4, 3)
    assert dropout(x, p, training, backend=backend) is x
    assert torch.equal(dropout(x, p, training, x, backend=backend), 2 * x)


def test_everything_can_be_dropped_and_wrong_probabilities_are_refused():
    assert not dropout(numbers(5), 1.0, True).any()
    with pytest.raises(ValueError, match=r"between 0 and 1, not 1\.5"):
        dropout(numbers(5), 1.5, True)


@pytest.mark.skipif(missing("cpu") is not None, reason=f"cpu: {missing('cpu')}")
class TestCPUKernel:
    @pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
    @pytest.mark.parametrize("size", [1, 63, 64, 65, 1000, 200_003])
    def test_kept_numbers_are_scaled_and_the_others_zero(self, dtype, size):
        x = numbers(size, dtype=dtype)
        torch.manual_seed(size)
        y = dropout(x, 0.25, True, backend="cpu")
        kept = y != 0
        assert y.dtype == dtype
        expected = (x.float() * torch.tensor(1 / 0.75)).to(dtype)
        assert torch.equal(y[kept], expected[kept])
        if size > 1000:
            # Five standard errors of a share of 200,000.
            assert kept.float().mean().item() == pytest.approx(0.75, abs=0.005)
            pairs = (kept[1:] & kept[:-1]).float().mean().item()
            assert pairs == pytest.approx(0.75**2, abs=0.006)

    @pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
    def test_residual_is_added(self, dtype):
        x, residual = numbers(70, 3, dtype=dtype), numbers(70, 3, dtype=dtype) * 5
        torch.manual_seed(2)
        dropped = dropout(x.float(), 0.5, True, backend="cpu")
        torch.manual_seed(2)
        y = dropout(x, 0.5, True, residual, backend="cpu")
        assert torch.equal(y, (residual.float() + dropped).to(dtype))

    def test_gradient_is_dropped_where_the_number_was(self):
        x, residual = numbers(33, 9).requires_grad_(), numbers(33, 9).requires_grad_()
        y = dropout(x.mT, 0.5, True, residual.mT, backend="cpu")  # of any layout in memory
        kept = (y != residual.mT).detach()
        gradient = numbers(9, 33)
        grad_x, grad_residual = torch.autograd.grad(y, (x, residual), gradient, retain_graph=True)
        assert torch.equal(grad_x.mT, torch.where(kept, 2 * gradient, 0))
        assert torch.equal(grad_residual.mT, gradient)

    def test_masks_follow_pytorchs_seed_and_not_the_threads(self):
        x = numbers(100_000)
        drawn = []
        threads = torch.get_num_threads()
        try:
            for seed, number in ((0, 1), (0, 2), (1, 2)):
                torch.manual_seed(seed)
                torch.set_num_threads(number)
                drawn.append(dropout(x, 0.1, True, backend="cpu"))
        finally:
            torch.set_num_threads(threads)
        assert torch.equal(drawn[0], drawn[1])
        assert not torch.equal(drawn[0], drawn[2])
        following = dropout(x, 0.1, True, backend="cpu")
        assert not torch.equal(following, drawn[2])

    def test_nan_and_infinity_stay(self):
        x = torch.tensor([torch.nan, torch.inf, -torch.inf]).repeat(50)
        for dtype in (torch.float32, torch.bfloat16):
            y = dropout(x.to(dtype), 0.5, True, backend="cpu")
            kept = y != 0
            assert torch.equal(y[kept].isnan(), x[kept].isnan())
            assert y[kept & ~x.isnan()].isinf().all()

    def test_other_types_are_pytorchs_affair(self):
        assert has_kernel(numbers(2), "cpu")
        assert not has_kernel(numbers(2, dtype=torch.float64), "cpu")
        assert (
            dropout(numbers(8, dtype=torch.float16), 0.5, True, backend="cpu").dtype
            == torch.float16
        )

    def test_operator_is_registered_soundly(self):
        x, seed = numbers(6, 5).requires_grad_(), torch.tensor(5)
        operator = torch.ops.fairseq_ecg.dropout.default
        for residual in (None, numbers(6, 5).requires_grad_()):
            torch.library.opcheck(operator, (x, residual, seed, 0.5))

    def test_compiles_as_one_graph(self):
        compiled = torch.compile(dropout, backend="aot_eager", fullgraph=True, dynamic=True)
        for rows in (3, 4):
            x = numbers(rows, 40).requires_grad_()
            y = compiled(x, 0.5, True, x.detach(), backend="cpu")
            (gradient,) = torch.autograd.grad(y.sum(), x)
            assert torch.equal(gradient, torch.where(y != x, 2.0, 0.0))
