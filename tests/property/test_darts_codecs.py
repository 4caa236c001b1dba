"""Properties of the DARTS family's texts, neighbours, identities and encodings."""

import itertools
from collections import defaultdict
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raynas.errors import InvalidArchitectureError
from raynas.spaces.architecture import Architecture
from raynas.spaces.darts import DartsFamily, DartsSpace, S1Space, S2Space, S3Space, S4Space
from raynas.spaces.darts_ops import EDGES

SPACE = DartsSpace()
ALL = (
    SPACE,
    DartsSpace(two_cells=False, with_none=True),
    S1Space(),
    S2Space(),
    S3Space(two_cells=False),
    S4Space(),
)
UNIFORM = tuple(space for space in ALL if space.name != "s1")

seeds = st.integers(0, 2**32 - 1)
unhurried = settings(deadline=None)  # the first example lists the choices of each node
Nodes = list[tuple[tuple[str, int], tuple[str, int]]]


@st.composite
def cells(draw: st.DrawFn, ops: tuple[str, ...] = SPACE.edge_ops.normal[0]) -> Nodes:
    """Draw the nodes of a cell, the pairs of a node in either order."""
    found = []
    for state in range(2, 6):
        sources = draw(st.lists(st.integers(0, state - 1), min_size=2, max_size=2, unique=True))
        first, second = ((draw(st.sampled_from(ops)), source) for source in sources)
        found.append((first, second))
    return found


def written(*nodes: Nodes) -> str:
    """Write the text of one or two cells, pairs as they come."""
    texts = [
        "+".join("|" + "".join(f"{op}~{source}|" for op, source in node) for node in cell)
        for cell in nodes
    ]
    return texts[0] if len(texts) == 1 else "normal:{};reduce:{}".format(*texts)


def drawn(space: DartsFamily, seed: int) -> Architecture:
    return space.sample(np.random.default_rng(seed))


def flat(space: DartsFamily, architecture: Architecture) -> list[tuple[int, int, int, str]]:
    """List (kind, node, source, op) of every pair; the kind of a shared cell is 0."""
    kinds = space.cells(architecture)[: 2 if space.two_cells else 1]
    return [
        (kind, state, source, op)
        for kind, nodes in enumerate(kinds)
        for state, node in enumerate(nodes, 2)
        for op, source in node
    ]


# -- texts -------------------------------------------------------------------------------------


@unhurried
@given(cells(), cells())
def test_texts_parse_to_their_ordered_form(normal: Nodes, reduce: Nodes) -> None:
    architecture = SPACE.parse(written(normal, reduce))
    ordered = [[tuple(sorted(n, key=lambda pair: pair[1])) for n in c] for c in (normal, reduce)]
    assert architecture.text == written(*ordered)
    assert [list(cell) for cell in SPACE.cells(architecture)] == ordered
    assert SPACE.parse(architecture.text) == architecture
    assert SPACE.parse(repr(SPACE.genotype(architecture))) == architecture


@unhurried
@given(st.sampled_from(ALL), seeds, st.data())
def test_damaged_texts_are_refused_in_one_line(
    space: DartsFamily, seed: int, data: st.DataObject
) -> None:
    text = drawn(space, seed).text
    place = data.draw(st.integers(0, len(text) - 1))
    put = data.draw(st.text(max_size=3))
    damaged = text[:place] + put + text[place + data.draw(st.integers(0, 2)) :]
    try:
        said = space.parse(damaged).text
        assert sorted(said) == sorted(damaged.strip())  # at most the order of pairs differs
    except InvalidArchitectureError as error:
        said = str(error)
        assert "at character" in said or "after character" in said or "node " in said
    assert len(said.splitlines()) == 1


@unhurried
@given(seeds, st.data())
def test_damaged_literals_are_refused_in_one_line(seed: int, data: st.DataObject) -> None:
    architecture = drawn(SPACE, seed)
    text = repr(SPACE.genotype(architecture))
    place = data.draw(st.integers(0, len(text) - 1))
    put = data.draw(st.text(alphabet="()[]',=~|+:;019ab \n\\", max_size=3))
    damaged = text[:place] + put + text[place + data.draw(st.integers(0, 2)) :]
    try:
        said = SPACE.parse(damaged).text
    except InvalidArchitectureError as error:
        said = str(error)
    assert len(said.splitlines()) == 1


@unhurried
@given(st.sampled_from(ALL), st.text(max_size=100))
def test_no_text_breaks_the_parser(space: DartsFamily, text: str) -> None:
    for attempt in (text, f"Genotype({text}"):
        with pytest.raises(InvalidArchitectureError):
            space.parse(attempt)


@unhurried
@given(st.sampled_from(ALL), seeds)
def test_samples_use_the_ops_of_their_edges(space: DartsFamily, seed: int) -> None:
    pairs = flat(space, drawn(space, seed))
    assert len(pairs) == (16 if space.two_cells else 8)
    for kind, state, source, op in pairs:
        edge = EDGES.index((source, state))
        assert op in space.edge_ops[kind][edge]
        assert op != "none"
    for (kind, state, first, _), (other, same, second, _) in itertools.pairwise(pairs):
        assert (kind, state) != (other, same) or first < second


# -- mutation ----------------------------------------------------------------------------------


