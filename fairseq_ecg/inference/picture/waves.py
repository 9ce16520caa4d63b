"""Waves of a recording, as they are shown."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from fairseq_ecg.formats import ECG
from fairseq_ecg.inference.delineation import ALL_LEADS, Mask
from fairseq_ecg.inference.recordings import NamedRecording

if TYPE_CHECKING:
    from fairseq_ecg.inference import ECGModel

NAMES = {"p": "P", "qrs": "QRS", "t": "T"}
"""What is written in a picture, by the kind of wave."""

COLOURS = {"p": "#0072b2", "qrs": "#e69f00", "t": "#009e73"}
"""Blue, orange and bluish green of Okabe and Ito, "Color universal design" (2002): people who are
blind to some colours see three, too; and none is a colour of the grid."""

BAND_ALPHA = 0.3
"""Opacity of the band of a wave."""
BAND_HEIGHT = 0.86
"""Of the band, as a share of the height of a row."""
LETTER_HEIGHTS = {"p": 1.3, "qrs": 3.5, "t": 1.3}
"""Of the middle of letters above the lower edge of the band, in mm; QRS is wider than its band."""


STYLE = {
    "names": NAMES,
    "colours": COLOURS,
    "alpha": BAND_ALPHA,
    "height": BAND_HEIGHT,
    "letters": LETTER_HEIGHTS,
}
"""How a page is to paint waves."""


class Wave(NamedTuple):
    """A wave that is shown.

    Attributes:
        kind: one of `NAMES`.
        onset: in seconds from the start of the recording.
        offset: in the same seconds.
    """

    kind: str
    onset: float
    offset: float


@dataclass(frozen=True)
class Waves:
    """Waves of a recording.

    Args:
        of_leads: in order of time, by lead; those of ``all`` are in every lead.
        source: where they are from, for the legend.
    """

    of_leads: Mapping[str, Sequence[Wave]]
    source: str = ""

    @classmethod
    def of_mask(cls, mask: Mask, source: str = "") -> "Waves":
        """Make them of the classes of samples."""
        rate = mask.sample_rate
        return cls(
            {
                lead: [
                    Wave(kind, first / rate, last / rate) for kind, first, last in mask.waves(row)
                ]
                for row, lead in enumerate(mask.leads)
            },
            source,
        )

    def of(self, lead: str) -> Sequence[Wave]:
        """Return the waves of a lead."""
        return self.of_leads.get(lead, self.of_leads.get(ALL_LEADS, ()))

    def between(self, lead: str, start: float, stop: float) -> list[Wave]:
        """Return the waves of a lead in an interval, as far as they are in it.

        Args:
            lead: its name.
            start: of the interval, in seconds from the start of the recording.
            stop: of the interval, in the same seconds.
        """
        return [
            Wave(kind, max(onset, start), min(offset, stop))
            for kind, onset, offset in self.of(lead)
            if onset < stop and offset >= start
        ]

    def in_words(self, leads: Sequence[str], start: float, stop: float) -> str:
        """Say what is painted to those who do not see it.

        Args:
            leads: that are shown.
            start: of what is shown, in seconds from the start of the recording.
            stop: of the interval, in the same seconds.
        """
        names = (ALL_LEADS,) if set(self.of_leads) == {ALL_LEADS} else leads
        lines = []
        for lead in names:
            found = [
                f"{NAMES[kind]} {onset:.3f}-{offset:.3f}"
                for kind, onset, offset in self.between(lead, start, stop)
            ]
            of = "All leads" if lead == ALL_LEADS else f"Lead {lead}"
            lines.append(f"{of}: {', '.join(found) or 'no waves'}.")
        return f"Onset to offset of waves in seconds. {' '.join(lines)}"


WavesOf = Callable[[NamedRecording | ECG, ECG, ECG | NamedRecording], Waves]
"""Finds the waves of a recording, given too what is drawn of it and what a network is given."""


def segmented_waves(model: "ECGModel") -> WavesOf:
    """Return what finds waves by a network."""

    def waves(_: NamedRecording | ECG, __: ECG, asked: ECG | NamedRecording) -> Waves:
        (mask,) = model.segment(asked, progress=False).masks.values()
        return Waves.of_mask(mask, "delineated by a network")

    return waves
