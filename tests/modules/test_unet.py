"""U-Nets and segmentors against recordings, the listed sizes and what they promise besides."""

import json
from contextlib import nullcontext

import numpy as np
import pytest
import torch

from fairseq_ecg.models import build_model_from_checkpoint
from fairseq_ecg.modules import UNet, build_network
from fairseq_ecg.ops.frames import frames_to_samples, receptive_field

RECORDED = ("unet3plus_1lead", "unet3plus_12leads", "unet_plain", "unet_cgm")
SIZES = {
    "unet_segmentor_unet": {"_name": "unet_segmentor"},
    "unet_segmentor_unet3plus": {"_name": "unet_segmentor", "backbone": "unet3plus"},
    "unet_segmentor_unet3plus_12leads": {
        "_name": "unet_segmentor",
        "backbone": "unet3plus",
        "in_d": 12,
    },
    "unet_cgm_segmentor": {
        "_name": "unet_cgm_segmentor",
        "backbone": "unet3plus",
        "num_labels": 82,
    },
}
SMALL = {"in_d": 2, "initial_dim": 3, "kernel_size": 5}
SMALL_HEAD = {"num_labels": 3, "cgm_dim": 4, "cgm_kernel_size": 3}


def segmentor(head="segmentor", **options):
    torch.manual_seed(0)
    return build_network({"_name": f"unet_{head}", **SMALL, **SMALL_HEAD, **options})


@pytest.mark.parametrize("name", RECORDED)
def test_recorded_outputs_and_delineations(name, shared):
    golden = shared / "golden" / "rest"
    recorded = dict(np.load(golden / f"{name}.npz"))
    model = build_model_from_checkpoint(golden / f"{name}.pt")
    source = torch.from_numpy(recorded["source"])
    with torch.no_grad():
        found = model(source)
    for output in model.outputs:
        torch.testing.assert_close(
            found[output], torch.from_numpy(recorded[f"net/{output}"]), rtol=1e-5, atol=1e-5
        )
    assert torch.equal(
        found["segment_out"].argmax(-1), torch.from_numpy(recorded["segment_argmax"]).long()
    )
    delineations = {
        f"delineation/{number}/{key}": samples
        for number, waves in enumerate(model.delineate_ecg(source))
        for key, samples in waves.items()
    }
    expected = {k: v.tolist() for k, v in recorded.items() if k.startswith("delineation/")}
    assert delineations == expected


