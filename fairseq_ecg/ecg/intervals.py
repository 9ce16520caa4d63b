"""Measures of a rhythm strip from the limits of its waves.

They are what the definitions give of onsets and offsets as they are delineated, for nothing but
comparison: no standard for electrocardiographs (IEC 60601-2-25) has been tested, and no
cardiologist has confirmed them.
"""

from collections.abc import Mapping

import numpy as np

MEASURES = ("heart_rate", "pr", "qrs", "qt", "qtc_bazett", "qtc_fridericia")
"""Heart rate per minute, and intervals in ms."""


def measures_of(waves: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Measure the waves of one lead.

    Every measure is a median over beats. A beat is a QRS complex with the last P wave between the
    QRS complex before it and itself, and the first T wave between itself and the next one. QT is
    corrected by the median interval RR between onsets of QRS complexes, in seconds: QT / RR^(1/2)
    (Bazett, Heart 7 (1920) 353-370) and QT / RR^(1/3) (Fridericia, Acta Med. Scand. 53 (1920)
    469-486).

    Args:
        waves: onset and offset in seconds of the waves ``p``, ``qrs`` and ``t``, ``(n, 2)`` each in
            order of time; only those whose onset and offset are both in the recording.

    Returns:
        The `MEASURES`: ``heart_rate`` per minute from the onsets of QRS complexes; in ms ``pr``
        from onset to onset, ``qrs`` from onset to offset, ``qt`` from the onset of QRS to the
        offset of T, and ``qt`` corrected. NaN where there is no such interval.
    """
    p, qrs, t = (np.asarray(waves[name]).reshape(-1, 2) for name in ("p", "qrs", "t"))
    before = np.concatenate([[-np.inf], qrs[:-1, 1]])
    after = np.concatenate([qrs[1:, 0], [np.inf]])
    last = np.searchsorted(p[:, 0], qrs[:, 0]) - 1
    has_p = last >= 0
    has_p[has_p] = p[last[has_p], 0] > before[has_p]
    first = np.searchsorted(t[:, 0], qrs[:, 1])
    has_t = first < len(t)
    has_t[has_t] = t[first[has_t], 0] < after[has_t]

    rr = _median(np.diff(qrs[:, 0]))
    qt = _median(t[first[has_t], 1] - qrs[has_t, 0])
    seconds = {
        "pr": _median(qrs[has_p, 0] - p[last[has_p], 0]),
        "qrs": _median(qrs[:, 1] - qrs[:, 0]),
        "qt": qt,
        "qtc_bazett": qt / rr ** (1 / 2),
        "qtc_fridericia": qt / rr ** (1 / 3),
    }
    return {"heart_rate": 60 / rr} | {name: 1000 * value for name, value in seconds.items()}


def _median(values: np.ndarray) -> float:
    return float(np.median(values)) if len(values) else np.nan
