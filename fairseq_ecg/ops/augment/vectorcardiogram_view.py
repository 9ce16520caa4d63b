"""Views of an ECG as if the heart were turned, scaled and measured in part (3KG)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from numpy.random import RandomState
from torch import Tensor

from fairseq_ecg.ops.augment.augmentation import Augmentation
from fairseq_ecg.ops.augment.limb_leads import INDEPENDENT_LEADS, derived_from
from fairseq_ecg.ops.augment.random_numbers import RandomNumbers
from fairseq_ecg.ops.augment.table import N_LEADS, Kind

# Vectorcardiogram (x, y, z) from I, II and V1 to V6 by the inverse Dower transform (Edenbrandt and
# Pahlm, 1988) as fairseq_signals rounds it, and the leads from the vectorcardiogram.
_VCG_OF_ECG = torch.tensor(
    [
        [0.156, -0.009, -0.172, -0.073, 0.122, 0.231, 0.239, 0.193],
        [-0.227, 0.886, 0.057, -0.019, -0.106, -0.022, 0.040, 0.048],
        [0.021, 0.102, -0.228, -0.310, -0.245, -0.063, 0.054, 0.108],
    ],
    dtype=torch.float64,
)
_ECG_OF_VCG = torch.linalg.pinv(_VCG_OF_ECG)


@dataclass(frozen=True, eq=False)
class ViewDraws:
    """Draws of `VectorcardiogramView`.

    ``matrix`` (12, 8) gives all leads from the independent ones; ``starts`` (12,), where the
    interval of zeros starts in each lead, which is ``span`` of ``n_samples`` samples long and
    goes on at the recording's start.
    """

    matrix: np.ndarray
    starts: np.ndarray
    span: int
    n_samples: int


@dataclass(frozen=True)
class VectorcardiogramView(Augmentation):
    """A turned and scaled vectorcardiogram, seen in all leads, each zero for a while.

    The ECG becomes a vectorcardiogram, which is turned about its three axes and scaled along
    them; the eight independent leads are those of the result (by the pseudoinverse), the
    derived limb leads follow from I and II. See the package's README for the matrices.

    Args:
        p: probability of being applied; applies if ``p > u``.
        angle: largest angle in degrees.
        scale: factors are between this and 1.
        mask_ratio: share of the recording that is zero in each lead.

    Source: Gopal et al., "3KG: contrastive learning of 12-lead electrocardiograms using
    physiologically-inspired augmentations", ML4H 2021.
    """

    kind: ClassVar[Kind] = Kind.VECTORCARDIOGRAM_VIEW

    angle: float = 45.0
    scale: float = 1.5
    mask_ratio: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.angle < 0 or self.scale <= 0 or not 0 <= self.mask_ratio <= 1:
            raise ValueError(
                f"angle={self.angle} must be at least 0, scale={self.scale} above 0 and "
                f"mask_ratio={self.mask_ratio} from 0 to 1"
            )

    def draw(self, rng: RandomState, n_leads: int, n_samples: int) -> ViewDraws | None:
        """See `Augmentation.draw`."""
        if not self.applies(rng.uniform(0, 1)):
            return None
        self.check_leads(range(n_leads))
        angles = rng.uniform(-self.angle, self.angle, size=(1, 3))
        scales = rng.uniform(1, self.scale, size=(1, 3))
        matrix = view_matrices(torch.from_numpy(angles), torch.from_numpy(scales))
        starts = rng.randint(0, n_samples, size=n_leads)
        return ViewDraws(matrix[0].numpy(), starts, int(n_samples * self.mask_ratio), n_samples)

    def apply(
        self,
        ecg: Tensor,
        draws: ViewDraws,
        *,
        sample_rate: float,
        leads: Sequence[int] | None = None,
    ) -> Tensor:
        """See `Augmentation.apply`."""
        starts = torch.from_numpy(draws.starts).unsqueeze(1)
        t = torch.arange(ecg.shape[-1])
        return view(
            ecg, torch.from_numpy(draws.matrix), starts, draws.span, draws.n_samples, t
        ).float()

    def check_leads(self, leads: Sequence[int]) -> None:
        """See `Augmentation.check_leads`."""
        if list(leads) != list(range(N_LEADS)):
            raise ValueError(
                "a vectorcardiogram needs the twelve leads in standard order, not "
                f"{list(leads)}. Load all leads"
            )

    @property
    def n_items(self) -> int:
        """See `Augmentation.n_items`."""
        return 2 + N_LEADS * len(INDEPENDENT_LEADS)

    @property
    def n_blocks(self) -> int:
        """See `Augmentation.n_blocks`."""
        return 3

    def draw_batch(self, numbers: RandomNumbers) -> tuple[Tensor, Tensor]:
        """See `Augmentation.draw_batch`."""
        u, v = numbers.of_recording[:, 4:7], numbers.of_recording[:, 8:11]
        angles, scales = self.angle * (2 * u - 1), 1 + (self.scale - 1) * v
        lengths = numbers.lengths.unsqueeze(1)
        starts = (numbers.of_rows * lengths).floor()
        span = (lengths * self.mask_ratio).floor()
        matrices = view_matrices(angles, scales).flatten(1)
        return starts, torch.cat([span, lengths, matrices], dim=1)

    def batch_columns(self, draws: ViewDraws) -> tuple[np.ndarray, list[float]]:
        """See `Augmentation.batch_columns`."""
        return draws.starts, [draws.span, draws.n_samples, *draws.matrix.flatten().tolist()]


def view_matrices(angles: Tensor, scales: Tensor) -> Tensor:
    """Matrices that give the twelve leads of views from the independent leads.

    Args:
        angles: ``(B, 3)`` float64 in degrees, about the fixed axes z, then y, then x.
        scales: ``(B, 3)`` float64, along x, y and z, after the rotation.

    Returns:
        ``(B, 12, 8)`` float64.
    """
    cosine, sine = angles.deg2rad().cos(), angles.deg2rad().sin()
    rotation = torch.eye(3, dtype=torch.float64)
    for axis, (one, other) in enumerate(((0, 1), (2, 0), (1, 2))):
        turn = torch.zeros(len(angles), 3, 3, dtype=torch.float64)
        turn[:, 3 - one - other, 3 - one - other] = 1
        turn[:, one, one] = turn[:, other, other] = cosine[:, axis]
        turn[:, other, one] = sine[:, axis]
        turn[:, one, other] = -sine[:, axis]
        rotation = turn @ rotation
    independent = _ECG_OF_VCG @ (scales.unsqueeze(-1) * (rotation @ _VCG_OF_ECG))
    lead_i, lead_ii = independent[:, :1], independent[:, 1:2]
    derived = derived_from(lead_i, lead_ii)
    return torch.cat([lead_i, lead_ii, *derived, independent[:, 2:]], dim=1)


def view(
    ecg: Tensor,
    matrix: Tensor,
    starts: Tensor,
    span: Tensor | int,
    n_samples: Tensor | int,
    t: Tensor,
) -> Tensor:
    """Rotate and scale ECGs, and make an interval of each lead zero.

    Args:
        ecg: ``(..., 12, T)``.
        matrix: ``(..., 12, 8)`` float64.
        starts: broadcasts with ``(..., 12, T)``, as the following do; positions in the recording.
        span: length of the intervals.
        n_samples: length of the recording.
        t: positions of the samples.

    Returns:
        ``(..., 12, T)`` float64.
    """
    result = torch.zeros_like(ecg, dtype=torch.float64)
    for column, lead in enumerate(INDEPENDENT_LEADS):
        result += matrix[..., column : column + 1] * ecg[..., lead : lead + 1, :].double()
    distance = t - starts
    distance = torch.where(distance < 0, distance + n_samples, distance)
    return torch.where(distance < span, 0, result)
