"""ECG-FM for Hugging Face's ``transformers``: importing this registers its classes.

::

    import fairseq_ecg.huggingface
    from transformers import AutoModel
    model = AutoModel.from_pretrained(FOLDER)     # that ECGModel.save_pretrained wrote
    model(input_values=segments).pooler_output    # (B, D)

Without that import, ``trust_remote_code=True`` does the same by a file in the folder. Segments are
prepared ones: ``model.config.preprocessing`` says how, :class:`fairseq_ecg.ECGModel` does it.
"""

from typing import ClassVar, TypeVar

import torch
from torch import nn
from torch.nn import functional as F
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    PreTrainedConfig,
    PreTrainedModel,
)
from transformers.modeling_outputs import (
    BaseModelOutputWithPooling,
    SequenceClassifierOutput,
    TokenClassifierOutput,
)
from transformers.utils import ModelOutput

from fairseq_ecg.compat.checkpoint import check_numbers
from fairseq_ecg.compat.stored_config import check_sizes
from fairseq_ecg.ecg.delineation import CLASSES
from fairseq_ecg.inference.pretrained import MODEL_TYPE
from fairseq_ecg.modules import Encoder, FinetunedEncoder, FrameEncoder
from fairseq_ecg.modules.registry import (
    build_network,
    head_of,
    labels_option,
    pieces_of,
    plain_encoder,
    predicts_labels,
    with_head,
)
from fairseq_ecg.modules.segmentor import Segmentor
from fairseq_ecg.modules.text.torchaudio import hide_broken_torchaudio
from fairseq_ecg.ops.pooling import zero_padding

hide_broken_torchaudio()

Output = TypeVar("Output", bound=ModelOutput)

UNNAMED = "LABEL_"
"""How transformers call labels without names, before their index."""


class ECGFMConfig(PreTrainedConfig):
    """Configuration of a saved model.

    Args:
        network: configuration of the network, see
            :func:`fairseq_ecg.modules.build_network`.
        preprocessing: values of a :class:`fairseq_ecg.inference.Preprocessing`.
        aggregation: ``max`` or ``mean`` over segments, by label.
        options: of ``PreTrainedConfig``, ``id2label`` for instance.
    """

    model_type = MODEL_TYPE

    def __init__(
        self,
        network: dict | None = None,
        preprocessing: dict | None = None,
        aggregation: dict | None = None,
        **options,
    ):
        self.network = network or {"_name": "ecg_transformer"}
        self.preprocessing = preprocessing or {}
        self.aggregation = aggregation or {}
        super().__init__(**options)

    @property
    def hidden_size(self) -> int:
        """D, channels of a frame."""
        network = check_sizes(self.network, self.name_or_path or "config.json")
        encoder = network.encoder if isinstance(network, FinetunedEncoder) else network
        assert isinstance(encoder, Encoder), "networks that read texts have no such class"
        return encoder.encoder_dim


class _ECGFM(PreTrainedModel):
    """What the classes share: a network under the names that its saved weights bear."""

    config_class = ECGFMConfig
    main_input_name = "input_values"
    base_model_prefix = ""
    network: FrameEncoder
    # The one network whose encoder has no name of its own.
    renamed: ClassVar[dict[str, str]] = {
        r"^network\.feature_extractor\.": "network.encoder.feature_extractor."
    }

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path, *args, **options):
        """As in ``PreTrainedModel``.

        Raises:
            CheckpointError: a weight is NaN or infinite, or the configuration makes no network.
            DataError: the network is larger than is plausible.
        """
        options["key_mapping"] = cls.renamed | (options.get("key_mapping") or {})
        loaded = super().from_pretrained(pretrained_model_name_or_path, *args, **options)
        model = loaded[0] if options.get("output_loading_info") else loaded
        weights = {name: x for name, x in model.named_parameters() if x.device.type != "meta"}
        check_numbers(model, weights, pretrained_model_name_or_path)
        return loaded

    def save_pretrained(self, save_directory, **options):
        """As in ``PreTrainedModel``; weights keep the names that they have in this network."""
        super().save_pretrained(save_directory, **{"save_original_format": False} | options)

    def _init_weights(self, module: nn.Module) -> None:
        # Only a head can be new: an encoder comes with its weights, or has drawn them when made.
        if isinstance(self.network, FinetunedEncoder):
            if module not in set(self.network.encoder.modules()):
                getattr(module, "reset_parameters", bool)()
            self.network.init_head(module)

    def _run(
        self,
        input_values: torch.Tensor,
        attention_mask: torch.Tensor | None,
        output_attentions: bool | None,
        output_hidden_states: bool | None,
    ) -> tuple[dict, dict]:
        """Run the network on ``(B, L, T)`` samples, of which ``(B, T)`` says 1 where they count.

        What is not said whether to return it is returned as the configuration says.

        Returns:
            What the network returns, and ``hidden_states`` and ``attentions`` for an output.
        """
        padding_mask = None if attention_mask is None else attention_mask == 0
        keeps = _or(output_hidden_states, self.config.output_hidden_states)
        states: list[torch.Tensor] | None = [] if keeps else None
        out = self.network(
            input_values,
            padding_mask,
            saliency=_or(output_attentions, self.config.output_attentions),
            hidden_states=states,
        )
        mask, saliency = out["padding_mask"], out["saliency"]
        return out, {
            "hidden_states": None
            if states is None
            else tuple(zero_padding(x, mask) for x in states),
            "attentions": None if saliency is None else tuple(saliency.unbind(dim=1)),
        }

    def _returned(self, output: Output, return_dict: bool | None) -> Output | tuple:
        """Return an output by name, or as a tuple."""
        return output if _or(return_dict, self.config.return_dict) else output.to_tuple()


