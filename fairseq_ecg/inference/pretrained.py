"""Models in a folder: weights as safetensors, ``config.json`` and a model card.

The folder is one for Hugging Face's ``AutoModel`` too, see :mod:`fairseq_ecg.huggingface`.
"""

import json
import os
from collections.abc import Mapping, Sequence
from functools import partial
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

from fairseq_ecg.compat.checkpoint import damage_as_checkpoint_error
from fairseq_ecg.data.text import Tokenizer
from fairseq_ecg.data.text.tokenizer import VOCABULARY
from fairseq_ecg.ecg.conditioning import LeadStatistics
from fairseq_ecg.ecg.preprocessing import Preprocessing
from fairseq_ecg.errors import CheckpointError, DataError
from fairseq_ecg.inference.aggregation import aggregation_of
from fairseq_ecg.inference.loaded import LoadedNetwork
from fairseq_ecg.inference.stored import (
    StoredModel,
    StoredTexts,
    TargetScale,
    names_of,
    reads_texts,
)
from fairseq_ecg.inference.trained import TrainedNetwork
from fairseq_ecg.inference.trained_text import TrainedTextNetwork
from fairseq_ecg.jobs.files import replacing, write_file
from fairseq_ecg.modules.registry import network_config, network_options, predicts_labels
from fairseq_ecg.modules.text import text_network_config

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
CARD = "README.md"
REMOTE_CODE = "modeling_ecg_fm.py"

SAVE_AGAIN = "save the model again"

MOST_BYTES = 16 * 2**20
"""What a ``config.json`` may have; with names of 100,000 labels it has less."""

PREFIX = "network."
"""In front of the names of weights: how the classes for Hugging Face name them."""

MODEL_TYPE = "ecg_fm"
TEXT_MODEL_TYPE = "ecg_fm_text"
CONFIG_CLASS = "ECGFMConfig"
ENCODER_CLASS = "ECGFMModel"
CLASSIFIER_CLASS = "ECGFMForSequenceClassification"
SEGMENTOR_CLASS = "ECGFMForTokenClassification"

AUTO_CLASSES = {
    CONFIG_CLASS: "AutoConfig",
    ENCODER_CLASS: "AutoModel",
    CLASSIFIER_CLASS: "AutoModelForSequenceClassification",
    SEGMENTOR_CLASS: "AutoModelForTokenClassification",
}
"""Class of ``transformers`` that finds each of those for Hugging Face."""


def save_pretrained(model: TrainedNetwork | TrainedTextNetwork, folder: str | os.PathLike) -> None:
    """Write a model into a folder; files of the same names there are replaced.

    What only pre-training needs, the quantizer and the projections of the contrastive task, is not
    written. Beside a network of ECGs and texts lies its vocabulary, and no code for Hugging Face,
    which has no classes for it.

    Args:
        model: the model.
        folder: is made where absent.
    """
    from safetensors.torch import save_file

    folder = Path(folder)
    weights = {
        PREFIX + name: value.detach().cpu().contiguous()
        for name, value in model.network.state_dict().items()
    }
    with replacing(folder / WEIGHTS) as path:
        save_file(weights, path, metadata={"format": "pt"})
    if isinstance(model, TrainedTextNetwork):
        if model.tokenizer is not None:
            write_file(folder / VOCABULARY, "\n".join([*model.tokenizer.vocabulary, ""]))
        card, config = _text_card(model), _text_config_of(model)
    else:
        write_file(folder / REMOTE_CODE, _remote_code())
        card, config = _card(model), config_of(model)
    write_file(folder / CARD, card)
    write_file(folder / CONFIG, json.dumps(config, indent=2) + "\n")


def _text_config_of(model: TrainedTextNetwork) -> dict[str, Any]:
    """Return what ``config.json`` says of a network of ECGs and texts."""
    tokenizer = model.tokenizer
    return {
        "model_type": TEXT_MODEL_TYPE,
        "dtype": str(model.dtype).removeprefix("torch."),
        "network": text_network_config(model.cfg),
        "preprocessing": model.preprocessing.to_json(),
        "texts": {
            "lower_case": True if tokenizer is None else tokenizer.lower_case,
            "max_text_size": model.max_text_size,
        },
        "id2label": {str(number): name for number, name in enumerate(model.labels)},
        "aggregation": model.aggregation,
    }


