import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoConfig, AutoModel, AutoModelForSequenceClassification

import fairseq_ecg.huggingface
from fairseq_ecg.inference import load_model

ROOT = Path(__file__).resolve().parents[1]

# peft wants what the module above hides to be hidden.
from peft import LoraConfig, get_peft_model  # noqa: E402


@pytest.fixture(scope="module")
def models(shared, tmp_path_factory):
    """Fine-tuned and pre-trained model with the folders they are saved in."""
    labels = shared / "ecg" / "code_15" / "labels" / "label_def.csv"
    saved = {}
    for name, options in (("diagnosis", {"labels": labels}), ("pretrain", {})):
        model = load_model(shared / "golden" / f"{name}_small.pt", device="cpu", **options)
        saved[name] = model, tmp_path_factory.mktemp(name)
        model.save_pretrained(saved[name][1])
    return saved


@pytest.fixture(scope="module")
def source():
    return torch.randn(3, 12, 2500, generator=torch.Generator().manual_seed(0))


@torch.no_grad()
def test_the_same_bits_as_the_model(models, source):
    model, folder = models["diagnosis"]
    expected = model.network(source)
    classifier = AutoModelForSequenceClassification.from_pretrained(folder)
    assert type(classifier) is fairseq_ecg.huggingface.ECGFMForSequenceClassification
    assert torch.equal(classifier(source).logits, expected["out"])
    assert tuple(classifier.config.id2label.values()) == model.labels
    encoder = AutoModel.from_pretrained(folder)
    assert torch.equal(encoder(source).last_hidden_state, expected["encoder_out"])
    np.testing.assert_array_equal(encoder(source).pooler_output, model.embeddings(source))
    pretrained, folder = models["pretrain"]
    encoder = AutoModel.from_pretrained(folder)
    np.testing.assert_array_equal(encoder(source).pooler_output, pretrained.embeddings(source))
    assert AutoConfig.from_pretrained(folder).preprocessing["sample_rate"] == 500


@torch.no_grad()
def test_masks_and_attentions(models, source):
    model, folder = models["diagnosis"]
    classifier = AutoModelForSequenceClassification.from_pretrained(folder)
    mask = torch.ones(3, 2500, dtype=torch.long)
    mask[1, 2000:] = 0
    expected = model.network(source, mask == 0)["out"]
    assert torch.equal(classifier(source, attention_mask=mask).logits, expected)
    attentions = classifier(source, output_attentions=True).attentions
    assert [tuple(layer.shape) for layer in attentions] == [(3, 156, 156)] * 2
    found = attentions[-1].amax(dim=2)
    np.testing.assert_array_equal(found, model.saliencies(source))
    assert classifier(source).attentions is None
    loss, logits = classifier(source, labels=torch.ones(3, 8), return_dict=False)
    assert loss.item() == pytest.approx(-logits.double().sigmoid().log().mean().item(), abs=1e-6)


@torch.no_grad()
@pytest.mark.parametrize("auto", [AutoModel, AutoModelForSequenceClassification])
def test_hidden_states(models, source, auto):
    model, folder = models["diagnosis"]
    network = auto.from_pretrained(folder)
    mask = torch.ones(3, 2500, dtype=torch.long)
    mask[1, 2000:] = 0
    assert network(source).hidden_states is None
    out = network(source, attention_mask=mask, output_hidden_states=True)
    states = out.hidden_states
    assert [tuple(x.shape) for x in states] == [(3, 156, 64)] * 3
    assert not any(x[1, 125:].any() for x in states)
    assert all(x[1, :124].all(dim=-1).any() for x in states)
    transformer = model.network.encoder.encoder
    given = []
    handle = transformer.layers[1].register_forward_pre_hook(lambda _, args: given.append(args[0]))
    expected = model.network(source, mask == 0)["encoder_out"]
    handle.remove()
    assert torch.equal(states[2], expected)
    assert torch.equal(states[1][0], given[0][0])
    assert torch.equal(out[0], network(source, attention_mask=mask)[0])
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in network.modules())
    as_tuple = network(source, output_hidden_states=True, output_attentions=True, return_dict=False)
    assert [len(part) for part in as_tuple[-2:]] == [3, 2]