@unhurried
@given(st.sampled_from(UNIFORM), seeds)
def test_a_mutation_differs_in_one_op_or_one_source(space: DartsFamily, seed: int) -> None:
    rng = np.random.default_rng(seed)
    architecture = space.sample(rng)
    before, after = (
        set(flat(space, one)) for one in (architecture, space.mutate(architecture, rng))
    )
    ((kind, state, source, op),) = before - after
    ((new_kind, new_state, new_source, new_op),) = after - before
    assert (kind, state) == (new_kind, new_state)
    assert (source == new_source) is not (op == new_op)


@unhurried
@given(st.sampled_from(ALL), seeds)
def test_neighbours_differ_in_one_pair(space: DartsFamily, seed: int) -> None:
    architecture = drawn(space, seed)
    neighbours = space.neighbours(architecture)
    assert len(set(neighbours)) == len(neighbours)
    own = set(flat(space, architecture))
    assert all(len(own - set(flat(space, other))) == 1 for other in neighbours)


@unhurried
@given(st.sampled_from(UNIFORM), seeds)
def test_neighbourhood_is_mutual(space: DartsFamily, seed: int) -> None:
    architecture = drawn(space, seed)
    neighbours = space.neighbours(architecture)
    assert architecture in space.neighbours(neighbours[seed % len(neighbours)])


# -- identity ----------------------------------------------------------------------------------


def renumbered(nodes: Nodes, order: tuple[int, ...]) -> Nodes | None:
    """Return the cell whose node ``order[i]`` comes i-th; None if a node came before its source."""
    number = {0: 0, 1: 1} | {state: place + 2 for place, state in enumerate(order)}
    moved = [
        tuple(sorted(((op, number[s]) for op, s in nodes[state - 2]), key=lambda pair: pair[1]))
        for state in order
    ]
    early = all(source < place for place, node in enumerate(moved, 2) for _, source in node)
    return moved if early else None  # type: ignore[return-value]


@unhurried
@given(cells(), cells(), st.permutations(range(2, 6)), st.permutations(range(2, 6)))
def test_key_does_not_see_the_numbers_of_nodes(
    normal: Nodes, reduce: Nodes, first: list[int], second: list[int]
) -> None:
    moved = [
        renumbered(nodes, tuple(order)) or nodes
        for nodes, order in ((normal, first), (reduce, second))
    ]
    keys = {SPACE.key(SPACE.parse(written(*both))) for both in ((normal, reduce), moved)}
    assert len(keys) == 1


@cache
def s2_classes() -> dict[str, set[str]]:
    """The cells of S2 by their key: all 46,080."""
    space = S2Space(two_cells=False)
    found = defaultdict(set)
    ops = ("skip_connect", "sep_conv_3x3")
    choices = [
        [
            ((a, s), (b, t))
            for s, t in itertools.combinations(range(state), 2)
            for a in ops
            for b in ops
        ]
        for state in range(2, 6)
    ]
    for nodes in itertools.product(*choices):
        text = written(list(nodes))
        found[space.key(Architecture("s2", text))].add(text)
    return found


@unhurried
@given(cells(("skip_connect", "sep_conv_3x3")))
def test_cells_of_one_key_are_renumberings_and_nothing_else(nodes: Nodes) -> None:
    orders = itertools.permutations(range(2, 6))
    moved = {written(cell) for order in orders if (cell := renumbered(nodes, order))}
    space = S2Space(two_cells=False)
    key = space.key(space.parse(written(nodes)))
    assert s2_classes()[key] == moved


def test_every_cell_of_s2_has_a_key() -> None:
    classes = s2_classes()
    assert sum(map(len, classes.values())) == 180 * 2**8
    assert max(map(len, classes.values())) <= 24
    assert len(classes) == 17_531


# -- encodings ---------------------------------------------------------------------------------


@unhurried
@given(st.sampled_from(ALL), seeds)
def test_the_graph_says_all(space: DartsFamily, seed: int) -> None:
    architecture = drawn(space, seed)
    graph = space.graph(architecture)
    pairs = flat(space, architecture)
    num_cells = len(pairs) // 8
    assert graph.adjacency.shape == (11 * num_cells, 11 * num_cells)
    expected = np.zeros_like(graph.adjacency)
    for number, (kind, _, source, op) in enumerate(pairs):
        node = 11 * kind + 2 + number % 8
        label = space.labels[graph.labels[node]]
        assert label == (("normal ", "reduce ")[kind] if num_cells == 2 else "") + op
        feeding = [source] if source < 2 else [2 * source - 2, 2 * source - 1]
        expected[[11 * kind + one for one in feeding], node] = 1
        expected[node, 11 * kind + 10] = 1
    assert np.array_equal(graph.adjacency, expected)


@unhurried
@given(cells(), cells(), st.permutations(range(2, 6)))
def test_equal_keys_have_equal_graphs_but_for_the_order(
    normal: Nodes, reduce: Nodes, order: list[int]
) -> None:
    moved = renumbered(normal, tuple(order)) or normal
    graphs = [SPACE.graph(SPACE.parse(written(cell, reduce))) for cell in (normal, moved)]
    fingerprints = set()
    for graph in graphs:  # what a graph network sees after two steps, as counts
        colours = 1.0 + graph.labels
        links = graph.adjacency.astype(float)
        for _ in range(2):
            colours = np.cos(colours + links.T @ colours + 7 * (links @ colours))
        fingerprints.add(tuple(np.round(np.sort(colours), 9) + 0.0))
    assert len(fingerprints) == 1
