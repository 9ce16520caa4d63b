import logging
import math

import numpy as np
import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from fairseq_ecg.criterions import NonFiniteLossError
from fairseq_ecg.criterions.criterion import ECGCriterion
from fairseq_ecg.criterions.nonfinite import zero_loss

NAME = "binary_cross_entropy_with_logits"


class Classifier(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.unused = nn.Linear(2, 2)
        self.frozen = nn.Linear(6, 6).requires_grad_(False)
        self.proj = nn.Linear(6, 3)

    def forward(self, source):
        return {"out": self.proj(self.frozen(source))}

    def get_logits(self, net_output):
        return net_output["out"]

    def get_targets(self, sample, net_output):
        return sample["label"]


def batch(broken_row: int | None = None) -> dict:
    source = torch.randn(4, 6, generator=torch.Generator().manual_seed(1))
    if broken_row is not None:
        source[broken_row, 2] = float("nan")
    label = torch.tensor([[1.0, 0, 1], [0, 1, 0], [1, 1, 1], [0, 0, 0]])
    return {"id": torch.tensor([11, 3, 7, 5]), "net_input": {"source": source}, "label": label}


def test_error_names_criterion_terms_and_records(build):
    with pytest.raises(NonFiniteLossError) as raised:
        build(NAME).train()(Classifier(), batch(broken_row=2))
    error = raised.value
    assert error.criterion == "BinaryCrossEntropyWithLogitsCriterion"
    assert list(error.terms) == ["loss"]
    assert math.isnan(error.terms["loss"])
    assert error.ids == [7]
    assert "loss = nan" in str(error)
    assert "[7]" in str(error)
    assert not isinstance(error, FloatingPointError)

    named = NonFiniteLossError(error.criterion, error.terms, error.ids, ["a/JS00007.mat"])
    assert "a/JS00007.mat" in str(named)


def test_error_names_the_whole_batch_where_the_input_is_fine(build):
    sample = batch()
    sample["label"][1, 1] = float("inf")
    with pytest.raises(NonFiniteLossError) as raised:
        build(NAME)(Classifier(), sample)
    assert raised.value.ids == [3, 5, 7, 11]


def test_skipped_batch_leaves_no_gradient(build, caplog):
    model = Classifier()
    criterion = build(NAME, nonfinite_loss="skip").train()
    with caplog.at_level(logging.WARNING):
        loss, sample_size, log = criterion(model, batch(broken_row=0))
    loss.backward()
    assert log == {"loss": 0.0, "nsignals": 0, "sample_size": 0, "skipped": 1}
    assert (loss.item(), sample_size) == (0, 0)
    assert model.proj.weight.grad.abs().max() == model.proj.bias.grad.abs().max() == 0
    assert model.unused.weight.grad is None
    assert [record.message for record in caplog.records] == [
        "BinaryCrossEntropyWithLogitsCriterion: skipped a batch, its loss is not finite "
        "(loss = nan); data set indices [11]"
    ]


def test_skipped_batch_leaves_statistics_of_batches_as_they_were(build):
    model = Classifier().train()
    model.frozen = nn.BatchNorm1d(6)
    criterion = build(NAME, nonfinite_loss="skip").train()
    criterion(model, batch())
    before = {name: buffer.clone() for name, buffer in model.named_buffers()}
    criterion(model, batch(broken_row=2))[0].backward()
    for name, buffer in model.named_buffers():
        assert torch.equal(buffer, before[name]), name
    criterion(model, batch())
    assert not torch.equal(model.frozen.running_mean, before["frozen.running_mean"])


def test_skipped_batch_does_not_change_the_accumulated_gradient(build):
    criterion = build(NAME, nonfinite_loss="skip").train()
    gradients = []
    for samples in ([batch()], [batch(), batch(broken_row=1)]):
        model = Classifier()
        for sample in samples:
            criterion(model, sample)[0].backward()
        gradients.append(model.proj.weight.grad)
    assert torch.equal(*gradients)


def test_zero_holds_for_parameters_that_are_not_finite_themselves():
    weight = torch.full((3,), float("inf"), dtype=torch.float16, requires_grad=True)
    loss = zero_loss((weight * float("nan")).sum())
    loss.backward()
    assert loss.item() == 0
    assert weight.grad.tolist() == [0, 0, 0]


def test_skipping_in_evaluation_needs_no_gradient(build):
    with torch.no_grad():
        loss, _, log = build(NAME, nonfinite_loss="skip")(Classifier(), batch(broken_row=0))
    assert not loss.requires_grad
    assert log["skipped"] == 1


@pytest.fixture
def process_group(tmp_path):
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/r", rank=0, world_size=1)
    yield
    dist.destroy_process_group()


@pytest.mark.usefixtures("process_group")
def test_distributed_training_goes_on_after_a_skipped_batch(build):
    class Wrapped(DistributedDataParallel):
        def __getattr__(self, name):  # as fairseq's wrapper forwards the model's methods
            try:
                return super().__getattr__(name)
            except AttributeError:
                return getattr(self.module, name)

    model = Wrapped(Classifier(), find_unused_parameters=True)
    criterion = build(NAME, nonfinite_loss="skip").train()
    gradients = []
    for broken_row in (None, 2, None):
        model.zero_grad()
        criterion(model, batch(broken_row))[0].backward()
        gradients.append(model.module.proj.weight.grad.clone())
    assert gradients[1].abs().max() == 0
    assert torch.equal(gradients[0], gradients[2])
    assert gradients[0].abs().max() > 0


def test_skipped_batches_are_counted_and_weigh_nothing(build, validated):
    criterion = build(NAME, nonfinite_loss="skip", report_auc=True)
    model = Classifier()
    good, bad = (criterion(model, batch(row))[2] for row in (None, 0))
    assert good["skipped"] == 0
    stats = validated(criterion, [[bad, good], [good], [bad]])
    alone = validated(build(NAME, report_auc=True), [[good], [good]])
    assert stats == {**alone, "skipped": 2}
    only_bad = validated(criterion, [[bad]])
    assert only_bad["skipped"] == 1
    assert np.isnan(only_bad["loss"])


@pytest.fixture
def on_a_gpu(monkeypatch):
    """Criterions behave as in training on a GPU: nothing is read in the midst of an update."""
    monkeypatch.setattr(ECGCriterion, "_may_wait", lambda self, device: False)


@pytest.mark.usefixtures("on_a_gpu")
def test_numbers_stay_on_the_device_in_the_midst_of_an_update(build):
    loss, sample_size, log = build(NAME).train()(Classifier(), batch())
    assert torch.is_tensor(log["loss"])
    assert not log["loss"].requires_grad
    assert torch.is_tensor(log["tp"])
    assert {type(value) for value in (sample_size, log["nsignals"], log["count"])} <= {int, float}
    assert log["loss"] == loss


@pytest.mark.usefixtures("on_a_gpu")
def test_deferred_numbers_reduce_to_the_same_metrics(build, validated, monkeypatch):
    criterion, model = build(NAME).train(), Classifier()
    deferred = [criterion(model, batch())[2] for _ in range(2)]
    monkeypatch.undo()
    at_once = [criterion(model, batch())[2] for _ in range(2)]
    assert validated(criterion, [deferred]) == validated(criterion, [at_once])


@pytest.mark.usefixtures("on_a_gpu")
def test_losses_are_checked_before_the_step(build):
    criterion, model = build(NAME).train(), Classifier()
    norm = torch.tensor(1.0)
    criterion(model, batch())
    criterion.check_losses(norm)
    criterion(model, batch())
    criterion(model, batch(broken_row=2) | {"split": "train"})
    with pytest.raises(NonFiniteLossError) as raised:
        criterion.check_losses(norm)
    assert (raised.value.ids, raised.value.split) == ([7], "train")
    criterion.check_losses(norm)  # nothing is left from the update that failed
    criterion(model, batch())
    criterion.check_losses(torch.tensor(float("nan")))  # not the losses' fault: fairseq's affair
