"""Recipes: sequences of augmentations, built from a task's settings and applied in turn."""

import dataclasses
from collections.abc import Iterable, Sequence

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
    names: Sequence[str] | None,
    probabilities: float | Sequence[float] = 1.0,
    *,
    max_amplitude: float = 0.1,
    min_amplitude: float = 0.0,
    dependency: bool = True,
    shift_ratio: float = 0.2,
    num_segment: int = 1,
    max_freq: float = 0.2,
    min_freq: float = 0.01,
    k: int = 3,
    mask_leads_selection: str = "random",
    mask_leads_prob: float = 0.5,
    mask_leads_condition: tuple[int, int] = (4, 5),
) -> list[Augmentation]:
    """Build augmentations from the settings of a fairseq_signals task.

    The options are those of the task, with its defaults; each augmentation takes those it has.

    Args:
        names: keys of `AUGMENTATIONS`, in order of application. None: no augmentation.
        probabilities: one for each name, or one for all.
        max_amplitude: see `AdditiveNoise`.
        min_amplitude: see `AdditiveNoise`.
        dependency: see `AdditiveNoise`.
        shift_ratio: see `BaselineShift`.
        num_segment: see `BaselineShift`.
        max_freq: see `BaselineWander`.
        min_freq: see `BaselineWander`.
        k: see `BaselineWander`.
        mask_leads_selection: see `RandomLeadsMask`.
        mask_leads_prob: see `RandomLeadsMask`.
        mask_leads_condition: see `RandomLeadsMask`.

    Returns:
        One augmentation for each name.

    Raises:
        ValueError: an unknown name, a number of probabilities that does not fit, or a bad option.
    """
    if isinstance(names, str):
        raise ValueError(f"perturbation_mode={names!r}: give a list of names, as in [{names}]")
    names = list(names or ())
    if not isinstance(probabilities, Iterable):
        probabilities = [probabilities]
    probabilities = list(probabilities)
    if len(probabilities) == 1:
        probabilities *= len(names)
    if names and len(probabilities) != len(names):
        raise ValueError(
            f"{len(probabilities)} probabilities (p={probabilities}) for {len(names)} "
            f"augmentations (perturbation_mode={names}): give one for each, or one for all"
        )
    options = {
        "max_amplitude": max_amplitude,
        "min_amplitude": min_amplitude,
        "dependency": dependency,
        "shift_ratio": shift_ratio,
        "num_segment": num_segment,
        "max_freq": max_freq,
        "min_freq": min_freq,
        "k": k,
        "mask_leads_selection": mask_leads_selection,
        "mask_leads_prob": mask_leads_prob,
        "mask_leads_condition": tuple(mask_leads_condition),
    }
    augmentations = []
    for name, p in zip(names, probabilities, strict=False):
        if name not in AUGMENTATIONS:
            raise ValueError(
                f"unknown augmentation {name!r} in perturbation_mode: "
                f"choose from {', '.join(AUGMENTATIONS)}"
            )
        kind = AUGMENTATIONS[name]
        accepted = {field.name for field in dataclasses.fields(kind)}
        chosen = {key: value for key, value in options.items() if key in accepted}
        augmentations.append(kind(p=p, **chosen))
    return augmentations


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
