"""``ecg_question_answering``: learning to answer questions about one ECG or two."""

from collections.abc import Sequence
from dataclasses import replace

from fairseq.tasks import register_task

from fairseq_ecg.compat.launch_dir import from_launch_dir
from fairseq_ecg.compat.options import configuration
from fairseq_ecg.data import DataError
from fairseq_ecg.data.store import Store, is_store
from fairseq_ecg.data.targets.question import QuestionTarget, answer_names
from fairseq_ecg.data.views import QuestionView
from fairseq_ecg.tasks.ecg_text_pretraining import ECGTextPretrainingConfig, ECGTextPretrainingTask
from fairseq_ecg.tasks.methods import Method


@configuration()
class ECGQuestionAnsweringConfig(ECGTextPretrainingConfig):
    """What questions and ECGs are read.

    Args:
        json_dataset: of older configs; not used.
    """

    json_dataset: bool = True


@register_task("ecg_question_answering", dataclass=ECGQuestionAnsweringConfig)
class ECGQuestionAnsweringTask(ECGTextPretrainingTask):
    """Supervised training on the answers to questions, see `QuestionTarget`.

    Its options of augmentation, of masked words and of exchanged texts are accepted and have no
    effect.
    """

    cfg: ECGQuestionAnsweringConfig
    reads_questions = True
    n_answers = 0

    def build_model(self, cfg, from_checkpoint: bool = False):
        """Build the model, and note how many answers it knows."""
        model = super().build_model(cfg, from_checkpoint)
        self.n_answers = getattr(model, "n_answers", 0)
        return model

    def load_dataset(self, split: str, *args, **kwargs) -> None:
        """See :meth:`ECGTask.load_dataset`.

        Raises:
            DataError: as there, or the answers are not as many as the model knows.
        """
        super().load_dataset(split, *args, **kwargs)
        n_named = self.datasets[split].recordings.target.n_labels
        if self.n_answers and n_named not in (None, self.n_answers):
            raise DataError(
                f"{self.cfg.data}: label_def.csv names {n_named} answers, but model.num_labels="
                f"{self.n_answers}: set it to {n_named}"
            )

    @property
    def method(self) -> Method:
        """See :attr:`ECGTask.method`; whatever the criterion, items are questions."""
        return replace(super().method, view=QuestionView)

    def target(self, label: bool) -> QuestionTarget:
        """See :meth:`ECGTask.target`."""
        return QuestionTarget(
            self.tokenizer,
            max_text_size=self.max_text_size,
            labelled=label,
            names=self._answer_names(),
        )

    def _answer_names(self) -> Sequence[str]:
        data = from_launch_dir(self.cfg.data)
        return Store(data).description.answers if is_store(data) else answer_names(data)
