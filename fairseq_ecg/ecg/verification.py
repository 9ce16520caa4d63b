"""Verification of patients: whether two ECGs are of one person, by the similarity of embeddings."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np


@dataclass(frozen=True, eq=False)
class Verification:
    """Error rates of all thresholds: pairs count as of one patient from the threshold on.

    Attributes:
        thresholds: ``(K,)`` float64, descending; the first, infinite, accepts no pair.
        false_accepts: ``(K,)`` share of the pairs of two patients that are accepted.
        false_rejects: ``(K,)`` share of the pairs of one patient that are not.
        genuine: number of pairs of one patient.
        impostors: number of pairs of two patients.
    """

    thresholds: np.ndarray
    false_accepts: np.ndarray
    false_rejects: np.ndarray
    genuine: int
    impostors: int

    @cached_property
    def _crossing(self) -> tuple[float, float]:
        """Error rate and threshold where both rates are equal, between thresholds linearly."""
        gap = self.false_accepts - self.false_rejects
        if np.isnan(gap).any():
            return float("nan"), float("nan")
        last = int(np.argmax(gap >= 0))  # the first threshold accepts nothing: its gap is -1
        share = gap[last - 1] / (gap[last - 1] - gap[last])
        before, behind = self.false_accepts[last - 1 : last + 1]
        high, low = self.thresholds[last - 1 : last + 1]
        threshold = low if np.isinf(high) else high + share * (low - high)
        return float(before + share * (behind - before)), float(threshold)

    @property
    def equal_error_rate(self) -> float:
        """Rate where false accepts and false rejects are equal; NaN without pairs of both kinds."""
        return self._crossing[0]

    @property
    def threshold(self) -> float:
        """Similarity at which the error rates are equal; NaN without pairs of both kinds."""
        return self._crossing[1]

    @property
    def auroc(self) -> float:
        """Area under the curve of accepted genuine pairs over false accepts; NaN as above."""
        if not self.genuine * self.impostors:
            return float("nan")
        accepted = 1 - self.false_rejects
        return float(np.diff(self.false_accepts) @ (accepted[1:] + accepted[:-1]) / 2)


def verification(similarity: np.ndarray, probes: np.ndarray, gallery: np.ndarray) -> Verification:
    """Measure how well similarities separate pairs of one patient from those of two.

    Args:
        similarity: ``(P, G)`` of each probe to each recording of the gallery.
        probes: ``(P,)`` patient of each probe.
        gallery: ``(G,)`` patient of each recording of the gallery.

    Returns:
        The error rates; NaN where there are no pairs of one kind.

    Raises:
        ValueError: the shapes do not match, or a similarity is NaN.
    """
    similarity, probes, gallery = (np.asarray(each) for each in (similarity, probes, gallery))
    if similarity.shape != (len(probes), len(gallery)):
        raise ValueError(
            f"similarities are of shape {similarity.shape}, and there are {len(probes)} probes "
            f"and {len(gallery)} recordings in the gallery"
        )
    if np.isnan(similarity).any():
        raise ValueError("a similarity is NaN")
    scores = similarity.ravel()
    order = np.argsort(-scores, kind="stable")
    scores, is_genuine = scores[order], (probes[:, None] == gallery).ravel()[order]
    # A threshold for each similarity that occurs: behind the last pair that has it.
    ends = np.flatnonzero(np.diff(scores, append=-np.inf))
    accepted = np.concatenate([[0], np.cumsum(is_genuine)[ends]])
    mistaken = np.concatenate([[0], np.cumsum(~is_genuine)[ends]])
    genuine, impostors = int(is_genuine.sum()), int((~is_genuine).sum())
    with np.errstate(invalid="ignore", divide="ignore"):
        return Verification(
            np.concatenate([[np.inf], scores[ends].astype(np.float64)]),
            np.divide(mistaken, impostors),
            1 - np.divide(accepted, genuine),
            genuine,
            impostors,
        )
