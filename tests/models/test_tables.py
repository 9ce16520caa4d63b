"""Every encoder of the table with every head; `tests/test_recipes.py` adds to both tables."""

import threading

import pytest
import torch
from fairseq.models import MODEL_DATACLASS_REGISTRY, MODEL_REGISTRY
from omegaconf import OmegaConf

import fairseq_ecg.tasks  # noqa: F401 (registers)
from fairseq_ecg.modules import ENCODERS, HEADS, ECGTransformer, FrameEncoder, build_network
from fairseq_ecg.modules.registry import head_class, networks
from fairseq_ecg.options import REQUIRED, options_of
from tests.models.networks import check_head_on_encoder, check_network, covering, tiny

EXPORTED = covering(networks())


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("encoder", ENCODERS)
def test_every_encoder_takes_every_head(encoder, head):
    check_head_on_encoder(encoder, head)


@pytest.mark.parametrize("name", networks())
def test_every_network_is_trained_loaded_and_exported(name, tmp_path):
    check_network(name, tmp_path, exports=name in EXPORTED)


@pytest.mark.parametrize(
    ("name", "option"),
    [
        (name, option.name)
        for name, (encoder, head) in networks().items()
        if head is not None
        for option in options_of(head_class(ENCODERS[encoder], head)).values()
        if option.default is REQUIRED
    ],
)
def test_an_option_that_is_needed_and_missing_is_named(name, option):
    cfg = {key: value for key, value in tiny(name).items() if key != option}
    with pytest.raises(ValueError, match=rf"{option}, .+, is missing: set model\.{option}"):
        build_network(cfg)
    model = MODEL_REGISTRY[name]
    cfg = OmegaConf.merge(OmegaConf.structured(MODEL_DATACLASS_REGISTRY[name]), cfg)
    with pytest.raises(ValueError, match=rf"is missing: set model\.{option}"):
        model.build_model(cfg, None)


@pytest.mark.parametrize(
    "name", [name for name, encoder in ENCODERS.items() if issubclass(encoder, ECGTransformer)]
)
def test_runs_side_by_side_get_what_each_asks_for(name):
    """Attention weights and hidden states belong to a run, not to the network."""
    network = FrameEncoder(build_network(tiny(name))).eval()
    source = torch.randn(2, 12, 640)
    with torch.no_grad():
        expected = network(source)["encoder_out"]
    barrier = threading.Barrier(2, timeout=30)

    def wait_for_the_other(*_) -> None:
        barrier.wait()

    handle = network.encoder.feature_extractor.register_forward_hook(wait_for_the_other)
    found = {}

    def run(saliency):
        for number in range(5):
            states = [] if saliency else None
            with torch.no_grad():
                out = network(source, saliency=saliency, hidden_states=states)
            found[saliency, number] = out, states

    threads = [threading.Thread(target=run, args=(saliency,)) for saliency in (True, False)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    handle.remove()
    assert len(found) == 10
    for (saliency, _), (out, states) in found.items():
        assert (out["saliency"] is not None) == saliency
        torch.testing.assert_close(out["encoder_out"], expected, rtol=1e-5, atol=1e-5)
        if saliency:
            assert out["saliency"].shape == (2, 1, 40, 40)
            assert len(states) == 2
            assert torch.equal(states[-1], out["encoder_out"])
    assert network.encoder.encoder.saliency is False
