"""What ``ops.py`` times: a function for each operation of ``fairseq_ecg.ops``, in ``CASES``.

To add an operation, write a function that yields its cases and put it into ``CASES``. Backends are
chosen by the environment variable, so that a case only calls the operation's public function; which
backends it has is read from ``fairseq_ecg.ops.backends.OPERATIONS``.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from fairseq_ecg.ops.attention import attention
from fairseq_ecg.ops.augment import apply_batch, augment, build_augmentations, draw_batch
from fairseq_ecg.ops.augment import reference as augment_reference
from fairseq_ecg.ops.augment.batch import describe
from fairseq_ecg.ops.contrast import contrast
from fairseq_ecg.ops.contrast import reference as contrast_reference
from fairseq_ecg.ops.contrast import torch_kernel as contrast_torch
from fairseq_ecg.ops.dropout import dropout
from fairseq_ecg.ops.infonce import infonce
from fairseq_ecg.ops.infonce import torch_kernel as infonce_torch
from fairseq_ecg.ops.infonce_over_pool import infonce_over_pool
from fairseq_ecg.ops.negatives import sample_negatives
from fairseq_ecg.ops.philox import origin
from fairseq_ecg.ops.pooling import mean_of_nonzero
from fairseq_ecg.ops.positional_conv import positional_conv
from fairseq_ecg.ops.positional_conv import reference as conv_reference
from fairseq_ecg.ops.positional_conv import torch_kernel as conv_torch
from fairseq_ecg.ops.quantize import quantize
from fairseq_ecg.ops.quantize import torch_kernel as quantize_torch
from tests.ops.test_attention import by_the_definition as attention_by_the_definition
from tests.ops.test_infonce import by_the_definition
from tests.ops.test_infonce_over_pool import by_the_definition as over_pool_by_the_definition

FLOAT = 4  # bytes
CHANNELS, NEGATIVES = 256, 100  # of the published model
GROUPS, WORDS = 2, 320
FEATURES, FRAMES = 768, 156
TEMPERATURE, LEAST_NORM = 0.1, 1e-8
BATCHES = (8, 128)  # segments, where a case does not have its own

Outputs = tuple[Tensor, ...]
Both = Callable[..., tuple[Outputs, Sequence[Tensor]]]


@dataclass
class Case:
    """One operation at one shape.

    Attributes:
        operation: its name.
        shape: the sizes, for people.
        inputs: floating-point tensors that the operation is differentiated by.
        run: gives the outputs from the inputs, those with a gradient first.
        grad_outputs: gradients of the differentiable outputs, where backward begins; none where
            there is no gradient.
        definition: gives in float64, from inputs, the outputs and the gradients to be found.
        parts: takes from what was found the part that ``definition`` speaks of.
        tolerance: largest error of outputs and gradients, relative to the largest number there.
        bytes: that must be read or written at least, forward, and forward and backward.
        operations: floating-point operations likewise.
        plain: the fastest way in plain torch as two functions for ``torch.compile``, forward,
            and forward and backward; None: the public function under the backend ``reference``.
        upstream: fairseq_signals' own way where the reference is another one. Its random numbers
            are its own, so that nothing can be compared.
    """

    operation: str
    shape: str
    inputs: Sequence[Tensor]
    run: Callable[..., Outputs]
    grad_outputs: Sequence[Tensor]
    definition: Callable[[], tuple[Outputs, Sequence[Tensor]]]
    parts: Callable[[Both], tuple[Outputs, Sequence[Tensor]]]
    tolerance: float
    bytes: tuple[int, int]
    operations: tuple[int, int]
    plain: tuple[Callable[..., Outputs], Both | None] | None = None
    upstream: Callable[[], object] | None = None

    def both(
        self, *inputs: Tensor, run: Callable | None = None
    ) -> tuple[Outputs, Sequence[Tensor]]:
        """Run forward and backward; return outputs and gradients with respect to the inputs."""
        leaves = [tensor.detach().requires_grad_(bool(self.grad_outputs)) for tensor in inputs]
        outputs = (run or self.run)(*leaves)
        if not self.grad_outputs:
            return outputs, ()
        differentiable = outputs[: len(self.grad_outputs)]
        gradients = torch.autograd.grad(differentiable, leaves, self.grad_outputs)
        return tuple(output.detach() for output in outputs), gradients


def infonce_cases(device: torch.device, batches: Sequence[int] = ()) -> Iterator[Case]:
    """Yield the contrastive loss at the numbers of masked frames that occur."""
    for batch in batches or BATCHES:
        for frames in (55, 77, 96):
            yield _infonce_case(device, batch, frames)


def _infonce_case(device: torch.device, batch: int, frames: int) -> Case:
    generator = torch.Generator().manual_seed(frames)
    # As many targets are equal as when two codebooks are in full use: some of a row.
    codes = torch.randn(WORDS, CHANNELS, generator=generator)
    chosen = torch.randint(WORDS, (batch, frames), generator=generator)
    targets = codes[chosen]
    noise = torch.randn(targets.shape, generator=generator)
    torch.manual_seed(frames)
    negatives = sample_negatives(batch, frames, NEGATIVES)
    x, y, indices = (t.to(device) for t in (targets + noise, targets, negatives))

    def run(x: Tensor, y: Tensor, indices: Tensor = indices) -> Outputs:
        result = infonce(x, y, indices, TEMPERATURE)
        return result.loss, result.correct

    given = indices, None, NEGATIVES, TEMPERATURE

    def plain(x: Tensor, y: Tensor) -> Outputs:
        losses, correct, _, _ = infonce_torch.infonce(x, y, *given, gradient=False)
        return losses.sum(), correct.sum()

    def plain_both(x: Tensor, y: Tensor) -> tuple[Outputs, Sequence[Tensor]]:
        losses, correct, grad_x, grad_y = infonce_torch.infonce(x, y, *given, gradient=True)
        return (losses.sum(), correct.sum()), (grad_x, grad_y)

    # Rows do not depend on one another: the first and the last stand for all.
    rows = [0, batch - 1]
    shift = frames * (torch.tensor(rows) - torch.arange(len(rows))).unsqueeze(1)

    def definition() -> tuple[Outputs, Sequence[Tensor]]:
        leaves = [t[rows].double().requires_grad_() for t in (x.cpu(), y.cpu())]
        result = by_the_definition(*leaves, negatives[rows] - shift, TEMPERATURE)
        gradients = torch.autograd.grad(result.loss, leaves)
        return (result.loss.detach(), result.correct), gradients

    def parts(both: Both) -> tuple[Outputs, Sequence[Tensor]]:
        _, gradients = both(x, y)
        gradients = [gradient[rows] for gradient in gradients]
        return run(x[rows], y[rows], (negatives[rows] - shift).to(device)), gradients

    vectors = batch * frames * CHANNELS * FLOAT
    drawn = negatives.numel() * negatives.element_size()
    product = 2 * batch * frames**2 * CHANNELS
    return Case(
        "infonce",
        f"B={batch} M={frames}",
        (x, y),
        run,
        [torch.ones((), device=device)],
        definition,
        parts,
        tolerance=1e-5,
        bytes=(2 * vectors + drawn, 4 * vectors + drawn),
        operations=(product, 3 * product),
        plain=(plain, plain_both),
    )


def infonce_over_pool_cases(device: torch.device, batches: Sequence[int] = ()) -> Iterator[Case]:
    """Yield the contrastive loss over negatives of the whole batch."""
    frames = 77
    for batch in batches or (8,):
        generator = torch.Generator().manual_seed(batch)
        shape = (batch, frames, CHANNELS)
        x, y = (torch.randn(shape, generator=generator).to(device) for _ in range(2))
        drawn = (batch, frames * NEGATIVES)
        negatives = torch.randint(batch * frames, drawn, generator=generator).to(device)

        def run(x: Tensor, y: Tensor, negatives: Tensor = negatives) -> Outputs:
            result = infonce_over_pool(x, y, y.flatten(0, 1), negatives, TEMPERATURE)
            return result.loss, result.correct

        def definition(x=x, y=y, negatives=negatives) -> tuple[Outputs, Sequence[Tensor]]:
            leaves = [t.cpu().double().requires_grad_() for t in (x, y)]
            pool = leaves[1].flatten(0, 1)
            result = over_pool_by_the_definition(*leaves, pool, negatives.cpu(), TEMPERATURE)
            gradients = torch.autograd.grad(result.loss, leaves)
            return (result.loss.detach(), result.correct), gradients

        def parts(both: Both, x=x, y=y):
            return both(x, y)

        vectors, indices = x.numel() * FLOAT, negatives.numel() * negatives.element_size()
        products = 2 * negatives.numel() * CHANNELS
        yield Case(
            "infonce_over_pool",
            f"B={batch} M={frames}",
            (x, y),
            run,
            [torch.ones((), device=device)],
            definition,
            parts,
            tolerance=1e-5,
            bytes=(2 * vectors + indices, 4 * vectors + indices),
            operations=(products, 3 * products),
        )


def quantize_cases(device: torch.device, batches: Sequence[int] = ()) -> Iterator[Case]:
    """Yield the quantizer in training, its random numbers included."""
    for batch in batches or BATCHES:
        for frames in (55, 77, 96):
            yield _quantize_case(device, batch, frames)


def _quantize_case(device: torch.device, batch: int, frames: int) -> Case:
    count, width = batch * frames, CHANNELS // GROUPS
    generator = torch.Generator().manual_seed(frames)
    logits = torch.randn(count, GROUPS, WORDS, generator=generator).to(device)
    codebook = torch.rand(GROUPS, WORDS, width, generator=generator).to(device)
    grad_codes = torch.randn(count, CHANNELS, generator=generator).to(device)
    grad_perplexity = torch.ones((), device=device)
    temperature = 2.0

    def run(logits: Tensor, codebook: Tensor) -> Outputs:
        codes, code_perplexity, prob_perplexity = quantize(logits, codebook, temperature, True)
        return codes, prob_perplexity, code_perplexity

    tau = torch.full((), temperature, device=device)

    def choose(logits: Tensor, codebook: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        noise = torch.empty_like(logits).exponential_()
        return noise, quantize_torch.quantize(logits, codebook, noise, tau)

    def plain(logits: Tensor, codebook: Tensor) -> Outputs:
        codes, _, perplexities, _ = choose(logits, codebook)[1]
        return codes.flatten(1), perplexities[1], perplexities[0]

    def plain_both(logits: Tensor, codebook: Tensor) -> tuple[Outputs, Sequence[Tensor]]:
        noise, (codes, choices, perplexities, grad_probs) = choose(logits, codebook)
        of_groups = grad_codes.view_as(codes)
        grad_choices = torch.bmm(of_groups.transpose(0, 1), codebook.mT)
        grad_logits = quantize_torch.quantize_grad_logits(
            logits, noise, grad_choices, grad_probs, grad_perplexity, tau
        )
        grad_codebook = quantize_torch.quantize_grad_codebook(choices, of_groups, WORDS)
        return (codes.flatten(1), perplexities[1], perplexities[0]), (grad_logits, grad_codebook)

    def perplexity(shares: Tensor) -> Tensor:
        return torch.exp(-(shares * (shares + 1e-7).log()).sum(dim=-1)).sum()

    def definition() -> tuple[Outputs, Sequence[Tensor]]:
        scores, codewords = (t.double().requires_grad_() for t in (logits, codebook))
        torch.manual_seed(0)
        noise = torch.empty(count * GROUPS, WORDS, device=device).exponential_()
        noisy = scores - noise.log().double().view_as(scores)
        soft = (noisy / temperature).softmax(dim=-1)
        choice = F.one_hot(soft.argmax(dim=-1), WORDS) - soft.detach() + soft
        codes = torch.einsum("ngv,gvd->ngd", choice, codewords).flatten(1)
        hard = F.one_hot(scores.argmax(dim=-1), WORDS).double()
        probable = perplexity(scores.softmax(dim=-1).mean(dim=0))
        gradients = torch.autograd.grad(
            (codes, probable), (scores, codewords), (grad_codes.double(), grad_perplexity.double())
        )
        return (codes.detach(), probable.detach(), perplexity(hard.mean(dim=0))), gradients

    def parts(both: Both) -> tuple[Outputs, Sequence[Tensor]]:
        torch.manual_seed(0)
        return both(logits, codebook)

    scores, codewords, codes = (FLOAT * t.numel() for t in (logits, codebook, grad_codes))
    forward = scores + codewords + codes
    return Case(
        "quantize",
        f"B={batch} M={frames}",
        (logits, codebook),
        run,
        [grad_codes, grad_perplexity],
        definition,
        parts,
        tolerance=1e-5,
        bytes=(forward, 2 * forward + scores),
        # Backward multiplies the gradient of codes with every word.
        operations=(0, 2 * count * WORDS * CHANNELS),
        plain=(plain, plain_both),
    )


def contrast_cases(device: torch.device, batches: Sequence[int] = ()) -> Iterator[Case]:
    """Yield the contrastive losses over pairs of segments, and over two views of each recording."""
    for way, pairs in (("CMSC", 64), ("CMSC", 128), ("SimCLR", 64), ("SimCLR", 128)):
        generator = torch.Generator().manual_seed(pairs)
        features = torch.randn(2 * pairs, FEATURES, generator=generator).to(device)
        group = torch.arange(pairs, dtype=torch.int32, device=device).repeat_interleave(2)
        segment = torch.tensor([0, 1], dtype=torch.int32, device=device).repeat(pairs)
        ids = [group, segment if way == "CMSC" else None]

        def run(features: Tensor, ids=ids) -> Outputs:
            return (contrast(features, *ids, TEMPERATURE).loss,)

        given = *(None if each is None else each.long() for each in ids), TEMPERATURE, LEAST_NORM

        def plain(features: Tensor, given=given) -> Outputs:
            return (contrast_torch.contrast(features, *given, gradient=False)[0],)

        def plain_both(features: Tensor, given=given) -> tuple[Outputs, Sequence[Tensor]]:
            loss, _, grad_features = contrast_torch.contrast(features, *given, gradient=True)
            return (loss,), (grad_features,)

        def definition(features=features, ids=ids):
            leaf = features.double().requires_grad_()
            loss, _ = contrast_reference.contrast(leaf, *ids, TEMPERATURE, LEAST_NORM)
            return (loss.detach(),), torch.autograd.grad(loss, leaf)

        def parts(both: Both, features=features):
            return both(features)

        product = (2 if way == "CMSC" else 8) * pairs**2 * FEATURES
        yield Case(
            "contrast",
            f"{way}, {pairs} pairs",
            (features,),
            run,
            [torch.ones((), device=device)],
            definition,
            parts,
            tolerance=1e-5,
            bytes=(FLOAT * features.numel(), 2 * FLOAT * features.numel()),
            operations=(product, 2 * product if way == "SimCLR" else 3 * product),
            plain=(plain, plain_both),
        )


def pooling_cases(device: torch.device, batches: Sequence[int] = ()) -> Iterator[Case]:
    """Yield the pooling of a segment's frames, some of the last ones being padding."""
    for batch in batches or BATCHES:
        generator = torch.Generator().manual_seed(batch)
        x = torch.randn(batch, FRAMES, FEATURES, generator=generator).to(device)
        lengths = torch.randint(FRAMES // 2, FRAMES + 1, (batch, 1), generator=generator)
        padding = (torch.arange(FRAMES) >= lengths).to(device)
        grad_means = torch.randn(batch, FEATURES, generator=generator).to(device)

        def run(x: Tensor, padding=padding) -> Outputs:
            return (mean_of_nonzero(x, padding),)

        def definition(x=x, padding=padding, grad_means=grad_means):
            leaf = x.double().requires_grad_()
            kept = leaf.masked_fill(padding.unsqueeze(-1), 0)
            means = kept.sum(dim=1) / (kept != 0).sum(dim=1)
            return (means.detach(),), torch.autograd.grad(means, leaf, grad_means.double())

        def parts(both: Both, x=x):
            return both(x)

        yield Case(
            "pooling",
            f"B={batch}",
            (x,),
            run,
            [grad_means],
            definition,
            parts,
            tolerance=1e-5,
            bytes=(FLOAT * x.numel(), 2 * FLOAT * x.numel()),
            operations=(0, 0),
        )


def attention_cases(device: torch.device, batches: Sequence[int] = ()) -> Iterator[Case]:
    """Yield self-attention of a layer in training, without dropout, which nobody could compare."""
    heads = 12
    for batch in batches or BATCHES:
        generator = torch.Generator().manual_seed(batch)
        shape = (batch, FRAMES, FEATURES)
        q, k, v, grad_y = (torch.randn(shape, generator=generator).to(device) for _ in "qkvy")

        def run(q: Tensor, k: Tensor, v: Tensor) -> Outputs:
            return (attention(q, k, v, heads, training=True),)

        # Rows do not depend on one another.
        def definition(q=q, k=k, v=v, grad_y=grad_y):
            leaves = [t[:1].double().requires_grad_() for t in (q, k, v)]
            y = attention_by_the_definition(*leaves, heads)
            return (y.detach(),), torch.autograd.grad(y, leaves, grad_y[:1].double())

        def parts(both: Both, q=q, k=k, v=v):
            (y,), gradients = both(q, k, v)
            return (y[:1],), [gradient[:1] for gradient in gradients]

        product = 2 * batch * FRAMES**2 * FEATURES
        yield Case(
            "attention",
            f"B={batch}",
            (q, k, v),
            run,
            [grad_y],
            definition,
            parts,
            tolerance=1e-5,
            bytes=(4 * FLOAT * q.numel(), 8 * FLOAT * q.numel()),
            operations=(2 * product, 6 * product),
        )


def dropout_cases(device: torch.device, batches: Sequence[int] = ()) -> Iterator[Case]:
    """Yield dropout of a layer's output, with the residual that is added to it."""
    p = 0.1
    for batch in batches or BATCHES:
        generator = torch.Generator().manual_seed(batch)
        shape = (batch, FRAMES, FEATURES)
        x, residual, grad_y = (torch.randn(shape, generator=generator).to(device) for _ in "xyz")

        def run(x: Tensor, residual: Tensor) -> Outputs:
            return (dropout(x, p, True, residual),)

        def definition(x=x, residual=residual, grad_y=grad_y):
            kept = residual.double() + x.double() / (1 - p)
            return (kept,), (grad_y.double() / (1 - p), grad_y.double())

        def parts(both: Both, x=x, residual=residual, grad_y=grad_y):
            """Put in what was dropped, in gradients where it was dropped in the output."""
            (y,), (grad_x, grad_residual) = both(x, residual)
            was_dropped = y == residual
            y = torch.where(was_dropped, residual + x / (1 - p), y)
            return (y,), (torch.where(was_dropped, grad_y / (1 - p), grad_x), grad_residual)

        yield Case(
            "dropout",
            f"B={batch}",
            (x, residual),
            run,
            [grad_y],
            definition,
            parts,
            tolerance=1e-6,
            bytes=(3 * FLOAT * x.numel(), 5 * FLOAT * x.numel()),
            operations=(0, 0),
        )


def positional_conv_cases(device: torch.device, batches: Sequence[int] = ()) -> Iterator[Case]:
    """Yield the positional convolution of the published model."""
    groups, kernel = 16, 128
    for batch in batches or BATCHES:
        generator = torch.Generator().manual_seed(batch)
        x, grad_y = (torch.randn(batch, FRAMES, FEATURES, generator=generator) for _ in "xy")
        weight = torch.randn(FEATURES, FEATURES // groups, kernel, generator=generator)
        weight, bias = weight * 0.006, torch.randn(FEATURES, generator=generator)
        inputs = tuple(tensor.to(device) for tensor in (x, weight, bias))

        def run(x: Tensor, weight: Tensor, bias: Tensor) -> Outputs:
            return (positional_conv(x, weight, bias, groups),)

        def plain(x: Tensor, weight: Tensor, bias: Tensor) -> Outputs:
            return (conv_torch.positional_conv(x, weight, bias, groups),)

        # Rows do not depend on one another, and a whole batch in float64 takes minutes.
        def definition(inputs=inputs, grad_y=grad_y):
            row, *others = (tensor.double() for tensor in (inputs[0][:1], *inputs[1:]))
            row.requires_grad_()
            y = conv_reference.positional_conv(row, *others, groups)
            return (y.detach(),), torch.autograd.grad(y, row, grad_y[:1].to(device).double())

        def parts(both: Both, inputs=inputs):
            (y,), gradients = both(*inputs)
            return (y[:1],), (gradients[0][:1],)

        products = 2 * kernel * FRAMES * batch * FEATURES**2 // groups
        moved = sum(tensor.numel() for tensor in (*inputs, grad_y)) * FLOAT
        yield Case(
            "positional_conv",
            f"B={batch}",
            inputs,
            run,
            [grad_y.to(device)],
            definition,
            parts,
            tolerance=1e-5,
            bytes=(moved, 2 * moved),
            operations=(products, 3 * products),
            plain=(plain, None),
        )


def augment_cases(device: torch.device, batches: Sequence[int] = ()) -> Iterator[Case]:
    """Yield the recipe of all five augmentations over segments of 5 s at 500 Hz."""
    names = ["powerline_noise", "emg_noise", "baseline_shift", "baseline_wander"]
    recipe = build_augmentations([*names, "random_leads_masking"])
    leads, samples, rate = 12, 2500, 500
    # A loader's batch is that of several steps.
    for batch in batches or ((128, 1024) if device.type == "cuda" else (128,)):
        generator = torch.Generator().manual_seed(batch)
        ecgs = torch.randn(batch, leads, samples, generator=generator)
        origins = torch.stack([origin(1, 1, record, 0) for record in range(batch)])
        draws = draw_batch(
            recipe,
            origins,
            sample_rates=torch.full((batch,), float(rate)),
            lengths=torch.full((batch,), samples),
            layouts=torch.arange(leads).expand(batch, -1),
        )
        draws = {name: tensor.to(device) for name, tensor in draws.items()}

        def run(ecgs: Tensor, draws=draws) -> Outputs:
            return (apply_batch(ecgs, recipe, draws),)

        def plain(ecgs: Tensor, draws=draws) -> Outputs:
            tensors = (draws[name] for name in ("parameters", "origins", "layouts"))
            return (augment_reference.augment(ecgs, *tensors, None, describe(recipe)),)

        def definition(ecgs=ecgs, draws=draws):
            return (apply_batch(ecgs.to(device), recipe, draws, backend="reference"),), ()

        def parts(both: Both, ecgs=ecgs):
            return both(ecgs.to(device))

        def upstream(ecgs=ecgs) -> None:
            for record, ecg in enumerate(ecgs):
                augment(ecg, recipe, np.random.RandomState(record), sample_rate=rate)

        yield Case(
            "augment",
            f"B={batch}",
            (ecgs.to(device),),
            run,
            [],
            definition,
            parts,
            tolerance=1e-5,
            bytes=(2 * FLOAT * ecgs.numel(), 0),
            operations=(0, 0),
            plain=(plain, None),
            upstream=upstream,
        )


CASES: dict[str, Callable[..., Iterator[Case]]] = {
    "infonce": infonce_cases,
    "infonce_over_pool": infonce_over_pool_cases,
    "quantize": quantize_cases,
    "contrast": contrast_cases,
    "pooling": pooling_cases,
    "attention": attention_cases,
    "dropout": dropout_cases,
    "positional_conv": positional_conv_cases,
    "augment": augment_cases,
}
