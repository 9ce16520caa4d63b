import math

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from fairseq.criterions import CRITERION_REGISTRY, build_criterion
from omegaconf import OmegaConf
from torch import nn

from fairseq_ecg.criterions import CMSCCriterion
from fairseq_ecg.ops.cmsc import cmsc_loss

PATIENTS = torch.tensor([3, 3, 5, 5, 6, 6, 8, 8])
SEGMENTS = torch.tensor([0, 1] * 4)


class Pooled(nn.Module):
    def forward(self, source):
        return {"x": source}

    def get_logits(self, net_output, aggregate=False):
        return net_output["x"].mean(dim=1) if aggregate else net_output["x"]


def source() -> torch.Tensor:
    return torch.randn(8, 6, 4, generator=torch.Generator().manual_seed(0))


def batch(rows=slice(None)) -> dict:
    return {
        "id": torch.arange(8)[rows] // 2,
        "net_input": {"source": source()},
        "patient_id": PATIENTS[rows],
        "segment": SEGMENTS[rows],
    }


def test_loss_is_a_mean_and_the_sample_size_counts_the_positives(build, validated):
    criterion = build("cmsc", temp=0.2)
    loss, sample_size, log = criterion(Pooled(), batch())
    expected = cmsc_loss(source().mean(dim=1), PATIENTS, SEGMENTS, 0.2).item()
    assert loss.item() == expected
    assert sample_size == 4
    assert log == {"loss": expected, "nsignals": 8, "sample_size": 4}
    stats = validated(criterion, [[log]])
    assert stats == {"loss": round(expected / 4 / math.log(2), 3), "nsignals": 8}


def test_clocs_is_another_name_of_the_same_class(build):
    assert CRITERION_REGISTRY["clocs"] is CRITERION_REGISTRY["cmsc"] is CMSCCriterion
    assert type(build("clocs")) is CMSCCriterion


@pytest.mark.parametrize(
    ("model", "expected"), [({}, False), ({"all_gather": True}, True), (None, False)]
)
def test_all_gather_follows_the_model_where_it_has_the_option(model, expected):
    cfg = OmegaConf.create({"criterion": {"_name": "cmsc"}, "model": model})
    assert build_criterion(cfg.criterion, None).all_gather is expected


def rank_main(rank: int, folder: str) -> None:
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2
    )
    criterion = build_criterion(OmegaConf.create({"_name": "cmsc", "all_gather": True}), None)
    rows = slice(0, 6) if rank == 0 else slice(6, 8)
    loss, sample_size, _ = criterion.eval()(Pooled(), batch(rows))
    torch.save((loss, sample_size), f"{folder}/{rank}.pt")
    dist.destroy_process_group()


def test_ids_are_gathered_from_all_ranks(build, tmp_path):
    whole = build("cmsc")(Pooled(), batch())
    mp.start_processes(rank_main, (str(tmp_path),), nprocs=2, start_method="fork")
    for rank in range(2):
        assert torch.load(tmp_path / f"{rank}.pt") == (whole[0], whole[1])
