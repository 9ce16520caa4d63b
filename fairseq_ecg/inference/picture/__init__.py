"""Pictures of ECGs on paper, with what a network says of them."""

from fairseq_ecg.inference.picture.drawing import draw, save
from fairseq_ecg.inference.picture.findings import Estimates, Findings
from fairseq_ecg.inference.picture.paper import LAYOUTS, Layout, Paper, Strip, layout_of

__all__ = [
    "LAYOUTS",
    "Estimates",
    "Findings",
    "Layout",
    "Paper",
    "Strip",
    "draw",
    "layout_of",
    "save",
]
