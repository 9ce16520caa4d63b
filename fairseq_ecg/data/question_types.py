"""Types of the questions of ECG-QA, and the numbers that files and batches have for them."""

RELATIONS = ("single", "comparison_consecutive", "comparison_irrelevant")
"""Of the ECGs of a question, the first half of its type."""

FORMS = ("verify", "choose", "query")
"""What a question asks for, the second half of its type."""

ATTRIBUTE_TYPES = (
    "scp_code",
    "noise",
    "stage_of_infarction",
    "extra_systole",
    "heart_axis",
    "numeric_feature",
)
"""Of what a question asks about."""


def type_names(number: int) -> dict[str, str]:
    """Name the types of a question.

    Args:
        number: its ``question_type3``, which decides the others.

    Returns:
        Names by what the numbers are called: ``question_type1`` (``single``), ``question_type2``
        (``single-verify``), ``question_type3`` (``single-verify, noise``); and ``attribute_type``
        (``noise``). One beyond those of ECG-QA is named by its number.
    """
    form, attribute_type = divmod(number, len(ATTRIBUTE_TYPES))
    relation, of_relation = divmod(form, len(FORMS))
    if not 0 <= relation < len(RELATIONS):
        return {"question_type3": str(number)}
    coarse = f"{RELATIONS[relation]}-{FORMS[of_relation]}"
    kind = ATTRIBUTE_TYPES[attribute_type]
    return {
        "question_type1": RELATIONS[relation],
        "question_type2": coarse,
        "question_type3": f"{coarse}, {kind}",
        "attribute_type": kind,
    }
