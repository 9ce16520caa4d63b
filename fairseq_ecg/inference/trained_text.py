"""A trained network that is given prepared segments and texts."""

import warnings
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from fairseq_ecg.data.text import Tokenizer, has_word
from fairseq_ecg.data.text.tokenizer import KEPT_FREE, SPECIAL, Tokens
from fairseq_ecg.ecg.preprocessing import Preprocessing
from fairseq_ecg.errors import DataError, shortened
from fairseq_ecg.inference.aggregation import aggregation_of
from fairseq_ecg.inference.loaded import LoadedNetwork
from fairseq_ecg.modules.text import TextNetwork


class TrainedTextNetwork(LoadedNetwork):
    """A network of ECGs and texts in evaluation mode, with what it needs to know of its input.

    Args:
        network: the network.
        cfg: configuration of which :func:`fairseq_ecg.modules.text.build_text_network` makes the
            same network but for its weights.
        preprocessing: what is done to recordings before.
        labels: names of the C answers of a network for questions.
        aggregation: ``max`` or ``mean`` over segments, by answer or for all; None: ``mean``.
        tokenizer: makes tokens of texts; None if its vocabulary is not known.
        max_text_size: ``task.max_text_size`` of training; None: as the network's positions.

    Raises:
        DataError: there are not as many names as answers, or two of the same, the vocabulary has
            more tokens than the network, the texts have no word, or the preprocessing makes other
            rows than the network reads.

    Attributes:
        network: the ``nn.Module`` itself.
        labels: names of the answers; empty if the network is none for questions.
        aggregation: ``max`` or ``mean`` for each of them.
        tokenizer: as given, and so is ``max_text_size``.
        max_tokens: most tokens of a text, ``[CLS]`` and ``[SEP]`` included; None: any number.
    """

    network: TextNetwork

    def __init__(
        self,
        network: TextNetwork,
        cfg: Mapping,
        preprocessing: Preprocessing,
        labels: Sequence[str] = (),
        aggregation: Mapping[str, str] | str | None = None,
        tokenizer: Tokenizer | None = None,
        max_text_size: int | None = None,
    ):
        super().__init__(network, network.n_leads, cfg, preprocessing)
        if network.n_answers != len(labels):
            raise DataError(
                f"the network gives {network.n_answers or 'no'} answers, but {len(labels)} are "
                "named. Give the answers.csv it was trained with"
            )
        if len(set(labels)) < len(labels):
            raise DataError(f"answers {shortened(', '.join(labels))} name one twice")
        self.labels = tuple(labels)
        self.aggregation = aggregation_of(self.labels, aggregation or "mean")
        if tokenizer is None and network.vocab_size is None:
            tokenizer = Tokenizer(SPECIAL, lower_case=True)  # it reads no texts: any will do
        self.tokenizer, self.max_text_size = tokenizer, max_text_size
        sizes = [] if max_text_size is None else [max_text_size - KEPT_FREE]
        sizes += [] if network.max_text_size is None else [network.max_text_size]
        self.max_tokens = min(sizes, default=None)
        if self.max_tokens is not None and self.max_tokens < 3:
            raise DataError(
                f"the network takes {self.max_tokens} tokens of a text (max_text_size="
                f"{max_text_size}), which hold no word beside [CLS] and [SEP]"
            )
        n_tokens = network.vocab_size
        if tokenizer is not None and n_tokens is not None and len(tokenizer) > n_tokens:
            raise DataError(
                f"the vocabulary has {len(tokenizer)} tokens, the network knows {n_tokens}. Give "
                "the vocabulary it was trained with"
            )

    def _outputs_in_words(self) -> str:
        return f"{len(self.labels)} answers, " if self.labels else ""

    def facts(self) -> tuple:
        """Return what results depend on beside weights, plain values."""
        tokenizer = self.tokenizer
        words = None if tokenizer is None else (tokenizer.vocabulary, tokenizer.lower_case)
        return *super().facts(), words, self.max_tokens

    @property
    def embed_dim(self) -> int:
        """D, channels of an embedding of an ECG; 0 if none are read."""
        return self.network.embed_dim

    def frame_count(self, n_samples: int) -> int:
        """Return T', frames that the network makes of samples."""
        reader = self.network.ecg_reader
        return n_samples if reader is None else reader.frame_count(n_samples)

    def tokens(self, texts: Sequence[str]) -> Tokens:
        """Make tokens of texts; what is beyond :attr:`max_tokens` is cut.

        Warns of texts in which the network reads nothing, as the vocabulary knows no word of them.

        Raises:
            DataError: a text has no word, or the vocabulary is not known.
        """
        for text in texts:
            if not has_word(text):
                raise DataError(f"the text {shortened(text)} has no word")
        tokenizer = self.required_tokenizer()
        unknown = [text for text in texts if not tokenizer.knows_a_word_of(text)]
        if unknown:
            others = f", nor of {len(unknown) - 1} other texts" if len(unknown) > 1 else ""
            warnings.warn(
                f"the vocabulary knows no word of {shortened(unknown[0])}{others}: what is computed"
                " does not depend on what it says. Use the language of the texts of training",
                stacklevel=3,
            )
        return tokenizer(texts, self.max_tokens)

    def required_tokenizer(self) -> Tokenizer:
        """Return the tokenizer.

        Raises:
            DataError: the vocabulary is not known.
        """
        if self.tokenizer is None:
            raise DataError(
                "the checkpoint does not hold its vocabulary, as those of fairseq_signals: give "
                "tokenizer='.../vocab.txt' (a file, a folder that holds one, or a name on the "
                "Hugging Face hub such as bert-base-uncased, which is what fairseq_signals trains "
                "with; in commands --tokenizer)"
            )
        return self.tokenizer

    def warn_of_cut(self, texts: Sequence[str], cut: Sequence[int]) -> None:
        """Warn if texts are longer than the network takes.

        Args:
            texts: that tokens were made of.
            cut: how many tokens of each the network does not read.
        """
        too_long = [(n, text) for n, text in zip(cut, texts, strict=True) if n]
        if too_long:
            n, text = too_long[0]
            others = f"; so are {len(too_long) - 1} others" if len(too_long) > 1 else ""
            warnings.warn(
                f"{shortened(text)} is {n} tokens longer than the {self.max_tokens} that the "
                f"network takes of a text, and is cut{others}",
                stacklevel=4,
            )

    @torch.inference_mode()
    def answer_probabilities(
        self,
        ecg: Tensor,
        text: Tensor,
        ecg_padding_mask: Tensor | None = None,
        text_padding_mask: Tensor | None = None,
        ecg_2: Tensor | None = None,
        ecg_2_padding_mask: Tensor | None = None,
    ) -> np.ndarray:
        """Give the probability of every answer, ``(B, C)`` float64.

        Arguments are those of :meth:`TextNetwork.forward`: prepared segments, and tokens.

        Raises:
            DataError: the network answers no questions, or none about two ECGs.
        """
        self.require_answers()
        if ecg_2 is not None and self.network.num_ecgs < 2:
            raise DataError("the network answers questions about one ECG: leave out the second")
        inputs = {
            "ecg": ecg,
            "text": text,
            "ecg_padding_mask": ecg_padding_mask,
            "text_padding_mask": text_padding_mask,
            "ecg_2": ecg_2,
            "ecg_2_padding_mask": ecg_2_padding_mask,
        }
        out = self.network(**{name: self._moved(value) for name, value in inputs.items()})
        return self.network.get_logits(out).double().sigmoid().cpu().numpy()

    @torch.inference_mode()
    def embeddings(self, source: Tensor, padding_mask: Tensor | None = None) -> np.ndarray:
        """Encode prepared segments ``(B, L, T)`` by themselves to ``(B, D)`` float32."""
        try:
            embedded = self.network.embed_ecg(self._moved(source), self._moved(padding_mask))
        except NotImplementedError as error:
            raise DataError(f"no embedding: {error}") from error
        return embedded.float().cpu().numpy()

    @torch.inference_mode()
    def text_embeddings(self, tokens: Sequence[Tensor]) -> np.ndarray:
        """Embed texts in the space of ECGs, each by itself, ``(M, D)`` float32 of length one.

        Args:
            tokens: of each text ``(N,)`` int64.

        Raises:
            DataError: the network has no such space.
        """
        if not self.network.shares_space:
            raise DataError(
                f"{type(self.network).__name__} embeds no texts in the space of ECGs: use a "
                "network of contrastive pre-training (ecg_text_clip)"
            )
        embedded = [self.network.embed_text(self._moved(text)[None]) for text in tokens]
        return torch.cat(embedded).float().cpu().numpy()

    @torch.inference_mode()
    def alignments(
        self, source: Tensor, tokens: Sequence[Tensor], padding_mask: Tensor | None = None
    ) -> np.ndarray:
        """Give the probability that ECGs and texts belong together, ``(B, M)`` float64.

        Args:
            source: ``(B, L, T)``, prepared segments.
            tokens: of each of the M texts ``(N,)`` int64.
            padding_mask: ``(B, T)`` or ``(B, L, T)`` bool, True where padded.

        Raises:
            DataError: the network was not trained to say.
        """
        ecg = self._moved(source)
        mask = torch.zeros_like(source[:, 0], dtype=torch.bool)
        mask = self._moved(mask if padding_mask is None else padding_mask)
        mask = mask if mask.dim() == ecg.dim() else mask.unsqueeze(1).expand_as(ecg)
        columns = []
        for text in tokens:
            rows = self._moved(text).expand(len(ecg), -1)
            no_padding = torch.zeros_like(rows, dtype=torch.bool)
            try:
                logits = self.network.alignment(ecg, rows, mask, no_padding)
            except NotImplementedError as error:
                raise DataError(
                    f"{type(self.network).__name__} does not say how well texts and ECGs go "
                    "together: use one that was pre-trained to (ecg_text_clip, m3ae, medvill)"
                ) from error
            columns.append(logits.double().sigmoid().cpu())
        return torch.stack(columns, dim=1).numpy()

    def require_answers(self) -> None:
        """Raise DataError if the network is none for questions."""
        if not self.labels:
            raise DataError(
                "the network answers no questions, it was pre-trained only: fine-tune it with the "
                "task ecg_question_answering first. It has embeddings (embed)"
            )

    def _moved(self, value: Tensor | None) -> Tensor | None:
        if value is None:
            return None
        return value.to(self.device, self.dtype if value.is_floating_point() else None)
