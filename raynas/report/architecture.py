"""The architecture of a report: its cells drawn, and the text that gives it back."""

from collections.abc import Mapping, Sequence
from typing import Any

from raynas.report.cell_graph import CellGraph, cell_graphs, cell_svg, draw
from raynas.report.page import Block, Code, More, Plot, Prose
from raynas.report.words import count, listed

_IDLE = "none"


def architecture_blocks(
    text: str, space: Mapping[str, Any], name: str, *, literal: str | None = None
) -> list[Block]:
    """Return the drawing of an architecture, and its text.

    Args:
        text: Its canonical text.
        space: Its space, as in `best.json` or a config.
        name: Begins every id.
        literal: What DARTS code calls it (``Genotype(…)``), if it has such a form.
    """
    texts = [Code(text)] if literal is None else [Code(text), Code(literal)]
    graphs = cell_graphs(text, joined=space.get("output") == "concat")
    if not graphs:
        return [Prose("No drawing: the text is in no form that this report can draw."), *texts]
    svgs = [
        cell_svg(draw(graph), f"{name}-{number}", _described(graph))
        for number, graph in enumerate(graphs)
    ]
    return [Plot(svgs, op_sentence(graphs)), More("As text", texts)]


def ops_of(graph: CellGraph) -> list[str]:
    """Return the ops of a cell, in order."""
    return list(graph.nodes[1:-1]) if graph.ops_on_nodes else [a.op for a in graph.arcs if a.op]


def op_sentence(graphs: Sequence[CellGraph]) -> str:
    """Say which ops an architecture is made of."""
    parts = []
    for graph in graphs:
        ops = ops_of(graph)
        often = sorted(dict.fromkeys(ops), key=lambda op: (op == _IDLE, -ops.count(op)))
        counts = [f"{ops.count(op)} {op}" for op in often]
        where = f"The {graph.name}" if len(graphs) > 1 else "The cell"
        parts.append(f"{where} has {listed(counts)}." if counts else f"{where} has no op.")
    return " ".join(parts)


def _described(graph: CellGraph) -> str:
    steps = [
        f"{graph.nodes[arc.source]} to {graph.nodes[arc.target]}" + (f" by {arc.op}" * bool(arc.op))
        for arc in graph.arcs
    ]
    return f"{count(len(steps), 'connection')}: {', '.join(steps)}"
