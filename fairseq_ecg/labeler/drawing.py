"""The knowledge graph as a picture."""

from pathlib import Path

from fairseq_ecg.errors import DataError
from fairseq_ecg.jobs.files import replacing
from fairseq_ecg.labeler.knowledge_graph import KnowledgeGraph

_ROW_INCHES = 0.32
_COLUMN_INCHES = 3.0
_SELECTED = "#c0392b"
_OTHER = "#34495e"
_RULE = "#7f8c8d"
_ARROW = "#95a5a6"
_PAPER = {"facecolor": "white", "edgecolor": "none", "pad": 0.5}


def draw_graph(graph: KnowledgeGraph, entity: str, path: Path) -> None:
    """Draw an entity with all that it is a kind of, and all its kinds.

    The most general stand on the left; an arrow goes from a kind to its parent. Below a name stands
    what else it follows from.

    Args:
        graph: of a vocabulary.
        entity: its name.
        path: SVG file to write; any other kind that Matplotlib knows by its ending.

    Raises:
        DataError: There is no such entity, or no such kind of picture.
    """
    import networkx as nx
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    kind = path.suffix.removeprefix(".").lower() or "svg"
    if kind not in FigureCanvasAgg.get_supported_filetypes():
        known = ", ".join(sorted(FigureCanvasAgg.get_supported_filetypes()))
        raise DataError(f"{path}: no picture of kind {kind!r} can be written; there are {known}")
    names = [*graph.ancestors(entity), entity, *graph.descendants(entity)]
    network = nx.DiGraph()
    network.add_nodes_from(names)
    network.add_edges_from(
        (name, parent) for name in names for parent in graph.parents[name] if parent in network
    )
    layers = list(nx.topological_generations(network.reverse(copy=False)))
    positions = _positions(network, layers)
    columns, rows = len(layers), max(map(len, layers))
    figure = Figure(figsize=(_COLUMN_INCHES * columns, _ROW_INCHES * rows + 0.6))
    canvas = FigureCanvasAgg(figure)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    axes.set_xlim(-0.05, columns)
    axes.set_ylim(-(rows - 1) / 2 - 1, (rows - 1) / 2 + 1)
    right_of = {}
    to_data = axes.transData.inverted()
    for name, (x, y) in positions.items():
        selected = name == entity
        color, weight = (_SELECTED, "bold") if selected else (_OTHER, "normal")
        style = {"va": "center", "zorder": 2, "bbox": _PAPER}
        written = axes.text(x, y, name, fontsize=8, weight=weight, color=color, **style)
        extent = written.get_window_extent(canvas.get_renderer())
        right_of[name] = to_data.transform((extent.x1, extent.y0))[0]
        rules = " or ".join(graph.follows_from(name))
        if rules:
            axes.text(x, y - 0.42, f"= {rules}", fontsize=5.5, color=_RULE, **style)
    for name, parent in network.edges:
        axes.annotate(
            "",
            xy=(right_of[parent] + 0.02, positions[parent][1]),
            xytext=(positions[name][0] - 0.02, positions[name][1]),
            arrowprops={"arrowstyle": "->", "color": _ARROW, "linewidth": 0.8},
            zorder=1,
        )
    # The same graph is the same file: no date, no random identifiers, text as text.
    settings = {"svg.hashsalt": "fairseq-ecg", "svg.fonttype": "none"}
    with rc_context(settings), replacing(path) as unfinished:
        metadata = {"Date": None} if kind == "svg" else None
        figure.savefig(unfinished, format=kind, metadata=metadata)


def _positions(network, layers: list[list[str]]) -> dict[str, tuple[float, float]]:
    """Place every layer in a column, each name near its parents."""
    positions: dict[str, tuple[float, float]] = {}
    for x, layer in enumerate(layers):

        def height(name: str) -> tuple[float, str]:
            parents = [positions[parent][1] for parent in network.successors(name)]
            return -sum(parents) / len(parents) if parents else 0.0, name

        ordered = sorted(layer, key=height)
        for i, name in enumerate(ordered):
            positions[name] = x, (len(ordered) - 1) / 2 - i
    return positions
