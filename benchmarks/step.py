"""Time one training step of the published 90.9 M model, whole and by component.

    python benchmarks/step.py [--batch 8] [--device cuda] [--variants NAME ...]

The model, its criterion and its optimizer come from ``configs/w2v_cmsc_rlm.yaml``; a step is
forward, loss, backward, clip and optimizer over synthetic segments, two of each recording, as
fairseq's trainer runs it without gradient accumulation. Variants differ in precision and in
whether they are compiled; those named ``upstream`` run the reference of every operation and
upstream's optimizer.
"""

import argparse
import functools
import importlib
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import fairseq.optim.adam
import numpy as np
import torch
from fairseq.criterions import CRITERION_DATACLASS_REGISTRY, build_criterion
from fairseq.dataclass.utils import merge_with_parent
from fairseq.models import MODEL_DATACLASS_REGISTRY, MODEL_REGISTRY
from fairseq.optim import OPTIMIZER_DATACLASS_REGISTRY, build_optimizer
from omegaconf import OmegaConf
from torch import nn
from torch.autograd import DeviceType
from torch.autograd.profiler_util import FunctionEvent
from torch.profiler import ProfilerActivity, profile, record_function

import fairseq_ecg.tasks  # noqa: F401  (registers models, criterions and the optimizer)
from benchmarks import common
from fairseq_ecg.ops.backends import VARIABLE
from fairseq_ecg.ops.frames import frame_count
from fairseq_ecg.ops.masking import compute_mask_indices
from fairseq_ecg.ops.negatives import sample_negatives
from fairseq_ecg.ops.philox import origin

CONFIG = "configs/w2v_cmsc_rlm.yaml"
SAMPLES = 2500  # of a segment: 5 s at 500 Hz
LEADS = 12

PART = "part: "
FUNCTIONS = (
    ("fairseq_ecg.criterions.wav2vec2", "infonce", "contrastive loss"),
    ("fairseq_ecg.criterions.contrast", "contrast", "CMSC"),
    ("fairseq_ecg.modules.wav2vec2", "mean_of_nonzero", "CMSC"),
    ("fairseq_ecg.modules.masking", "compute_mask_indices", "masks, negatives"),
    ("fairseq_ecg.modules.wav2vec2", "sample_negatives", "masks, negatives"),
)
"""Functions, where they are looked up, and the component that their time belongs to."""

COMPONENTS = (
    "extractor",
    "positional conv",
    "layers: GEMM",
    "layers: attention",
    "layers: rest",
    "quantizer",
    "contrastive loss",
    "CMSC",
    "masks, negatives",
    "projections, other",
    "clip",
    "optimizer",
)
BACKWARD = "autograd::engine::evaluate_function"
PRODUCTS = {"aten::mm", "aten::addmm"}
# In a layer only attention has batches of products.
OF_ATTENTION = {"aten::bmm", "aten::baddbmm", "aten::_softmax", "aten::_softmax_backward_data"}


@dataclass(frozen=True)
class Variant:
    """One way to run the step.

    Attributes:
        upstream: whether with fairseq_signals' formulation of every operation and of Adam.
        dtype: of the arithmetic; other than float32 under autocast.
        is_compiled: whether by ``torch.compile``.
    """

    upstream: bool = False
    dtype: torch.dtype = torch.float32
    is_compiled: bool = False


VARIANTS = {
    "upstream fp32": Variant(upstream=True),
    "upstream bf16": Variant(upstream=True, dtype=torch.bfloat16),
    "fp32": Variant(),
    "bf16": Variant(dtype=torch.bfloat16),
    "fp32 compiled": Variant(is_compiled=True),
    "bf16 compiled": Variant(dtype=torch.bfloat16, is_compiled=True),
}


