"""``ecg_text_clip``: where its ECG encoder comes from."""

from typing import Any

from omegaconf import DictConfig, OmegaConf, open_dict

from fairseq_ecg.compat.checkpoint import load_strictly
from fairseq_ecg.compat.options import configuration
from fairseq_ecg.models.ecg_transformer import PretrainingConfig
from fairseq_ecg.models.pretrained import check_signals, own_config, stored_encoder
from fairseq_ecg.modules.registry import ENCODERS, plain_encoder
from fairseq_ecg.options import values_of


@configuration()
class EncoderFromCheckpointConfig(PretrainingConfig):
    """A network whose ECG encoder may come out of a checkpoint.

    Args:
        pretrained_model_path: checkpoint of any network with an ECG encoder, which is taken with
            its architecture and its dropout but for what ecg_config says of the latter; null:
            the encoder has new weights.
    """

    pretrained_model_path: str | None = None


class EncoderFromCheckpoint:
    """Base of models of an ECG encoder, which may come out of a checkpoint, and a BERT."""

    ecg_encoder: Any
    bert_config: dict[str, int]

    @classmethod
    def build_model(cls, cfg: Any, task=None):
        """Build the network that a configuration describes.

        Args:
            cfg: its configuration, changed in place to say what the checkpoint's encoder is.
            task: has no meaning here.

        Raises:
            FileNotFoundError: there is no such checkpoint.
            CheckpointError: it does not hold an encoder, or one trained on signals that were
                normalised or filtered otherwise.
        """
        path = cfg.pretrained_model_path
        if not path:
            return cls(cfg)
        own = own_config(cfg)
        signals = {"normalize": own.normalize, "filter": own.filter}
        of_encoder = OmegaConf.create({**own.ecg_config, **signals, "model_path": path})
        stored = stored_encoder(of_encoder)
        check_signals(stored, of_encoder)
        with open_dict(cfg):
            cfg.ecg_encoder = plain_encoder(stored.name)
            options = values_of(stored.cfg, ENCODERS[cfg.ecg_encoder])
            off = {name: False for name in ("all_gather", "apply_mask") if name in options}
            cfg.ecg_config = options | off
        model = cls(cfg)
        dropped = (*ENCODERS[stored.name].pretraining_modules, "mask_emb")
        load_strictly(model.ecg_encoder, stored.weights, path, ignored=dropped)
        return model

    def revise_config(self, cfg: DictConfig) -> None:
        """Make a configuration what a checkpoint says of this network, which needs no other file.

        Args:
            cfg: configuration of this model, changed in place.
        """
        with open_dict(cfg):
            cfg.bert_config = self.bert_config
            cfg.pretrained_model_path = None
