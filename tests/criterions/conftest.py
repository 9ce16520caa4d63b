from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from fairseq.criterions import build_criterion
from fairseq.logging import metrics
from omegaconf import OmegaConf

import fairseq_ecg.criterions  # noqa: F401  (registers the criterions)


@pytest.fixture
def build() -> Callable:
    """Build a criterion as fairseq does, in evaluation mode, from its name and options."""

    def build_from(name: str, **options):
        return build_criterion(OmegaConf.create({"_name": name, **options}), None).eval()

    return build_from


@pytest.fixture
def validated() -> Iterator[Callable]:
    """Reduce batches of logging outputs as fairseq's training loop validates, return the stats."""

    @contextmanager
    def steps(batches, reduce_metrics):
        with metrics.aggregate(new_root=True) as root:
            for logs in batches:
                with metrics.aggregate("valid"), metrics.aggregate() as step:
                    reduce_metrics(logs)
                    step.get_smoothed_values()
            yield root

    def validate(criterion, batches) -> dict[str, float]:
        with steps(batches, criterion.__class__.reduce_metrics) as root:
            return root.get_smoothed_values()

    metrics.reset()
    yield validate
    metrics.reset()
