"""BERT (https://arxiv.org/abs/1810.04805), of the package transformers."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated

import torch

from fairseq_ecg.errors import DataError
from fairseq_ecg.hub import only_cached, reason
from fairseq_ecg.modules.text.torchaudio import hide_broken_torchaudio

if TYPE_CHECKING:
    from transformers import BertModel

SIZES = {
    "vocab_size": "width",
    "hidden_size": "width",
    "num_hidden_layers": "layers",
    "num_attention_heads": "width",
    "intermediate_size": "width",
    "max_position_embeddings": "width",
    "type_vocab_size": "width",
}
"""What `transformers.BertConfig` calls the sizes of a BERT, and the kind of each."""

_HEAD_WIDTH = 64
"""Channels of an attention head in every published BERT; weights do not say it."""


@dataclass(frozen=True)
class BertSizes:
    """Sizes of a BERT by name, see `SIZES`."""

    def sizes(self, value: Mapping[str, int]) -> dict[str, int]:
        """Return the largest size of each kind.

        Raises:
            ValueError: one of them is unknown, or no whole number from 1 on.
        """
        for name, size in value.items():
            if name not in SIZES or size < 1:
                raise ValueError(f"bert_config: {name}={size} is no size of a BERT")
        kinds = {SIZES[name] for name in value}
        return {kind: max(x for name, x in value.items() if SIZES[name] == kind) for kind in kinds}


BertConfig = Annotated[Mapping[str, int], BertSizes()]
"""Annotation of an option that holds the sizes of a BERT; none: those of bert-base-uncased."""

BASE_SIZES: Mapping[str, int] = MappingProxyType({"hidden_size": 768})
"""Sizes of bert-base-uncased: the others are so by default."""

NO_SIZES: Mapping[str, int] = MappingProxyType({})
"""Default of such an option: the BERT is one that is read by its name or from its folder."""


def build_bert(config: Mapping[str, int]) -> "BertModel":
    """Build a BERT without pooler, its weights drawn at random.

    Args:
        config: sizes by name, see `SIZES`; others are those of bert-base-uncased.

    Raises:
        ImportError: the extra ``text`` is not installed.
        ValueError: the heads do not divide the width.
    """
    transformers = _transformers()
    sizes = {name: int(size) for name, size in config.items()}
    return transformers.BertModel(transformers.BertConfig(**sizes), add_pooling_layer=False)


def read_bert(name_or_folder: str | os.PathLike) -> "BertModel":
    """Read a BERT with its weights, without pooler.

    Args:
        name_or_folder: of a BERT on the Hugging Face hub such as ``bert-base-uncased``, or a folder
            with its ``config.json`` and weights. A folder without weights gives random ones.

    Raises:
        FileNotFoundError: there is none.
        DataError: it is no BERT, or computes otherwise than bert-base-uncased.
        ImportError: the extra ``text`` is not installed.
    """
    transformers = _transformers()
    folder = Path(name_or_folder)
    offline = not folder.is_dir() and only_cached()
    try:
        config = transformers.BertConfig.from_pretrained(name_or_folder, local_files_only=offline)
    except (OSError, ValueError) as error:
        raise FileNotFoundError(
            f"{name_or_folder} is neither a folder with a config.json nor a BERT that can be "
            f"fetched from the Hugging Face hub ({reason(error, offline)}): set model.bert to such "
            "a folder"
        ) from error
    default = transformers.BertConfig()
    for name in ("model_type", "hidden_act", "layer_norm_eps"):
        if getattr(config, name) != getattr(default, name):
            raise DataError(
                f"{name_or_folder}: {name} is {getattr(config, name)}, and "
                f"{getattr(default, name)} is what the networks here compute with"
            )
    weights = ("model.safetensors", "pytorch_model.bin", "model.safetensors.index.json")
    if folder.is_dir() and not any((folder / name).is_file() for name in weights):
        return transformers.BertModel(config, add_pooling_layer=False)
    return transformers.BertModel.from_pretrained(
        name_or_folder, config=config, add_pooling_layer=False, local_files_only=offline
    )


def config_of(bert: "BertModel") -> dict[str, int]:
    """Return the sizes of a BERT by name, see `SIZES`."""
    return {name: int(getattr(bert.config, name)) for name in SIZES}


def stored_config(weights: Mapping[str, torch.Tensor], prefix: str) -> dict[str, int]:
    """Read the sizes of a BERT off its weights.

    Heads are 64 channels wide, as in every published BERT, unless the width is no multiple of that:
    then there is one.

    Args:
        weights: by name.
        prefix: what the BERT's own names follow, such as ``language_encoder.``.

    Returns:
        Size by name; empty if the weights are those of no BERT.
    """
    tables = {
        "vocab_size": "word_embeddings",
        "max_position_embeddings": "position_embeddings",
        "type_vocab_size": "token_type_embeddings",
    }
    stored = {n: weights.get(f"{prefix}embeddings.{t}.weight") for n, t in tables.items()}
    first = weights.get(f"{prefix}encoder.layer.0.intermediate.dense.weight")
    if first is None or any(table is None for table in stored.values()):
        return {}
    intermediate, hidden = first.shape
    return {
        **{name: len(table) for name, table in stored.items() if table is not None},
        "hidden_size": hidden,
        "intermediate_size": intermediate,
        "num_hidden_layers": count_layers(weights, f"{prefix}encoder.layer."),
        "num_attention_heads": hidden // _HEAD_WIDTH if hidden % _HEAD_WIDTH == 0 else 1,
    }


def count_layers(weights: Mapping[str, torch.Tensor], prefix: str) -> int:
    """Count the layers whose weights are stored.

    Args:
        weights: by name.
        prefix: what the number of a layer follows in their names.
    """
    names = (key.removeprefix(prefix) for key in weights if key.startswith(prefix))
    return len({name.partition(".")[0] for name in names})


def _transformers():
    try:
        import transformers
    except ImportError as error:
        raise ImportError(
            "networks with BERT need the package transformers: pip install 'fairseq-ecg[text]'",
            name="transformers",
        ) from error
    hide_broken_torchaudio()
    return transformers
