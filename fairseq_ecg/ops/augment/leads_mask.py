"""Random lead masking."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, get_args

import numpy as np
import torch
from numpy.random import RandomState
from torch import Tensor

from fairseq_ecg.ops.augment.augmentation import Augmentation
from fairseq_ecg.ops.augment.limb_leads import N_LIMB_LEADS
from fairseq_ecg.ops.augment.random_numbers import RandomNumbers
from fairseq_ecg.ops.augment.table import N_LEADS, Kind

Selection = Literal["random", "conditional"]


@dataclass(frozen=True, eq=False)
class LeadsMaskDraws:
    """Draws of `RandomLeadsMask`: ``keep`` (L,) bool, the rows that survive."""

    keep: np.ndarray


@dataclass(frozen=True, kw_only=True)
class RandomLeadsMask(Augmentation):
    """Random lead masking (RLM, Oh et al., 2022): whole leads become zero.

    Args:
        p: probability of being applied; applies if ``p >= u``.
        mask_leads_selection: how random_leads_masking chooses leads.
        mask_leads_prob: random: probability of masking each lead.
        mask_leads_condition: conditional: masked leads among the limb and among the chest leads.
    """

    kind: ClassVar[Kind] = Kind.LEADS_MASK

    mask_leads_selection: Selection = "random"
    mask_leads_prob: float = 0.5
    mask_leads_condition: tuple[int, int] = (4, 5)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.mask_leads_selection not in get_args(Selection):
            raise ValueError(
                f"mask_leads_selection={self.mask_leads_selection!r}: "
                "choose 'random' or 'conditional'"
            )
        condition = tuple(self.mask_leads_condition)
        if len(condition) != 2 or not all(0 <= n <= N_LIMB_LEADS for n in condition):
            raise ValueError(
                f"mask_leads_condition={condition}: give two numbers from 0 to 6, "
                "of limb and of precordial leads to mask"
            )

    def draw(self, rng: RandomState, n_leads: int, n_samples: int) -> LeadsMaskDraws | None:
        """See `Augmentation.draw`."""
        if not self.applies(rng.uniform(0, 1)):
            return None
        if self.mask_leads_selection == "random":
            return LeadsMaskDraws(keep=rng.uniform(0, 1, size=n_leads) >= self.mask_leads_prob)
        self.check_leads(range(n_leads))
        keep = np.zeros(n_leads, dtype=bool)
        for first_row, n_masked in zip((0, N_LIMB_LEADS), self.mask_leads_condition, strict=True):
            kept = rng.choice(N_LIMB_LEADS, N_LIMB_LEADS - n_masked, replace=False)
            keep[first_row + kept] = True
        return LeadsMaskDraws(keep)

    def apply(
        self,
        ecg: Tensor,
        draws: LeadsMaskDraws,
        *,
        sample_rate: float,
        leads: Sequence[int] | None = None,
    ) -> Tensor:
        """See `Augmentation.apply`."""
        masked = torch.zeros_like(ecg, dtype=torch.float32)
        keep = torch.from_numpy(draws.keep)
        masked[keep] = ecg[keep].float()
        return masked

    def check_leads(self, leads: Sequence[int]) -> None:
        """See `Augmentation.check_leads`."""
        if self.mask_leads_selection == "conditional" and list(leads) != list(range(N_LEADS)):
            raise ValueError(
                "mask_leads_selection='conditional' needs the twelve leads in standard order, "
                f"not {list(leads)}. Load all leads, or set mask_leads_selection='random'"
            )

    def applies(self, u: Any) -> Any:
        """See `Augmentation.applies`."""
        return self.p >= u

    def draw_batch(self, numbers: RandomNumbers) -> tuple[Tensor, None]:
        """See `Augmentation.draw_batch`."""
        if self.mask_leads_selection == "random":
            return (numbers.of_rows >= self.mask_leads_prob).double(), None
        keep = []
        groups = numbers.of_rows.split(N_LIMB_LEADS, dim=1)
        for numbers_of_rows, n_masked in zip(groups, self.mask_leads_condition, strict=True):
            # Rows are kept in a random order, that of their numbers.
            rank = numbers_of_rows.argsort(dim=1, stable=True).argsort(dim=1)
            keep.append(rank < N_LIMB_LEADS - n_masked)
        return torch.cat(keep, dim=1).double(), None

    def batch_columns(self, draws: LeadsMaskDraws) -> tuple[np.ndarray, list[float]]:
        """See `Augmentation.batch_columns`."""
        return draws.keep, []
