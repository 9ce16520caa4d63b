"""Encoders of convolutions and their classifiers: what is particular to them."""

import numpy as np
import pytest
import torch
from fairseq.models import MODEL_DATACLASS_REGISTRY, MODEL_REGISTRY
from omegaconf import OmegaConf

import fairseq_ecg.tasks  # noqa: F401 (registers)
from fairseq_ecg.errors import CheckpointError, DataError
from fairseq_ecg.inference import load_model
from fairseq_ecg.modules import ENCODERS, FrameEncoder, merge_lora
from fairseq_ecg.modules.convolutional import ConvolutionalEncoder
from fairseq_ecg.modules.registry import (
    OWN_HEADS,
    build_network,
    labels_option,
    network_config,
    networks,
    plain_encoder,
    with_head,
)
from fairseq_ecg.ops.frames import frame_count
from tests.models.networks import tiny
from tests.tiny_checkpoints import made

CONVOLUTIONAL = [name for name, x in ENCODERS.items() if issubclass(x, ConvolutionalEncoder)]
LEADWISE = {"leadwise": True, "in_d": 1}
TASK = {"normalize": False, "filter": False, "data": ""}


def checkpoint(cfg: dict, path) -> str:
    """Write the checkpoint of a small network, and return its path."""
    torch.save(made(cfg | TASK), path)
    return str(path)


def as_model(cfg: dict, **options):
    """Build a small network as fairseq does."""
    values = {key: x for key, x in (cfg | TASK | options).items() if key != "_name"}
    return MODEL_REGISTRY[cfg["_name"]].build_model(
        MODEL_DATACLASS_REGISTRY[cfg["_name"]](**values)
    )


def small(name: str, leadwise: bool = False) -> dict:
    cfg = tiny(name)
    options = {"nejedly2021resnet": {"num_filters": 16}, "se_wrn": {"num_filters": "[8, 8, 16]"}}
    for encoder, sizes in options.items():
        if name.startswith(encoder):
            cfg |= sizes | (LEADWISE if leadwise else {})
    return cfg


@pytest.mark.parametrize("samples", [1, 16, 63, 64, 65, 640, 641])
@pytest.mark.parametrize("name", CONVOLUTIONAL)
def test_frames_are_counted_before_there_are_any(name, samples):
    network = build_network(small(name)).eval()
    frames = network.frame_count(samples)
    assert network.frame_count(torch.tensor([samples])).tolist() == [frames]
    if frames > 0:
        with torch.no_grad():
            assert network(torch.randn(2, 12, samples))["x"].shape == (
                2,
                frames,
                network.encoder_dim,
            )


@pytest.mark.parametrize("name", ["nejedly2021resnet", "se_wrn"])
def test_leads_are_seen_by_themselves(name):
    network = build_network(small(name, leadwise=True)).eval()
    source = torch.randn(2, 12, 320)
    changed = source.clone()
    changed[:, 3] += 1
    with torch.no_grad():
        x, y = (network(each)["x"] for each in (source, changed))
    different = (x != y).any(dim=1).any(dim=0)
    of_lead = different.view(-1, 12) if name == "nejedly2021resnet" else different.view(12, -1).T
    assert of_lead[:, 3].all()
    assert not of_lead[:, [0, 1, 2, *range(4, 12)]].any()


