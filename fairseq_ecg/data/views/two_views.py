"""The view of SimCLR: a recording twice."""

from fairseq_ecg.data.views.view import View


class TwoViews(View):
    """An item is a recording of twelve leads twice, with crops and augmentations drawn for each.

    Both come one after the other in a batch. Where nothing is augmented they are equal but for
    crops.
    """

    copies = 2
    takes_whole = True
    needs_all_leads = True
