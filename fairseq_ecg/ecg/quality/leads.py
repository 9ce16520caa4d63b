"""Whether leads are what their names say: laws of the limb leads, and one dipole behind all."""

from collections.abc import Sequence
from itertools import combinations

import numpy as np

from fairseq_ecg.ecg.arrangement import OF_I_AND_II
from fairseq_ecg.ecg.leads import LIMB_LEADS

INDEPENDENT = ("I", "II", "V1", "V2", "V3", "V4", "V5", "V6")

DOWER = np.array(
    [
        [0.632, -0.235, 0.059],  # I
        [0.235, 1.066, -0.132],  # II
        [-0.515, 0.157, -0.917],  # V1
        [0.044, 0.164, -1.387],  # V2
        [0.882, 0.098, -1.277],  # V3
        [1.213, 0.127, -0.601],  # V4
        [1.125, 0.127, -0.086],  # V5
        [0.831, 0.076, 0.230],  # V6
    ]
)
"""`INDEPENDENT` leads from a dipole to the left, to the feet and to the back (Dower 1968)."""

_RESIDUAL = np.eye(len(INDEPENDENT)) - DOWER @ np.linalg.pinv(DOWER)


def law_residual(leads: Sequence[str], samples: np.ndarray) -> float:
    """Return how far limb leads are from Einthoven's and Goldberger's laws.

    Args:
        leads: names of limb leads, any of the six.
        samples: of them, ``(n_leads, n)``.

    Returns:
        Root mean square of what no two electrode differences explain, over that of the leads; 0 if
        there are less than three leads.
    """
    return _off_plane(np.array([OF_I_AND_II[lead] for lead in leads]), samples)


def _off_plane(of_two: np.ndarray, samples: np.ndarray) -> float:
    size = np.linalg.norm(samples)
    explained = of_two @ (np.linalg.pinv(of_two) @ samples)
    return float(np.linalg.norm(samples - explained) / np.maximum(size, 1e-12))


def limb_explanation(leads: Sequence[str], samples: np.ndarray, tolerance: float) -> str | None:
    """Say which single mistake would make limb leads obey the laws.

    Args:
        leads: names of at least four limb leads; three can be corrected in several ways.
        samples: of them, ``(n_leads, n)``.
        tolerance: residual from which on they do not obey.

    Returns:
        A clause such as ``I and II look swapped``; None if no one mistake does, or several do.
    """
    if len(leads) < 4:
        return None
    of_two = np.array([OF_I_AND_II[lead] for lead in leads])
    residuals: dict[str, float] = {}
    for row, lead in enumerate(leads):
        turned = of_two.copy()
        turned[row] *= -1
        residuals[f"{lead} looks upside down"] = _off_plane(turned, samples)
    for first, second in combinations(range(len(leads)), 2):
        swapped = of_two.copy()
        swapped[[first, second]] = swapped[[second, first]]
        residuals[f"{leads[first]} and {leads[second]} look swapped"] = _off_plane(swapped, samples)
    best, next_best, *_ = sorted(residuals, key=residuals.__getitem__)
    is_clear = residuals[best] < tolerance / 2 and residuals[next_best] > 2 * residuals[best]
    return best if is_clear else None


def _mistakes() -> dict[str, np.ndarray]:
    """Return, of mistakes that leave a trace in the dipole, the matrix that undoes each.

    Others of this kind are not among them: what a torso is like moves V2 against V3 or lead II as
    much as a mistake does.
    """
    identity = np.eye(len(INDEPENDENT))
    row = {lead: number for number, lead in enumerate(INDEPENDENT)}
    limbs, chest = identity[:2], identity[2:]
    found = {}
    for first, second in (("V1", "V6"), ("V1", "V5"), ("V1", "V4"), ("V2", "V6"), ("V2", "V5")):
        order = np.arange(len(INDEPENDENT))
        order[[row[first], row[second]]] = row[second], row[first]
        found[f"{first} and {second} look swapped"] = identity[order]
    for lead in ("V1", "V4", "V5", "V6"):
        found[f"{lead} looks upside down"] = identity - 2 * np.diag(identity[row[lead]])
    for text, rows in (
        ("the chest leads look upside down against the limb leads", -chest),
        ("V1 to V6 look like V6 to V1", chest[::-1]),
        ("V1 to V6 look shifted by one (up)", np.roll(chest, 1, axis=0)),
        ("V1 to V6 look shifted by one (down)", np.roll(chest, -1, axis=0)),
    ):
        found[text] = np.concatenate([limbs, rows])
    one, two = limbs
    arms = np.concatenate([[-one, two - one], chest])
    return found | {"the electrodes of the arms look swapped (lead I upside down)": arms}


MISTAKES = _mistakes()


def dipole_residual(samples: np.ndarray, mistake: np.ndarray | None = None) -> float:
    """Return which share of the energy of a beat no dipole explains.

    Args:
        samples: of the `INDEPENDENT` leads, ``(8, n)``.
        mistake: matrix ``(8, 8)`` that undoes one, see `MISTAKES`.
    """
    covariance = samples @ samples.T
    if mistake is not None:
        covariance = mistake @ covariance @ mistake.T
    return float(np.trace(_RESIDUAL @ covariance) / max(np.trace(covariance), 1e-300))


def doubles(leads: Sequence[str], samples: np.ndarray, alike: float) -> list[str]:
    """Name leads that are the same as one before them, which no two chest leads are.

    Limb leads may be: where one is nearly flat, two others are nearly the same.

    Args:
        leads: names.
        samples: ``(n_leads, n)``.
        alike: correlation from which on two leads are the same.
    """
    centred = samples - samples.mean(axis=1, keepdims=True)
    centred /= np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-12)
    correlation = np.abs(centred @ centred.T)
    is_limb = np.array([lead in LIMB_LEADS for lead in leads])
    correlation[np.ix_(is_limb, is_limb)] = 0
    if {"I", "II"} == set(leads):
        correlation = np.abs(centred @ centred.T)
    return [lead for row, lead in enumerate(leads) if (correlation[row, :row] >= alike).any()]