@pytest.mark.parametrize(
    ("cfg", "message"),
    [
        ({"_name": "nejedly2021resnet", "kernel_size": "[15, 8]"}, "kernel_size of blocks=8: give"),
        ({"_name": "nejedly2021resnet", "kernel_size": "[15]"}, "not a list of 2 positive whole"),
        ({"_name": "nejedly2021resnet", "kernel_size": "15"}, "not a list of 2"),
        ({"_name": "nejedly2021resnet", "kernel_size": "__import__('os')"}, "not a list"),
        ({"_name": "nejedly2021resnet", "leadwise": True}, "leadwise=true needs in_d=1, not 12"),
        ({"_name": "se_wrn", "kernel_size": 4}, "kernel_size=4: give an odd kernel"),
        ({"_name": "se_wrn", "num_filters": "[8, 12]"}, "ratio=8 does not divide the 12 channels"),
        ({"_name": "se_wrn", "num_filters": "[8]"}, "not a list of 2 or more positive whole"),
        ({"_name": "convnet_encoder", "conv_feature_layers": "[(8, 2)]"}, "conv_feature_layers"),
        ({"_name": "vanilla_resnet", "configuration": "resnet19"}, "resnet19"),
        (
            {"_name": "nejedly2021resnet_classifier", "num_labels": 2, "num_filters": 12,
             "use_mha": True},
            "use_mha=true needs a num_filters that 8 divides, not 12",
        ),
        (
            {"_name": "nejedly2021resnet_classifier", "num_labels": 2, "in_d": 8,
             "indicate_leads": True},
            "indicate_leads=true needs 12 leads, not 8",
        ),
        ({"_name": "convnet"}, "output_dim, labels to predict, or targets to estimate, is missing"),
    ],
)  # fmt: skip
def test_options_that_do_not_go_together(cfg, message):
    with pytest.raises((ValueError, KeyError), match=message):
        build_network(cfg)


@pytest.mark.parametrize(
    "cfg",
    [
        {"_name": "nejedly2021resnet", "num_filters": 10**5, "kernel_size": "[15, 99999]"},
        {"_name": "nejedly2021resnet", "num_blocks": 10**6},
        {"_name": "se_wrn", "num_filters": "[8, 8] * 400"},
        {"_name": "se_wrn", "num_filters": "[99992] * 4"},
        {"_name": "se_wrn", "num_blocks": 200, "num_filters": "[8] * 1000"},
        {"_name": "se_wrn", "widening_factor": 10**5, "num_filters": "[99992] * 4"},
        {"_name": "convnet", "output_dim": 10**9},
        {"_name": "convnet", "output_dim": 2, "conv_feature_layers": "[(99999, 99999, 2)] * 9"},
        {"_name": "vanilla_resnet", "in_d": 10**8},
        {"_name": "unet", "initial_dim": 10**5},
        {"_name": "unet", "kernel_size": 10**5 - 1, "initial_dim": 10**4},
        {"_name": "unet_segmentor", "label_idx": {"p": 0, "none": 10**9}},
        {"_name": "unet_segmentor", "label_idx": {"p": 0, "none": 2**62}},
        {"_name": "unet_segmentor", "label_idx": {"p": -1, "none": 0}},
        {"_name": "unet_segmentor", "label_idx": {"p": 0, "none": 0}},
        {"_name": "unet_segmentor", "label_idx": {"p": 0.5, "none": 1}},
        {"_name": "unet_segmentor", "label_idx": {"p": True, "none": 0}},
        {"_name": "unet_segmentor", "label_idx": {0: 0, 1: 1}},
        {"_name": "unet_segmentor", "label_idx": {f"class {i}": i for i in range(10**5)}},
        {"_name": "unet_segmentor", "label_idx": [0, 1, 2, 3]},
        {"_name": "unet_segmentor", "label_idx": "__import__('os')"},
        {"_name": "unet_segmentor", "label_idx": None},
        {"_name": "unet_cgm_segmentor", "num_labels": 10**9},
        {"_name": "unet_cgm_segmentor", "num_labels": 2, "cgm_dim": 10**5},
        {"_name": "unet_cgm_segmentor", "num_labels": 2, "cgm_kernel_size": 10**9 + 1},
        {"_name": "unet_arcface", "num_labels": 10**12},
        {"_name": "nejedly2021resnet", "kernel_size": "[15, 9][0]"},
        {"_name": "nejedly2021resnet", "kernel_size": "[9 ** 9 ** 9, 9]"},
        {"_name": "nejedly2021resnet", "kernel_size": "[1e400, 9]"},
        {"_name": "se_wrn", "num_filters": "[8 for _ in iter(int, 1)]"},
        {"_name": "se_wrn", "num_filters": "[8] * 10 ** 12"},
        {"_name": "vanilla_resnet", "configuration": ["resnet18"]},
    ],
)
def test_absurd_sizes_are_refused_before_they_take_memory(cfg, tmp_path):
    state = made(small("vanilla_resnet"))
    state["cfg"]["model"] = cfg
    torch.save(state, tmp_path / "absurd.pt")
    with pytest.raises((DataError, CheckpointError), match=r"absurd\.pt"):
        load_model(tmp_path / "absurd.pt", device="cpu")


