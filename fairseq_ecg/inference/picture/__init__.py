"""Pictures of ECGs on paper, with what a network says of them."""

from fairseq_ecg.inference.picture.drawing import draw, save
from fairseq_ecg.inference.picture.findings import Estimates, Findings
from fairseq_ecg.inference.picture.paper import LAYOUTS, Layout, Paper, Strip, layout_of
from fairseq_ecg.inference.picture.waves import Wave, Waves, WavesOf

__all__ = [
    "LAYOUTS",
    "Estimates",
    "Findings",
    "Layout",
    "Paper",
    "Strip",
    "Wave",
    "Waves",
    "WavesOf",
    "draw",
    "layout_of",
    "save",
]
