"""Count the recordings per second that come from files to probabilities.

    python -m benchmarks.inference [--batch 1 32] [--dtype float32]

Recordings of 12 leads and 10 s at 400 Hz, in ``.mat`` files, are given to the published 90.9 M
architecture with a head of 17 labels, its weights drawn at random. ``this`` is
``ECGModel.predict``. ``upstream`` does what ECG-FM's quick start does: files are read by
``loadmat``, every recording is resampled, standardised and cut by itself, and every operation of
the network is fairseq_signals' formulation, in the same precision. ``quick_start`` asks for the
attention weights with every prediction too, as the quick start does, which takes the longer way
through attention. A batch is so many recordings, of two segments each; files are in the system's
cache.
"""

import argparse
import functools
import tempfile
from pathlib import Path

import numpy as np
import scipy.io
import torch
from scipy.interpolate import interp1d

from benchmarks import common
from fairseq_ecg.inference import ECG_FM_LABELS, ECGModel, Preprocessing
from fairseq_ecg.modules.registry import build_network
from fairseq_ecg.ops import backends

ARCHITECTURE = {"_name": "ecg_transformer_classifier", "num_labels": len(ECG_FM_LABELS)}
LEADS, SECONDS, RATE = 12, 10, 400
SEGMENTS = 2  # of a recording
TOLERANCES = {torch.float32: 1e-5, torch.bfloat16: 3e-2}
"""Of probabilities, by the type that the network computes in."""


def write_recordings(folder: Path, number: int) -> list[str]:
    """Write recordings in mV, and return their paths.

    Args:
        folder: where to.
        number: recordings.
    """
    generator = np.random.default_rng(0)
    paths = []
    for index in range(number):
        feats = generator.standard_normal((LEADS, SECONDS * RATE)).cumsum(axis=1) / 20
        paths.append(str(folder / f"recording{index}.mat"))
        scipy.io.savemat(paths[-1], {"feats": feats, "curr_sample_rate": RATE})
    return paths


def quick_start_segments(path: str) -> torch.Tensor:
    """Read and transform a recording as ECG-FM's quick start does: ``(2, 12, 2500)`` float32."""
    mat = scipy.io.loadmat(path)
    ecg, rate = mat["feats"], mat["curr_sample_rate"].item()
    n_desired = int(ecg.shape[1] * (500 / rate))
    positions = np.linspace(0, n_desired - 1, ecg.shape[1])
    ecg = interp1d(positions, ecg)(np.arange(n_desired))
    ecg[ecg.std(axis=1) == 0] = 0
    ecg = (ecg - ecg.mean(axis=1, keepdims=True)) / (ecg.std(axis=1, keepdims=True) + 1e-8)
    segments = ecg[:, : n_desired // 2500 * 2500].reshape(LEADS, -1, 2500).swapaxes(0, 1)
    return torch.from_numpy(segments.astype(np.float32))


def upstream(model: ECGModel, paths: list[str], batch: int, saliency: bool = False) -> np.ndarray:
    """Predict as upstream does, perhaps with the weights of attention: ``(recordings, labels)``."""
    probabilities = []
    with backends.only("reference"), torch.inference_mode():
        for start in range(0, len(paths), batch):
            segments = torch.cat([quick_start_segments(path) for path in paths[start:][:batch]])
            out = model.network(source=segments.to(model.dtype), saliency=saliency)["out"]
            probabilities.append(out.float().sigmoid())
    of_recordings = torch.cat(probabilities).unflatten(0, (-1, SEGMENTS))
    is_largest = torch.tensor([rule == "max" for rule in model.aggregation.values()])
    return torch.where(is_largest, of_recordings.amax(dim=1), of_recordings.mean(dim=1)).numpy()


def quick_start(model: ECGModel, paths: list[str], batch: int) -> np.ndarray:
    """Predict as upstream does with the weights of attention, likewise."""
    return upstream(model, paths, batch, saliency=True)


def this(model: ECGModel, paths: list[str], batch: int) -> np.ndarray:
    """Predict as users of this package do, likewise."""
    table = model.predict(paths, batch_size=SEGMENTS * batch, progress=False).table
    return table.to_numpy()


def main() -> None:
    """Time and write ``results/<machine>_inference.csv``."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", nargs="+", type=int, default=[1, 32], help="recordings")
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--budget", type=float, default=30.0, help="seconds for each measurement")
    arguments = parser.parse_args()
    device = torch.device("cpu")
    common.quiet()

    torch.manual_seed(0)
    network = build_network(ARCHITECTURE)
    model = ECGModel(network, ARCHITECTURE, Preprocessing(), ECG_FM_LABELS)
    model.to(device, getattr(torch, arguments.dtype))
    rows = []
    with tempfile.TemporaryDirectory() as name:
        for batch in arguments.batch:
            paths = write_recordings(Path(name), batch)
            works = {
                variant.__name__: functools.partial(variant, model, paths, batch)
                for variant in (upstream, quick_start, this)
            }
            expected = works["upstream"]()
            for variant, work in works.items():
                error = np.abs(work() - expected).max()
                if not error <= TOLERANCES[model.dtype]:
                    raise common.WrongResultError(f"{variant}: probabilities differ by {error:.1e}")
            times = common.interleave(works, device, arguments.budget, runs=(3, 30))
            for variant in works:
                rows.append(
                    {"variant": variant, "batch": batch, "dtype": arguments.dtype}
                    | times[variant].columns()
                    | {"recordings_per_s": batch / times[variant].median}
                    | {"speedup": times["upstream"].median / times[variant].median}
                    | common.machine(device)
                )
    common.show(
        rows, ["variant", "batch", "dtype", "median_ms", "runs", "recordings_per_s", "speedup"]
    )
    common.write_csv(rows, common.RESULTS / f"{common.slug(device)}_inference.csv")


if __name__ == "__main__":
    main()
