"""Leads that a file holds in several groups of signals: what belongs together, what is left out."""

from collections.abc import Sequence
from dataclasses import dataclass

from fairseq_ecg.ecg.lead_names import standard_leads
from fairseq_ecg.ecg.leads import LEADS
from fairseq_ecg.ecg.recording import with_notes
from fairseq_ecg.errors import DataError
from fairseq_ecg.formats.channels import Channel, ParsedRecord

DERIVED = " (derived)"
"""How the name of signals that are left out ends if they are made of the recording."""


@dataclass(frozen=True, eq=False)
class Group:
    """Signals of a file that were recorded together.

    Args:
        name: such as ``multiplex group 2``.
        channels: all of one length and rate.
        is_derived: whether they are no recording but made of one, as median beats are.
        start: when the first sample was recorded, in the file's own time; None where it does not
            say.
    """

    name: str
    channels: Sequence[Channel]
    is_derived: bool = False
    start: str | None = None


def combined(where: str, groups: Sequence[Group]) -> ParsedRecord:
    """Take the groups that make one recording.

    These are groups of one rate and length, of which each adds leads of its own. Of several such
    recordings the one with the most of the twelve leads is taken, and of several such the longest:
    leads of 10 s before a rhythm strip of one lead, four times three leads of 2.5 s as well.

    Args:
        where: names the file in error messages.
        groups: in the order of the file.

    Returns:
        The channels of the recording in the order of the file; everything else is named in
        ``metadata["left_out"]``. Leads that the file says were recorded one group after the other
        are a doubt.

    Raises:
        DataError: there is no group that is not derived.
    """
    if all(group.is_derived for group in groups):
        raise DataError(f"{where}: holds derived waveforms (median beats) only, no rhythm")
    every = [channel for group in groups for channel in group.channels]
    given = [channel.name or f"signal {number}" for number, channel in enumerate(every, 1)]
    standard = iter(standard_leads(given))
    names = [[next(standard) for _ in group.channels] for group in groups]
    recordings: dict[tuple[float | None, int], list[int]] = {}
    for i, group in enumerate(groups):
        if group.channels and not group.is_derived:
            first = group.channels[0]
            recordings.setdefault((first.sample_rate, first.samples.size), []).append(i)
    taken: dict[int, list[int]] = {}
    most = (-1, -1.0)
    for (rate, n_samples), members in recordings.items():
        picked, has = _with_own_leads(members, names)
        extent = (len(has & set(LEADS)), n_samples / (rate or 1.0))
        if extent > most:
            taken, most = picked, extent
    left_out = []
    for i, group in enumerate(groups):
        rest = [name for index, name in enumerate(names[i]) if index not in taken.get(i, ())]
        if rest:
            left_out.append(
                f"{' '.join(rest)} of {group.name}{DERIVED if group.is_derived else ''}"
            )
    doubts = []
    starts = {groups[i].start for i in taken}
    if len(starts) > 1:
        times = "; ".join(
            f"{' '.join(names[i])} at {groups[i].start or '?'}" for i in sorted(taken)
        )
        doubts.append(f"its leads were not recorded at one time, but begin: {times}")
    channels = [groups[i].channels[index] for i in sorted(taken) for index in taken[i]]
    return ParsedRecord(channels, with_notes({}, left_out, doubts))


def _with_own_leads(
    members: Sequence[int], names: Sequence[Sequence[str]]
) -> tuple[dict[int, list[int]], set[str]]:
    """Indices of the channels of each group that no group with more leads has, and their names."""
    picked, has = {}, set()
    for i in sorted(members, key=lambda i: -len(set(names[i]) & set(LEADS))):
        indices = [index for index, name in enumerate(names[i]) if name not in has]
        if indices:
            picked[i] = indices
            has |= set(names[i])
    return picked, has
