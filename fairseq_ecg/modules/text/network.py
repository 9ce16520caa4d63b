"""What every network of ECGs and texts offers to training and programs."""

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import nn

from fairseq_ecg.modules.encoder import ECGReader, Encoder
from fairseq_ecg.modules.finetuned import FrameEncoder


class TextNetwork(nn.Module):
    """Base of networks that read ECGs and texts.

    Keyword-only arguments of constructors are options, see :mod:`fairseq_ecg.options`.

    Attributes:
        ecg_encoder_prefix: what the names of the weights of its ECG encoder follow, where that is
            a network of the tables which can be fine-tuned by itself; None otherwise.
        regularisation_options: names of options that fine-tuning decides anew.
        defaults: of options, in place of those that its parts declare.
        pretraining_modules: names of modules that only pre-training uses.
        n_leads: L, leads; None if no ECG is read.
        n_answers: C, answers that a network for questions gives a logit of each; 0 of others.
        num_ecgs: most ECGs that a question may be about.
        max_text_size: tokens that its table of positions holds; None if no text is read.
        vocab_size: tokens that it knows; None if no text is read.
    """

    ecg_encoder_prefix: ClassVar[str | None] = None
    regularisation_options: ClassVar[tuple[str, ...]] = ()
    defaults: ClassVar[Mapping[str, Any]] = {}
    pretraining_modules: ClassVar[tuple[str, ...]] = ()
    n_leads: int | None = None
    n_answers: int = 0
    num_ecgs: int = 1
    max_text_size: int | None = None
    vocab_size: int | None = None

    @classmethod
    def stored_options(cls, weights: Mapping[str, torch.Tensor]) -> dict[str, Any]:
        """Return the options that stored weights decide, whatever a configuration says.

        With them a network of a checkpoint is built of what the checkpoint holds: sizes of tables
        are those of the weights, and nothing is fetched.

        Args:
            weights: of such a network, by name.
        """
        return {}

    def forward(
        self,
        ecg: torch.Tensor,
        text: torch.Tensor,
        ecg_padding_mask: torch.Tensor | None = None,
        text_padding_mask: torch.Tensor | None = None,
        ecg_2: torch.Tensor | None = None,
        ecg_2_padding_mask: torch.Tensor | None = None,
        **_,
    ) -> dict[str, Any]:
        """Compute what the criterion of the network needs.

        Args:
            ecg: ``(B, L, T)`` float, standardised samples.
            text: ``(B, N)`` int64, tokens.
            ecg_padding_mask: ``(B, L, T)`` or ``(B, T)`` bool, True where padded.
            text_padding_mask: ``(B, N)`` bool, True where padded.
            ecg_2: ``(B, L, T_2)``, the second ECG of a question; rows without one are padded whole.
            ecg_2_padding_mask: as ``ecg_padding_mask``.

        Returns:
            Of a network for questions ``out`` ``(B, C)``, logits of the answers.
        """
        raise NotImplementedError

    def alignment(
        self,
        ecg: torch.Tensor,
        text: torch.Tensor,
        ecg_padding_mask: torch.Tensor | None = None,
        text_padding_mask: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Return how well each text goes with the ECG of its row, ``(B,)`` logits.

        Raises:
            NotImplementedError: the network was not trained to say.
        """
        raise NotImplementedError

    @property
    def ecg_reader(self) -> ECGReader | None:
        """The part that makes frames of ECGs; None if none are read."""
        if self.ecg_encoder_prefix is not None:
            found = self.get_submodule(self.ecg_encoder_prefix.removesuffix("."))
        else:
            found = self
        return found if isinstance(found, ECGReader) else None

    def embed_ecg(
        self, ecg: torch.Tensor, ecg_padding_mask: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Encode ECGs by themselves: of each channel the mean over the frames, ``(B, D)``.

        It is that of the ECG encoder, before it meets any text; where one encoder reads both, that
        of an ECG without a text.

        Args:
            ecg: as of :meth:`forward`.
            ecg_padding_mask: as of :meth:`forward`.

        Raises:
            NotImplementedError: the network reads no ECGs.
        """
        reader = self.ecg_reader
        if not isinstance(reader, Encoder):
            raise NotImplementedError(f"{type(self).__name__} reads no ECGs")
        encoder = FrameEncoder(reader)
        return encoder.embedding(encoder(ecg, ecg_padding_mask))

    def set_num_updates(self, num_updates: int) -> None:
        """Set how many updates are done, for parts that follow a schedule."""

    def remove_pretraining_modules(self) -> None:
        """Drop what only pre-training uses."""
        for name in self.pretraining_modules:
            setattr(self, name, None)
