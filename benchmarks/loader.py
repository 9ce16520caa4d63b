"""Count the segments per second that come from disk to batch.

    python -m benchmarks.loader [--workers 0 1 2] [--configs NAME ...]

Writes segments of 12 leads and 5 s at 500 Hz into a temporary folder, as ``fairseq-ecg prepare``
does, and iterates over them as fairseq's trainer does, by the task of each config: single segments
(``w2v``, ``w2v_augs``) or pairs (``w2v_cmsc``...), as they are, with leads masked, or with all five
augmentations. Files are in the system's cache after the first epoch, which is not counted. An epoch
begins with the start of its workers.
"""

import argparse
import tempfile
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
from fairseq_ecg.prepare.manifests import (
    SegmentedRecording,
    write_cmsc_manifest,
    write_manifest,
)

CONFIGS = ("w2v", "w2v_augs", "w2v_cmsc", "w2v_cmsc_rlm", "w2v_cmsc_augs")
LEADS, SAMPLES, RATE = 12, 2500, 500
SEGMENTS = 2  # of a recording


def write_recordings(folder: Path, number: int) -> None:
    """Write recordings of two segments each, and the manifests ``train.tsv``, ``cmsc/train.tsv``.

    Args:
        folder: where to.
        number: recordings.
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
    write_manifest(folder / "train.tsv", folder / "segmented", recordings, SAMPLES)
    write_cmsc_manifest(folder / "cmsc" / "train.tsv", folder / "segmented", recordings, SAMPLES)


class Loader:
    """Epochs of one config.

    Args:
        name: of the config.
        folder: with the manifests.
        batch: segments.
        workers: processes that load.
    """

    def __init__(self, name: str, folder: Path, batch: int, workers: int):
        cfg = OmegaConf.load(common.ROOT / "configs" / f"{name}.yaml")
        is_paired = "cmsc" in name
        cfg.common.seed = 1
        cfg.task.data = str(folder / "cmsc" if is_paired else folder)
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
        iterator = self.task.get_batch_iterator(
            self.task.dataset("train"),
            max_sentences=self.items,
            num_workers=self.workers,
            epoch=self.epoch,
        )
        recordings = self.task.dataset("train").recordings
        return sum(len(recordings.augment(batch)) for batch in iterator.next_epoch_itr())


def main() -> None:
    """Time and write ``results/<machine>_loader.csv``."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=128, help="segments")
    parser.add_argument("--recordings", type=int, default=256, help="of two segments each")
    parser.add_argument("--workers", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--configs", nargs="+", choices=CONFIGS, default=CONFIGS)
    parser.add_argument("--budget", type=float, default=10.0, help="seconds for each measurement")
    arguments = parser.parse_args()
    device = torch.device("cpu")
    common.quiet()

    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_recordings(folder, arguments.recordings)
        count = SEGMENTS * arguments.recordings
        for workers in arguments.workers:
            loaders = {
                config: Loader(config, folder, arguments.batch, workers)
                for config in arguments.configs
            }
            for config, loader in loaders.items():
                if (loaded := loader()) != count:
                    raise common.WrongResultError(f"{config}: {loaded} segments, not {count}")
            times = common.interleave(loaders, device, arguments.budget, runs=(3, 30))
            for config in loaders:
                rows.append(
                    {"config": config, "batch": arguments.batch, "workers": workers}
                    | times[config].columns()
                    | {"segments_per_s": count / times[config].median}
                    | common.machine(device)
                )
    common.show(rows, ["config", "workers", "median_ms", "runs", "segments_per_s"])
    common.write_csv(rows, common.RESULTS / f"{common.slug(device)}_loader.csv")


if __name__ == "__main__":
    main()
