"""Options of all commands that find labels in reports."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from fairseq_ecg.cli.options import DefaultInHelp, SeveralValues

if TYPE_CHECKING:
    from fairseq_ecg.labeler import Labeler

Mode = Literal["default", "compatible", "mended"]


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class LabelerOptions:
    """Vocabulary of a labeler, and how it reads.

    Attributes:
        vocabulary: folder of a vocabulary, or of ECG-FM's JSON files (default: the package's own)
        mode: compatible: what ECG-FM's labeler does; mended: without its faults of attribution
        semantics: choices made otherwise than in the mode, such as negation=nearest
        corrections: correct what is wrong in ECG-FM's vocabulary (default: in the default mode)
        overlay: changes to the vocabulary, a file or a name that `label overlays` lists; several
            are applied in turn
    """

    vocabulary: Annotated[str, DefaultInHelp, Parameter(metavar="DIR")] = "default"
    mode: Mode = "default"
    semantics: Annotated[tuple[str, ...], SeveralValues, Parameter(metavar="NAME=VALUE")] = ()
    corrections: Annotated[bool | None, Parameter(negative="--no-corrections")] = None
    overlay: Annotated[tuple[str, ...], SeveralValues, Parameter(metavar="NAME|YAML")] = ()

    def labeler(self) -> "Labeler":
        """Make the labeler."""
        from fairseq_ecg.labeler import Labeler
        from fairseq_ecg.labeler.semantics import choose

        return Labeler.from_vocabulary(
            self.vocabulary,
            mode=self.mode,
            semantics=choose(self.mode, self.semantics),
            corrected=self.corrections,
            overlay=self.overlay,
        )
