"""Views: how an item is made of segments, and what a batch says of each."""

from fairseq_ecg.data.views.segments import SegmentsView
from fairseq_ecg.data.views.view import RecordingView, View
from fairseq_ecg.data.views.whole import WholeRecordingView

VIEWS: dict[str, type[View]] = {
    "recording": RecordingView,
    "segments": SegmentsView,
    "whole": WholeRecordingView,
}

__all__ = ["VIEWS", "RecordingView", "SegmentsView", "View", "WholeRecordingView"]
