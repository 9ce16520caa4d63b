"""Metrics under names with a prefix, whatever logs them."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from fairseq.logging import metrics
from fairseq.logging.meters import Meter, MetersDict


@contextmanager
def prefixed(prefix: str) -> Iterator[None]:
    """Put a prefix before the names of all metrics that are logged meanwhile.

    Private ones, whose names begin with ``_``, stay private: ``_tp`` becomes ``_<prefix>tp``.
    """
    active = metrics._active_aggregators
    as_they_are = dict(active)
    active.update({name: PrefixedMeters(x, prefix) for name, x in as_they_are.items()})
    try:
        yield
    finally:
        active.update(as_they_are)


class PrefixedMeters:
    """Meters of an aggregator whose names have a prefix, by their names without it.

    Args:
        meters: all of the aggregator.
        prefix: of names.
    """

    def __init__(self, meters: MetersDict, prefix: str):
        self.meters = meters
        self.prefix = prefix

    def __contains__(self, key: str) -> bool:
        return self._name(key) in self.meters

    def __getitem__(self, key: str) -> Meter:
        return self.meters[self._name(key)]

    def add_meter(self, key: str, meter: Meter, priority: int) -> None:
        """Add one; what derives its value from others is given those with the prefix."""
        if type(meter) is MetersDict._DerivedMeter:
            derive, prefix = meter.fn, self.prefix
            meter.fn = lambda meters: derive(PrefixedMeters(meters, prefix))
        self.meters.add_meter(self._name(key), meter, priority)

    def get_smoothed_value(self, key: str) -> Any:
        """Value of one."""
        return self.meters.get_smoothed_value(self._name(key))

    def _name(self, key: str) -> str:
        private = "_" if key.startswith("_") else ""
        return f"{private}{self.prefix}{key.removeprefix('_')}"
