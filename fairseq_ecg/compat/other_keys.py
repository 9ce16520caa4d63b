"""Keys of the best-known fork of fairseq_signals, HeartWise's, and what does the same here."""

from fairseq.criterions import CRITERION_DATACLASS_REGISTRY
from fairseq.models import MODEL_DATACLASS_REGISTRY
from fairseq.tasks import TASK_DATACLASS_REGISTRY
from omegaconf import DictConfig, OmegaConf, open_dict

from fairseq_ecg.errors import DataError

HEARTWISE: dict[str, str] = {
    "task.npy_dataset": "fairseq-ecg prepare records --source generic --array X.npy --table TABLE, "
    "then task.data and task.label_file of what is prepared",
    "task.df_dataset": "fairseq-ecg prepare records --source generic --table TABLE, "
    "then task.data and task.label_file of what is prepared",
    "model.linear_evaluation": "+model.freeze_layers=-1",
    "model._name=ecg_transformer_attn_classifier": "model._name=ecg_transformer_classifier "
    "+model.pooling=attentive",
    "criterion._name=as": "criterion._name=asymmetric_loss",
    "criterion._name=asymmetric": "criterion._name=asymmetric_loss",
    "criterion._name=bce": "criterion._name=binary_cross_entropy_with_logits",
    "criterion._name=bf": "criterion._name=focal_loss",
    "criterion._name=binary_focal": "criterion._name=focal_loss",
    "criterion._name=mlsml": "criterion._name=binary_cross_entropy_with_logits",
    "criterion._name=mse2": "criterion._name=regression",
    "criterion.gamma_neg": "+criterion.gamma_negative",
    "criterion.gamma_pos": "+criterion.gamma_positive",
    "criterion.clip": "+criterion.margin",
    "criterion.alpha": "+criterion.pos_weight",
}
"""What to say here, by a key there, or a key with its value."""

DOCUMENT = "configs/README.md"

REGISTRIES = {
    "task": TASK_DATACLASS_REGISTRY,
    "model": MODEL_DATACLASS_REGISTRY,
    "criterion": CRITERION_DATACLASS_REGISTRY,
}


def check_keys(cfg: DictConfig) -> None:
    """Find keys of HeartWise's configurations that nobody here, or in a user's plugin, knows.

    Args:
        cfg: as Hydra composed it. Keys that say nothing, as in HeartWise's files, are taken out.

    Raises:
        DataError: such a key says something; the message says which key does here.
    """
    answers = []
    for theirs, ours in HEARTWISE.items():
        key, _, meant = theirs.partition("=")
        section, name = key.split(".")
        options = cfg.get(section)
        if not OmegaConf.is_dict(options) or name not in options:
            continue
        value = None if OmegaConf.is_missing(options, name) else options[name]
        if meant:
            if value == meant and value not in REGISTRIES[section]:
                answers.append(f"{theirs}: here {ours}")
            continue
        known = REGISTRIES[section].get(options.get("_name"))
        if known is not None and name in known.__dataclass_fields__:
            continue
        if value is None or value is False:
            with open_dict(options):
                del options[name]
        else:
            answers.append(f"{key}: here {ours}")
    if answers:
        raise DataError(
            f"keys of HeartWise's fairseq-signals ({DOCUMENT} has a table of them): "
            + "; ".join(answers)
        )