@pytest.mark.parametrize("name", RECORDED)
def test_recorded_logits_and_targets(name, shared):
    golden = shared / "golden" / "rest"
    recorded = {
        key: torch.from_numpy(x)
        for key, x in np.load(golden / f"{name}.npz").items()
        if x.dtype.kind in "fib"
    }
    model = build_model_from_checkpoint(golden / f"{name}.pt")
    keys = ("segment_label", "segment_mask", "label")
    sample = {key: recorded[key] for key in keys if key in recorded}
    with torch.no_grad():
        net_output = model(recorded["source"])
        logits = model.get_logits(net_output, sample=sample)
        targets = model.get_targets(sample, net_output)
    if name == "unet_cgm":
        pairs = [(logits[i], f"logits_{i}") for i in (0, 1)]
        pairs += [(targets[i], f"target_{i}") for i in (0, 1)]
    else:
        pairs = [(logits, "logits"), (targets, "target")]
    for found, key in pairs:
        torch.testing.assert_close(found, recorded[key], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", SIZES)
def test_published_sizes_and_their_initialisation(name, shared):
    golden = shared / "golden" / "rest"
    expected = json.loads((golden / f"init_{name}.json").read_text())
    torch.manual_seed(expected["seed"])
    network = build_network(SIZES[name])
    assert torch.rand(1).item() == expected["next_torch_rand"]
    assert sum(p.numel() for p in network.parameters()) == expected["n_parameters"]
    keys = {k: [list(x.shape), str(x.dtype)] for k, x in network.state_dict().items()}
    listed = json.loads((golden / f"keys_{name}.json").read_text())
    assert list(keys.items()) == list(listed.items())
    found = {
        key: [x.flatten()[0].item(), x.double().sum().item(), x.double().std(correction=0).item()]
        for key, x in network.named_parameters()
    }
    assert list(found) == list(expected["parameters_first_sum_std"])
    for key, (first, total, std) in expected["parameters_first_sum_std"].items():
        assert found[key][0] == first
        assert found[key][1:] == pytest.approx([total, std], rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("head", ["segmentor", "cgm_segmentor"])
@pytest.mark.parametrize("backbone", ["unet", "unet3plus"])
@pytest.mark.parametrize("samples", [16, 17, 100, 159])
def test_lengths_that_need_not_be_even(samples, backbone, head):
    network = segmentor(head, backbone=backbone).train()
    out = network(torch.randn(3, 2, samples))
    assert out["segment_out"].shape == (3, samples, 4)
    sum(out[output].square().sum() for output in network.outputs).backward()
    unreached = [name for name, p in network.named_parameters() if p.grad is None]
    assert not unreached


@pytest.mark.parametrize("backbone", ["unet", "unet3plus"])
def test_too_few_samples(backbone):
    with pytest.raises(ValueError, match=r"15 samples, but a U-Net .* needs 16: give longer"):
        segmentor(backbone=backbone)(torch.randn(1, 2, 15))
    assert segmentor().encoder.frame_count(15) == 0
    assert segmentor().encoder.frame_count(torch.tensor([15, 16])).tolist() == [0, 16]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kernel_size": 4}, "kernel_size=4: give an odd kernel"),
        ({"kernel_size": 1, "backbone": "unet"}, "kernel_size=1: give 3 or more"),
        ({"backbone": "unet4"}, "backbone=.unet4.: choose unet or unet3plus"),
        ({"label_idx": {"p": 0, "qrs": 0}}, "give every class an index of its own"),
        ({"label_idx": {"p": -1}}, "give every class an index of its own"),
        ({"label_idx": {"p": 0, "qrs": 1}}, "name the class of samples in no wave 'none'"),
        ({"label_idx": {"p": "x"}}, "label_idx=.* is not whole numbers by name"),
    ],
)
def test_options_that_make_no_network(options, message):
    with pytest.raises(ValueError, match=message):
        segmentor(**options)
    with pytest.raises(ValueError, match="cgm_kernel_size=2: give an odd kernel"):
        segmentor("cgm_segmentor", cgm_kernel_size=2)


def test_further_classes_have_logits():
    named = {"p": 0, "qrs": 1, "t": 2, "none": 3, "u": 4}
    assert segmentor(label_idx=named)(torch.randn(1, 2, 32))["segment_out"].shape == (1, 32, 5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, "autocast"])
@pytest.mark.parametrize("backbone", ["unet", "unet3plus"])
def test_reduced_precision(backbone, dtype):
    network = segmentor("cgm_segmentor", backbone=backbone).eval()
    source = torch.randn(2, 2, 100)
    with torch.no_grad():
        expected = network(source)
        casts = torch.autocast("cpu", torch.bfloat16) if dtype == "autocast" else nullcontext()
        if dtype != "autocast":
            network, source = network.to(dtype), source.to(dtype)
        with casts:
            found = network(source)
    for output in network.outputs:
        scale = expected[output].abs().max()
        assert found[output].dtype == torch.bfloat16
        assert (found[output].float() - expected[output]).abs().max() < 0.1 * scale


def test_padding_is_encoded_as_any_sample_but_not_pooled():
    network = segmentor().eval()
    source = torch.randn(2, 2, 64)
    mask = torch.zeros(2, 2, 64, dtype=torch.bool)
    mask[1, :, 40:] = True
    with torch.no_grad():
        plain, padded = network(source), network(source, mask)
    assert torch.equal(plain["segment_out"], padded["segment_out"])
    assert torch.equal(padded["padding_mask"], mask[:, 0])
    assert (padded["encoder_out"][1, 40:] == 0).all()
    assert torch.equal(padded["encoder_out"][0], plain["encoder_out"][0])


