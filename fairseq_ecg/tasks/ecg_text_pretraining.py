"""``ecg_text_pretraining``: learning from ECGs and the texts of their reports."""

from functools import cached_property
from typing import Literal

from fairseq.tasks import register_task
from omegaconf import II

from fairseq_ecg.compat.checkpoint import NOTES
from fairseq_ecg.compat.launch_dir import from_launch_dir
from fairseq_ecg.compat.options import configuration
from fairseq_ecg.data import DataError
from fairseq_ecg.data.targets import Target, TextTarget, TokenTarget
from fairseq_ecg.data.text import Tokenizer
from fairseq_ecg.data.text.tokenizer import noted_vocabulary
from fairseq_ecg.tasks.ecg_pretraining import ECGPretrainingConfig, ECGPretrainingTask


@configuration()
class ECGTextPretrainingConfig(ECGPretrainingConfig):
    """What recordings and texts are read, and what of the texts is to be predicted.

    Args:
        tokenizer: vocabulary of the texts: a vocab.txt, a folder that holds one, or the name of a
            BERT on the Hugging Face hub. Texts are lower-cased where its name says uncased.
        pad_token: id of [PAD] in the vocabulary.
        sep_token: id of [SEP] in the vocabulary.
        max_text_size: longer texts are cut, to so many tokens less two; null: to what the model
            takes.
        compute_mlm_indices: mask words of the texts, for the model to predict.
        mlm_prob: share of the tokens that is masked.
        medvill: leave out texts of 10 tokens or fewer, as MedViLL does.
        text_collation: how texts are exchanged between ECGs and masked: corrected, or with the
            faults of fairseq_signals, whose batches have no text that is another's where words are
            masked.
        model_name: of older configs; not used.
    """

    tokenizer: str = "bert-base-uncased"
    pad_token: int = 0
    sep_token: int = 102
    max_text_size: int | None = 512
    compute_mlm_indices: bool = False
    mlm_prob: float = 0.15
    medvill: bool = False
    text_collation: Literal["corrected", "fairseq_signals"] = "corrected"
    model_name: str | None = II("model._name")


@register_task("ecg_text_pretraining", dataclass=ECGTextPretrainingConfig)
class ECGTextPretrainingTask(ECGPretrainingTask):
    """Pre-training on ECGs and texts, see `TextTarget`; ECGs are augmented as without texts.

    Args:
        cfg: the configuration.
    """

    cfg: ECGTextPretrainingConfig

    def __init__(self, cfg: ECGTextPretrainingConfig):
        super().__init__(cfg)
        self._limits: dict[str, int | None] = {}

    def build_model(self, cfg, from_checkpoint: bool = False):
        """Build the model, and note how many tokens it knows, and takes of a text."""
        model = super().build_model(cfg, from_checkpoint)
        names = "vocab_size", "max_text_size"
        self._limits = {name: getattr(model, name, None) for name in names}
        return model

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """Of the texts.

        Raises:
            DataError: there is no such vocabulary, or it does not go with the model.
        """
        try:
            return self._checked(Tokenizer.load(from_launch_dir(self.cfg.tokenizer)))
        except FileNotFoundError as error:
            raise DataError(f"task.tokenizer={self.cfg.tokenizer}: {error}") from error

    def _checked(self, tokenizer: Tokenizer) -> Tokenizer:
        """Compare a vocabulary with what the model takes it for."""
        for option, token in (("pad_token", "[PAD]"), ("sep_token", "[SEP]")):
            index = tokenizer.id_of(token)
            if getattr(self.cfg, option) != index:
                raise DataError(
                    f"task.{option}={getattr(self.cfg, option)}, and {token} has the id {index} in "
                    f"task.tokenizer={self.cfg.tokenizer}: set task.{option}={index}"
                )
        known = self._limits.get("vocab_size")
        if known is not None and len(tokenizer) > known:
            raise DataError(
                f"task.tokenizer={self.cfg.tokenizer} has {len(tokenizer)} tokens, and the model "
                f"knows {known}: choose the vocabulary it was made for, or set "
                f"model.vocab_size={len(tokenizer)}"
            )
        return tokenizer

    def load_state_dict(self, state_dict: dict) -> None:
        """Take the vocabulary that a checkpoint notes, so that no other file is needed.

        Raises:
            DataError: it is none.
        """
        try:
            vocabulary = noted_vocabulary(state_dict.get(NOTES) or {})
        except DataError as error:
            raise DataError(
                f"the checkpoint's vocabulary is no list of texts: give task.tokenizer ({error})"
            ) from error
        if vocabulary is not None:
            self.tokenizer = self._checked(Tokenizer(*vocabulary))

    @property
    def max_text_size(self) -> int | None:
        """The smaller of what the configuration wants and what the model takes."""
        sizes = self.cfg.max_text_size, self._limits.get("max_text_size")
        return min((size for size in sizes if size is not None), default=None)

    def target(self, label: bool) -> Target:
        """See :meth:`ECGTask.target`; without labels all texts are read, as they are."""
        if not label:
            return TokenTarget(self.tokenizer, max_text_size=self.max_text_size)
        return TextTarget(
            self.tokenizer,
            max_text_size=self.max_text_size,
            negatives=self.method.negatives,
            mlm_prob=self.cfg.mlm_prob if self.cfg.compute_mlm_indices else None,
            medvill=self.cfg.medvill,
            form=str(self.cfg.text_collation),
        )
