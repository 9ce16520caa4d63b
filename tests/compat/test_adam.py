import copy

import pytest
import torch
from fairseq.optim.adam import Adam as FairseqAdam

from fairseq_ecg.compat.adam import FusedAdam
from fairseq_ecg.ops.backends import VARIABLE

SHAPES = [(40, 30), (30,), (7, 5, 3), ()]
OPTIONS = {"lr": 1e-2, "betas": (0.9, 0.98), "eps": 1e-6, "weight_decay": 0.01}


@pytest.fixture(autouse=True)
def fastest_backend(monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)


def parameters():
    torch.manual_seed(0)
    return [torch.nn.Parameter(torch.randn(shape)) for shape in SHAPES]


def give_gradients(parameters, step):
    generator = torch.Generator().manual_seed(step)
    for i, parameter in enumerate(parameters):
        # Gradients of all sizes: eps counts where the second moment is small.
        gradient = torch.randn(parameter.shape, generator=generator) * 10.0 ** (-2 * i)
        # The last parameter gets no gradient at first, and is a step behind ever after.
        parameter.grad = None if step == 0 and i == len(SHAPES) - 1 else gradient


def test_numbers_and_state_are_fairseqs():
    ours, theirs = parameters(), parameters()
    fused, plain = FusedAdam(ours, **OPTIONS), FairseqAdam(theirs, **OPTIONS)
    for step in range(30):
        for group in (*fused.param_groups, *plain.param_groups):
            group["lr"] = 1e-2 * 0.9**step
        for each, optimizer in ((ours, fused), (theirs, plain)):
            give_gradients(each, step)
            optimizer.step()
    for one, other in zip(ours, theirs, strict=True):
        # Rounding of 30 steps, each of at most 1e-2.
        torch.testing.assert_close(one, other, rtol=2e-6, atol=2e-7)
        state, expected = fused.state[one], plain.state[other]
        assert list(state) == list(expected)
        assert (type(state["step"]), state["step"]) == (int, expected["step"])
        for key in ("exp_avg", "exp_avg_sq"):
            # Gradients of either sign cancel in the first moment, their rounding does not.
            atol = 3e-7 * expected[key].abs().max().item()
            torch.testing.assert_close(state[key], expected[key], rtol=2e-6, atol=atol)


def test_runs_of_fairseqs_adam_are_continued():
    old = parameters()
    plain = FairseqAdam(old, **OPTIONS)
    for step in range(5):
        give_gradients(old, step)
        plain.step()
    new = [torch.nn.Parameter(parameter.detach().clone()) for parameter in old]
    fused = FusedAdam(new, **OPTIONS)
    fused.load_state_dict(copy.deepcopy(plain.state_dict()))
    for each, optimizer in ((old, plain), (new, fused)):
        give_gradients(each, 5)
        optimizer.step()
    torch.testing.assert_close(new, old, rtol=1e-6, atol=1e-7)
    assert [state["step"] for state in fused.state.values()] == [6, 6, 6, 5]


@pytest.mark.parametrize("backend", ["reference", None])
def test_other_types_and_the_reference_take_fairseqs_loop(backend, monkeypatch):
    if backend is not None:
        monkeypatch.setenv(VARIABLE, backend)
    dtype = torch.float32 if backend else torch.bfloat16
    ours, theirs = ([p.detach().to(dtype).requires_grad_() for p in parameters()] for _ in "ab")
    for each, kind in ((ours, FusedAdam), (theirs, FairseqAdam)):
        optimizer = kind(each, **OPTIONS)
        for step in range(3):
            give_gradients([p for p in each if dtype == torch.float32], step)
            for p in each:
                if dtype == torch.bfloat16:
                    p.grad = torch.ones_like(p)
            optimizer.step()
    assert all(map(torch.equal, ours, theirs))
