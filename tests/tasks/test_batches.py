"""What a batch holds of a recording depends on the seed, the epoch and the recording alone."""

from pathlib import Path

import numpy as np
import pytest
import scipy.io
import torch
from omegaconf import OmegaConf

from fairseq_ecg.ops.negatives import drawn_indices
from fairseq_ecg.tasks import ECGPretrainingTask
from fairseq_ecg.tasks.ecg_pretraining import ECGPretrainingConfig
from tests.conftest import TINY_CMSC_MODEL

RECIPE = [
    "powerline_noise",
    "emg_noise",
    "baseline_shift",
    "baseline_wander",
    "random_leads_masking",
]
N_NEGATIVES = 10
PAIRS = "wav2vec2_with_cmsc"


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Manifests of 16 pairs of segments, of 500 to 515 samples, and of their first ones."""
    folder = tmp_path_factory.mktemp("recordings")
    rng = np.random.RandomState(0)
    rows, singles = [], []
    for record in range(16):
        length = 500 + record
        for segment in (0, 1):
            mat = {"feats": rng.normal(size=(12, length)), "curr_sample_rate": 500, "idx": record}
            scipy.io.savemat(folder / f"{record}_{segment}.mat", mat)
        rows.append(f"{record}\t{length}\t0\t0,1\n")
        singles.append(f"{record}_0.mat\t{length}\n")
    for kind, lines in (("pairs", ["mat\n", *rows]), ("single", singles)):
        (folder / kind).mkdir()
        (folder / kind / "train.tsv").write_text(f"{folder}\n{''.join(lines)}")
    return folder


@pytest.fixture
def contents(folder):
    """What the batches of an epoch hold, by record and position: ECG, masks and negatives."""

    def collect(
        workers=0, batch_size=4, ranks=1, epoch=1, criterion_name=PAIRS, **options
    ) -> dict[tuple, tuple]:
        cfg = OmegaConf.merge(
            OmegaConf.structured(ECGPretrainingConfig),
            {
                "data": str(folder / ("pairs" if criterion_name == PAIRS else "single")),
                "criterion_name": criterion_name,
                "seed": 7,
                "perturbation_mode": RECIPE,
                "p": [0.7],
                "enable_padding": True,
                **options,
            },
        )
        task = ECGPretrainingTask.setup_task(cfg)
        task.build_model(model_config())
        task.load_dataset("train")
        rows = {}
        for rank in range(ranks):
            iterator = task.get_batch_iterator(
                task.datasets["train"],
                max_sentences=batch_size,
                num_workers=workers,
                num_shards=ranks,
                shard_id=rank,
                epoch=epoch,
                disable_iterator_cache=True,
            )
            for batch in iterator.next_epoch_itr():
                rows |= by_position(task._augmented(batch))
        assert len(rows) == 32
        return rows

    return collect


def model_config():
    masked = {"mask_channel_prob": 0.3, "mask_channel_length": 2, "num_negatives": N_NEGATIVES}
    return OmegaConf.create(TINY_CMSC_MODEL | masked)


def by_position(batch: dict) -> dict[tuple, tuple]:
    net_input = batch["net_input"]
    frames = net_input["masked_frames"]
    first = torch.arange(len(frames)).unsqueeze(1) * frames.shape[1]
    negatives = drawn_indices(net_input["origins"], frames.shape[1], N_NEGATIVES) - first
    rows = zip(
        batch["id"].tolist(),
        [0, 1] * (len(frames) // 2),
        net_input["source"],
        frames,
        net_input["masked_channels"],
        negatives,
        strict=True,
    )
    # Zeros behind the shorter of a batch show how long the others are.
    return {
        (record, segment): (ecg[:, : 500 + record], *rest) for record, segment, ecg, *rest in rows
    }


VARIANTS = [
    {"workers": 1},
    {"workers": 4},
    {"batch_size": 8},
    {"ranks": 2},
    {"ranks": 2, "batch_size": 8, "workers": 1},
]
OF_TWO = ("simclr", "3kg")
"""Criterions whose items are two views of a recording."""


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_content_does_not_depend_on_workers_batch_size_and_ranks(contents, variant):
    # A fixed number of masked frames takes away what rows of a batch have to agree on.
    expected = contents(masked_frames=12)
    found = contents(masked_frames=12, **variant)
    assert found.keys() == expected.keys()
    for segment, row in expected.items():
        ecg, frames, channels, negatives = found[segment]
        assert torch.equal(ecg, row[0])
        assert torch.equal(frames, row[1])
        assert torch.equal(negatives, row[3])
        fewer, more = sorted((set(channels.tolist()), set(row[2].tolist())), key=len)
        assert fewer <= more


@pytest.mark.parametrize("criterion_name", OF_TWO)
@pytest.mark.parametrize("variant", [*VARIANTS, {"max_sample_size": 400, "batch_size": 8}], ids=str)
def test_views_do_not_depend_on_workers_batch_size_and_ranks(contents, criterion_name, variant):
    options = {"criterion_name": criterion_name}
    options |= {"max_sample_size": variant.get("max_sample_size")}
    expected, found = contents(**options), contents(**options | variant)
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[key][0], row[0]) for key, row in expected.items())
    records = {record for record, _ in expected}
    assert not any(torch.equal(expected[r, 0][0], expected[r, 1][0]) for r in records)
    other = contents(**options, epoch=2)
    assert sum(torch.equal(other[key][0], row[0]) for key, row in expected.items()) < 4


def test_masks_differ_by_what_the_poorest_row_of_a_batch_has(contents):
    together, alone = contents(batch_size=8), contents(batch_size=1)
    assert any(len(together[segment][1]) < len(alone[segment][1]) for segment in alone)
    for segment, (_, frames, *_) in together.items():
        assert set(frames.tolist()) <= set(alone[segment][1].tolist())


def test_epochs_and_seeds_draw_anew(contents):
    first = contents(masked_frames=12)
    for other in (contents(masked_frames=12, epoch=2), contents(masked_frames=12, seed=8)):
        for segment, row in first.items():
            assert not torch.equal(other[segment][1], row[1])
            assert not torch.equal(other[segment][3], row[3])
        assert sum(torch.equal(other[s][0], row[0]) for s, row in first.items()) < 4
