"""The tables of encoders and heads, and networks of them: from names and options, without fairseq.

A network is an encoder, or an encoder with a head. What is added to a table is trained, loaded,
served, exported and tested by its name, with no further code.
"""

from collections.abc import Mapping
from typing import Any

from fairseq_ecg.errors import shortened
from fairseq_ecg.modules.adapters import adapt
from fairseq_ecg.modules.arcface import ArcFace
from fairseq_ecg.modules.classifier import ECGTransformerClassifier
from fairseq_ecg.modules.convnet import ConvNet, ConvNetEncoder
from fairseq_ecg.modules.ecg_transformer import ECGTransformer
from fairseq_ecg.modules.encoder import Encoder
from fairseq_ecg.modules.finetuned import FinetunedEncoder
from fairseq_ecg.modules.nejedly2021resnet import (
    Nejedly2021ResNet,
    Nejedly2021ResNetClassifier,
)
from fairseq_ecg.modules.resnet import ResNet
from fairseq_ecg.modules.se_wrn import SEWRN, SEWRNClassifier
from fairseq_ecg.modules.segmentor import CGMSegmentor, Segmentor
from fairseq_ecg.modules.unet import UNet
from fairseq_ecg.modules.wav2vec2 import Wav2Vec2
from fairseq_ecg.options import Option, chosen, complete, options_of

ENCODERS: dict[str, type[Encoder]] = {
    "ecg_transformer": ECGTransformer,
    "wav2vec2": Wav2Vec2,
    "wav2vec2_cmsc": Wav2Vec2,
    "nejedly2021resnet": Nejedly2021ResNet,
    "se_wrn": SEWRN,
    "convnet_encoder": ConvNetEncoder,
    "vanilla_resnet": ResNet,
    "unet": UNet,
}
"""Class of each encoder by name; one for pre-training is a subclass of the plain one."""

HEADS: dict[str, type[FinetunedEncoder]] = {
    "classifier": ECGTransformerClassifier,
    "linear": ECGTransformerClassifier,
    "arcface": ArcFace,
    "segmentor": Segmentor,
    "cgm_segmentor": CGMSegmentor,
}
"""Class of each head by name, the second part of a network's: ``ecg_transformer_classifier``.

A head that is the same class as one before it has no network of its own.
"""

OWN_HEADS: dict[tuple[type[Encoder], str], type[FinetunedEncoder]] = {
    (Nejedly2021ResNet, "classifier"): Nejedly2021ResNetClassifier,
    (SEWRN, "classifier"): SEWRNClassifier,
    (ConvNetEncoder, "classifier"): ConvNet,
}
"""Class of a head, by name, on an encoder where it is another one than on others."""

PUBLISHED_NAMES: dict[tuple[str, str], str] = {
    ("convnet_encoder", "classifier"): "convnet",
    ("ecg_transformer", "arcface"): "arcface",
}
"""Name of a network by its encoder and head, where fairseq_signals has another one for it."""


def head_class(encoder: type[Encoder], head: str) -> type[FinetunedEncoder]:
    """Return the class of a head, one of :data:`HEADS`, on an encoder."""
    own = (OWN_HEADS.get((base, head)) for base in encoder.__mro__)
    return next((network for network in own if network is not None), HEADS[head])


def plain_encoder(name: str) -> str:
    """Name the encoder that fine-tuned networks have where the given one was pre-trained.

    Args:
        name: one of :data:`ENCODERS`.
    """
    return next(
        plain
        for plain, network in ENCODERS.items()
        if not network.pretraining_modules and issubclass(ENCODERS[name], network)
    )


def networks() -> dict[str, tuple[str, str | None]]:
    """Encoder and head of every network, by its name: as fairseq registers it."""
    alone: dict[str, tuple[str, str | None]] = {name: (name, None) for name in ENCODERS}
    plain = dict.fromkeys(map(plain_encoder, ENCODERS))
    return alone | {
        _name(encoder, head): (encoder, head)
        for encoder in plain
        for head in HEADS
        if head == _first_name(encoder, head)
    }


def _name(encoder: str, head: str) -> str:
    head = _first_name(encoder, head)
    return PUBLISHED_NAMES.get((encoder, head), f"{encoder}_{head}")


def _first_name(encoder: str, head: str) -> str:
    """Name of a head, among those that its class has on an encoder the first."""
    network = head_class(ENCODERS[encoder], head)
    return next(name for name in HEADS if head_class(ENCODERS[encoder], name) is network)


def pieces_of(name: object) -> tuple[str, str | None]:
    """Return the names of the encoder and of the head, if any, of a network.

    Raises:
        ValueError: there is no such network.
    """
    known = networks()
    if not isinstance(name, str) or name not in known:
        raise ValueError(f"model {shortened(name)} is not known here; known are {', '.join(known)}")
    return known[name]


def has_head(name: object) -> bool:
    """Return whether a network is known by the name, and has a head."""
    return isinstance(name, str) and networks().get(name, ("", None))[1] is not None


def head_of(name: object) -> type[FinetunedEncoder] | None:
    """Return the class of the head of a network; None if it is an encoder alone.

    Raises:
        ValueError: there is no network of the given name.
    """
    encoder, head = pieces_of(name)
    return None if head is None else head_class(ENCODERS[encoder], head)