@pytest.mark.parametrize("name", CONVOLUTIONAL)
def test_other_leads_than_the_networks_are_refused(name):
    network = build_network(small(name))
    option = "input_dim" if name == "convnet_encoder" else "in_d"
    with pytest.raises(ValueError, match=rf"takes 12 \(model\.{option}=12\); give all 12"):
        network(torch.randn(2, 8, 320))


def padded(name: str, head: str | None):
    """A network, and what it gives of 320 samples with 320 of padding behind."""
    torch.manual_seed(0)
    network = build_network(small(name if head is None else with_head(name, head))).eval()
    source = torch.randn(2, 12, 640)
    source[1, :, 320:] = 0
    mask = torch.zeros(2, 12, 640, dtype=torch.bool)
    mask[1, :, 320:] = True
    with torch.no_grad():
        return network, network(source, mask), network(source)


@pytest.mark.parametrize("name", CONVOLUTIONAL)
def test_padded_frames_are_those_behind_the_samples(name):
    network, out, whole = padded(name, None)
    assert whole["padding_mask"] is None
    assert torch.equal(out["x"], whole["x"])
    assert out["padding_mask"].sum(dim=1).tolist() == [
        0,
        network.frame_count(640) - network.frame_count(320),
    ]


@pytest.mark.parametrize("name", CONVOLUTIONAL)
@pytest.mark.parametrize("head", ["classifier", "linear"])
def test_padding_counts_in_classifiers_of_fairseq_signals_alone(name, head):
    _, out, whole = padded(name, head)
    published = (ENCODERS[name], head) in OWN_HEADS
    assert torch.equal(out["out"], whole["out"]) == published


def test_flags_of_leads_are_zero_where_one_sample_is():
    model = as_model(small("nejedly2021resnet"))
    source = torch.randn(3, 12, 320)
    source[1, 4, 100] = 0
    source[2, :, 300:] = 0
    flags = model.eval()(source)["l"]
    assert flags.dtype == source.dtype
    expected = torch.ones(3, 12)
    expected[1, 4] = 0
    expected[2] = 0
    assert torch.equal(flags, expected)


def test_a_channel_of_which_dropout_leaves_nothing_is_zero():
    """fairseq_signals divides 0 by 0 there."""
    network = build_network(small("nejedly2021resnet_classifier") | {"use_mha": False})
    network.final_dropout.p = 0.97
    torch.manual_seed(0)
    out = network.train()(torch.randn(8, 12, 80))["out"]
    out.sum().backward()
    assert out.isfinite().all()
    assert all(p.grad is None or p.grad.isfinite().all() for p in network.parameters())


@pytest.mark.parametrize("leadwise", [False, True])
def test_what_no_gradient_reaches_is_known(leadwise):
    network = build_network(small("nejedly2021resnet_classifier", leadwise))
    network(torch.randn(4, 12, 320))["out"].sum().backward()
    without = {name for name, p in network.named_parameters() if p.grad is None}
    known = {id(p) for p in network.without_gradient()}
    assert without == {name for name, p in network.named_parameters() if id(p) in known}
    assert any(name.startswith("mha.") for name in without) == leadwise