class Step:
    """The model with what a step needs, for all variants.

    Args:
        device: where it trains.
        batch: segments, an even number.
    """

    def __init__(self, device: torch.device, batch: int):
        self.device = device
        torch.manual_seed(0)
        cfg = OmegaConf.load(common.ROOT / CONFIG)
        self.clip_norm = cfg.optimization.get("clip_norm", 0.0)
        defaults = MODEL_DATACLASS_REGISTRY[cfg.model._name]()
        model_cfg = merge_with_parent(defaults, cfg.model)
        self.model = MODEL_REGISTRY[cfg.model._name].build_model(model_cfg, None).to(device)
        self.compiled = torch.compile(self.model)
        defaults = CRITERION_DATACLASS_REGISTRY[cfg.criterion._name]()
        self.criterion = build_criterion(merge_with_parent(defaults, cfg.criterion), None)

        cfg.optimizer.lr = cfg.optimization.lr
        defaults = OPTIMIZER_DATACLASS_REGISTRY[cfg.optimizer._name]()
        optimizer_cfg = merge_with_parent(defaults, cfg.optimizer)
        self.optimizer = build_optimizer(optimizer_cfg, self.model.parameters())
        self.upstream_optimizer = build_optimizer(optimizer_cfg, self.model.parameters())
        self.upstream_optimizer._optimizer = fairseq.optim.adam.Adam(
            self.model.parameters(), **self.upstream_optimizer.optimizer_config
        )

        recordings = torch.arange(batch // 2, dtype=torch.int32)
        self.sample = {
            "id": torch.arange(batch, device=device),
            "net_input": {"source": torch.randn(batch, LEADS, SAMPLES, device=device)},
            "patient_id": recordings.repeat_interleave(2).to(device),
            "segment": torch.tensor([0, 1], dtype=torch.int32).repeat(batch // 2).to(device),
        }

    def __call__(self, variant: Variant, seed: int = 0) -> None:
        """Run a whole step.

        Args:
            variant: how.
            seed: of masks, negatives and dropout; the number of masked frames depends on it.
        """
        optimizer = self.upstream_optimizer if variant.upstream else self.optimizer
        optimizer.zero_grad()
        size = self.gradients(variant, seed=seed)
        with record_function(PART + "clip"):
            optimizer.multiply_grads(1 / size)
            optimizer.clip_grad_norm(self.clip_norm)
        with record_function(PART + "optimizer"):
            optimizer.step()

    def gradients(self, variant: Variant, seed: int = 0, **net_input: torch.Tensor) -> int:
        """Run forward, loss and backward; return the sample size. See :meth:`__call__`."""
        np.random.seed(seed)
        torch.manual_seed(seed)
        model = self.compiled if variant.is_compiled else self.model
        if not variant.upstream:
            # What the loader's processes draw; upstream's model draws it in the step.
            net_input = self.drawn_by_loader(seed) | net_input
        sample = self.sample | {"net_input": self.sample["net_input"] | net_input}
        backend = {VARIABLE: "reference" if variant.upstream else None}
        with common.environment(backend):
            is_low = variant.dtype != torch.float32
            with torch.autocast(self.device.type, variant.dtype, enabled=is_low):
                loss, size, self.log = self.criterion(model, sample)
            loss.backward()
        return size

    def check(self, names: list[str]) -> None:
        """Compare losses and gradients of variants with upstream's in float32.

        This runs in evaluation mode with masks and negatives given, so that nothing is drawn.

        Args:
            names: of the variants.

        Raises:
            WrongResultError: a variant's are farther off than its precision explains.
        """
        self.model.eval()
        self.criterion.eval()
        given = {"masked_frames": self.drawn_by_loader(0)["masked_frames"]}
        batch, count = given["masked_frames"].shape
        drawn = sample_negatives(batch, count, self.model.num_negatives)
        given["negative_indices"] = drawn.to(self.device)
        expected = None
        for name in dict.fromkeys(["upstream fp32", *names]):
            self.model.zero_grad()
            self.gradients(VARIANTS[name], **given)
            with torch.no_grad():
                norm = nn.utils.get_total_norm([p.grad for p in self.model.parameters()]).item()
            found = {"loss": self.log["loss"], "gradient norm": norm}
            expected = expected or found
            tolerance = 2e-4 if VARIANTS[name].dtype == torch.float32 else 5e-2
            for key, value in found.items():
                error = abs(value / expected[key] - 1)
                print(f"{name:14} {key:13} {value:.7g}, {error:.1e} from upstream's", flush=True)
                if not error <= tolerance:
                    raise common.WrongResultError(f"{name}: {key} is off by {error:.1e}")
        self.model.train()
        self.criterion.train()

    @functools.cache  # noqa: B019 (there is one step in a process)
    def drawn_by_loader(self, seed: int) -> dict[str, torch.Tensor]:
        """Give the masks that upstream's model draws after this seed, and origins of negatives."""
        batch = len(self.sample["id"])
        np.random.seed(seed)
        mask = compute_mask_indices((batch, self.frames), None, self.model.masking.frames)
        masked = torch.from_numpy(mask).nonzero()[:, 1].view(batch, -1)
        origins = torch.stack([origin(seed, 1, row // 2, row % 2) for row in range(batch)])
        return {"masked_frames": masked.to(self.device), "origins": origins.to(self.device)}

    @property
    def frames(self) -> int:
        """Frames of a segment."""
        return frame_count(SAMPLES, self.model.strides)

    def operations(self) -> float:
        """Count the floating-point operations of a step's products, whatever computes them.

        Every entry of a weight takes part in a multiplication and an addition at each position,
        once in forward and twice in backward; attention has two products more. Quantizer and
        losses, which need next to none, are left out.
        """
        batch, count = self.drawn_by_loader(0)["masked_frames"].shape
        frames = self.frames
        positions = {"encoder": frames, "conv_pos": frames, "post_extract_proj": frames}
        positions |= dict.fromkeys(("quantizer", "project_q", "final_proj"), count)
        length, forward = SAMPLES, 0
        for index, (kernel, stride) in enumerate(self.model.strides):
            length = (length - kernel) // stride + 1
            positions[f"feature_extractor.conv_layers.{index}"] = length
        for name, weight in self.model.named_parameters():
            key = next((prefix for prefix in positions if name.startswith(prefix)), None)
            is_vector = weight.numel() == max(weight.shape)  # biases, norms
            if key is not None and not is_vector and name != "quantizer.vars":
                forward += 2 * weight.numel() * positions[key] * batch
        layers = len(self.model.encoder.layers)
        forward += layers * 2 * 2 * batch * frames**2 * self.model.encoder_dim
        return 3.0 * forward

    def product_shapes(self) -> list[tuple[int, int, int]]:
        """Shapes of the transformer's products, and squares, to measure the device's rate with."""
        tokens, dim = len(self.sample["id"]) * self.frames, self.model.encoder_dim
        hidden = self.model.encoder.layers[0].fc1.out_features
        side = 8192 if self.device.type == "cuda" else 2048
        squares = [(n, n, n) for n in (side // 2, side)]
        return [*squares, (tokens, dim, dim), (tokens, dim, hidden), (tokens, hidden, dim)]

    def components(self, variant: Variant, seed: int = 0) -> tuple[dict[str, float], profile]:
        """Profile one step.

        Returns:
            Seconds by component, each of forward and backward together, and the profile. On a GPU
            these are seconds of its kernels.
        """
        activities = [ProfilerActivity.CPU]
        if self.device.type == "cuda":
            activities.append(ProfilerActivity.CUDA)
        with self._labels(), profile(activities=activities) as profiled:
            self(variant, seed)
            common.synchronize(self.device)
        return _by_component(profiled, self.device.type == "cuda"), profiled

    @contextmanager
    def _labels(self) -> Iterator[None]:
        """Put ranges for the profiler around the components."""
        network = self.model
        modules = {
            network.feature_extractor: "extractor",
            network.conv_pos: "positional conv",
            network.quantizer: "quantizer",
        }
        modules |= dict.fromkeys(network.encoder.layers, "layers")
        originals: list[tuple[object, str, Callable]] = []
        for module, component in modules.items():
            originals.append((module, "forward", module.forward))
            module.forward = _labelled(module.forward, component)
        for module, name, component in FUNCTIONS:
            owner = importlib.import_module(module)
            originals.append((owner, name, getattr(owner, name)))
            setattr(owner, name, _labelled(getattr(owner, name), component))
        try:
            yield
        finally:
            for owner, name, function in originals:
                if isinstance(owner, nn.Module):
                    delattr(owner, name)
                else:
                    setattr(owner, name, function)


def _labelled(function: Callable, component: str) -> Callable:
    @functools.wraps(function)
    def run(*arguments, **options):
        with record_function(PART + component):
            return function(*arguments, **options)

    return run


def _by_component(profiled: profile, on_gpu: bool) -> dict[str, float]:
    """Sum what operators took themselves by the component that called them.

    The profiler gives a backward function the sequence number of the operator it belongs to: the
    last one that began under that number in forward.
    """
    # Kernels of a GPU are counted with the operators that launched them.
    events = [event for event in profiled.events() if event.device_type == DeviceType.CPU]
    events.sort(key=lambda event: event.time_range.start)
    forward: dict[int, str] = {}
    totals: dict[str, float] = defaultdict(float)
    for event in events:
        component = _component(event, forward)
        ancestors = (ancestor.name for ancestor in _with_ancestors(event))
        if event.sequence_nr >= 0 and not any(name.startswith(BACKWARD) for name in ancestors):
            forward[event.sequence_nr] = component
        spent = event.self_device_time_total if on_gpu else event.self_cpu_time_total
        totals[component] += 1e-6 * spent
    return {name: totals.get(name, 0.0) for name in COMPONENTS}


def _component(event: FunctionEvent, forward: Mapping[int, str]) -> str:
    """Return the component of an operator, in backward by that of its operator in forward."""
    kind = "rest"
    for ancestor in _with_ancestors(event):
        part = None
        if ancestor.name.startswith(PART):
            part = ancestor.name.removeprefix(PART)
        elif ancestor.name.startswith(BACKWARD):
            part = forward.get(ancestor.sequence_nr)
        elif ancestor.name in PRODUCTS:
            kind = "GEMM"
        elif ancestor.name in OF_ATTENTION or "attention" in ancestor.name:
            kind = "attention"
        if part is not None:
            is_settled = not part.startswith("layers") or part == "layers: attention"
            return part if is_settled else f"layers: {kind}"
    return "projections, other"


def _with_ancestors(event: FunctionEvent) -> Iterator[FunctionEvent]:
    while event is not None:
        yield event
        event = event.cpu_parent


def main() -> None:
    """Check, time and write ``results/<machine>_step.csv`` and ``..._components.csv``."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=8, help="segments, an even number")
    parser.add_argument("--device", type=torch.device, default="cpu")
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    parser.add_argument("--budget", type=float, default=30.0, help="seconds for each variant")
    parser.add_argument("--profiles", type=int, default=3, help="profiled steps of each variant")
    parser.add_argument("--operators", help="file for the last profiles' tables of operators")
    arguments = parser.parse_args()
    device, names = arguments.device, arguments.variants
    common.quiet()

    step = Step(device, arguments.batch)
    count = sum(parameter.numel() for parameter in step.model.parameters())
    print(f"{count / 1e6:.1f} M parameters, {step.operations() / 1e12:.3f} TFLOP a step")
    step.check(names)

    dtypes = {VARIANTS[name].dtype for name in names}
    rates = {dtype: common.gemm_rate(device, dtype, step.product_shapes()) for dtype in dtypes}
    seeds = dict.fromkeys(names, 0)

    def run(name: str) -> None:
        seeds[name] += 1
        step(VARIANTS[name], seeds[name])

    works = {name: functools.partial(run, name) for name in names}
    times = common.interleave(works, device, arguments.budget, runs=(3, 50))
    described = common.machine(device)
    rows = []
    for name in names:
        rate = rates[VARIANTS[name].dtype]
        rows.append(
            {"variant": name, "batch": arguments.batch, "samples": SAMPLES}
            | times[name].columns()
            | {
                "segments_per_s": arguments.batch / times[name].median,
                "tflop": step.operations() / 1e12,
                "gemm_tflops": rate / 1e12,
                "mfu": step.operations() / times[name].median / rate,
            }
            | described
        )

    shares: dict[str, list[dict[str, float]]] = defaultdict(list)
    profiles = {}
    for seed in range(arguments.profiles):
        for name in names:
            if not VARIANTS[name].is_compiled:
                seconds, profiles[name] = step.components(VARIANTS[name], seed)
                shares[name].append(seconds)
    parts = [
        {"variant": name, "batch": arguments.batch, "component": component}
        | common.Times([seconds[component] for seconds in profiled]).columns()
        | described
        for name, profiled in shares.items()
        for component in COMPONENTS
    ]
    if arguments.operators:
        key = "self_device_time_total" if device.type == "cuda" else "self_cpu_time_total"
        with open(arguments.operators, "w") as file:
            for name, profiled in profiles.items():
                table = profiled.key_averages().table(key, row_limit=45, max_name_column_width=60)
                file.write(f"## {name}\n{table}\n")
    common.show(rows, ["variant", "p20_ms", "median_ms", "p80_ms", "runs", "gemm_tflops", "mfu"])
    common.show(parts, ["variant", "component", "p20_ms", "median_ms", "p80_ms"])
    slug = common.slug(device)
    common.write_csv(rows, common.RESULTS / f"{slug}_step.csv")
    common.write_csv(parts, common.RESULTS / f"{slug}_components.csv")


if __name__ == "__main__":
    main()