def config_of(model: TrainedNetwork) -> dict[str, Any]:
    """Return what ``config.json`` says of a model."""
    auto_map = {auto: f"{Path(REMOTE_CODE).stem}.{name}" for name, auto in AUTO_CLASSES.items()}
    config = {
        "model_type": MODEL_TYPE,
        "architectures": [_architecture(model)],
        "auto_map": auto_map,
        "dtype": str(model.dtype).removeprefix("torch."),
        "network": network_config(model.cfg),
        "preprocessing": model.preprocessing.to_json(),
    }
    if model.wave_classes:
        config["classes"] = dict(model.wave_classes)
        config["id2label"] = {str(index): name for name, index in model.wave_classes.items()}
        config["label2id"] = dict(model.wave_classes)
    if model.labels:
        config["problem_type"] = "multi_label_classification"
        if model.scale is not None:
            config["problem_type"] = "regression"
            config["targets"] = {"mean": model.scale.mean, "std": model.scale.std}
        config["id2label"] = {str(number): name for number, name in enumerate(model.labels)}
        config["label2id"] = {name: number for number, name in enumerate(model.labels)}
        config["aggregation"] = model.aggregation
    return config


def _architecture(model: TrainedNetwork) -> str:
    """Name the class for Hugging Face that gives all of a model's output, or most of it."""
    if model.labels:
        return CLASSIFIER_CLASS
    return SEGMENTOR_CLASS if model.wave_classes else ENCODER_CLASS


def read_pretrained(folder: Path) -> StoredModel:
    """Read a folder that :func:`save_pretrained` wrote.

    Safetensors have no checksum: a file that is shorter or longer than its header says is refused,
    but values that changed show only where they are not finite.

    Raises:
        CheckpointError: it cannot be read, or is none of this package's.
        DataError: what ``config.json`` says is not what it can be.
    """
    from safetensors.torch import load_file

    config = read_config(folder / CONFIG)
    weights_file = folder / WEIGHTS
    try:
        weights = load_file(weights_file)
    except Exception as error:  # safetensors' own errors share no base class with OSError
        raise CheckpointError(
            f"{weights_file} cannot be read: it is truncated, or no safetensors file ({error}); "
            "copy or download it again"
        ) from error
    strange = [name for name in weights if not name.startswith(PREFIX)]
    if strange:
        raise CheckpointError(
            f"{weights_file} does not fit the model: left over {strange[0]}; {SAVE_AGAIN}"
        )
    with damage_as_checkpoint_error(folder / CONFIG, SAVE_AGAIN):
        has_texts = reads_texts(config["network"])
        # Without labels they are of a head that was left out, or name classes of samples.
        has_labels = has_texts or predicts_labels(config["network"].get("_name"))
        of_labels = config if has_labels else {}
        labels, targets, aggregation = map(of_labels.get, ("id2label", "targets", "aggregation"))
        if labels:
            labels = names_of([labels[str(number)] for number in range(len(labels))])
        if aggregation:
            aggregation = aggregation_of(labels or (), dict(aggregation))
        return StoredModel(
            path=weights_file,
            cfg=config["network"],
            weights={name.removeprefix(PREFIX): value for name, value in weights.items()},
            has_heads=False,
            preprocessing=partial(_preprocessing, folder / CONFIG, config["preprocessing"]),
            labels=labels or None,
            aggregation=aggregation or None,
            scale=TargetScale.of(targets["mean"], targets["std"], len(labels)) if targets else None,
            texts=StoredTexts.of(dict(config["texts"]), _vocabulary(folder)) if has_texts else None,
        )


def _vocabulary(folder: Path) -> dict[str, list[str]]:
    if not (folder / VOCABULARY).is_file():
        return {}
    return {"vocabulary": Tokenizer.load(folder).vocabulary}


def _preprocessing(
    path: Path, values: Mapping[str, Any], statistics: LeadStatistics | None, _: int | None
) -> Preprocessing:
    with damage_as_checkpoint_error(path, SAVE_AGAIN):
        preprocessing = Preprocessing.of_json(values)
    if statistics is not None:
        raise DataError(f"{path} says all of the preprocessing: leave out mean_path and std_path")
    return preprocessing


