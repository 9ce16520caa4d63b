"""Hooks on modules of a network get and give what they do in fairseq_signals: time first."""

import pytest
import torch
from torch import nn
from torch.nn.modules.module import register_module_forward_hook

import fairseq_ecg.tasks  # noqa: F401
from fairseq_ecg.models import ECGTransformerModel, Wav2Vec2CMSCModel, build_model_from_checkpoint
from fairseq_ecg.models.ecg_transformer import ECGTransformerConfig
from fairseq_ecg.modules import ECGTransformer
from fairseq_ecg.options import chosen

ROWS, FRAMES, DIM, LAYERS = 3, 30, 32, 2
SMALL = {
    "encoder_layers": LAYERS,
    "encoder_embed_dim": DIM,
    "encoder_ffn_embed_dim": 64,
    "encoder_attention_heads": 4,
    "conv_feature_layers": "[(16, 2, 2)] * 4",
    "conv_pos": 16,
    "conv_pos_groups": 4,
}


@pytest.fixture(params=[False, True], ids=["post_norm", "pre_norm"])
def model(request):
    torch.manual_seed(0)
    cfg = ECGTransformerConfig(**SMALL, layer_norm_first=request.param)
    return ECGTransformerModel(cfg).eval()


@pytest.fixture
def source():
    return torch.randn(ROWS, 12, 16 * FRAMES, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def padding_mask():
    mask = torch.zeros(ROWS, 12, 16 * FRAMES, dtype=torch.bool)
    mask[1, :, 320:] = True
    return mask


def plain_twin(model: ECGTransformerModel) -> ECGTransformer:
    network = ECGTransformer(**chosen(ECGTransformer, model.cfg)).eval()
    network.load_state_dict(model.state_dict())
    return network


def test_public_aggregation_of_layers(model, source):
    collected = []
    handles = [
        layer.register_forward_hook(lambda module, inputs, output: collected.append(output[0]))
        for layer in model.encoder.layers
    ]
    encoded = model(source)
    for handle in handles:
        handle.remove()
    features = torch.stack([states.mean(dim=0) for states in collected], dim=1)
    assert features.shape == (ROWS, LAYERS, DIM)
    last = collected[-1].transpose(0, 1)
    assert collected[-1].view(FRAMES * ROWS, DIM).shape == (FRAMES * ROWS, DIM)
    if model.cfg.layer_norm_first:
        last = model.encoder.layer_norm(last)
    torch.testing.assert_close(last, encoded["x"], rtol=0, atol=0)


@torch.no_grad()
@pytest.mark.parametrize("padded", [False, True])
def test_hooks_change_no_number(model, source, padding_mask, padded):
    mask = padding_mask if padded else None
    expected = plain_twin(model)(source, mask)["x"]
    assert torch.equal(model(source, mask)["x"], expected)
    for module in model.encoder.modules():
        module.register_forward_hook(lambda *_: None)
    torch.testing.assert_close(model(source, mask)["x"], expected, rtol=0, atol=1e-5)
    layers = model.encoder.layers
    for module in model.encoder.modules():
        if module not in layers:
            module._forward_hooks.clear()
    assert torch.equal(model(source, mask)["x"], expected)


def parts_of(layer: nn.Module) -> dict[str, tuple[int, ...]]:
    """Each part of a layer that fairseq_signals calls, with the shape of what it returns."""
    wide = {"fc1": 64, "dropout2": 64}
    names = ("self_attn_layer_norm", "final_layer_norm", "fc1", "fc2")
    names += ("dropout1", "dropout2", "dropout3")
    return {name: (FRAMES, ROWS, wide.get(name, DIM)) for name in names}


def test_what_each_module_is_given_and_gives(model, source, padding_mask):
    calls = {}

    def note(name):
        def hook(module, args, kwargs, output):
            calls[name] = args, kwargs, output

        return hook

    layer = model.encoder.layers[1]
    for name, module in {
        "encoder": model.encoder,
        "layer": layer,
        "attention": layer.self_attn,
    }.items():
        module.register_forward_hook(note(name), with_kwargs=True)
    for name in parts_of(layer):
        getattr(layer, name).register_forward_hook(note(name), with_kwargs=True)
    layer.need_weights = True
    model(source, padding_mask)

    frames = (FRAMES, ROWS, DIM)
    (x,), kwargs, (y, (weights, change)) = calls["layer"]
    assert x.shape == y.shape == change.shape == frames
    assert weights.shape == (ROWS, FRAMES, FRAMES)
    assert set(kwargs) == {"self_attn_padding_mask", "self_attn_mask"}
    mask = kwargs["self_attn_padding_mask"]
    assert mask.shape == (ROWS, FRAMES)
    assert mask.sum() == FRAMES - 20

    args, kwargs, (y, weights) = calls["attention"]
    assert args == ()
    assert kwargs["query"] is kwargs["key"] is kwargs["value"]
    assert kwargs["query"].shape == y.shape == frames
    assert (kwargs["need_weights"], kwargs["attn_mask"]) == (True, None)
    assert kwargs["key_padding_mask"] is mask
    for name, shape in parts_of(layer).items():
        assert calls[name][2].shape == shape, name
        assert calls[name][0][0].shape[:2] == frames[:2], name

    (x,), kwargs, output = calls["encoder"]
    assert x.shape == output["x"].shape == (ROWS, FRAMES, DIM)
    assert output["saliency"] is None
    assert set(kwargs) == {"padding_mask"}


@torch.no_grad()
@pytest.mark.parametrize("part", ["layer", "self_attn", "fc2", "self_attn_layer_norm", "encoder"])
def test_what_a_hook_returns_goes_on(model, source, part):
    layer = model.encoder.layers[0]
    before = model(source)["x"]
    module = {"layer": layer, "encoder": model.encoder}.get(part) or getattr(layer, part)

    def first_row_alone(module, inputs, output):
        """Replace all recordings by the first."""
        x = output["x"] if part == "encoder" else output
        x = x[0] if isinstance(x, tuple) else x
        if part == "encoder":
            return output | {"x": x[:1].expand_as(x)}
        x = x[:, :1].expand_as(x)
        return (x, output[1]) if isinstance(output, tuple) else x

    handle = module.register_forward_hook(first_row_alone)
    changed = model(source)["x"]
    handle.remove()
    if part in ("layer", "encoder"):
        torch.testing.assert_close(changed, before[:1].expand_as(before))
    else:
        assert not torch.allclose(changed, before, atol=1e-3)
        # Of the first recording nothing has changed: batch and time were not mistaken.
        torch.testing.assert_close(changed[0], before[0])
    assert torch.equal(model(source)["x"], before)


@torch.no_grad()
def test_pre_hooks_of_all_kinds(model, source):
    layer = model.encoder.layers[1]
    before = model(source)["x"]
    order = []

    def reverse_time(module, args):
        order.append("time")
        return (args[0].flip(0),)

    def mask_last_frames(module, args, kwargs):
        order.append("mask")
        mask = torch.zeros(ROWS, FRAMES, dtype=torch.bool)
        mask[:, -5:] = True
        return args, kwargs | {"self_attn_padding_mask": mask}

    handle = layer.register_forward_pre_hook(reverse_time)
    reversed_ = model(source)["x"]
    torch.testing.assert_close(reversed_.flip(1), before, rtol=1e-4, atol=1e-4)
    layer.register_forward_pre_hook(mask_last_frames, with_kwargs=True, prepend=True)
    handle.remove()
    masked = model(source)["x"]
    assert not torch.allclose(masked, before, atol=1e-4)
    layer.register_forward_pre_hook(reverse_time)
    model(source)
    assert order == ["time", "mask", "mask", "time"]


def test_hooks_on_the_way_back(model, source):
    shapes = {}

    def note(name):
        def hook(module, grad_input, grad_output):
            # What a layer gives besides, in a tuple of its own, has no gradient here or there.
            grads = [grad for grad in (*grad_input, *grad_output) if grad is not None]
            shapes[name] = [tuple(grad.shape) for grad in grads]

        return hook

    layer = model.encoder.layers[1]
    frames = (FRAMES, ROWS, DIM)
    layer.register_full_backward_hook(note("layer"))
    layer.fc2.register_full_backward_hook(note("fc2"))
    model(source)["x"].square().sum().backward()
    assert shapes == {"layer": [frames, frames], "fc2": [(FRAMES, ROWS, 64), frames]}


def test_a_gradient_that_a_hook_returns(model, source):
    layer = model.encoder.layers[1]

    def first_row_alone(module, grad_output):
        kept = torch.zeros_like(grad_output[0])
        kept[:, 0] = grad_output[0][:, 0]
        return (kept, *grad_output[1:])

    layer.register_full_backward_pre_hook(first_row_alone)
    source.requires_grad_(True)
    model(source)["x"].square().sum().backward()
    assert source.grad[0].any()
    assert not source.grad[1:].any()


def test_hooks_that_are_always_called(model, source):
    layer = model.encoder.layers[0]
    called = []
    layer.register_forward_hook(lambda *_: called.append("always"), always_call=True)
    layer.register_forward_hook(lambda *_: called.append("first"), prepend=True)

    def fail(module, args):
        raise RuntimeError("of the hook")

    layer.fc1.register_forward_pre_hook(fail)
    with pytest.raises(RuntimeError, match="of the hook"):
        model(source)
    assert called == ["always"]


@torch.no_grad()
def test_hooks_on_all_modules_of_the_process(model, source):
    shapes = set()
    handle = register_module_forward_hook(
        lambda module, inputs, output: (
            shapes.add(output.shape)
            if isinstance(module, nn.LayerNorm)
            and module in set(model.encoder.layers[0].children())
            else None
        )
    )
    try:
        model(source)
    finally:
        handle.remove()
    assert shapes == {(FRAMES, ROWS, DIM)}


@torch.no_grad()
def test_layers_called_one_by_one(model, source):
    expected = model(source)["x"]
    x = {}
    model.encoder.layers[0].register_forward_pre_hook(lambda module, args: x.update(at=args[0]))
    model(source)
    states = x["at"]
    for layer in model.encoder.layers:
        states, (weights, _) = layer(states, self_attn_padding_mask=None)
        assert weights is None
    if model.cfg.layer_norm_first:
        states = model.encoder.layer_norm(states)
    torch.testing.assert_close(states.transpose(0, 1), expected)


@torch.no_grad()
def test_a_replaced_forward(model, source):
    """Public code makes an attention return its weights by replacing its ``forward``."""
    attention, weights = model.encoder.layers[0].self_attn, []
    forward = attention.forward

    def with_weights(*args, **kwargs):
        y, found = forward(*args, **kwargs | {"need_weights": True})
        weights.append(found)
        return y, found

    expected = model(source)["x"]
    attention.forward = with_weights
    torch.testing.assert_close(model(source)["x"], expected)
    assert weights[0].shape == (ROWS, FRAMES, FRAMES)
    with pytest.raises(ValueError, match="attn_mask"):
        attention(source, source, source, attn_mask=torch.zeros(2, 2))


@torch.no_grad()
def test_weights_of_layers(model, source):
    for layer in model.encoder.layers:
        layer.need_weights = True
    assert model(source)["saliency"] is None  # as there, the encoder gathers them if it is asked to
    model.encoder.need_weights = True
    assert model(source)["saliency"].shape == (ROWS, LAYERS, FRAMES, FRAMES)
    model.encoder.need_weights = False
    assert not any(layer.need_weights for layer in model.encoder.layers)


def test_dropout_that_public_code_turns_on(source):
    model = ECGTransformerModel(ECGTransformerConfig(**SMALL)).eval()
    assert torch.equal(model(source)["x"], model(source)["x"])
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.train()
    assert not torch.equal(model(source)["x"], model(source)["x"])


def test_models_of_checkpoints(shared):
    source = torch.randn(2, 12, 2500, generator=torch.Generator().manual_seed(0))
    classifier = build_model_from_checkpoint(shared / "golden" / "diagnosis_small.pt")
    pretrained = build_model_from_checkpoint(shared / "golden" / "pretrain_small.pt")
    for transformer, run in (
        (classifier.encoder.encoder, lambda: classifier(source=source)),
        (pretrained.encoder, lambda: pretrained(source=source, mask=False, features_only=True)),
    ):
        collected = []
        for layer in transformer.layers:
            layer.register_forward_hook(lambda module, inputs, output: collected.append(output[0]))  # noqa: B023
        run()
        assert {states.shape for states in collected} == {(156, 2, transformer.embed_dim)}
        assert len(collected) == len(transformer.layers)


def test_hooks_in_a_compiled_network(source):
    torch.manual_seed(0)
    model = ECGTransformerModel(ECGTransformerConfig(**SMALL)).eval()
    expected = model(source)["x"]
    for layer in model.encoder.layers:
        for module in (layer, layer.fc1):
            module.register_forward_hook(first_row_of_all)
    hooked = model(source)["x"]
    assert not torch.allclose(hooked, expected)
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(source)["x"], hooked)


