"""Recipes: sequences of augmentations, built from a task's settings and applied in turn."""

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

from numpy.random import RandomState
from torch import Tensor

from fairseq_ecg.ops.augment.augmentation import Augmentation
from fairseq_ecg.ops.augment.baseline_shift import BaselineShift
from fairseq_ecg.ops.augment.baseline_wander import BaselineWander
from fairseq_ecg.ops.augment.emg_noise import EMGNoise
from fairseq_ecg.ops.augment.leads_mask import RandomLeadsMask
from fairseq_ecg.ops.augment.powerline_noise import PowerlineNoise

AUGMENTATIONS: dict[str, type[Augmentation]] = {
    "powerline_noise": PowerlineNoise,
    "emg_noise": EMGNoise,
    "baseline_shift": BaselineShift,
    "baseline_wander": BaselineWander,
    "random_leads_masking": RandomLeadsMask,
}


def build_augmentations(
    names: Sequence[str] | None, probabilities: float | Sequence[float] = 1.0, **options
) -> list[Augmentation]:
    """Build augmentations from the settings of a fairseq_signals task.

    Args:
        names: keys of `AUGMENTATIONS`, in order of application. None: no augmentation.
        probabilities: one for each name, or one for all.
        options: those that augmentations declare; each takes those it has. Default: the task's.

    Returns:
        One augmentation for each name.

    Raises:
        ValueError: an unknown name, a number of probabilities that does not fit, or a bad option.
        TypeError: an unknown option.
    """
    if isinstance(names, str):
        raise ValueError(f"perturbation_mode={names!r}: give a list of names, as in [{names}]")
    names = list(names or ())
    unknown = [name for name in names if name not in AUGMENTATIONS]
    if unknown:
        raise ValueError(
            f"unknown augmentation {unknown[0]!r} in perturbation_mode: "
            f"choose from {', '.join(AUGMENTATIONS)}"
        )
    probabilities = _one_for_each(names, probabilities)
    settings = _task_defaults()
    if not options.keys() <= settings.keys():
        raise TypeError(f"no such option: {', '.join(options.keys() - settings.keys())}")
    settings |= {key: tuple(v) if isinstance(v, list) else v for key, v in options.items()}
    augmentations = []
    for kind, p in zip(map(AUGMENTATIONS.__getitem__, names), probabilities, strict=True):
        own = {field.name for field in dataclasses.fields(kind)} & settings.keys()
        augmentations.append(kind(p=p, **{name: settings[name] for name in own}))
    return augmentations


def _one_for_each(names: list[str], probabilities: float | Iterable[float]) -> list[float]:
    probabilities = list(probabilities) if isinstance(probabilities, Iterable) else [probabilities]
    if len(probabilities) == 1 or not names:
        return probabilities[:1] * len(names)
    if len(probabilities) != len(names):
        raise ValueError(
            f"{len(probabilities)} probabilities (p={probabilities}) for {len(names)} "
            f"augmentations (perturbation_mode={names}): give one for each, or one for all"
        )
    return probabilities


def _task_defaults() -> dict[str, Any]:
    """Defaults of the options of all augmentations, as a task has them."""
    return {
        field.name: field.metadata.get("task_default", field.default)
        for kind in AUGMENTATIONS.values()
        for field in dataclasses.fields(kind)
        if "help" in field.metadata
    }


def check_leads(augmentations: Sequence[Augmentation], leads: Sequence[int]) -> None:
    """Refuse leads that one of the augmentations cannot serve.

    Args:
        augmentations: to be applied.
        leads: standard position (0 to 11) of the lead in each row.

    Raises:
        ValueError: says which augmentation needs which leads.
    """
    for augmentation in augmentations:
        augmentation.check_leads(leads)


def augment(
    ecg: Tensor,
    augmentations: Sequence[Augmentation],
    rng: RandomState,
    *,
    sample_rate: float,
    leads: Sequence[int] | None = None,
) -> Tensor:
    """Draw and apply each augmentation in turn.

    Args:
        ecg: ``(L, T)`` float32; left as it is.
        augmentations: in order of application.
        rng: where all draws come from.
        sample_rate: sampling rate of ``ecg`` in Hz.
        leads: standard position (0 to 11) of the lead in each row. Default: rows are the first L
            leads in standard order.

    Returns:
        ``(L, T)`` float32; ``ecg`` itself where nothing was applied.
    """
    for augmentation in augmentations:
        draws = augmentation.draw(rng, *ecg.shape)
        if draws is not None:
            ecg = augmentation.apply(ecg, draws, sample_rate=sample_rate, leads=leads)
    return ecg
