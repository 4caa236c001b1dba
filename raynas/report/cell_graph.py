"""An architecture as a drawing of its cells: states as dots, ops as boxes on the way between them.

A drawing is made of the text alone, so an architecture of a space outside raynas that writes its
cells as ours do is drawn without importing it:

    normal:|op~source|op~source|+…;reduce:…       DARTS family, two cells (two inputs)
    |op~source|op~source|+|…|                     DARTS family, one cell
    |op~0|+|op~0|op~1|+…                          nasbench201 and cell (one input)
    op,op:110011                                  nasbench101 (ops on the vertices)
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from xml.etree import ElementTree

from markupsafe import Markup

from raynas.report import palette
from raynas.report.layered import Layout, Point, lay_out
from raynas.report.svg import inline_svg

_FONT_SIZE = 11.0
_LETTER = 0.62 * _FONT_SIZE
"""Width of a letter of a fixed-width font, rounded up."""

_BOX_HEIGHT = 20.0
_MARGIN = 4.0
_HEAD = 5.0
_NONE = "none"
_SCALE = 1.15

_CELL = re.compile(r"(?:\|[^~|+;]+~\d{1,3})+\|(?:\+(?:\|[^~|+;]+~\d{1,3})+\|)*")
_TWO_CELLS = re.compile(r"normal:([^;]+);reduce:([^;]+)")
_PAIR = re.compile(r"\|([^~|+;]+)~(\d+)")
_VERTICES = re.compile(r"([\w.,-]*):([01]+)")

_MOST_NODES = 24
"""Larger cells are not drawn."""

_KINDS = (
    ("skip", palette.SERIES[3]),
    ("pool", palette.SERIES[2]),
    ("sep", palette.SERIES[0]),
    ("dil", palette.SERIES[5]),
    ("conv", palette.SERIES[0]),
    ("noise", palette.SERIES[4]),
)
"""Colour of an op by what its name holds."""


@dataclass(frozen=True, slots=True)
class Arc:
    """An arrow between two nodes, with an op on it or without (``""``)."""

    source: int
    target: int
    op: str = ""


@dataclass(frozen=True, slots=True)
class CellGraph:
    """What is drawn of a cell.

    Attributes:
        name: ``cell``, or ``normal cell`` and ``reduction cell``.
        nodes: Label of each node, in an order in which arrows go upwards.
        arcs: The arrows.
        ops_on_nodes: Whether the inner nodes are ops.
    """

    name: str
    nodes: tuple[str, ...]
    arcs: tuple[Arc, ...]
    ops_on_nodes: bool = False


@dataclass(frozen=True, slots=True)
class Box:
    """A labelled box; a node without ops is a rounder one.

    Attributes:
        x, y: Its left upper corner.
        colour: Of the palette.
        state: Whether it is a state of the cell, not an op.
    """

    x: float
    y: float
    width: float
    height: float
    text: str
    colour: str
    state: bool


@dataclass(frozen=True, slots=True)
class Line:
    """An arrow.

    Attributes:
        points: As in `Layout.routes`.
        head: Whether it ends in a head.
        dashed: Whether nothing passes along it (op ``none``).
    """

    points: tuple[Point, ...]
    head: bool
    dashed: bool


@dataclass(frozen=True, slots=True)
class Drawing:
    """A cell, ready to be drawn."""

    name: str
    width: float
    height: float
    boxes: tuple[Box, ...]
    lines: tuple[Line, ...]


def cell_graphs(text: str, *, joined: bool = False) -> tuple[CellGraph, ...]:
    """Read the cells of an architecture's text; none if it is written in no way known here.

    Args:
        text: Canonical text.
        joined: Whether a cell with one input returns all its nodes (``output: concat`` of space
            `cell`), not the last alone.
    """
    both = _TWO_CELLS.fullmatch(text)
    if both:
        cells = [_mixed(both[1], "normal cell"), _mixed(both[2], "reduction cell")]
    elif _CELL.fullmatch(text):
        cells = [_mixed(text, "cell", joined=joined)]
    else:
        cells = [_vertices(text)]
    found = [cell for cell in cells if cell is not None and len(cell.nodes) <= _MOST_NODES]
    return tuple(found) if len(found) == len(cells) else ()


def _mixed(text: str, name: str, *, joined: bool = False) -> CellGraph | None:
    """Read a cell whose edges carry ops."""
    if not _CELL.fullmatch(text):
        return None
    nodes = [
        [(op, int(source)) for op, source in _PAIR.findall(group)] for group in text.split("+")
    ]
    darts = len(nodes[0]) == 2
    inputs = ["c(k-2)", "c(k-1)"] if darts else ["0"]
    arcs = []
    for number, pairs in enumerate(nodes, start=len(inputs)):
        if len(pairs) != (2 if darts else number) or any(source >= number for _, source in pairs):
            return None
        arcs += [Arc(source, number, op) for op, source in pairs]
    labels = [*inputs, *(str(number) for number in range(len(inputs), len(inputs) + len(nodes)))]
    if darts or joined:
        arcs += [Arc(node, len(labels)) for node in range(len(inputs), len(labels))]
        labels.append("c(k)" if darts else "joined")
    else:
        labels[0], labels[-1] = "in", "out"
    return CellGraph(name, tuple(labels), tuple(arcs))


def _vertices(text: str) -> CellGraph | None:
    """Read a module whose vertices carry ops."""
    match = _VERTICES.fullmatch(text)
    if match is None:
        return None
    labels = ("in", *(op for op in match[1].split(",") if op), "out")
    pairs = [(s, t) for s in range(len(labels)) for t in range(s + 1, len(labels))]
    if len(match[2]) != len(pairs):
        return None
    arcs = tuple(Arc(*pair) for bit, pair in zip(match[2], pairs, strict=True) if bit == "1")
    return CellGraph("module", labels, arcs, ops_on_nodes=True)


def draw(graph: CellGraph) -> Drawing:
    """Place the boxes and arrows of a cell, from top to bottom, none over another."""
    depth = _depths(graph)
    named = [arc for arc in graph.arcs if arc.op]
    texts = [*graph.nodes, *(arc.op for arc in named)]
    layers = [*(2 * d for d in depth), *(2 * depth[arc.target] - 1 for arc in named)]
    arrows, heads, dashed = [], [], []
    for arc in graph.arcs:
        if not arc.op:
            arrows.append((arc.source, arc.target))
            heads.append(True)
        else:
            box = len(graph.nodes) + named.index(arc)
            arrows += [(arc.source, box), (box, arc.target)]
            heads += [False, True]
        dashed += [arc.op == _NONE] * (2 if arc.op else 1)
    used = sorted(set(layers))
    layout = lay_out([_size(t) for t in texts], arrows, [used.index(layer) for layer in layers])
    states = len(graph.nodes)
    inner = range(1, states - 1) if graph.ops_on_nodes else range(0)
    boxes = [
        _box(layout, number, text, state=number < states and number not in inner)
        for number, text in enumerate(texts)
    ]
    lines = [
        Line(tuple((x + _MARGIN, y + _MARGIN) for x, y in route), head, broken)
        for route, head, broken in zip(layout.routes, heads, dashed, strict=True)
    ]
    size = layout.width + 2 * _MARGIN, layout.height + 2 * _MARGIN
    return Drawing(graph.name, *size, tuple(boxes), tuple(lines))


def _depths(graph: CellGraph) -> list[int]:
    """Return the layer of each node.

    Where ops are on the edges every node has one of its own, below the inputs: no layer is then
    wider than the ops of one node.
    """
    depth = [0] * len(graph.nodes)
    fed = {arc.target for arc in graph.arcs}
    inputs = [node for node in range(len(graph.nodes)) if node not in fed]
    for arc in sorted(graph.arcs, key=lambda arc: arc.target):
        depth[arc.target] = max(depth[arc.target], depth[arc.source] + 1)
    if graph.ops_on_nodes:
        return depth
    return [0 if n in inputs else 1 + n - len(inputs) for n in range(len(graph.nodes))]


def _size(text: str) -> tuple[float, float]:
    return max(len(text) * _LETTER + 10, _BOX_HEIGHT), _BOX_HEIGHT


def _box(layout: Layout, number: int, text: str, *, state: bool) -> Box:
    (x, y), (width, height) = layout.centres[number], _size(text)
    colour = palette.MUTED if state else op_colour(text)
    left, top = x - width / 2 + _MARGIN, y - height / 2 + _MARGIN
    return Box(left, top, width, height, text, colour, state)


def op_colour(op: str) -> str:
    """Return the colour of an op: that of its kind."""
    if op == _NONE:
        return palette.MUTED
    return next((colour for part, colour in _KINDS if part in op), palette.SERIES[7])


def cell_svg(drawing: Drawing, name: str, description: str) -> Markup:
    """Return a drawing as inline SVG.

    Args:
        drawing: The cell.
        name: Begins every id in it.
        description: What it shows, for who cannot see it.
    """
    size = {"viewBox": f"0 0 {drawing.width:.2f} {drawing.height:.2f}"}
    root = ElementTree.Element("svg", {"xmlns": "http://www.w3.org/2000/svg", **size})
    for line in drawing.lines:
        style = f"fill:none;stroke:{palette.MUTED};stroke-width:1.2"
        style += ";stroke-dasharray:2,3;opacity:.7" if line.dashed else ""
        ElementTree.SubElement(root, "path", {"d": _curve(line), "style": style})
        if line.head and not line.dashed:
            x, y = line.points[-1]
            head = f"M{x:.2f} {y:.2f}l-3.5 -{_HEAD + 1} h7z"
            ElementTree.SubElement(root, "path", {"d": head, "style": f"fill:{palette.MUTED}"})
    for box in drawing.boxes:
        _draw_box(root, box)
    source = ElementTree.tostring(root, encoding="unicode")
    return inline_svg(source, name, drawing.name, description, scale=_SCALE, fixed=True)


def _draw_box(root: ElementTree.Element, box: Box) -> None:
    place = {"x": box.x, "y": box.y, "width": box.width, "height": box.height}
    shape = {key: f"{value:.2f}" for key, value in place.items()}
    shape["rx"] = f"{box.height / 2 if box.state else 3:.2f}"
    strength = 0.08 if box.state else 0.16
    style = f"fill:{box.colour};fill-opacity:{strength};stroke:{box.colour};stroke-width:1"
    ElementTree.SubElement(root, "rect", {**shape, "style": style})
    middle = {"x": f"{box.x + box.width / 2:.2f}", "y": f"{box.y + box.height / 2 + 4:.2f}"}
    style = f"font-size:{_FONT_SIZE}px;text-anchor:middle;fill:{palette.INK}"
    ElementTree.SubElement(root, "text", {**middle, "style": style}).text = box.text


def curve_points(line: Line) -> list[tuple[Point, Point, Point, Point]]:
    """Return the Bézier curves of an arrow: upright at both ends, within the gap they cross."""
    ends = list(line.points)
    return [
        ((x0, y0), (x0, (y0 + y1) / 2), (x1, (y0 + y1) / 2), (x1, y1))
        for (x0, y0), (x1, y1) in _pairs(ends)
    ]


def _pairs(points: Sequence[Point]) -> list[tuple[Point, Point]]:
    return [(points[n], points[n + 1]) for n in range(0, len(points), 2)]


def _curve(line: Line) -> str:
    parts: list[str] = []
    for start, one, two, end in curve_points(line):
        step = "M" if not parts else "L"
        numbers = " ".join(f"{value:.2f}" for point in (one, two, end) for value in point)
        parts.append(f"{step}{start[0]:.2f} {start[1]:.2f}C{numbers}")
    return "".join(parts)