def first_row_of_all(module, inputs, output):
    x = output[0] if isinstance(output, tuple) else output
    x = x[:, :1].expand_as(x)
    return (x, output[1]) if isinstance(output, tuple) else x


def test_plain_modules_stay_as_they_are(model, source):
    network, shapes = plain_twin(model), []
    network.encoder.layers[0].register_forward_hook(
        lambda module, inputs, output: shapes.append(output[0].shape)
    )
    network(source)
    assert shapes == [(ROWS, FRAMES, DIM)]


def test_training_with_and_without_a_hook(source):
    """A hook that only looks changes neither gradients nor the use of random numbers."""
    torch.manual_seed(0)
    cfg = SMALL | {"apply_mask": True, "mask_prob": 0.65, "mask_length": 3, "final_dim": 16}
    model = Wav2Vec2CMSCModel(cfg | {"quantize_targets": True, "latent_vars": 8}).train()
    gradients = []
    for hooks in (False, True):
        if hooks:
            for layer in model.encoder.layers:
                layer.register_forward_hook(lambda *_: None)
                layer.register_full_backward_hook(lambda *_: None)
        torch.manual_seed(1)
        mask = torch.zeros(ROWS, FRAMES, dtype=torch.bool)
        mask[:, 4:12] = True
        model(source, mask_indices=mask)["contrast"].predictions.square().sum().backward()
        gradients.append([p.grad.clone() for p in model.parameters() if p.grad is not None])
        model.zero_grad()
    assert all(torch.equal(one, other) for one, other in zip(*gradients, strict=True))
