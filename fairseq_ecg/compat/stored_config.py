"""What a checkpoint says of its model, task and criterion: values, before anything is made of them.

The configuration comes from a file of any origin. It is copied as plain values within limits,
nothing in it is resolved, and networks are compared with the stored weights before they take
memory.
"""

import re
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch.overrides import TorchFunctionMode

from fairseq_ecg.compat.checkpoint import WRITTEN_IN_TRAINING, damage_as_checkpoint_error, fit
from fairseq_ecg.errors import CheckpointError
from fairseq_ecg.limits import check_limit, limit_of
from fairseq_ecg.modules import Encoder, FinetunedEncoder
from fairseq_ecg.modules.registry import build_network, largest_sizes, networks
from fairseq_ecg.modules.text import (
    TextNetwork,
    build_text_network,
    largest_text_sizes,
    text_network_class,
)

NO_OTHER_FILE = {
    "model_path": None,
    "no_pretrained_weights": True,
    "pretrained_model_path": None,
    "load_pretrained_weights": False,
}
"""Options of models with which none opens another checkpoint than the one that is at hand."""


def stored_section(state: Mapping[str, Any], source: object, name: str) -> dict[str, Any]:
    """Return a section of the configuration that a checkpoint holds.

    Args:
        state: what :func:`fairseq_ecg.compat.checkpoint.load_checkpoint` returned.
        source: file name for messages.
        name: ``model``, ``task`` or ``criterion``.

    Returns:
        A copy of its options by name; without any if the checkpoint has no such section.

    Raises:
        CheckpointError: it is something else.
        DataError: it is larger than `fairseq_ecg.limits` allow.
    """
    cfg = state.get("cfg")
    section = cfg.get(name) if isinstance(cfg, Mapping) else None
    if section is None:
        return {}
    if not isinstance(section, Mapping):
        raise CheckpointError(
            f"{source}: its cfg.{name} is a {type(section).__name__}, not options by name; "
            f"{WRITTEN_IN_TRAINING}"
        )
    return _Copying(source).copied(section)


def model_config(state: Mapping[str, Any], source: object) -> dict[str, Any]:
    """Return the configuration of the model that a checkpoint holds.

    Raises:
        CheckpointError: the checkpoint has none.
        DataError: as :func:`stored_section`.
    """
    section = stored_section(state, source, "model")
    if not section:
        raise CheckpointError(
            f"{source} has no cfg.model, so the architecture is unknown; {WRITTEN_IN_TRAINING}"
        )
    return section


def has_network(name: object) -> bool:
    """Return whether a network of a table is known by the name."""
    return isinstance(name, str) and (name in networks() or text_network_class(name) is not None)


def decided_by_weights(
    cfg: Mapping[str, Any], weights: Mapping[str, torch.Tensor], source: object
) -> dict[str, Any]:
    """Return the configuration of a model with what the stored weights decide of it.

    Args:
        cfg: of the model, ``_name`` among its keys.
        weights: all that are stored, by name.
        source: file name for messages.

    Returns:
        A copy, with ``bert_config`` where the network has a BERT: the sizes that its weights have,
        and of others what the configuration says.

    Raises:
        CheckpointError: the weights are none of such a network.
    """
    network = text_network_class(cfg.get("_name"))
    if network is None:
        return dict(cfg)
    with damage_as_checkpoint_error(source, WRITTEN_IN_TRAINING):
        decided = network.stored_options(weights)
        if "bert_config" in decided:
            decided["bert_config"] |= cfg.get("bert_config") or {}
    return {**cfg, **decided}


