"""``fairseq-ecg label graph``."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from fairseq_ecg.cli.label.options import LabelerOptions
from fairseq_ecg.cli.options import Name


def graph(
    *,
    entity: Name,
    out: Annotated[Path, Parameter(metavar="SVG")],
    labeling: LabelerOptions = LabelerOptions(),
) -> int:
    """Draw an entity with all that it is a kind of, and with all its kinds.

    Args:
        entity: an entity
        out: file to write
    """
    from fairseq_ecg.labeler.drawing import draw_graph

    graph = labeling.labeler().graph
    draw_graph(graph, entity, out)
    print(f"a kind of: {', '.join(graph.ancestors(entity)) or 'nothing'}")
    print(f"kinds: {', '.join(graph.descendants(entity)) or 'none'}")
    for rule in graph.follows_from(entity):
        print(f"follows from: {rule}")
    return 0
