"""What every network of ECGs and texts offers to training and programs."""

import contextlib
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

import torch
from torch import nn

from fairseq_ecg.modules.encoder import ECGReader, Encoder
from fairseq_ecg.modules.finetuned import FrameEncoder
from fairseq_ecg.modules.text.bert import NO_SIZES
from fairseq_ecg.options import Count, Range


class TextNetwork(nn.Module):
    """Base of networks that read ECGs and texts.

    Keyword-only arguments of constructors are options, see :mod:`fairseq_ecg.options`.

    Attributes:
        ecg_encoder_prefix: what the names of the weights of its ECG encoder follow, where that is
            a network of the tables which can be fine-tuned by itself; None otherwise.
        regularisation_options: names of options that fine-tuning decides anew.
        architecture_options: names of options that its weights decide.
        task_options: names of options of the task that are the same in fine-tuning.
        defaults: of options, in place of those that its parts declare.
        pretraining_modules: names of modules that only pre-training uses.
        n_leads: L, leads; None if no ECG is read.
        n_answers: C, answers that a network for questions gives a logit of each; 0 of others.
        num_ecgs: most ECGs that a question may be about.
        max_text_size: tokens that its table of positions holds; None if no text is read.
        vocab_size: tokens that it knows; None if no text is read.
        shares_space: whether ECGs and texts are embedded in one space, each by itself.
        bert_config: sizes of its BERT; none if there is none whose heads matter.
    """

    ecg_encoder_prefix: ClassVar[str | None] = None
    regularisation_options: ClassVar[tuple[str, ...]] = ()
    architecture_options: ClassVar[tuple[str, ...]] = ()
    task_options: ClassVar[tuple[str, ...]] = ()
    defaults: ClassVar[Mapping[str, Any]] = {}
    pretraining_modules: ClassVar[tuple[str, ...]] = ()
    n_leads: int | None = None
    n_answers: int = 0
    num_ecgs: int = 1
    max_text_size: int | None = None
    vocab_size: int | None = None
    shares_space: ClassVar[bool] = False
    bert_config: Mapping[str, int] = NO_SIZES

    @classmethod
    def stored_options(cls, weights: Mapping[str, torch.Tensor]) -> dict[str, Any]:
        """Return the options that stored weights decide, whatever a configuration says.

        With them a network of a checkpoint is built of what the checkpoint holds: sizes of tables
        are those of the weights, and nothing is fetched.

        Args:
            weights: of such a network, by name.
        """
        return {}

    @classmethod
    def ecg_encoder_config(cls, cfg: Mapping[str, Any]) -> dict[str, Any]:
        """Return the configuration of the ECG encoder, where there is one that stands by itself.

        Args:
            cfg: of the network.

        Returns:
            As :func:`fairseq_ecg.modules.registry.build_network` takes it.
        """
        return {**cfg, "_name": "ecg_transformer"}

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

    def extract_features(self, *inputs, **options) -> dict[str, Any]:
        """Encode as the part of a fine-tuned network; as :meth:`forward` unless it says more."""
        return self(*inputs, **options)

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

    @property
    def embed_dim(self) -> int:
        """D, channels of what :meth:`embed_ecg` returns; 0 if no ECGs are read."""
        reader = self.ecg_reader
        return 0 if reader is None else reader.encoder_dim

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

    def embed_text(
        self, text: torch.Tensor, text_padding_mask: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Embed texts where :attr:`shares_space`, ``(B, D)`` of length one as those of ECGs.

        Args:
            text: as of :meth:`forward`.
            text_padding_mask: as of :meth:`forward`.

        Raises:
            NotImplementedError: the network has no such space.
        """
        raise NotImplementedError(f"{type(self).__name__} embeds no texts beside its ECGs")

    def set_num_updates(self, num_updates: int) -> None:
        """Set how many updates are done, for parts that follow a schedule."""

    def remove_pretraining_modules(self) -> None:
        """Drop what only pre-training uses."""
        for name in self.pretraining_modules:
            setattr(self, name, None)


class PairedEncoders(TextNetwork):
    """Base of networks with an encoder of ECGs alone, ``ecg_encoder``, beside one of texts.

    Attributes:
        ecg_encoder: the encoder; its frames are not masked.
    """

    ecg_encoder_prefix: ClassVar[str] = "ecg_encoder."
    ecg_encoder: Encoder

    @property
    def trains_in_turns(self) -> bool:
        """Whether parameters get a gradient in some updates and none in others."""
        return self.ecg_encoder.trains_in_turns

    def without_gradient(self) -> list[nn.Parameter]:
        """Parameters that no gradient reaches in training, whether they are frozen or not."""
        return self.ecg_encoder.without_gradient_unmasked()

    def set_num_updates(self, num_updates: int) -> None:
        """See :meth:`TextNetwork.set_num_updates`."""
        self.ecg_encoder.pass_on_num_updates(num_updates)


OneOrTwo = Annotated[int, Range(1, 2)]
"""How many ECGs a question may be about at most."""


class AnsweringNetwork(TextNetwork):
    """Base of networks that give a logit of each answer to a question.

    Attributes:
        output: name of the logits among what :meth:`forward` returns.
    """

    output: ClassVar[str] = "out"

    def get_logits(
        self, net_output: Mapping[str, Any], normalize: bool = False, **_
    ) -> torch.Tensor:
        """Logits of the answers ``(B, C)``, or their log softmax in float32.

        Args:
            net_output: what :meth:`forward` returned.
            normalize: return log probabilities.
        """
        logits = net_output[self.output]
        return logits.float().log_softmax(dim=-1) if normalize else logits

    def get_targets(
        self, sample: Mapping[str, Any], net_output: Mapping[str, Any], **_
    ) -> torch.Tensor:
        """Answers of a batch, ``(B, C)`` float, 1 where they are right."""
        return sample["answer"].float()

    def check_second(self, ecg_2: torch.Tensor | None) -> None:
        """Refuse a second ECG where there is to be one at most.

        Raises:
            ValueError: there is one.
        """
        if ecg_2 is not None and self.num_ecgs < 2:
            raise ValueError(
                "a question is about two ECGs, but the network reads one: train with "
                "model.num_ecgs=2"
            )


def one_or_two(num_ecgs: int) -> int:
    """Return how many ECGs a question may be about.

    Raises:
        ValueError: it is another number.
    """
    if num_ecgs not in (1, 2):
        raise ValueError(f"model.num_ecgs={num_ecgs} is neither 1 nor 2")
    return num_ecgs


def linear_head(channels: int, answers: int) -> nn.Linear:
    """Make a layer that gives logits of answers, with Xavier's weights and no bias at first."""
    proj = nn.Linear(channels, answers)
    nn.init.xavier_uniform_(proj.weight)
    nn.init.zeros_(proj.bias)
    return proj


class FinetunedTextNetwork(AnsweringNetwork):
    """Base of networks for questions that are a pre-trained network with a head.

    The class of the network is the first of :attr:`option_parts`.

    Args:
        encoder: network that was trained before, without what only pre-training uses; None: a new
            one of ``encoder_options``.
        freeze_finetune_updates: updates before the encoder trains.
        encoder_options: of the encoder's class; without effect on an encoder that is given.
    """

    option_parts: ClassVar[tuple[type[TextNetwork], ...]]

    def __init__(
        self,
        encoder: TextNetwork | None = None,
        *,
        freeze_finetune_updates: Count = 0,
        **encoder_options,
    ):
        super().__init__()
        self.freeze_finetune_updates = freeze_finetune_updates
        self.num_updates = 0
        if encoder is None:
            encoder = self.encoder_class()(**{**self.defaults, **encoder_options})
            encoder.remove_pretraining_modules()
        self.encoder = encoder
        self.n_leads = encoder.n_leads
        self.vocab_size = encoder.vocab_size
        self.bert_config = encoder.bert_config
        self.max_text_size = encoder.max_text_size

    @classmethod
    def encoder_class(cls) -> type[TextNetwork]:
        """Return the class of networks that may be its encoder."""
        return cls.option_parts[0]

    @classmethod
    def stored_options(cls, weights: Mapping[str, torch.Tensor]) -> dict[str, Any]:
        """See :meth:`TextNetwork.stored_options`; they are those of the encoder."""
        prefix = "encoder."
        of_encoder = {
            key.removeprefix(prefix): x for key, x in weights.items() if key.startswith(prefix)
        }
        return cls.encoder_class().stored_options(of_encoder)

    @property
    def ecg_reader(self) -> ECGReader | None:
        """See :attr:`TextNetwork.ecg_reader`; it is the encoder's."""
        return self.encoder.ecg_reader

    def embed_ecg(
        self, ecg: torch.Tensor, ecg_padding_mask: torch.Tensor | None = None
    ) -> torch.Tensor:
        """See :meth:`TextNetwork.embed_ecg`; it is the encoder's."""
        return self.encoder.embed_ecg(ecg, ecg_padding_mask)

    def encode(self, *inputs, **options) -> dict[str, Any]:
        """Run the encoder, without gradient as long as it is frozen."""
        frozen = self.num_updates < self.freeze_finetune_updates
        with torch.no_grad() if frozen else contextlib.nullcontext():
            return self.encoder.extract_features(*inputs, **options)

    @property
    def trains_in_turns(self) -> bool:
        """Whether parameters get a gradient in some updates and none in others."""
        return self.freeze_finetune_updates > 0 or getattr(self.encoder, "trains_in_turns", False)

    def without_gradient(self) -> list[nn.Parameter]:
        """Parameters that no gradient reaches in training, whether they are frozen or not."""
        return getattr(self.encoder, "without_gradient", list)()

    def set_num_updates(self, num_updates: int) -> None:
        """Set how many updates are done, for freezing."""
        self.num_updates = num_updates
