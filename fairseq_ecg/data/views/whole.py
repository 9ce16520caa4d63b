"""The view of segmentation: recordings whole, as they are stored."""

from fairseq_ecg.data.views.view import RecordingView


class WholeRecordingView(RecordingView):
    """An item is one segment with all of its rows, however many there are."""

    takes_whole = True
