"""``fairseq-ecg prepare questions``."""

from typing import Annotated, Literal

from cyclopts import Parameter

from fairseq_ecg.cli.options import Name
from fairseq_ecg.cli.prepare.options import ECGQAFolders, ProcessedRoot, Work
from fairseq_ecg.cli.prepare.outcome import left_out


def questions(
    *,
    source: Literal["ecg_qa"] = "ecg_qa",
    folders: ECGQAFolders,
    processed_root: ProcessedRoot,
    paraphrased: bool = False,
    tokenizer: Annotated[Name, Parameter(metavar="NAME|DIR|FILE")] = "bert-base-uncased",
    work: Work = Work(),
) -> int:
    """Make files of questions about ECGs, for question answering.

    Reads ECG-QA with PTB-XL or MIMIC-IV-ECG. Writes train/, valid/, test/, a manifest of each,
    label_def.csv, the answers in the order of the network's outputs, and attributes.csv, what the
    numbers of attributes mean. Started again, a run that was ended goes on where it was. Exits with
    status 3 where ECGs could not be used, and left out the questions about them: quarantine.csv
    says why.

    Args:
        source: of the questions
        paraphrased: take the questions as people word them (default: as templates do)
        tokenizer: counts the tokens of a question in the manifests: a BERT of the Hugging Face hub,
            a folder with vocab.txt, or such a file
    """
    from fairseq_ecg.prepare.ecg_qa.questions import prepare_questions

    with work.workers():
        written = prepare_questions(
            folders.raw_root,
            processed_root,
            ecg_root=folders.ecg_root,
            version="paraphrased" if paraphrased else "template",
            tokenizer=tokenizer,
            strict=work.strict,
            again=work.again,
        )
    for split, count in written.counts.items():
        print(f"{split}: {count} questions")
    if written.left_out:
        print(f"left out: {written.left_out} questions about records that cannot be used")
    return left_out(written.quarantine, processed_root / "quarantine.csv")
