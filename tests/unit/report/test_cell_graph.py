"""Drawings of cells: all of an architecture, and nothing over anything else."""

import functools
import itertools
import re

import numpy as np
import pytest

from raynas.report.architecture import architecture_blocks, op_sentence, ops_of
from raynas.report.cell_graph import Arc, cell_graphs, cell_svg, curve_points, draw, op_colour
from raynas.report.layered import lay_out
from raynas.spaces.cell_space import CellSpace
from raynas.spaces.darts import DartsSpace, S2Space
from raynas.spaces.darts_family import DartsFamily
from raynas.spaces.nasbench101 import NasBench101
from raynas.spaces.nasbench201 import EDGES, NasBench201
from raynas.spaces.published import PUBLISHED

SPACES = {
    "darts": DartsSpace(),
    "one cell": DartsSpace(two_cells=False),
    "s2": S2Space(),
    "nasbench201": NasBench201(),
    "nasbench101": NasBench101(),
    "cell": CellSpace(ops=["none", "skip_connect", "nor_conv_3x3"], nodes=5),
    "joined": CellSpace(ops=["skip_connect", "max_pool_3x3"], nodes=4, output="concat"),
    "two nodes": CellSpace(ops=["skip_connect", "nor_conv_1x1"], nodes=2),
}


def architectures(space, count=5):
    rng = np.random.default_rng(0)
    return [space.sample(rng) for _ in range(count)]


def graphs(space, architecture):
    return cell_graphs(architecture.text, joined=getattr(space, "output", "") == "concat")


@functools.cache
def drawings(name):
    space = SPACES[name]
    found = [graph for one in architectures(space) for graph in graphs(space, one)]
    return [(graph, draw(graph)) for graph in found]


def corners(box):
    return box.x, box.y, box.x + box.width, box.y + box.height


