"""The networks of ECGs and texts as fairseq models."""

import logging
import sys
from collections.abc import Mapping
from typing import Any, ClassVar

from fairseq.dataclass import FairseqDataclass
from fairseq.models import MODEL_REGISTRY, BaseFairseqModel
from omegaconf import II, DictConfig, OmegaConf, open_dict

from fairseq_ecg.compat.checkpoint import load_checkpoint, load_strictly
from fairseq_ecg.compat.options import configuration, make_configuration
from fairseq_ecg.compat.registration import register_model
from fairseq_ecg.compat.stored_config import (
    NO_OTHER_FILE,
    check_network,
    decided_by_weights,
    model_config,
    stored_section,
)
from fairseq_ecg.errors import CheckpointError, shortened
from fairseq_ecg.models.build import untrained_model
from fairseq_ecg.models.ecg_transformer import PretrainingConfig, TransformerConfig
from fairseq_ecg.models.pretrained import (
    CONDITIONING,
    compare_tasks,
    load_encoder,
    own_config,
    pretrained_encoder,
)
from fairseq_ecg.modules import (
    ENCODERS,
    ECGTransformer,
    Encoder,
    FinetunedEncoder,
    MaskedEncoder,
)
from fairseq_ecg.modules.text import (
    TEXT_NETWORKS,
    FinetunedTextNetwork,
    TextNetwork,
    text_network_class,
)
from fairseq_ecg.modules.text.blind_transformer_qa import BlindTransformerQA
from fairseq_ecg.modules.text.deaf_transformer_qa import DeafTransformerQA
from fairseq_ecg.modules.text.ecg_text_clip import ECGTextCLIP
from fairseq_ecg.modules.text.m3ae import M3AE
from fairseq_ecg.options import complete, options_of

logger = logging.getLogger(__name__)

OF_THE_TASK = ("max_text_size", "pad_token", "sep_token")
"""Options of networks that are those of the task unless they are set."""

UNKNOWN_OPTIONS = ("bert", "bert_config")
"""Options that fairseq_signals' networks do not have."""


@configuration()
class PretrainedECGConfig(TransformerConfig):
    """A network whose ECG encoder was trained before.

    Args:
        load_pretrained_weights: take the ECG encoder out of pretrained_model_path, if it is set.
        pretrained_model_path: checkpoint of an ECG encoder with a transformer.
    """

    load_pretrained_weights: bool = True
    pretrained_model_path: str | None = None


@configuration()
class AnyPretrainedECGConfig(PretrainingConfig):
    """A network whose ECG encoder, of any kind, was trained before.

    Args:
        pretrained_model_path: checkpoint of any network with an ECG encoder, whose kind and
            architecture are taken, too; null: the encoder has new weights.
    """

    pretrained_model_path: str | None = None


@configuration()
class TextFinetuningConfig(FairseqDataclass):
    """A head on a network of ECGs and texts that was trained before.

    Args:
        model_path: checkpoint of the pre-trained network.
        no_pretrained_weights: start from random weights in spite of model_path.
    """

    model_path: str | None = None
    no_pretrained_weights: bool = False


@configuration(MaskedEncoder)
class UnmaskedConfig(PretrainingConfig):
    """A transformer that masks nothing, whatever its options say of masks."""


@configuration(FinetunedEncoder)
class UntrainedConfig(TextFinetuningConfig, UnmaskedConfig):
    """One that starts from random weights, whatever its options say of fine-tuning."""


