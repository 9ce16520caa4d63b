"""Views: how an item is made of segments, and what a batch says of each."""

from fairseq_ecg.data.views.questions import QuestionView
from fairseq_ecg.data.views.segments import SegmentsView
from fairseq_ecg.data.views.two_views import TwoViews
from fairseq_ecg.data.views.vectorcardiograms import VectorcardiogramsView
from fairseq_ecg.data.views.view import RecordingView, View
from fairseq_ecg.data.views.whole import WholeRecordingView

VIEWS: dict[str, type[View]] = {
    "recording": RecordingView,
    "segments": SegmentsView,
    "two_views": TwoViews,
    "vectorcardiograms": VectorcardiogramsView,
    "whole": WholeRecordingView,
    "questions": QuestionView,
}

__all__ = [
    "VIEWS",
    "QuestionView",
    "RecordingView",
    "SegmentsView",
    "TwoViews",
    "VectorcardiogramsView",
    "View",
    "WholeRecordingView",
]
