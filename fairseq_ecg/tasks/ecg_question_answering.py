"""``ecg_question_answering``: learning to answer questions about one ECG or two."""

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from fairseq.tasks import register_task

from fairseq_ecg.compat.launch_dir import from_launch_dir
from fairseq_ecg.compat.options import configuration
from fairseq_ecg.data import DataError
from fairseq_ecg.data.question_types import ATTRIBUTE_TYPES, FORMS, type_names
from fairseq_ecg.data.store import Store, is_store
from fairseq_ecg.data.targets.question import (
    GROUPS,
    QuestionTarget,
    answer_names,
    attribute_names,
)
from fairseq_ecg.data.views import QuestionView
from fairseq_ecg.tasks.ecg_text_pretraining import ECGTextPretrainingConfig, ECGTextPretrainingTask
from fairseq_ecg.tasks.methods import Method

logger = logging.getLogger(__name__)

FINEST = {
    "question_type1": len(FORMS) * len(ATTRIBUTE_TYPES),
    "question_type2": len(ATTRIBUTE_TYPES),
    "question_type3": 1,
}
"""How many numbers of ``question_type3`` there are for one number of each type."""


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
    _subset = ""

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

    def valid_step(self, sample, model, criterion):
        """See :meth:`ECGTask.valid_step`; remembers of which subset the batch is."""
        self._subset = sample["split"]
        return super().valid_step(sample, model, criterion)

    def post_validate(self, model, stats: Mapping[str, Any], meters) -> None:
        """Log exact matches by the names of types and attributes, which metrics have numbers of.

        Args:
            model: has no meaning here.
            stats: of the validation.
            meters: has no meaning here.
        """
        folder = from_launch_dir(self.cfg.data)
        attributes = attribute_names(folder).get(self._subset, {})
        for key in GROUPS:
            found = re.compile(rf"{key}_([0-9]+)_em_accuracy").fullmatch
            shares = {int(m[1]): stats[name] for name in stats if (m := found(name))}
            if shares:
                named = (
                    f"{group_name(key, number, attributes)} {shares[number]:.5g}"
                    for number in sorted(shares)
                )
                logger.info("%s, em_accuracy by %s: %s", self._subset, key, "; ".join(named))

    def _answer_names(self) -> Sequence[str]:
        data = from_launch_dir(self.cfg.data)
        return Store(data).description.answers if is_store(data) else answer_names(data)


def group_name(key: str, number: int, attributes: Mapping[int, str]) -> str:
    """Name what a number of a type, or of an attribute, stands for.

    Args:
        key: one of `GROUPS`.
        number: of the type or the attribute.
        attributes: names of these, where they are known.

    Returns:
        The name; the number itself where there is none.
    """
    if key in FINEST:
        return type_names(number * FINEST[key]).get(key, str(number))
    return attributes.get(number, str(number))
