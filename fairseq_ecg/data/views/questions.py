"""The view of questions: an ECG, and for some questions a second one."""

from fairseq_ecg.data.views.view import View


class QuestionView(View):
    """An item is a question about one ECG or two.

    The second ECGs of a batch are ``ecg_2``, which is None where no question of the batch is about
    two; rows of the others are padded whole.
    """

    takes_augmentations = False
    has_second = True
