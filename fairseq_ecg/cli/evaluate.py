"""``fairseq-ecg evaluate``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import CycloptsError, Group, Parameter
from cyclopts.validators import LimitedChoice

from fairseq_ecg.cli.options import (
    CSV,
    NPY,
    Integer,
    LabelledTextCheckpointOptions,
    Name,
    Number,
)
from fairseq_ecg.cli.outputs import say_left_out
from fairseq_ecg.cli.prompting import prompts_for
from fairseq_ecg.cli.recordings import Described
from fairseq_ecg.errors import DataError

if TYPE_CHECKING:
    from fairseq_ecg.inference.retrieval import Prompts

EXIT_REQUIREMENT_MISSED = 1

_DATA = Parameter(group=Group("data, one of two kinds", validator=LimitedChoice(1, 1)))


def evaluate(
    checkpoint: str,
    /,
    manifest: Annotated[str | None, _DATA, Parameter(metavar="TSV|STORE/SPLIT")] = None,
    *,
    table: Annotated[CSV | None, _DATA] = None,
    labels: NPY | None = None,
    prompts: CSV | None = None,
    split: Name | None = None,
    baseline: Literal["untrained"] | None = None,
    seed: Integer = 1,
    batch_size: Integer = 64,
    out: CSV | None = None,
    require_auroc: Number | None = None,
    strict: bool = False,
    options: LabelledTextCheckpointOptions = LabelledTextCheckpointOptions(),
    described: Described = Described(),
) -> int:
    """Score a fine-tuned network on labelled recordings.

    It is scored per recording (probabilities of its segments aggregated, by the mean for most
    labels): area under the ROC curve (AUROC) and average precision (AUPRC) of each label.
    A network that delineates waves is scored by the onsets and offsets it finds within 150 ms of
    those that the files of --manifest hold, one that answers questions by exact matches and areas
    over the answers that could be right, for each type of question and each attribute.
    A network that was pre-trained on ECGs with texts is scored by whether it finds the reports of
    recordings, and recordings by their reports, among all that --manifest lists (recall@k); with
    labels it is scored as a classifier, by prompts for them (zero-shot).

    Args:
        checkpoint: fine-tuned network: .pt file, folder or hub id
        manifest: prepared segments or questions: manifests/test.tsv, or a split of a store,
            STORE/test
        table: recordings as they are: a table with the column path and one for each label, 0 or 1,
            empty where unknown
        labels: those of --manifest, labels/y.npy (default: what the segments hold)
        prompts: for labels of a network that was pre-trained on texts, own sentences: a table with
            the columns label and prompt (default: wordings of the labeler's vocabulary for the
            labels of --label-def)
        split: of --table: its rows with this name in the column split
        baseline: also score the same network with weights drawn at random
        seed: of the weights of --baseline
        batch_size: in segments
        out: also write the table there
        require_auroc: exit with status 1 unless the mean AUROC of the labels exceeds X
        strict: stop at the first recording that cannot be used, in place of leaving it out
    """
    if table and labels:
        raise CycloptsError(
            msg="--labels goes with --manifest; a table has a column for each label"
        )
    if split and not table:
        raise CycloptsError(msg="--split goes with --table; of a store say --manifest STORE/SPLIT")
    from fairseq_ecg.data.targets import labels_of
    from fairseq_ecg.inference import ECGTextModel
    from fairseq_ecg.inference.evaluation import (
        evaluate,
        evaluate_recordings,
        format_scores,
        labelled_segments,
        write_scores,
    )
    from fairseq_ecg.inference.probe.tables import read_labelled_recordings
    from fairseq_ecg.inference.zero_shot import ZeroShot

    on_error = "raise" if strict else "skip"
    how = manifest, batch_size, on_error, described.verify

    def scores(model):
        if by_label:
            model = ZeroShot(model, by_label)
        elif model.scale or not model.labels:
            kind = "is a regression" if model.scale else "was pre-trained only"
            raise DataError(
                f"{checkpoint}: {kind}, it predicts no labels. Give a fine-tuned classifier"
            )
        if table:
            by_split, _ = read_labelled_recordings(table, [split], model.labels)
            description = described.description()
            return evaluate_recordings(model, *by_split[split], batch_size, description, on_error)
        dataset = labelled_segments(model, manifest, labels_of(labels), described.verify)
        return evaluate(model, dataset, batch_size, on_error)

    loaded, by_label = options.load_any(checkpoint), dict[str, tuple[str, ...]]()
    reads_texts = isinstance(loaded, ECGTextModel)
    if reads_texts and not loaded.labels:
        if not (labels or table):
            return _evaluate_retrieval(loaded, out, *how)
        by_label = _prompts(options.label_def, prompts)
    elif prompts:
        raise CycloptsError(msg="--prompts goes with a network that was pre-trained on texts")
    elif reads_texts or loaded.wave_classes:
        if table or labels or baseline or require_auroc is not None:
            does = "answers questions" if reads_texts else "delineates waves"
            raise CycloptsError(
                msg=f"a network that {does} is scored on --manifest alone, whose files hold what "
                "is right; --table, --labels, --baseline and --require-auroc are for networks "
                "that predict labels"
            )
        score_it = _evaluate_answers if reads_texts else _evaluate_waves
        return score_it(loaded, out, *how)
    trained = scores(loaded)
    untrained = scores(options.load_any(checkpoint, untrained_seed=seed)) if baseline else None
    print(format_scores(trained, untrained))
    if out:
        write_scores(out, trained, untrained)
    status = say_left_out(trained.errors)
    if require_auroc is None:
        return status
    reached = trained.macro_auroc > require_auroc
    print(
        f"macro AUROC {trained.macro_auroc:.3f} on {trained.recordings} recordings: "
        f"{'above' if reached else 'NOT above'} the required {require_auroc:g}"
    )
    return status if reached else EXIT_REQUIREMENT_MISSED


def _prompts(label_def: Path | None, own: Path | None) -> "Prompts":
    """Return prompts for the labels that are scored."""
    if label_def is None and own is None:
        raise CycloptsError(
            msg="the network was pre-trained on texts, and labels are scored by prompts for them: "
            "name them by --label-def, or give --prompts"
        )
    return prompts_for(label_def and str(label_def), own)


def _evaluate_answers(model, out, *how) -> int:
    """Score a network that answers questions; returns the exit status."""
    from fairseq_ecg.inference.question_evaluation import (
        evaluate_questions,
        format_question_scores,
        write_question_scores,
    )

    return _shown(
        evaluate_questions(model, *how), format_question_scores, write_question_scores, out
    )


def _evaluate_waves(model, out, *how) -> int:
    """Score a network that delineates waves; returns the exit status."""
    from fairseq_ecg.inference.wave_evaluation import (
        evaluate_waves,
        format_wave_scores,
        write_wave_scores,
    )

    return _shown(evaluate_waves(model, *how), format_wave_scores, write_wave_scores, out)


def _evaluate_retrieval(model, out, *how) -> int:
    """Score a network by whether recordings and reports find each other; returns the status."""
    from fairseq_ecg.inference.retrieval_evaluation import (
        evaluate_retrieval,
        format_recall,
        write_recall,
    )

    return _shown(evaluate_retrieval(model, *how), format_recall, write_recall, out)


def _shown(found, formatted, write, out: Path | None) -> int:
    """Print scores, and write them if that is asked for; returns the exit status."""
    print(formatted(found))
    if out:
        write(out, found)
    return say_left_out(found.errors)
