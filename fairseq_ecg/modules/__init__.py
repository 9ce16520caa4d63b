"""Networks and their parts: ``nn.Module`` with plain arguments, on torch and the ops alone."""

from fairseq_ecg.modules.adapters import LoRALinear, adapt, freeze, merge_lora
from fairseq_ecg.modules.arcface import ArcFace
from fairseq_ecg.modules.attention import MultiHeadAttention
from fairseq_ecg.modules.classifier import ECGTransformerClassifier
from fairseq_ecg.modules.conv_extractor import ConvFeatureExtractor, parse_conv_layers
from fairseq_ecg.modules.ecg_transformer import ECGTransformer
from fairseq_ecg.modules.encoder import Encoder
from fairseq_ecg.modules.finetuned import FinetunedEncoder, FrameEncoder
from fairseq_ecg.modules.gathering import gather_rows
from fairseq_ecg.modules.gradient import scale_gradient
from fairseq_ecg.modules.masking import MaskedEncoder
from fairseq_ecg.modules.pooling import POOLINGS, AttentivePooling, MaxPooling, build_pooling
from fairseq_ecg.modules.positional_conv import ConvPositionalEncoding
from fairseq_ecg.modules.quantizer import GumbelVectorQuantizer
from fairseq_ecg.modules.registry import ENCODERS, HEADS, build_network
from fairseq_ecg.modules.segmentor import CGMSegmentor, Segmentor
from fairseq_ecg.modules.transformer import TransformerEncoder, TransformerEncoderLayer
from fairseq_ecg.modules.unet import UNet
from fairseq_ecg.modules.wav2vec2 import Wav2Vec2
from fairseq_ecg.ops.pooling import mean_of_nonzero

__all__ = [
    "ENCODERS",
    "HEADS",
    "POOLINGS",
    "ArcFace",
    "AttentivePooling",
    "CGMSegmentor",
    "ConvFeatureExtractor",
    "ConvPositionalEncoding",
    "ECGTransformer",
    "ECGTransformerClassifier",
    "Encoder",
    "FinetunedEncoder",
    "FrameEncoder",
    "GumbelVectorQuantizer",
    "LoRALinear",
    "MaskedEncoder",
    "MaxPooling",
    "MultiHeadAttention",
    "Segmentor",
    "TransformerEncoder",
    "TransformerEncoderLayer",
    "UNet",
    "Wav2Vec2",
    "adapt",
    "build_network",
    "build_pooling",
    "freeze",
    "gather_rows",
    "mean_of_nonzero",
    "merge_lora",
    "parse_conv_layers",
    "scale_gradient",
]