def read_config(path: Path) -> dict[str, Any]:
    """Read ``config.json``.

    Raises:
        CheckpointError: it cannot be read, or is none of this package's.
    """
    try:
        if path.stat().st_size > MOST_BYTES:
            raise ValueError(f"of {path.stat().st_size:,} bytes")
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} cannot be read ({error}); {SAVE_AGAIN}") from error
    types = MODEL_TYPE, TEXT_MODEL_TYPE
    if not isinstance(config, dict) or config.get("model_type") not in types:
        raise CheckpointError(
            f"{path} is no config of fairseq-ecg: model_type is none of {', '.join(types)}"
        )
    for key in ("network", "preprocessing"):
        if not isinstance(config.get(key), dict):
            raise CheckpointError(f"{path} has no {key!r}: {SAVE_AGAIN}")
    return config


def _remote_code() -> str:
    names = ", ".join(sorted(AUTO_CLASSES))
    return (
        '"""For trust_remote_code=True; the classes are those of the package fairseq-ecg."""\n\n'
        f"from fairseq_ecg.huggingface import {names}  # noqa: F401\n"
    )


_CARD_LABELS = "## Labels\n\n| | label | over segments |\n|---|---|---|\n"


def _card(model: TrainedNetwork) -> str:
    """Write the model card: what the model is, what it reads and what it predicts."""
    network, preprocessing = network_config(model.cfg), model.preprocessing
    task = "fine-tuned to predict labels" if model.labels else "pre-trained"
    if model.scale is not None:
        task = "fine-tuned to estimate numbers"
    use = 'model.predict("record.hea").table\n' if model.labels else ""
    if model.wave_classes:
        task = "trained to delineate waves"
        use += 'model.segment("record.hea").table\n'
    rows = [
        *_of_network(model),
        ("layers", len(model.network.encoder.parts()) - 1),
        ("channels of an embedding", model.embed_dim),
        *_of_preprocessing(preprocessing),
    ]
    if "conv_feature_layers" in network_options(network["_name"]):
        layers = network.get("conv_feature_layers", "default")
        rows.insert(4, ("convolutions (channels, kernel, stride)", layers))
    labels = "".join(
        f"| {number} | {label} | {model.aggregation[label]} |\n"
        for number, label in enumerate(model.labels)
    )
    return _filled(
        "card.txt",
        rows,
        task=task,
        predict=use,
        auto_model=AUTO_CLASSES[_architecture(model)],
        labels=f"{_CARD_LABELS}{labels}\n" if labels else "",
    )


def _text_card(model: TrainedTextNetwork) -> str:
    """Write the model card of a network of ECGs and texts."""
    rows = [*_of_network(model), *_of_preprocessing(model.preprocessing)]
    rows.append(("tokens of a text", model.max_tokens or "any number"))
    answers = "".join(f"| {number} | {name} |\n" for number, name in enumerate(model.labels))
    return _filled(
        "text_card.txt",
        rows,
        task="trained to answer questions" if answers else "pre-trained with texts",
        ask='model.answer("record.hea", "Is this ECG normal?").top()\n' if answers else "",
        answers=f"## Answers\n\n| | answer |\n|---|---|\n{answers}\n" if answers else "",
    )


def _of_network(model: LoadedNetwork) -> list[tuple[str, object]]:
    return [
        ("architecture", model.cfg["_name"]),
        ("parameters", f"{sum(p.numel() for p in model.network.parameters()):,}"),
    ]


def _of_preprocessing(preprocessing: Preprocessing) -> list[tuple[str, object]]:
    leads = "each by itself" if preprocessing.each_lead else ", ".join(preprocessing.leads)
    rows: list[tuple[str, object]] = [
        ("leads", leads),
        ("sampling rate", f"{preprocessing.sample_rate:g} Hz, by {preprocessing.resampler}"),
        ("segments", f"{preprocessing.segment_seconds:g} s"),
        ("units", "mV"),
        ("standardised", _standardisation(preprocessing)),
        ("leads that are missing", preprocessing.missing_leads),
    ]
    if preprocessing.layer_norm:
        rows.append(("normalised", "over all samples of the recording (layer norm)"))
    return rows


def _filled(card: str, rows: Sequence[tuple[str, object]], **parts: str) -> str:
    """Fill a card with its table and parts."""
    text = (files("fairseq_ecg.inference") / card).read_text(encoding="utf-8")
    table = "\n".join(f"| {name} | {value} |" for name, value in rows)
    return Template(text).substitute(table=table, **parts)


def _standardisation(preprocessing: Preprocessing) -> str:
    if not preprocessing.standardise:
        return "no"
    return f"every lead over the whole recording, by std + {preprocessing.epsilon:g} mV"