@pytest.mark.parametrize("leadwise", [False, True])
@pytest.mark.parametrize("name", CONVOLUTIONAL)
@pytest.mark.parametrize("tuned", [None, "classifier", "linear"])
def test_an_encoder_is_taken_out_of_any_checkpoint(name, tuned, leadwise, tmp_path):
    if leadwise and name not in ("nejedly2021resnet", "se_wrn"):
        pytest.skip("it has no such option")
    source = small(name if tuned is None else with_head(name, tuned), leadwise)
    path = checkpoint(source, tmp_path / "source.pt")
    stored = torch.load(path, weights_only=True)["model"]
    head = with_head(name, "linear")
    model = as_model({"_name": head, "num_labels": 3}, model_path=path)
    assert (
        network_config(model.architecture | {"_name": name}).items()
        >= {
            key: x
            for key, x in network_config(source).items()
            if key in ENCODERS[name].architecture_options
        }.items()
    )
    for key, x in model.encoder.state_dict().items():
        assert torch.equal(x, stored.get(f"encoder.{key}", stored.get(key)))
    other = next(x for x in CONVOLUTIONAL if x != name)
    options = {labels_option(with_head(other, "linear")): 3}
    with pytest.raises(CheckpointError, match=f"but this model is one on {plain_encoder(other)}"):
        as_model({"_name": with_head(other, "linear"), **options}, model_path=path)


@pytest.mark.parametrize("leadwise", [False, True])
@pytest.mark.parametrize(
    ("name", "targets"),
    [
        ("nejedly2021resnet", ["conv1", "conv2", "idfunc_1"]),
        ("se_wrn", ["conv1", "conv2", "fc1"]),
        ("convnet_encoder", ["0"]),
        ("vanilla_resnet", ["conv1", "conv2"]),
    ],
)
def test_adapters_of_convolutions(name, targets, leadwise):
    """They start as nothing, alone train, and merge into the weights that they change."""
    if leadwise and name not in ("nejedly2021resnet", "se_wrn"):
        pytest.skip("it has no such option")
    cfg = small(with_head(name, "classifier"), leadwise)
    torch.manual_seed(0)
    plain = build_network(cfg)
    torch.manual_seed(0)
    adapted = build_network(cfg | {"lora_rank": 2, "lora_alpha": 6, "lora_targets": targets})
    adapted.load_state_dict(plain.state_dict(), strict=False)
    source = torch.randn(3, 12, 320)
    with torch.no_grad():
        assert torch.equal(adapted.eval()(source)["out"], plain.eval()(source)["out"])

    adapted.train()(source)["out"].square().sum().backward()
    ours = {n for n, p in adapted.encoder.named_parameters() if p.requires_grad}
    assert ours
    assert all(n.rpartition(".")[2] in ("lora_up", "lora_down") for n in ours)
    with torch.no_grad():
        for key, parameter in adapted.named_parameters():
            if key.endswith("lora_up"):
                parameter.normal_(std=0.1)
        changed = adapted.eval()(source)["out"]
        merged = merge_lora(adapted.state_dict(), scale=3.0)
        plain.load_state_dict(merged)
        torch.testing.assert_close(plain.eval()(source)["out"], changed, rtol=1e-4, atol=1e-4)


def test_targets_that_a_network_lacks_are_named():
    cfg = small("vanilla_resnet_classifier")
    with pytest.raises(ValueError, match=r"q_proj, v_proj, .*there are conv1, conv2, 0$"):
        build_network(cfg | {"lora_rank": 2})


