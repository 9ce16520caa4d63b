"""Count the segments per second that come from disk to batch.

    python -m benchmarks.loader [--workers 0 1 2] [--configs NAME ...] [--sources mat float32 ...]

Writes segments of 12 leads and 5 s at 500 Hz into a temporary folder, as ``fairseq-ecg prepare``
does, packs them into stores of each type, and iterates over both as fairseq's trainer does, by the
task of each config: single segments (``w2v``, ``w2v_augs``) or pairs (``w2v_cmsc``...), as they
are, with leads masked, or with all five augmentations, which are applied. Batches of the float32
store must be those of the files. Files are in the system's cache after the first epoch, which is
not counted. An epoch lists every recording several times, for it begins with the start of its
workers, which a real epoch is much longer than.
"""

import argparse
import itertools
import tempfile
from collections.abc import Iterator
from pathlib import Path

import fairseq.tasks
import numpy as np
import scipy.io
import torch
from fairseq.dataclass.utils import merge_with_parent
from fairseq.models import MODEL_DATACLASS_REGISTRY
from omegaconf import OmegaConf

import fairseq_ecg.tasks  # noqa: F401  (registers the tasks)
from benchmarks import common
from benchmarks.manifests import SegmentedRecording, write_cmsc_manifest, write_manifest
from fairseq_ecg.prepare.pack import pack

SOURCES = ("mat", "float32", "float16", "int16")
CONFIGS = ("w2v", "w2v_augs", "w2v_cmsc", "w2v_cmsc_rlm", "w2v_cmsc_augs")
LEADS, SAMPLES, RATE = 12, 2500, 500
SEGMENTS = 2  # of a recording


def write_recordings(folder: Path, number: int, repeats: int = 1) -> None:
    """Write recordings of two segments each, and the manifests ``train.tsv``, ``cmsc/train.tsv``.

    Args:
        folder: where to.
        number: recordings.
        repeats: how often manifests list each of them.
    """
    (folder / "segmented").mkdir()
    (folder / "cmsc").mkdir()
    generator = np.random.default_rng(0)
    recordings = [SegmentedRecording(f"recording{i}", SEGMENTS) for i in range(number)]
    for idx, recording in enumerate(recordings):
        for segment in range(SEGMENTS):
            path = folder / "segmented" / f"{recording.stem}_{segment}.mat"
            feats = generator.standard_normal((LEADS, SAMPLES))
            scipy.io.savemat(path, {"feats": feats, "curr_sample_rate": RATE, "idx": idx})
    recordings = recordings * repeats
    write_manifest(folder / "train.tsv", folder / "segmented", recordings, SAMPLES)
    write_cmsc_manifest(folder / "cmsc" / "train.tsv", folder / "segmented", recordings, SAMPLES)


class Loader:
    """Epochs of one config.

    Args:
        name: of the config.
        data: folder of the manifests, or a store.
        batch: segments.
        workers: processes that load.
    """

    def __init__(self, name: str, data: Path, batch: int, workers: int):
        cfg = OmegaConf.load(common.ROOT / "configs" / f"{name}.yaml")
        is_paired = "cmsc" in name
        cfg.common.seed = 1
        cfg.task.data = str(data)
        self.task = fairseq.tasks.setup_task(cfg.task)
        # The task learns from the model what is masked in a batch.
        self.task.build_model(
            merge_with_parent(MODEL_DATACLASS_REGISTRY[cfg.model._name](), cfg.model)
        )
        self.task.load_dataset("train")
        self.items = batch // SEGMENTS if is_paired else batch
        self.workers = workers
        self.epoch = 0

    def __call__(self) -> int:
        """Load and augment an epoch and return its number of segments."""
        self.epoch += 1
        recordings = self.task.dataset("train").recordings
        return sum(len(recordings.augment(batch)) for batch in self.batches())

    def batches(self) -> Iterator[dict]:
        """Batches of the current epoch."""
        iterator = self.task.get_batch_iterator(
            self.task.dataset("train"),
            max_sentences=self.items,
            num_workers=self.workers,
            epoch=self.epoch,
        )
        return iterator.next_epoch_itr()


def check_equal(expected: Loader, found: Loader) -> None:
    """Raise WrongResultError unless two loaders make the same first batches, bit by bit."""
    for one, other in itertools.islice(zip(expected.batches(), found.batches(), strict=True), 4):
        leaves = zip(*(map(_leaves, (one, other))), strict=True)
        for (key, value), (other_key, other_value) in leaves:
            if key != other_key or not torch.equal(value, other_value):
                raise common.WrongResultError(f"{key} of the store is not {key} of the files")


def _leaves(batch: dict) -> Iterator[tuple[str, torch.Tensor]]:
    for key, value in batch.items():
        if isinstance(value, dict):
            yield from _leaves(value)
        elif isinstance(value, torch.Tensor):
            yield key, value


def main() -> None:
    """Time and write ``results/<machine>_loader.csv``."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=128, help="segments")
    parser.add_argument("--recordings", type=int, default=1024, help="of two segments each")
    parser.add_argument("--repeats", type=int, default=4, help="of each recording in an epoch")
    parser.add_argument("--sources", nargs="+", choices=SOURCES, default=SOURCES)
    parser.add_argument("--workers", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--configs", nargs="+", choices=CONFIGS, default=CONFIGS)
    parser.add_argument("--budget", type=float, default=10.0, help="seconds for each measurement")
    arguments = parser.parse_args()
    device = torch.device("cpu")
    common.quiet()

    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_recordings(folder, arguments.recordings, arguments.repeats)
        folders = {("mat", False): folder, ("mat", True): folder / "cmsc"}
        for source, is_paired in itertools.product(arguments.sources, (False, True)):
            if source != "mat":
                store = folders[source, is_paired] = folder / f"{source}-{is_paired}"
                pack(folders["mat", is_paired], store, dtype=source)
        count = SEGMENTS * arguments.recordings * arguments.repeats
        for workers, config in itertools.product(arguments.workers, arguments.configs):
            loaders = {
                source: Loader(config, folders[source, "cmsc" in config], arguments.batch, workers)
                for source in arguments.sources
            }
            for source, loader in loaders.items():
                if (loaded := loader()) != count:
                    raise common.WrongResultError(f"{config}: {loaded} segments, not {count}")
                if source == "float32" and "mat" in loaders:
                    check_equal(loaders["mat"], loader)
            times = common.interleave(loaders, device, arguments.budget, runs=(3, 30))
            for source in loaders:
                rows.append(
                    {
                        "config": config,
                        "source": source,
                        "batch": arguments.batch,
                        "workers": workers,
                    }
                    | times[source].columns()
                    | {"segments_per_s": count / times[source].median}
                    | common.machine(device)
                )
    common.show(rows, ["config", "source", "workers", "median_ms", "runs", "segments_per_s"])
    common.write_csv(rows, common.RESULTS / f"{common.slug(device)}_loader.csv")


if __name__ == "__main__":
    main()
