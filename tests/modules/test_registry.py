import dataclasses
from dataclasses import fields

import omegaconf
import pytest
import torch

from fairseq_ecg.compat.checkpoint import load_checkpoint
from fairseq_ecg.compat.stored_config import model_config
from fairseq_ecg.models import (
    ECGTransformerClassificationConfig,
    Wav2Vec2CMSCConfig,
    build_model_from_checkpoint,
)
from fairseq_ecg.modules import ECGTransformer, ECGTransformerClassifier, FrameEncoder, Wav2Vec2
from fairseq_ecg.modules.registry import build_network, network_config
from fairseq_ecg.ops.frames import frame_count, receptive_field
from fairseq_ecg.options import chosen


@pytest.mark.parametrize("name", ["pretrain_small", "diagnosis_small"])
def test_networks_are_those_that_fairseq_builds(shared, name):
    path = shared / "golden" / f"{name}.pt"
    model = build_model_from_checkpoint(path)
    cfg = model_config(load_checkpoint(path), path)
    for config in (cfg, network_config(cfg)):
        network = build_network(config)
        assert str(network) == str(model).replace(type(model).__name__, type(network).__name__) or (
            {k: v.shape for k, v in network.state_dict().items()}
            == {k: v.shape for k, v in model.state_dict().items()}
        )
        network.load_state_dict(model.state_dict())
        source = torch.randn(2, 12, 400)
        with torch.inference_mode():
            outputs = [
                x.extract_features(source)["x"] if name.startswith("pre") else x(source)["out"]
                for x in (network.eval(), model)
            ]
        assert torch.equal(*outputs)


@pytest.mark.parametrize(
    ("network", "config"),
    [
        (Wav2Vec2, Wav2Vec2CMSCConfig),
        (ECGTransformer, ECGTransformerClassificationConfig),
        (ECGTransformerClassifier, ECGTransformerClassificationConfig),
    ],
)
def test_defaults_are_those_of_the_configurations(network, config):
    """What a configuration leaves out has the same value with fairseq and without."""
    unsaid = (dataclasses.MISSING, omegaconf.MISSING)
    given = {f.name: f.default for f in fields(config) if f.default not in unsaid}
    for name, value in chosen(network, given).items():
        if name in ECGTransformer.regularisation_options or not isinstance(value, (int, str)):
            continue  # fine-tuning's own, and what a factory makes
        parameter = next(
            base.__init__.__kwdefaults__[name]
            for base in network.__mro__
            if name in (getattr(base.__init__, "__kwdefaults__", None) or {})
        )
        assert parameter == value, name


def test_unknown_networks_are_refused():
    with pytest.raises(ValueError, match="model 'resnet' is not known here; known are"):
        build_network({"_name": "resnet"})


def test_an_encoder_has_the_face_of_a_classifier():
    encoder = ECGTransformer(
        encoder_layers=1,
        encoder_embed_dim=16,
        encoder_ffn_embed_dim=16,
        encoder_attention_heads=2,
        conv_feature_layers="[(8, 2, 2)] * 4",
        conv_pos=4,
        conv_pos_groups=2,
        saliency=True,
    )
    classifier = ECGTransformerClassifier(encoder, num_labels=3).eval()
    source, mask = torch.randn(2, 12, 320), torch.zeros(2, 320, dtype=torch.bool)
    mask[1, 160:] = True
    expected, found = classifier(source, mask), FrameEncoder(encoder).eval()(source, mask)
    assert found.keys() == expected.keys() - {"out"}
    for key, value in found.items():
        assert torch.equal(value, expected[key])


@pytest.mark.parametrize("layers", [[(2, 2)] * 4, [(10, 5), (3, 2), (3, 2), (2, 2)], [(1, 1)]])
def test_frames_are_made_of_their_receptive_field(layers):
    width, stride = receptive_field(layers)
    assert frame_count(width, layers) == 1
    assert frame_count(width - 1, layers) <= 0
    assert frame_count(width + stride - 1, layers) == 1
    assert frame_count(width + stride, layers) == 2
    signal = torch.zeros(1, 1, width + 4 * stride)
    signal[..., 2 * stride] = 1  # first sample of frame 2
    for kernel, step in layers:
        signal = torch.nn.functional.conv1d(signal, torch.ones(1, 1, kernel), stride=step)
    assert signal[0, 0, 2] != 0
    assert (signal[0, 0, 3:] == 0).all()
