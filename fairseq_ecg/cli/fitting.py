"""Options of the commands that fit linear probes."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from fairseq_ecg.cli.options import (
    DefaultInHelp,
    Floats,
    Folder,
    Integer,
    Integers,
    Name,
    Number,
)

if TYPE_CHECKING:
    from fairseq_ecg.inference.probe import Fitting


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class FittingOptions:
    """How a probe is fitted and scored, and how embeddings are computed.

    Attributes:
        penalties: of the squared weights, of which the best on valid is taken (default:
            1,0.1,0.01,0.001,0.0001,0.00001)
        calibration: of the probabilities, fitted on valid
        sensitivity: that one of the thresholds reaches on valid
        aggregation: of the probabilities of a recording's segments
        seeds: of what is drawn; sgd is run with each, and the best on valid kept; the first is that
            of the bootstrap
        epochs: of sgd
        learning_rate: of sgd
        resamples: of the bootstrap, in which recordings are drawn
        batch_size: segments that go through the network together
        workers: processes that read recordings (default: 0, none beside this one)
        cache: folder of the embeddings (default: embeddings in --out)
        device: cpu or cuda (default: a GPU if any)
    """

    penalties: Floats | None = None
    calibration: Literal["none", "temperature", "platt"] = "none"
    sensitivity: Number = 0.9
    aggregation: Literal["mean", "max"] = "mean"
    seeds: Integers = (1,)
    epochs: Integer = 30
    learning_rate: Number = 0.1
    resamples: Integer = 1000
    batch_size: Integer = 32
    workers: Annotated[Integer, DefaultInHelp] = 0
    cache: Folder | None = None
    device: Name | None = None

    def fitting(self, solver: str) -> "Fitting":
        """Make a Fitting of the options."""
        from fairseq_ecg.inference.probe import Fitting
        from fairseq_ecg.inference.probe.fitting import PENALTIES

        names = ("calibration", "sensitivity", "aggregation", "seeds", "epochs", "learning_rate")
        given = {name: getattr(self, name) for name in names}
        return Fitting(solver=solver, penalties=self.penalties or PENALTIES, **given)
