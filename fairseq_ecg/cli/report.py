"""``fairseq-ecg report``."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated

from cyclopts import CycloptsError, Parameter

from fairseq_ecg.cli.options import (
    Integer,
    Interval,
    LabelledCheckpointOptions,
    SaliencyMethod,
    Seconds,
    Thresholds,
    WaveOptions,
)
from fairseq_ecg.cli.outputs import say_left_out, write_each
from fairseq_ecg.cli.recordings import DescribedOfSplit, Recording

SUFFIX = ".html"


@dataclass(frozen=True, kw_only=True)
class PageOptions(Interval):
    """What a page shows.

    Attributes:
        title: of the page (default: its name)
        thresholds: from which probability on a label holds: one for all, or a table with the
            columns label and threshold
        saliency: attention of the last layer, or attention rollout
        seed: of the map of embeddings
    """

    title: Annotated[str | None, Parameter(metavar="TEXT")] = None
    thresholds: Thresholds = 0.5
    length: Seconds = 60.0
    saliency: SaliencyMethod = "attention"
    seed: Integer = 42


def report(
    *recordings: Recording,
    checkpoint: Annotated[str, Parameter(metavar="MODEL")],
    out: Annotated[Path, Parameter(metavar="PATH")],
    overwrite: bool = False,
    options: LabelledCheckpointOptions = LabelledCheckpointOptions(),
    shown: PageOptions = PageOptions(),
    waves: WaveOptions = WaveOptions(),
    described: DescribedOfSplit = DescribedOfSplit(),
) -> int:
    """Make a page of recordings and what a network says of them.

    The page is for a browser, holds everything it shows and asks nothing of a network: ECGs to zoom
    and measure, probabilities and thresholds, what counted for the network, a map of the
    embeddings, the model and its preprocessing; and the waves that it or another network finds.

    Args:
        checkpoint: .pt, folder, hub id
        out: page of all recordings, its name ends in .html; or a folder, in which every recording
            gets a page
        overwrite: make again what is there in a folder; otherwise it is passed over
    """
    is_page = out.suffix.lower() == SUFFIX
    if out.suffix and not is_page and not out.is_dir():
        raise CycloptsError(msg=f"--out {out}: name it {SUFFIX}, or a folder")
    found, _ = described.find(recordings, {out})

    waves.check()
    load = cache(lambda: (options.load(checkpoint), waves.waves_of(options)))

    def write(recordings: list, file: Path, progress: bool | None = False):
        return _write_page(*load(), checkpoint, recordings, file, shown, progress)

    if is_page:
        return say_left_out(write(found, out, None).errors)
    return write_each(found, out, SUFFIX, overwrite, "page", lambda one, file: write([one], file))


def _write_page(
    model, waves_of, name: str, recordings: list, file: Path, shown: PageOptions, progress
):
    from fairseq_ecg.inference.report import report
    from fairseq_ecg.jobs.files import write_file

    page = report(
        recordings,
        model,
        title=shown.title or file.stem,
        model_name=name,
        thresholds=shown.thresholds,
        start=shown.start,
        length=shown.length,
        saliency_method=shown.saliency,
        seed=shown.seed,
        progress=progress,
        waves_of=waves_of,
    )
    write_file(file, page.html)
    return page
