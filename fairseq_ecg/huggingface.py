"""ECG-FM for Hugging Face's ``transformers``: importing this registers its classes.

::

    import fairseq_ecg.huggingface
    from transformers import AutoModel
    model = AutoModel.from_pretrained(FOLDER)     # that ECGModel.save_pretrained wrote
    model(input_values=segments).pooler_output    # (B, D)

Without that import, ``trust_remote_code=True`` does the same by a file in the folder. Segments are
prepared ones: ``model.config.preprocessing`` says how, :class:`fairseq_ecg.ECGModel` does it.
"""

from typing import TypeVar

import torch
from torch import nn
from torch.nn import functional as F
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForSequenceClassification,
    PreTrainedConfig,
    PreTrainedModel,
)
from transformers.modeling_outputs import BaseModelOutputWithPooling, SequenceClassifierOutput
from transformers.utils import ModelOutput

from fairseq_ecg.compat.checkpoint import check_numbers
from fairseq_ecg.compat.stored_config import check_sizes
from fairseq_ecg.compat.torchaudio import hide_broken_torchaudio
from fairseq_ecg.inference.pretrained import MODEL_TYPE
from fairseq_ecg.modules import ENCODERS, Encoder, FinetunedEncoder, FrameEncoder
from fairseq_ecg.modules.registry import build_network, labels_option, with_head
from fairseq_ecg.ops.pooling import zero_padding

hide_broken_torchaudio()

Output = TypeVar("Output", bound=ModelOutput)


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
        return encoder.encoder_dim


class _ECGFM(PreTrainedModel):
    """What both classes share: a network under the names that its saved weights bear."""

    config_class = ECGFMConfig
    main_input_name = "input_values"
    base_model_prefix = ""
    network: FrameEncoder

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path, *args, **options):
        """As in ``PreTrainedModel``.

        Raises:
            CheckpointError: a weight is NaN or infinite, or the configuration makes no network.
            DataError: the network is larger than is plausible.
        """
        loaded = super().from_pretrained(pretrained_model_name_or_path, *args, **options)
        model = loaded[0] if options.get("output_loading_info") else loaded
        weights = {name: x for name, x in model.named_parameters() if x.device.type != "meta"}
        check_numbers(model, weights, pretrained_model_name_or_path)
        return loaded

    def _init_weights(self, module: nn.Module) -> None:
        # Only a head can be new: an encoder comes with its weights, or has drawn them when made.
        if isinstance(self.network, FinetunedEncoder):
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
    """The encoder of a pre-trained or fine-tuned model.

    Args:
        config: its configuration.
    """

    _keys_to_ignore_on_load_unexpected = [r"network\.(?!encoder\.)"]  # noqa: RUF012

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path, *args, **options):
        """See the base class."""
        # The one network whose encoder has no name of its own.
        names = {r"^network\.feature_extractor\.": "network.encoder.feature_extractor."}
        options["key_mapping"] = names | (options.get("key_mapping") or {})
        return super().from_pretrained(pretrained_model_name_or_path, *args, **options)

    def __init__(self, config: ECGFMConfig):
        super().__init__(config)
        self.network = FrameEncoder(_encoder(config))
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
        pooled = self.network.encoder.mean(out["encoder_out"], out["padding_mask"])
        output = BaseModelOutputWithPooling(
            last_hidden_state=out["encoder_out"],
            pooler_output=pooled,
            **of_layers,
        )
        return self._returned(output, return_dict)


class ECGFMForSequenceClassification(_ECGFM):
    """A fine-tuned model, or a new head for ``config.num_labels`` labels on a pre-trained one.

    Args:
        config: its configuration.
    """

    def __init__(self, config: ECGFMConfig):
        super().__init__(config)
        name = config.network.get("_name", "ecg_transformer")
        if isinstance(name, str) and name in ENCODERS:
            name = with_head(name, "classifier")
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


def _or(given: bool | None, configured: bool | None) -> bool | None:
    return configured if given is None else given


def _built(config: ECGFMConfig) -> Encoder | FinetunedEncoder:
    """Build the network of a configuration, whatever a file says in it."""
    where = config.name_or_path or "config.json"
    check_sizes(config.network, where)
    return build_network(config.network)


def _encoder(config: ECGFMConfig) -> Encoder:
    network = _built(config)
    encoder = network.encoder if isinstance(network, FinetunedEncoder) else network
    encoder.remove_pretraining_modules()
    return encoder


AutoConfig.register(MODEL_TYPE, ECGFMConfig, exist_ok=True)
AutoModel.register(ECGFMConfig, ECGFMModel, exist_ok=True)
AutoModelForSequenceClassification.register(
    ECGFMConfig, ECGFMForSequenceClassification, exist_ok=True
)
