"""Names of options, as fairseq_signals' modules hold them."""

from fairseq.dataclass import ChoiceEnum

from fairseq_ecg.ops.augment import AUGMENTATIONS
from fairseq_ecg.ops.masking import MASK_TYPES

ATTN_MASK_CHOICES = ChoiceEnum(["bidirectional", "bi_ar"])
BUCKET_CHOICE = ChoiceEnum(["uniform"])
EXTRACTOR_MODE_CHOICES = ChoiceEnum(["default", "layer_norm"])
MASKING_DISTRIBUTION_CHOICES = ChoiceEnum(list(MASK_TYPES))
MASKING_LEADS_STRATEGY_CHOICES = ChoiceEnum(["random", "conditional"])
PERTURBATION_CHOICES = ChoiceEnum(["3kg", *AUGMENTATIONS])
RESNET_CFG_CHOICES = ChoiceEnum([f"resnet{depth}" for depth in (18, 34, 50, 101, 152)])
UNET_BACKBONE_CHOICES = ChoiceEnum(["unet", "unet3plus"])

STORE_KEYS = {
    "output": "outputs",
    "target": "targets",
    "encoder_out": "encoder_out",
    "padding_mask": "padding_mask",
    "saliency": "saliency",
}
"""What ``common_eval.extract`` stores, and the name of the file that it is stored in."""