class ECGFMModel(_ECGFM):
    """The encoder of a pre-trained or fine-tuned model, with a head whose output is the embedding.

    Args:
        config: its configuration.
    """

    _keys_to_ignore_on_load_unexpected = [r"network\.(?!encoder\.)"]  # noqa: RUF012

    def __init__(self, config: ECGFMConfig):
        super().__init__(config)
        network = _built(config)
        if isinstance(network, FinetunedEncoder) and network.embedding_output is None:
            config.network = config.network | {"_name": _encoder_name(config)}
            network = network.encoder
        if isinstance(network, Encoder):
            network.remove_pretraining_modules()
            self.network = FrameEncoder(network)
        else:
            self.network = network
        self.post_init()

    def forward(
        self,
        input_values: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
        **_,
    ) -> BaseModelOutputWithPooling | tuple:
        """Encode.

        Args:
            input_values: ``(B, L, T)`` float, prepared segments.
            attention_mask: ``(B, T)``, 0 where a sample is padding.
            output_attentions: also return the attention weights of every layer. None, here and
                below: as the configuration says.
            output_hidden_states: also return what every layer is given, and what the last gives.
            return_dict: return an output by name, not a tuple.

        Returns:
            ``last_hidden_state`` ``(B, T', D)``, ``pooler_output`` ``(B, D)`` as
            :meth:`fairseq_ecg.ECGModel.embed` pools; ``attentions``, ``(B, T', T')`` of every
            layer, averaged over heads; and ``hidden_states``, ``(B, T', D)`` in front of every
            layer and behind the last, which is ``last_hidden_state``. Padded frames are zero.
        """
        out, of_layers = self._run(
            input_values, attention_mask, output_attentions, output_hidden_states
        )
        output = BaseModelOutputWithPooling(
            last_hidden_state=out["encoder_out"],
            pooler_output=self.network.embedding(out),
            **of_layers,
        )
        return self._returned(output, return_dict)


class ECGFMForSequenceClassification(_ECGFM):
    """A model that was fine-tuned to predict labels, or a new head on the encoder of another one.

    A new head is linear, for ``config.num_labels`` labels.

    Args:
        config: its configuration.
    """

    renamed: ClassVar[dict[str, str]] = {}

    def __init__(self, config: ECGFMConfig):
        super().__init__(config)
        name = _name(config)
        if not predicts_labels(name):
            name = with_head(name, "linear")
        config.network = config.network | {"_name": name, labels_option(name): config.num_labels}
        network = _built(config)
        assert isinstance(network, FinetunedEncoder)
        self.network = network
        self.post_init()

    def forward(
        self,
        input_values: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
        **_,
    ) -> SequenceClassifierOutput | tuple:
        """Classify; every label is predicted on its own.

        Args:
            input_values: ``(B, L, T)`` float, prepared segments.
            attention_mask: ``(B, T)``, 0 where a sample is padding.
            labels: ``(B, C)`` of 0 and 1, for the loss; of a regression its targets, as its
                outputs are: minus their mean, over their standard deviation.
            output_attentions: as of :class:`ECGFMModel`.
            output_hidden_states: as of :class:`ECGFMModel`.
            return_dict: as of :class:`ECGFMModel`.

        Returns:
            ``logits`` ``(B, C)``, ``loss``, the mean binary cross-entropy (of a regression the mean
            squared error), if there are labels, and
            ``attentions`` and ``hidden_states`` as of :class:`ECGFMModel`.
        """
        out, of_layers = self._run(
            input_values, attention_mask, output_attentions, output_hidden_states
        )
        logits = out[self.network.label_output]
        loss = None
        if labels is not None:
            is_regression = self.config.problem_type == "regression"
            loss_of = F.mse_loss if is_regression else F.binary_cross_entropy_with_logits
            loss = loss_of(logits.float(), labels.float())
        output = SequenceClassifierOutput(loss=loss, logits=logits, **of_layers)
        return self._returned(output, return_dict)