def test_masked_samples_do_not_count():
    network = segmentor("cgm_segmentor").eval()
    out = network(torch.randn(2, 2, 32))
    sample = {
        "segment_label": torch.arange(64).view(2, 32),
        "segment_mask": torch.zeros(2, 32, dtype=torch.bool),
        "label": torch.tensor([[0, 1, 1], [1, 0, 0]]),
    }
    logits, labels = network.get_logits(out, sample=sample)
    assert logits is out["segment_out"]
    assert labels is out["cls_out"]
    assert network.get_targets(sample, out)[1].dtype == torch.float32
    sample["segment_mask"][0, 1:] = True
    logits, _ = network.get_logits(out, sample=sample)
    targets, _ = network.get_targets(sample, out)
    assert torch.equal(logits[0], out["segment_out"][0, 0])
    assert torch.equal(logits[1:], out["segment_out"][1])
    assert targets.tolist() == [0, *range(32, 64)]
    log_probabilities, _ = network.get_logits(out, normalize=True, sample=sample)
    torch.testing.assert_close(log_probabilities.exp().sum(-1), torch.ones(33))
    probabilities = network.get_normalized_probs(out, log_probs=False)
    torch.testing.assert_close(probabilities, out["segment_out"].softmax(-1))


def test_one_recording_is_inferred_as_it_is():
    network = segmentor().train()
    out = network.inference(torch.randn(2, 48))
    assert out["segment_out"].shape == (1, 48, 4)
    assert out["segment_out"].requires_grad
    assert network.training
    assert len(network.delineate_ecg(torch.randn(3, 2, 48))) == 3


def test_frozen_encoder_of_a_segmentor():
    network = segmentor(freeze_finetune_updates=1).train()
    for updates, frozen in ((0, True), (1, False)):
        network.set_num_updates(updates)
        network(torch.randn(2, 2, 32))["segment_out"].sum().backward()
        assert all((p.grad is None) == frozen for p in network.encoder.parameters())


@pytest.mark.parametrize("backbone", ["unet", "unet3plus"])
def test_parts_are_the_whole_encoder_from_the_input_up(backbone):
    encoder = UNet(**SMALL, backbone=backbone)
    parts = encoder.parts()
    assert list(parts) == ["stem", "down2", "down3", "down4", "middle", "up4", "up3", "up2", "up1"]
    of_parts = [p for part in parts.values() for module in part for p in module.parameters()]
    assert list(map(id, of_parts)) == list(map(id, encoder.parameters()))
    network = segmentor(backbone=backbone, freeze_layers=2)
    training = {name.split(".")[1] for name, p in network.named_parameters() if p.requires_grad}
    assert not training & {"down1", "down2", "down3"}
    assert {"down4", "middle", "up1", "weight"} <= training


def test_samples_lie_between_the_centres_of_frames():
    layers = [(2, 2)] * 4
    width, stride = receptive_field(layers)
    centres = torch.arange(6) * stride + (width - 1) / 2
    layout = (width - 1) / 2, stride
    frames = torch.stack([3 * centres + 1, -centres], dim=-1)[None]
    samples = torch.arange(6 * stride + 5, dtype=torch.float32)
    inside = samples.clamp(centres[0], centres[-1])
    expected = torch.stack([3 * inside + 1, -inside], dim=-1)[None]
    torch.testing.assert_close(frames_to_samples(frames, len(samples), *layout), expected)
    x = torch.randn(2, 5, 3)
    found = frames_to_samples(x, 30, 3, 4)
    assert torch.equal(found[:, 3::4][:, :5], x)
    assert frames_to_samples(x, 5, 0, 1) is x
