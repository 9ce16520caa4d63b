"""Networks of published sizes, and what fairseq_signals' ResNet gives, as recorded of it."""

import json

import numpy as np
import pytest
import torch
from fairseq.models import MODEL_DATACLASS_REGISTRY, MODEL_REGISTRY

import fairseq_ecg.tasks  # noqa: F401 (registers)
from fairseq_ecg.modules.registry import build_network

FLAGS = {"use_mha": True, "indicate_leads": True}
LEADWISE = {"leadwise": True, "in_d": 1}
PUBLISHED = {
    "nejedly2021resnet": {"_name": "nejedly2021resnet"},
    "nejedly2021resnet_classifier": {
        "_name": "nejedly2021resnet_classifier",
        "num_labels": 26,
        **FLAGS,
    },
    "nejedly2021resnet_classifier_leadwise": {
        "_name": "nejedly2021resnet_classifier",
        "num_labels": 26,
        **FLAGS,
        **LEADWISE,
    },
    "se_wrn": {"_name": "se_wrn"},
    "se_wrn_classifier": {"_name": "se_wrn_classifier", "num_labels": 26},
    "se_wrn_classifier_leadwise": {"_name": "se_wrn_classifier", "num_labels": 26, **LEADWISE},
    "convnet": {"_name": "convnet", "output_dim": 26},
    "vanilla_resnet18": {"_name": "vanilla_resnet", "configuration": "resnet18"},
    "vanilla_resnet50": {"_name": "vanilla_resnet"},
}
"""Configuration by the name of the recording."""


def as_model(cfg: dict) -> torch.nn.Module:
    """Build the network as fairseq does, of its configuration."""
    options = {key: value for key, value in cfg.items() if key != "_name"}
    config = MODEL_DATACLASS_REGISTRY[cfg["_name"]](
        **options, normalize=False, filter=False, data=""
    )
    return MODEL_REGISTRY[cfg["_name"]].build_model(config)


@pytest.mark.parametrize("build", [build_network, as_model])
@pytest.mark.parametrize("name", PUBLISHED)
def test_keys_and_seeded_weights_are_the_recorded_ones(name, build, shared):
    keys, init = (
        json.loads((shared / "golden" / "rest" / f"{kind}_{name}.json").read_text())
        for kind in ("keys", "init")
    )
    torch.manual_seed(init["seed"])
    network = build(PUBLISHED[name])
    assert torch.rand(1).item() == init["next_torch_rand"]
    found = {key: [list(x.shape), str(x.dtype)] for key, x in network.state_dict().items()}
    assert list(found) == list(keys)
    assert found == keys
    assert sum(p.numel() for p in network.parameters()) == init["n_parameters"]
    recorded = init["parameters_first_sum_std"]
    weights = dict(network.named_parameters())
    assert list(weights) == list(recorded)
    for key, (first, total, std) in recorded.items():
        x = weights[key].detach().double()
        assert x.flatten()[0].item() == first
        assert x.sum().item() == pytest.approx(total, rel=1e-12, abs=1e-9)
        assert x.std(correction=0).item() == pytest.approx(std, rel=1e-12, abs=1e-12)


@pytest.mark.parametrize(
    ("depth", "parameters"),
    [(18, 3_848_832), (34, 7_223_168), (50, 15_959_168), (101, 28_266_624), (152, 38_405_248)],
)
def test_resnets_have_the_published_number_of_parameters(depth, parameters):
    with torch.device("meta"):
        network = build_network({"_name": "vanilla_resnet", "configuration": f"resnet{depth}"})
    assert sum(p.numel() for p in network.parameters()) == parameters


def test_resnet_gives_what_is_recorded(shared):
    recorded = np.load(shared / "golden" / "rest" / "vanilla_resnet18.npz")
    torch.manual_seed(int(recorded["seed"]))
    model = as_model(PUBLISHED["vanilla_resnet18"])
    source = torch.from_numpy(recorded["source"])

    def compare(name: str, x: torch.Tensor) -> None:
        np.testing.assert_allclose(x.numpy(), recorded[name], rtol=1e-5, atol=1e-5)

    with torch.no_grad():
        compare("x_eval", model.eval()(source)["x"])
        compare("x_train_mode", model.train()(source)["x"])
        compare("x_eval_after_one_train_forward", model.eval()(source)["x"])
        compare("x_eval_normalized", model(source, normalize=True)["x"])