class TextModel:
    """A network of ECGs and texts that is built of a configuration; the network comes after it.

    Args:
        cfg: configuration of the model.
        part: of it that was trained before; None: it is drawn at random.
        architecture: what of the configuration is decided by that part, by name.
    """

    network: ClassVar[type[TextNetwork]]

    def __init__(self, cfg: Any, part: Any = None, architecture: Mapping[str, Any] | None = None):
        parts = () if part is None else (part,)
        super().__init__(*parts, **complete(self.network, cfg))
        self.cfg = cfg
        self.architecture = dict(architecture or {})

    @classmethod
    def build_model(cls, cfg: Any, task=None):
        """Build the network that a configuration describes.

        Args:
            cfg: its configuration; is made to say what a part that was trained before decides.
            task: has no meaning here.

        Raises:
            FileNotFoundError: there is no such checkpoint.
            CheckpointError: it does not hold such a part.
        """
        part, architecture = cls.trained_part(cfg)
        for name, value in architecture.items():
            if cfg[name] != value:
                logger.info("model.%s is %s, as in the checkpoint", name, value)
                cfg[name] = value
        return cls(cfg, part, architecture)

    @classmethod
    def trained_part(cls, cfg: Any) -> tuple[Any, Mapping[str, Any]]:
        """Read the part that was trained before, if there is one, and what it decides.

        Args:
            cfg: configuration of the model.
        """
        return None, {}

    def revise_config(self, cfg: DictConfig) -> None:
        """Make a configuration what a checkpoint says of this network: its real architecture.

        fairseq_signals refuses options that it does not know. Of them sizes of a BERT stay that its
        weights do not say. Tables that training started with are tables like others, so that it
        fetches none.

        Args:
            cfg: configuration of this model, changed in place.
        """
        decided = self.network.stored_options(self.state_dict())
        sizes = decided.pop("bert_config", {})
        other = {key: x for key, x in self.bert_config.items() if sizes.get(key, x) != x}
        with open_dict(cfg):
            cfg.update(self.architecture)
            if "load_bert_embedding" in decided:
                cfg.update(decided)
            for name in UNKNOWN_OPTIONS:
                cfg.pop(name, None)
            if other:
                cfg.bert_config = other


class BlindModel(TextModel):
    """One without any ECG, of which fairseq_signals knows only BERT's tables."""

    def revise_config(self, cfg: DictConfig) -> None:
        """See :meth:`TextModel.revise_config`; BERT's tables stay BERT's."""
        has_tables_of_bert = cfg.load_bert_embedding
        super().revise_config(cfg)
        if has_tables_of_bert:
            with open_dict(cfg):
                cfg.load_bert_embedding = True
                cfg.pop("max_text_size", None)


class PretrainedECGModel(TextModel):
    """One whose ECG encoder may come out of a checkpoint."""

    @classmethod
    def trained_part(cls, cfg: Any) -> tuple[Encoder | None, Mapping[str, Any]]:
        """Read the ECG encoder.

        Raises:
            FileNotFoundError: there is no such file.
            CheckpointError: it holds no encoder with a transformer.
        """
        path = cfg.pretrained_model_path
        if not (cfg.load_pretrained_weights and path):
            return None, {}
        try:
            encoder = pretrained_encoder(path, cfg, keeps_mask=True)
        except FileNotFoundError as error:
            raise FileNotFoundError(
                f"{error}: it is model.pretrained_model_path. To go on with a run whose own "
                "checkpoint has the weights, set model.load_pretrained_weights=false"
            ) from error
        if not isinstance(encoder, ECGTransformer):
            raise CheckpointError(
                f"{path} holds a {type(encoder).__name__}, but model.pretrained_model_path must be "
                "an encoder with a transformer, such as wav2vec2_cmsc"
            )
        return encoder, encoder.architecture


class AnyPretrainedECGModel(TextModel):
    """One whose ECG encoder may come out of a checkpoint of any network."""

    @classmethod
    def trained_part(cls, cfg: Any) -> tuple[Encoder | None, Mapping[str, Any]]:
        """Read the ECG encoder.

        Raises:
            FileNotFoundError: there is no such file.
            CheckpointError: it holds no encoder, or one of otherwise conditioned signals.
        """
        if not cfg.pretrained_model_path:
            return None, {}
        own = own_config(cfg)
        signals = {name: own[name] for name in CONDITIONING}
        wanted = dict(own.ecg_config or {})
        path = {"model_path": own.pretrained_model_path}
        encoder = load_encoder(OmegaConf.create(wanted | signals | path))
        name = next(name for name, network in ENCODERS.items() if isinstance(encoder, network))
        kept = {key: x for key, x in wanted.items() if key in options_of(ENCODERS[name])}
        return encoder, {"ecg_encoder": name, "ecg_config": kept | encoder.architecture}


