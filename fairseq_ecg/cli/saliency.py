"""``fairseq-ecg saliency``."""

from dataclasses import dataclass

from cyclopts import CycloptsError

from fairseq_ecg.cli.options import File, Integer, SaliencyMethod
from fairseq_ecg.cli.recordings import Checkpoint, Computation, Recording, Use


@dataclass(frozen=True, kw_only=True)
class SaliencyComputation(Computation):
    """How a network computes: attention needs more memory."""

    batch_size: Integer = 16


@dataclass(frozen=True, kw_only=True)
class SaliencyUse(Use):
    """Use of a network for saliency."""

    computation: SaliencyComputation = SaliencyComputation()


def saliency(
    checkpoint: Checkpoint,
    /,
    *recordings: Recording,
    out: File,
    samples: bool = False,
    method: SaliencyMethod = "attention",
    use: SaliencyUse = SaliencyUse(),
) -> int:
    """Compute how much every moment of recordings counts for a network.

    A run that was interrupted goes on where it was.

    Args:
        out: to write, a row for each frame of the network, with its start and end in the recording
            in seconds: .csv, .tsv or .parquet; or .npy, an array float32 with a row for each
            segment, and <name>.rows.csv beside it, which says what its rows are
        samples: a row for each sample of the recording instead, interpolated, with its time in
            seconds; not as .npy
        method: attention: largest weight of a frame in the last layer; rollout: share of a frame in
            the output, followed through all layers
    """
    import pandas as pd

    from fairseq_ecg.inference.results import END, START
    from fairseq_ecg.inference.writing import NPY

    as_array = out.suffix.lower() == NPY
    if as_array and samples:
        raise CycloptsError(msg="--samples does not go with .npy: recordings differ in length")

    def compute(model, recordings, options):
        saliency = model.saliency(recordings, method=method, **options)
        errors = dict(saliency.errors)
        if samples:
            table = _of_samples(saliency, errors)
        elif as_array:
            frames = saliency.frames["saliency"].to_numpy().reshape(-1, model.frames_per_segment)
            values = pd.DataFrame(frames, saliency.segments.index).rename(columns=str)
            table = pd.concat([saliency.segments[[START, END]], values], axis=1).reset_index()
        else:
            table = saliency.frames.reset_index()
        return {"saliency": table}, errors

    settings = ("saliency", method, samples, as_array)
    return use.run(checkpoint, recordings, {"saliency": out}, settings, compute, arrays=True)


def _of_samples(saliency, errors: dict):
    """Return a row for each sample of each recording; add to ``errors`` those too long for that."""
    import numpy as np
    import pandas as pd

    from fairseq_ecg.errors import DataError, as_data_error
    from fairseq_ecg.inference.results import RECORDING

    columns = [RECORDING, "sample", "time", "saliency"]
    tables = []
    for name, rate in saliency.recordings["sample_rate"].items():
        try:
            with as_data_error(f"{name}: cannot be interpolated"):
                values = saliency.on_signal(name)
                samples = np.arange(len(values))
                cells = (name, samples, samples / rate, values)
                tables.append(pd.DataFrame(dict(zip(columns, cells, strict=True))))
        except DataError as error:
            errors[name] = str(error)
    return pd.concat(tables) if tables else pd.DataFrame(columns=columns)