@pytest.mark.parametrize("name", ["nejedly2021resnet", "se_wrn", "vanilla_resnet"])
@pytest.mark.parametrize("frozen", [0, 1, -1])
def test_a_frozen_batch_norm_keeps_its_statistics(name, frozen):
    cfg = small(with_head(name, "linear")) | {"freeze_layers": frozen}
    network = build_network(cfg).train()
    before = {key: x.clone() for key, x in network.encoder.state_dict().items()}
    network(torch.randn(4, 12, 320))
    after = network.encoder.state_dict()
    moved = {key for key in before if not torch.equal(before[key], after[key])}
    stem, *layers = network.encoder.parts().values()
    fixed = [*stem, *(part for layer in layers[:frozen] for part in layer)] if frozen > 0 else []
    of_fixed = {
        f"{n}.{key}" for n, m in network.encoder.named_modules() if m in fixed
        for key in m.state_dict()
    }  # fmt: skip
    if frozen == -1:
        assert not moved
    else:
        assert moved
        assert not moved & of_fixed


def test_what_was_trained_by_squared_errors_estimates(tmp_path):
    state = made(small("convnet") | TASK)
    state["cfg"]["criterion"] = {"_name": "mse"}
    torch.save(state, tmp_path / "model.pt")
    model = load_model(tmp_path / "model.pt", device="cpu")
    source = torch.randn(3, 12, 500)
    with torch.no_grad():
        expected = model.network(source)["out"].double().numpy()
    np.testing.assert_array_equal(model.probabilities(source), expected)


@pytest.mark.parametrize("name", CONVOLUTIONAL)
def test_contrast_is_between_means_of_frames(name):
    model = as_model(small(name)).eval()
    net_output = model(torch.randn(3, 12, 320), padding_mask=None, mask=False)
    pooled = model.get_logits(net_output, aggregate=True)
    frames = model.get_logits(net_output)
    assert pooled.shape == (3, model.encoder_dim)
    torch.testing.assert_close(pooled, frames.mean(dim=1), rtol=1e-4, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("leadwise", [False, True])
@pytest.mark.parametrize("name", CONVOLUTIONAL)
def test_embeddings_of_zeros_are_finite(name, leadwise):
    """A lead of zeros, seen by itself, or a channel that dropout took, is zero in all frames."""
    if leadwise and name not in ("nejedly2021resnet", "se_wrn"):
        pytest.skip("it has no such option")
    source = torch.randn(2, 12, 320)
    source[:, 3:] = 0
    network = FrameEncoder(build_network(small(name, leadwise)))
    for mode in (False, True):
        out = network.train(mode)(source)
        assert network.embedding(out).isfinite().all()


def test_wider_groups():
    network = build_network(small("se_wrn") | {"widening_factor": 2})
    assert network.conv.out_channels == 8
    assert network.encoder_dim == 32
    assert network.eval()(torch.randn(1, 12, 320))["x"].shape == (1, 80, 32)


def test_convnet_says_in_checkpoints_what_fairseq_signals_knows(shared):
    theirs = OmegaConf.create(
        torch.load(shared / "golden" / "rest" / "convnet.pt", weights_only=False)["cfg"]["model"]
    )
    cfg = OmegaConf.structured(MODEL_DATACLASS_REGISTRY["convnet"](output_dim=4, data=""))
    cfg.normalize = cfg.filter = False
    as_model({"_name": "convnet", "output_dim": 4}).revise_config(cfg)
    assert cfg.keys() - {"_name"} == theirs.keys() - {"_name"}


@pytest.mark.parametrize("name", [n for n, (e, _) in networks().items() if e in CONVOLUTIONAL])
def test_bf16(name):
    torch.manual_seed(0)
    network = build_network(small(name)).to(torch.bfloat16)
    out = network.train()(torch.randn(4, 12, 320, dtype=torch.bfloat16))
    values = [out[key] for key in getattr(network, "outputs", ("x",))]
    assert all(value.dtype == torch.bfloat16 for value in values)
    sum(value.float().square().sum() for value in values).backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in network.parameters())


def test_frame_count_of_valid_convolutions_is_that_of_the_extractor():
    network = build_network(small("convnet_encoder"))
    assert network.frame_count(640) == frame_count(640, network.strides)
    assert np.prod([stride for _, stride in network.strides]) == 16