@torch.no_grad()
def test_what_the_configuration_says_is_returned(models, source):
    _, folder = models["pretrain"]
    network = AutoModel.from_pretrained(
        folder, output_hidden_states=True, output_attentions=True, return_dict=False
    )
    *_, states, attentions = network(source)
    assert (len(states), len(attentions)) == (3, 2)
    out = network(source, output_hidden_states=False, output_attentions=False, return_dict=True)
    assert out.hidden_states is out.attentions is None


def test_gradients_and_dropped_layers_of_hidden_states(models, source):
    _, folder = models["diagnosis"]
    classifier = AutoModelForSequenceClassification.from_pretrained(folder).train()
    states = classifier(source, output_hidden_states=True).hidden_states
    states[-1].sum().backward()
    assert classifier.network.encoder.encoder.layers[0].fc1.weight.grad.any()
    classifier.network.encoder.encoder.layerdrop = 1.0
    states = classifier(source, output_hidden_states=True).hidden_states
    assert len(states) == 3
    assert torch.equal(states[0], states[2])


def test_a_new_head_on_a_pre_trained_encoder(models, source, tmp_path):
    model, folder = models["pretrain"]
    torch.manual_seed(0)
    classifier = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=3)
    frames = classifier.network(source)["encoder_out"]
    assert torch.equal(frames, model.network(source)["encoder_out"].detach())
    assert 0 < classifier.network.proj.weight.abs().max() < 1
    before = classifier.network.proj.weight.detach().clone()
    optimizer = torch.optim.Adam(classifier.parameters(), lr=1e-3)
    losses = []
    for _ in range(3):
        loss = classifier(source, labels=torch.ones(3, 3)).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[2] < losses[0]
    assert not torch.equal(before, classifier.network.proj.weight)
    classifier.save_pretrained(tmp_path)
    again = load_model(tmp_path, device="cpu")
    assert again.labels == ("LABEL_0", "LABEL_1", "LABEL_2")
    with torch.no_grad():
        assert torch.equal(again.network(source)["out"], classifier.eval()(source).logits)


def test_remote_code_needs_no_import(models, source, tmp_path):
    model, folder = models["diagnosis"]
    torch.save(source, tmp_path / "source.pt")
    program = (
        "import sys, torch; torch.set_grad_enabled(False); "
        "from transformers import AutoModelForSequenceClassification as Auto; "
        "model = Auto.from_pretrained(sys.argv[1], trust_remote_code=True); "
        "torch.save(model(torch.load(sys.argv[2])).logits, sys.argv[3])"
    )
    arguments = [str(folder), str(tmp_path / "source.pt"), str(tmp_path / "logits.pt")]
    environment = os.environ | {
        "HF_HOME": str(tmp_path / "cache"),
        "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
    }
    subprocess.run(
        [sys.executable, "-c", program, *arguments], check=True, env=environment, timeout=300
    )
    with torch.no_grad():
        expected = model.network(source)["out"]
    assert torch.equal(torch.load(tmp_path / "logits.pt"), expected)


@pytest.mark.parametrize("kind", ["plain", "transformers"])
def test_adapters_train_alone_and_merge(models, source, kind, shared):
    _, folder = models["diagnosis"]
    if kind == "plain":
        network = load_model(folder, device="cpu").network
        logits = lambda module: module(source)["out"]  # noqa: E731
    else:
        network = AutoModelForSequenceClassification.from_pretrained(folder)
        logits = lambda module: module(source).logits  # noqa: E731
    network.eval()
    before = logits(network).detach()
    adapted = get_peft_model(network, LoraConfig(r=2, target_modules=["q_proj", "v_proj"]))
    trained = {name for name, value in adapted.named_parameters() if value.requires_grad}
    assert len(trained) == 2 * 2 * 2  # two matrices for two projections of two layers
    assert all("lora_" in name for name in trained)
    torch.testing.assert_close(logits(adapted), before)
    optimizer = torch.optim.SGD([p for p in adapted.parameters() if p.requires_grad], lr=1.0)
    for _ in range(2):
        optimizer.zero_grad()
        logits(adapted).square().sum().backward()
        optimizer.step()
    frozen = {name: value.grad for name, value in adapted.named_parameters() if name not in trained}
    assert not any(gradient is not None for gradient in frozen.values())
    after = logits(adapted).detach()
    assert (after - before).abs().max() > 1e-3
    merged = adapted.merge_and_unload()
    torch.testing.assert_close(logits(merged), after, rtol=1e-5, atol=1e-5)
    assert not any("lora" in name for name, _ in merged.named_parameters())
