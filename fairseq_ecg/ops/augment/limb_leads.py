"""The standard leads, and the limb leads that follow from I and II."""

from collections.abc import Sequence

from torch import Tensor

from fairseq_ecg.ops.augment.table import N_LEADS

N_LIMB_LEADS = 6
I, II, III, AVR, AVL, AVF = range(N_LIMB_LEADS)  # noqa: E741 (a lead's name)

INDEPENDENT_LEADS = (I, II, *range(N_LIMB_LEADS, N_LEADS))
"""Standard positions of the leads from which the others follow."""


def derived_limb_leads(leads: Sequence[int]) -> dict[int, int]:
    """Rows of III, aVR, aVL and aVF among ``leads``, which need I and II beside them.

    Args:
        leads: standard position (0 to 11) of the lead in each row.

    Returns:
        Row of each derived limb lead present.

    Raises:
        ValueError: a derived limb lead is present but I or II is not.
    """
    derived = {lead: row for row, lead in enumerate(leads) if III <= lead <= AVF}
    if derived and not {I, II} <= set(leads):
        raise ValueError(
            "dependency=True recomputes leads III, aVR, aVL and aVF from I and II, but the leads "
            f"{list(leads)} hold some of the former without both of the latter. "
            "Load I and II as well, or set dependency=False"
        )
    return derived


def derived_from(lead_i: Tensor, lead_ii: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """III, aVR, aVL and aVF from I and II."""
    return (
        lead_ii - lead_i,
        -(lead_ii + lead_i) / 2,
        lead_i - lead_ii / 2,
        lead_ii - lead_i / 2,
    )


def adjust_limb_leads(ecg: Tensor, leads: Sequence[int]) -> None:
    """Recompute the derived limb leads of ``ecg`` (L, T) from its leads I and II, in place."""
    rows = derived_limb_leads(leads)
    if rows:
        derived = derived_from(ecg[leads.index(I)], ecg[leads.index(II)])
        for lead, row in rows.items():
            ecg[row] = derived[lead - III]