class FinetunedTextModel(TextModel):
    """A head on a network that may come out of a checkpoint."""

    network: ClassVar[type[FinetunedTextNetwork]]

    @classmethod
    def trained_part(cls, cfg: Any) -> tuple[TextNetwork | None, Mapping[str, Any]]:
        """Read the network below the head; one that has a head already gives what is below that.

        Raises:
            FileNotFoundError: there is no such file.
            CheckpointError: it holds another network.
        """
        if cfg.no_pretrained_weights or not cfg.model_path:
            return None, {}
        wanted = cls.network.encoder_class()
        anew = [name for name in wanted.regularisation_options if name in cfg]
        anew += [name for name in ("bert_config",) if cfg.get(name)]
        of_task = {name: cfg[name] for name in wanted.task_options if name in cfg}
        encoder, stored = stored_text_network(cfg.model_path, of_task, **{x: cfg[x] for x in anew})
        if isinstance(encoder, FinetunedTextNetwork):
            encoder = encoder.encoder
        if not isinstance(encoder, wanted):
            raise CheckpointError(
                f"{cfg.model_path} holds a {stored['_name']}, but this model is one on a "
                f"{wanted.__name__}"
            )
        return encoder, {x: stored[x] for x in encoder.architecture_options if x in stored}


MODEL_BASES: dict[type[TextNetwork], tuple[type[TextModel], type]] = {
    TextNetwork: (TextModel, PretrainingConfig),
    M3AE: (PretrainedECGModel, PretrainedECGConfig),
    ECGTextCLIP: (AnyPretrainedECGModel, AnyPretrainedECGConfig),
    FinetunedTextNetwork: (FinetunedTextModel, TextFinetuningConfig),
    BlindTransformerQA: (BlindModel, UnmaskedConfig),
    DeafTransformerQA: (TextModel, UntrainedConfig),
}
"""What makes a fairseq model of a network and what its configuration is based on, by the network's
class or a base of it. That of a head has the base of its encoder's, too."""


def stored_text_network(
    path: str, of_task: Mapping[str, Any] | None = None, **options: Any
) -> tuple[TextNetwork, dict[str, Any]]:
    """Build the network of ECGs and texts of a checkpoint, with its weights.

    Nothing is fetched: sizes of tables are those of the weights.

    Args:
        path: the ``.pt`` file.
        of_task: options that its task must have had, by name.
        options: in place of those that it was trained with, where the network has them.

    Returns:
        The network without the modules that only pre-training uses, and its configuration.

    Raises:
        FileNotFoundError: there is no such file.
        CheckpointError: it does not hold such a network, or other weights; keys are named. Or its
            task had other options.
        DataError: the network is larger than is plausible.
    """
    state = load_checkpoint(path)
    stored, weights = model_config(state, path), state["model"]
    name = stored.get("_name")
    if text_network_class(name) is None:
        raise CheckpointError(
            f"{path} holds a {shortened(name)}, which reads no texts; known are "
            f"{', '.join(TEXT_NETWORKS)}"
        )
    stored |= {"bert_config": options["bert_config"]} if "bert_config" in options else {}
    stored = decided_by_weights(stored, weights, path)
    stored |= {key: x for key, x in {**options, **NO_OTHER_FILE}.items() if key in stored}
    check_network(stored, weights, path, encoder_only=True)
    network: Any = untrained_model(stored, path)
    load_strictly(network, weights, path, ignored=network.pretraining_modules)
    network.remove_pretraining_modules()
    compare_tasks(stored_section(state, path, "task"), of_task or {}, path)
    return network, stored


def register_text_networks() -> None:
    """Register every network of the table under its name; its options are its constructor's."""
    for name, network in TEXT_NETWORKS.items():
        registered = MODEL_REGISTRY.get(name)
        if registered is None or not registered.__module__.startswith(__package__):
            _register(name, network)


def _register(name: str, network: type[TextNetwork]) -> None:
    title = f"{network.__name__}Model"
    about = {"__module__": __name__, "__doc__": f"``{name}``.", "network": network}
    base, _ = _bases(network)
    model = type(title, (base, network, BaseFairseqModel), about)
    setattr(sys.modules[__name__], title, model)  # to be pickled
    config = make_configuration(
        f"{network.__name__}Config",
        __name__,
        network,
        bases=_configurations(network),
        **network.defaults,
        **{x: II(f"task.{x}") for x in OF_THE_TASK if x in options_of(network)},
    )
    register_model(name, dataclass=config)(model)


def _bases(network: type[TextNetwork]) -> tuple[type[TextModel], type]:
    return next(MODEL_BASES[base] for base in network.__mro__ if base in MODEL_BASES)


def _configurations(network: type[TextNetwork]) -> tuple[type, ...]:
    own = _bases(network)[1]
    if not issubclass(network, FinetunedTextNetwork):
        return (own,)
    return (own, *_configurations(network.encoder_class()))