class _Copying:
    """Copies containers of plain values; counts them, as a few of them may refer to each other."""

    def __init__(self, source: object):
        self.source = source
        self.most = {name: limit_of(name) for name in ("options", "nesting")}
        self.count = 0

    def copied(self, value: Any, depth: int = 1) -> Any:
        self.count += 1
        if self.count > self.most["options"] or depth > self.most["nesting"]:
            check_limit(f"{self.source}, cfg", "options", self.count)
            check_limit(f"{self.source}, cfg", "nesting", depth)
        if isinstance(value, Mapping):
            return {key: self.copied(element, depth + 1) for key, element in value.items()}
        if isinstance(value, list | tuple):
            return [self.copied(element, depth + 1) for element in value]
        return value.item() if isinstance(value, np.generic) else value


def literal(cfg: Mapping[str, Any], source: object) -> dict[str, Any]:
    """Copy a configuration so that OmegaConf takes its texts as they are.

    It resolves ``${...}`` in others, and what a stranger's configuration names, the environment by
    ``${oc.env:...}`` for instance, is none of its business. fairseq resolves configurations before
    it stores them.

    Args:
        cfg: options by name, or by section.
        source: file name for messages.

    Raises:
        DataError: it is larger than `fairseq_ecg.limits` allow.
    """
    return _escaped(_Copying(source).copied(cfg))


def _escaped(value: Any) -> Any:
    if isinstance(value, str):
        return re.sub(r"(\\*)\$\{", r"\1\1\\${", value)
    if isinstance(value, dict):
        return {key: _escaped(element) for key, element in value.items()}
    return [_escaped(element) for element in value] if isinstance(value, list) else value


def check_sizes(cfg: Mapping[str, Any], source: object) -> Encoder | FinetunedEncoder | TextNetwork:
    """Check that a network can be built of a configuration, and is not larger than is plausible.

    Args:
        cfg: of the model, ``_name`` among its keys.
        source: file name for messages.

    Returns:
        The network on the meta device, where it takes no memory.

    Raises:
        CheckpointError: there is no such network, or a value is none that its argument can have.
        DataError: it is larger than `fairseq_ecg.limits` allow.
    """
    where = f"{source}, configuration of the network"
    reads_text = text_network_class(cfg.get("_name")) is not None
    with damage_as_checkpoint_error(source, WRITTEN_IN_TRAINING):
        for name, size in (largest_text_sizes if reads_text else largest_sizes)(cfg).items():
            check_limit(where, name, size)
        with torch.device("meta"), _ShapesAlone():
            network = (build_text_network if reads_text else build_network)(cfg)
        total = sum(parameter.numel() for parameter in network.parameters())
        check_limit(where, "parameters", total)
    return network


class _ShapesAlone(TorchFunctionMode):
    """Gives shapes on the meta device where PyTorch imports torch._dynamo, which takes seconds."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func in (torch.nn.init.normal_, torch.Tensor.normal_):
            return args[0] if args else kwargs["tensor"]
        if func is torch.norm_except_dim:
            v, _, dim = args
            return v.new_empty([size if axis == dim else 1 for axis, size in enumerate(v.shape)])
        return func(*args, **kwargs)


def check_network(
    cfg: Mapping[str, Any],
    weights: Mapping[str, torch.Tensor],
    source: object,
    encoder_only: bool = False,
) -> None:
    """Check that a network can be built of a configuration and is that of the weights.

    Nothing is allocated: a configuration may say any size.

    Args:
        cfg: of the model, ``_name`` among its keys.
        weights: all that are stored, by name.
        source: file name for messages.
        encoder_only: whether the heads of a classifier or of pre-training may be other ones.

    Raises:
        CheckpointError: there is no such network, a value is none that its argument can have, or
            the weights do not fit; keys are named.
        DataError: it is larger than `fairseq_ecg.limits` allow.
    """
    network = check_sizes(cfg, source)
    with damage_as_checkpoint_error(source, WRITTEN_IN_TRAINING):
        ignored = ()
        if encoder_only:
            if isinstance(network, FinetunedEncoder):
                network, weights = network.encoder, network.encoder_weights(weights)
            ignored = network.pretraining_modules
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*to a meta parameter", UserWarning)
            fit(network, weights, source, ignored)
