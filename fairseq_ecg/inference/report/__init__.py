"""Pages that show recordings and what a network says of them, in any browser, without a network."""

from fairseq_ecg.inference.report.page import Report, report

__all__ = ["Report", "report"]
