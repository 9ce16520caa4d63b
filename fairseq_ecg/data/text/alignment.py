"""Which texts of a batch are exchanged, so that a network learns which go with their ECGs."""

from collections.abc import Callable, Iterable, Sequence

import numpy as np


def draw_pairs(
    n_rows: int, differ: Callable[[int, int], bool], rng: np.random.RandomState
) -> list[tuple[int, int]]:
    """Draw pairs of rows that are to be of other texts; about half of all rows are in one.

    Draws are those of fairseq_signals, in its order. A row that finds no partner which differs is
    tried once more.

    Args:
        n_rows: rows of the batch.
        differ: whether two rows may be in a pair.
        rng: drawn from.

    Returns:
        Pairs of row and partner; no row is in two.
    """
    n_pairs = int((0.5 * n_rows + rng.rand()) / 2)
    chosen = rng.choice(n_rows, n_pairs, replace=False).tolist()
    others = [row for row in range(n_rows) if row not in set(chosen)]
    pairs, failed, rest = _paired(chosen, rng.permutation(others).tolist(), differ)
    if not failed:
        return pairs
    pool = rest + failed
    chosen = rng.choice(pool, len(failed), replace=False).tolist()
    # In the order of a set, as fairseq_signals permutes them.
    others = list(set(pool) - set(chosen))
    again, _, _ = _paired(chosen, rng.permutation(others).tolist(), differ)
    return pairs + again


def _paired(
    rows: Iterable[int], candidates: Sequence[int], differ: Callable[[int, int], bool]
) -> tuple[list[tuple[int, int]], list[int], list[int]]:
    """Pair each row with the first candidate that differs.

    Returns:
        The pairs, the rows without one, and the candidates that remain.
    """
    pairs, failed, rest = [], [], [int(candidate) for candidate in candidates]
    for row in rows:
        partner = next((other for other in rest if differ(row, other)), None)
        if partner is None:
            failed.append(row)
        else:
            rest.remove(partner)
            pairs.append((row, partner))
    return pairs, failed, rest