def on_curve(curve, t):
    weights = ((1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t**2 * (1 - t), t**3)
    return tuple(sum(w * p[axis] for w, p in zip(weights, curve, strict=True)) for axis in (0, 1))


def points(line):
    """Points all along an arrow: its curves, and the straight ways between them."""
    curves = curve_points(line)
    for curve in curves:
        yield from (on_curve(curve, t) for t in np.linspace(0, 1, 11).tolist())
    for before, after in itertools.pairwise(curves):
        assert before[-1][0] == pytest.approx(after[0][0]), "runs straight down through a layer"
        yield from ((before[-1][0], y) for y in np.linspace(before[-1][1], after[0][1], 9))


def check_apart(drawing):
    for one, other in itertools.combinations(drawing.boxes, 2):
        left, top, right, bottom = corners(one)
        x0, y0, x1, y1 = corners(other)
        assert right <= x0 or x1 <= left or bottom <= y0 or y1 <= top, (one, other)


def check_arrows_pass_by(drawing, box):
    left, top, right, bottom = corners(box)
    assert min(left, top) >= 0
    assert right <= drawing.width
    assert bottom <= drawing.height
    for line in drawing.lines:
        for x, y in points(line):
            inside = left + 1e-6 < x < right - 1e-6 and top + 1e-6 < y < bottom - 1e-6
            assert not inside, (box, line)


@pytest.mark.parametrize("name", SPACES)
def test_no_label_lies_over_another_and_no_arrow_over_a_label(name):
    for _, drawing in drawings(name):
        check_apart(drawing)
        for box in drawing.boxes:
            check_arrows_pass_by(drawing, box)


@pytest.mark.parametrize("name", SPACES)
def test_labels_fit_their_boxes_and_arrows_go_from_box_to_box(name):
    for graph, drawing in drawings(name):
        for box in drawing.boxes:
            assert len(box.text) * 0.602 * 11 <= box.width - 4  # letters of the usual fixed fonts
        middles = [round(box.x + box.width / 2, 6) for box in drawing.boxes]
        tops = {(x, round(b.y, 6)) for x, b in zip(middles, drawing.boxes, strict=True)}
        bottoms = {(x, round(b.y + 20, 6)) for x, b in zip(middles, drawing.boxes, strict=True)}
        for line in drawing.lines:
            assert tuple(round(v, 6) for v in line.points[0]) in bottoms
            assert tuple(round(v, 6) for v in line.points[-1]) in tops
        num_ops = sum(bool(arc.op) for arc in graph.arcs)
        assert len(drawing.boxes) == len(graph.nodes) + num_ops
        assert len(drawing.lines) == len(graph.arcs) + num_ops


@pytest.mark.parametrize("name", ["nasbench201", "cell", "joined"])
def test_a_cell_with_one_input_has_the_edges_and_ops_of_its_space(name):
    space = SPACES[name]
    edges = EDGES if name == "nasbench201" else space.edges
    for architecture in architectures(space):
        (graph,) = graphs(space, architecture)
        ops = space.ops(architecture) if name == "nasbench201" else space.edge_ops(architecture)
        expected = [Arc(*ends, op) for ends, op in zip(edges, ops, strict=True)]
        assert [arc for arc in graph.arcs if arc.op] == expected
        if name == "joined":
            assert [arc for arc in graph.arcs if not arc.op] == [Arc(n, 4) for n in (1, 2, 3)]
            assert graph.nodes[-1] == "joined"
        else:
            assert graph.nodes[0] == "in"
            assert graph.nodes[-1] == "out"


@pytest.mark.parametrize("name", ["darts", "one cell", "s2"])
def test_cells_of_the_darts_family_have_the_ops_of_their_space(name):
    space = SPACES[name]
    assert isinstance(space, DartsFamily)
    for architecture in architectures(space):
        found = graphs(space, architecture)
        cells = space.cells(architecture)[: len(found)]
        assert len(found) == (1 if name == "one cell" else 2)
        for graph, cell in zip(found, cells, strict=True):
            pairs = [(source, node, op) for node, two in enumerate(cell, 2) for op, source in two]
            expected = [Arc(*pair) for pair in pairs] + [Arc(node, 6) for node in range(2, 6)]
            assert list(graph.arcs) == expected
            assert graph.nodes[:2] == ("c(k-2)", "c(k-1)")


def test_a_module_of_nasbench101_has_the_edges_and_ops_of_its_space():
    space = SPACES["nasbench101"]
    for architecture in architectures(space):
        (graph,) = graphs(space, architecture)
        adjacency = space.graph(architecture).adjacency
        pairs = {(arc.source, arc.target) for arc in graph.arcs}
        assert pairs == {(int(s), int(t)) for s, t in zip(*np.nonzero(adjacency), strict=True)}
        assert tuple(ops_of(graph)) == space.module(architecture).ops
        states = [box.text for box in draw(graph).boxes if box.state]
        assert states == ["in", "out"]


@pytest.mark.parametrize("name", sorted(PUBLISHED))
def test_published_cells_are_drawn(name):
    text = DartsSpace().parse(name).text
    assert [graph.name for graph in cell_graphs(text)] == ["normal cell", "reduction cell"]


@pytest.mark.parametrize(
    "text",
    [
        "a12",
        "",
        "|op~0|+|op~0|",
        "|op~5|",
        "|a~0|b~1|+|a~0|b~9|",
        "normal:|a~0|b~1|;reduce:nothing",
        "conv3x3:1",
        "conv3x3,conv1x1:10101",
        "<script>alert(1)</script>",
        "|" + "+".join("|".join(["op~0"] * n) for n in range(1, 40)) + "|",
    ],
)
def test_what_is_written_in_another_way_is_not_drawn_but_shown(text):
    assert cell_graphs(text) == ()
    blocks = architecture_blocks(text, {}, "best")
    assert [block.kind for block in blocks] == ["prose", "code"]
    assert blocks[1].text == text


def test_ops_are_named_escaped_and_counted():
    text = "|<b>~0|+|skip_connect~0|<b>~1|"
    (graph,) = cell_graphs(text)
    out = str(cell_svg(draw(graph), "c", "d"))
    assert "&lt;b&gt;" in out
    assert "<b>" not in out
    assert op_sentence([graph]) == "The cell has 2 <b> and 1 skip_connect."


def test_none_is_dashed_without_a_head():
    (graph,) = cell_graphs("|none~0|")
    (box,) = [b for b in draw(graph).boxes if b.text == "none"]
    assert box.colour == op_colour("none")
    assert all(line.dashed for line in draw(graph).lines)
    out = str(cell_svg(draw(graph), "c", "d"))
    assert "stroke-dasharray" in out
    assert not re.search(r"<path d=\"M[^\"]*z\"", out)


def test_places_are_within_a_layer_in_order_and_arrows_of_one_layer_straight():
    layout = lay_out([(10, 4)] * 3, [(0, 1), (1, 2), (0, 2)], [0, 1, 2], gap=(6, 8))
    ys = [y for _, y in layout.centres]
    assert ys == [2, 14, 26]
    (through,) = [route for route in layout.routes if len(route) == 4]
    assert through[1][0] == through[2][0]
    assert abs(through[1][0] - layout.centres[1][0]) >= 5 + 1 + 6 - 1e-6
    assert layout.height == 28
