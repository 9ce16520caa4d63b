"""``fairseq-ecg label codes``."""

from fairseq_ecg.cli.label.options import LabelerOptions


def codes(*, labeling: LabelerOptions = LabelerOptions()) -> int:
    """Print the codes of entities as CSV: name, system (snomed, scp, aha) and code."""
    from fairseq_ecg.labeler.label_table import code_table

    print(code_table(labeling.labeler().vocabulary).to_csv(index=False), end="")
    return 0
