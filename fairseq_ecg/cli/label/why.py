"""``fairseq-ecg label why``."""

from fairseq_ecg.cli.label.options import LabelerOptions


def why(text: str, label: str, /, *, labeling: LabelerOptions = LabelerOptions()) -> int:
    """Print every way from a text to a label.

    Args:
        text: a report
        label: an entity, or 'Entity - Descriptor'
    """
    ways = labeling.labeler().why(text, label)
    print("\n".join(ways) or f"{label} does not hold")
    return 0
