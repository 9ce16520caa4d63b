import torch
from torch import distributed, multiprocessing

from fairseq_ecg.modules import gather_rows

SHAPES = [(2, 5, 3), (4, 7, 3)]


def batch(rank):
    generator = torch.Generator().manual_seed(rank)
    return torch.randn(SHAPES[rank], generator=generator, requires_grad=True)


def check(rank, store):
    distributed.init_process_group("gloo", init_method=f"file://{store}", world_size=2, rank=rank)
    x = batch(rank)
    gathered = gather_rows(x)
    assert gathered.shape == (6, 7, 3)
    torch.testing.assert_close(gathered[:2, :5], batch(0), rtol=0, atol=0)
    torch.testing.assert_close(gathered[2:], batch(1), rtol=0, atol=0)
    assert (gathered[:2, 5:] == 0).all()
    weight = torch.arange(6.0).view(6, 1, 1)
    (gathered * weight).sum().backward()
    own = slice(0, 2) if rank == 0 else slice(2, 6)
    # Both ranks have this loss.
    torch.testing.assert_close(x.grad, 2 * weight[own].expand_as(x))
    distributed.destroy_process_group()


def test_rows_of_all_ranks(tmp_path):
    multiprocessing.spawn(check, args=(tmp_path / "store",), nprocs=2)


def test_one_process_keeps_its_batch():
    x = batch(0)
    assert gather_rows(x) is x