class ECGFMForTokenClassification(_ECGFM):
    """A segmentor, or a new head on the encoder of another model: the class of every sample.

    A new head has the classes of ``config.id2label``, and if they have no names, or are labels of
    the other model, `fairseq_ecg.ecg.delineation.CLASSES`. Labels that a segmentor predicts besides
    are left out.

    Args:
        config: its configuration.
    """

    def __init__(self, config: ECGFMConfig):
        super().__init__(config)
        name = _name(config)
        head = head_of(name)
        if head is None or not issubclass(head, Segmentor):
            config.network = config.network | {"label_idx": _new_classes(config)}
        if head is None or head.outputs != Segmentor.outputs:
            config.network = config.network | {"_name": with_head(name, "segmentor")}
        network = _built(config)
        assert isinstance(network, Segmentor)
        names = {index: name for name, index in network.label_idx.items()}
        config.id2label = {
            index: names.get(index, f"{UNNAMED}{index}")
            for index in range(network.segment.out_channels)
        }
        config.label2id = {name: index for index, name in config.id2label.items()}
        self.network = network
        self.post_init()

    def forward(
        self,
        input_values: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
        **_,
    ) -> TokenClassifierOutput | tuple:
        """Classify every sample.

        Args:
            input_values: ``(B, L, T)`` float, prepared segments.
            attention_mask: ``(B, T)``, 0 where a sample is padding.
            labels: ``(B, T)`` int64, classes for the loss; -100 where a sample does not count.
            output_attentions: as of :class:`ECGFMModel`.
            output_hidden_states: as of :class:`ECGFMModel`.
            return_dict: as of :class:`ECGFMModel`.

        Returns:
            ``logits`` ``(B, T, classes)``, ``loss``, their mean cross-entropy, if there are labels,
            and ``attentions`` and ``hidden_states`` as of :class:`ECGFMModel`.
        """
        out, of_layers = self._run(
            input_values, attention_mask, output_attentions, output_hidden_states
        )
        logits, loss = out["segment_out"], None
        if labels is not None:
            loss = F.cross_entropy(logits.float().flatten(0, 1), labels.flatten())
        output = TokenClassifierOutput(loss=loss, logits=logits, **of_layers)
        return self._returned(output, return_dict)


def _name(config: ECGFMConfig) -> object:
    return config.network.get("_name", "ecg_transformer")


def _encoder_name(config: ECGFMConfig) -> str:
    return plain_encoder(pieces_of(_name(config))[0])


def _new_classes(config: ECGFMConfig) -> dict[str, int]:
    """Indices of the classes that a configuration names for a new head, by name."""
    named = {name: int(index) for index, name in (config.id2label or {}).items()}
    if predicts_labels(_name(config)) or all(name.startswith(UNNAMED) for name in named):
        return dict(CLASSES)
    return named


def _or(given: bool | None, configured: bool | None) -> bool | None:
    return configured if given is None else given


def _built(config: ECGFMConfig) -> Encoder | FinetunedEncoder:
    """Build the network of a configuration, whatever a file says in it."""
    where = config.name_or_path or "config.json"
    check_sizes(config.network, where)
    return build_network(config.network)


AutoConfig.register(MODEL_TYPE, ECGFMConfig, exist_ok=True)
AutoModel.register(ECGFMConfig, ECGFMModel, exist_ok=True)
AutoModelForSequenceClassification.register(
    ECGFMConfig, ECGFMForSequenceClassification, exist_ok=True
)
AutoModelForTokenClassification.register(ECGFMConfig, ECGFMForTokenClassification, exist_ok=True)