def with_head(name: object, head: str) -> str:
    """Name the network that has the encoder of another one, and a head of :data:`HEADS`.

    Raises:
        ValueError: there is no network of the given name.
    """
    return _name(plain_encoder(pieces_of(name)[0]), head)


def labels_option(name: object) -> str:
    """Name the option of a network with a head that says how many labels there are.

    Raises:
        ValueError: there is no such network, or it has no head.
    """
    head = head_of(name)
    if head is None:
        raise ValueError(f"model {name} predicts no labels")
    return head.labels_option


def predicts_labels(name: object) -> bool:
    """Return whether a network is known by the name, and gives a number for each label."""
    head = head_of(name) if has_head(name) else None
    return head is not None and head.label_output is not None


def head_options(name: object) -> set[str]:
    """Return names of the options that only the head of a network has; none if it has no head.

    Raises:
        ValueError: there is no such network.
    """
    head = head_of(name)
    return set() if head is None else set(options_of(head)) - set(options_of(FinetunedEncoder))


def network_options(name: object) -> dict[str, Option]:
    """Return the options of a network, by name: its encoder's, its head's and those of adapters.

    Raises:
        ValueError: there is no such network.
    """
    options, head = options_of(ENCODERS[pieces_of(name)[0]]), head_of(name)
    return options if head is None else options | options_of(head) | options_of(adapt)


def build_network(cfg: Mapping[str, Any]) -> Encoder | FinetunedEncoder:
    """Build the network that a configuration describes, its weights drawn at random.

    Args:
        cfg: ``cfg.model`` of a checkpoint, ``_name`` among its keys. What it does not say has the
            value of the option's own default. Keys that are no option of the network, such as
            ``model_path``, have no effect.

    Returns:
        The network, in training mode.

    Raises:
        ValueError: there is no such network, or its options do not go together.
    """
    encoder_name, head = pieces_of(cfg.get("_name"))
    encoder = ENCODERS[encoder_name](**chosen(ENCODERS[encoder_name], cfg))
    return encoder if head is None else put_head(encoder, head, cfg)


def put_head(encoder: Encoder, head: str, cfg: Mapping[str, Any]) -> FinetunedEncoder:
    """Put a head on an encoder, and adapt that.

    Args:
        encoder: any, without modules that only pre-training uses.
        head: one of :data:`HEADS`.
        cfg: options of the head and of :func:`fairseq_ecg.modules.adapters.adapt`, among others.

    Raises:
        ValueError: an option is missing, or they do not go together.
    """
    network_class = head_class(type(encoder), head)
    network = network_class(encoder, **options_of_head(network_class, cfg))
    adapt(encoder, **chosen(adapt, cfg))
    return network


def options_of_head(head: type[FinetunedEncoder], cfg: Any) -> dict[str, Any]:
    """Pick from a configuration the options of a head, as :func:`fairseq_ecg.options.chosen` does.

    Args:
        head: class of the head.
        cfg: see there.

    Raises:
        ValueError: one that it needs is missing, or has a value that it cannot have.
    """
    return complete(head, cfg)


def network_config(cfg: Mapping[str, Any]) -> dict[str, Any]:
    """Keep of a configuration what :func:`build_network` makes the network of.

    Args:
        cfg: as for :func:`build_network`.

    Returns:
        Plain values by name, of which it builds the same network.

    Raises:
        ValueError: as :func:`build_network`.
    """
    return plain_config(cfg, network_options(cfg.get("_name")))


def largest_sizes(cfg: Mapping[str, Any]) -> dict[str, int]:
    """Return how large the network of a configuration becomes, before it is built.

    Args:
        cfg: as for :func:`build_network`.

    Returns:
        The number of ``layers`` of its transformer, and the largest ``width`` in channels and
        ``kernel`` or stride in samples or frames; 0 where the configuration says none.

    Raises:
        ValueError: there is no such network, or a value is none that its option can have.
    """
    return sizes_of(cfg, network_options(cfg.get("_name")))


def plain_config(cfg: Mapping[str, Any], options: Mapping[str, Option]) -> dict[str, Any]:
    """Keep of a configuration some options of a network, as plain values, and its name.

    Args:
        cfg: ``_name`` among its keys.
        options: by name.

    Raises:
        ValueError: an option cannot have its value.
    """
    values = {name: options[name].checked(cfg[name]) for name in sorted(options) if name in cfg}
    plain = {key: list(x) if isinstance(x, list | tuple) else x for key, x in values.items()}
    return {"_name": cfg["_name"], **plain}


def sizes_of(cfg: Mapping[str, Any], options: Mapping[str, Option]) -> dict[str, int]:
    """Return the largest sizes that options of a network stand for, see :func:`largest_sizes`.

    Args:
        cfg: ``_name`` among its keys.
        options: by name.

    Raises:
        ValueError: an option cannot have its value.
    """
    largest = {"layers": 0, "width": 0, "kernel": 0}
    for name, value in plain_config(cfg, options).items():
        for size, found in options[name].sizes(value).items() if name in options else ():
            largest[size] = max(largest[size], found)
    return largest
