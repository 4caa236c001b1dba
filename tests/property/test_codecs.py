"""Properties of NAS-Bench-201 texts, identities and encodings."""

import zlib
from collections import defaultdict
from functools import cache

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from raynas.errors import InvalidArchitectureError
from raynas.networks.nasbench201_network import Cell
from raynas.spaces.architecture import Architecture
from raynas.spaces.cell import Edge
from raynas.spaces.nasbench201 import EDGES, LABELS, OPS, NasBench201

SPACE = NasBench201()
PATHS = (((0, 3),), ((0, 1), (1, 3)), ((0, 2), (2, 3)), ((0, 1), (1, 2), (2, 3)))

architectures = st.tuples(*[st.sampled_from(OPS)] * 6).map(
    lambda ops: Architecture("nasbench201", text_of(ops))
)
spaces = st.lists(st.sampled_from(OPS), min_size=2, unique=True).map(
    lambda ops: NasBench201(ops=ops)
)
seeds = st.integers(0, 2**32 - 1)
unhurried = settings(deadline=None)  # the first example lists the space


def text_of(ops: tuple[str, ...]) -> str:
    a, b, c, d, e, f = ops
    return f"|{a}~0|+|{b}~0|{c}~1|+|{d}~0|{e}~1|{f}~2|"


def op_of(architecture: Architecture) -> dict[tuple[int, int], str]:
    return dict(zip(EDGES, SPACE.ops(architecture), strict=True))


# -- texts -------------------------------------------------------------------------------------


@given(architectures)
def test_texts_parse_to_themselves(architecture: Architecture) -> None:
    assert SPACE.parse(architecture.text) == architecture
    assert text_of(SPACE.ops(architecture)) == architecture.text


@given(architectures, st.data())
def test_damaged_texts_are_refused_in_one_line(
    architecture: Architecture, data: st.DataObject
) -> None:
    text = architecture.text
    place = data.draw(st.integers(0, len(text) - 1))
    put = data.draw(st.text(max_size=3))
    damaged = text[:place] + put + text[place + data.draw(st.integers(0, 2)) :]
    try:
        said = SPACE.parse(damaged).text
    except InvalidArchitectureError as error:
        said = str(error)
    assert said == damaged.strip() or "at character" in said or "after character" in said
    assert len(said.splitlines()) == 1


@given(st.text(max_size=100))
def test_no_text_breaks_the_parser(text: str) -> None:
    with pytest.raises(InvalidArchitectureError):
        SPACE.parse(text)


@unhurried
@given(spaces, st.data())
def test_index_and_architecture_are_inverses(space: NasBench201, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, len(space) - 1))
    assert space.index(space.architecture(index)) == index


# -- mutation ----------------------------------------------------------------------------------


@unhurried
@given(spaces, seeds)
def test_a_mutation_differs_in_exactly_one_edge(space: NasBench201, seed: int) -> None:
    rng = np.random.default_rng(seed)
    architecture = space.sample(rng)
    mutant = space.mutate(architecture, rng)
    pairs = zip(space.ops(architecture), space.ops(mutant), strict=True)
    assert sum(old != new for old, new in pairs) == 1
    assert set(space.ops(mutant)) <= set(space.allowed_ops)
    neighbours = space.neighbours(architecture)
    assert mutant in neighbours
    assert len(neighbours) == 6 * (len(space.allowed_ops) - 1)


# -- identity ----------------------------------------------------------------------------------


@given(architectures)
def test_identities_do_not_see_the_names_of_unconnected_nodes(architecture: Architecture) -> None:
    a, b, _, d, e, f = SPACE.ops(architecture)
    one, renamed = (a, b, "none", d, e, f), (b, a, "none", d, f, e)
    first, second = (Architecture("nasbench201", text_of(ops)) for ops in (one, renamed))
    assert SPACE.key(first) == SPACE.key(second)


@given(architectures)
def test_dead_means_no_path(architecture: Architecture) -> None:
    ops = op_of(architecture)
    connected = any(all(ops[edge] != "none" for edge in path) for path in PATHS)
    assert SPACE.is_dead(architecture) is not connected


@unhurried
@given(architectures)
def test_equal_canonical_texts_have_equal_keys(architecture: Architecture) -> None:
    canonical = SPACE.canonical_text(architecture)
    keys = {SPACE.key(other) for other in by_identity()[canonical]}
    assert keys == {SPACE.key(architecture)}


@cache
def by_identity() -> dict[str, list[Architecture]]:
    """All architectures by canonical text and by ``key:`` + key."""
    found = defaultdict(list)
    for architecture in SPACE:
        found[SPACE.canonical_text(architecture)].append(architecture)
        found[f"key:{SPACE.key(architecture)}"].append(architecture)
    return found


def outputs(architecture: Architecture, images: torch.Tensor) -> torch.Tensor:
    """Run a cell whose convolutions of the same op and input have the same weights."""
    ops = op_of(architecture)
    with torch.random.fork_rng(devices=[]):
        cell = Cell([Edge(*ends, op) for ends, op in ops.items()], images.shape[1]).double()
        for (source, target), op in ops.items():
            if "conv" in op:
                torch.manual_seed(zlib.crc32(f"{meaning(source, ops)}@{op}".encode()))
                conv = cell.convs[f"{source}_{target}"].conv
                conv.weight.data.normal_()
        return cell(images)


def meaning(node: int, ops: dict[tuple[int, int], str]) -> str:
    """Write what a node computes, independently of `NasBench201.key`: sums flat, no zeros."""
    if node == 0:
        return "x"
    terms: list[str] = []
    for source in range(node):
        inside, op = meaning(source, ops), ops[source, node]
        if op == "none" or not inside:
            continue
        terms += inside.split(" + ") if op == "skip_connect" else [f"[{nested(inside)}]{op}"]
    return " + ".join(sorted(terms))


def nested(inside: str) -> str:
    return inside.replace(" + ", "+")


@settings(unhurried, max_examples=60)
@given(architectures, st.data())
def test_equal_keys_compute_the_same_function(
    architecture: Architecture, data: st.DataObject
) -> None:
    other = data.draw(st.sampled_from(by_identity()[f"key:{SPACE.key(architecture)}"]))
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(4, 2, 6, 6, generator=generator, dtype=torch.float64)
    first, second = outputs(architecture, images), outputs(other, images)
    torch.testing.assert_close(first, second, rtol=1e-7, atol=1e-7)
    assert SPACE.is_dead(architecture) is not bool(first.detach().any())


# -- encodings ---------------------------------------------------------------------------------


@given(architectures)
def test_the_graph_says_all(architecture: Architecture) -> None:
    graph = SPACE.graph(architecture)
    names = [LABELS[label] for label in graph.labels]
    assert names == ["input", *SPACE.ops(architecture), "output"]
    assert np.array_equal(graph.adjacency, np.triu(graph.adjacency, k=1))
    # an edge of the cell feeds the edges that leave its target
    for i, (_, target) in enumerate(EDGES):
        for j, (source, _) in enumerate(EDGES):
            assert graph.adjacency[i + 1, j + 1] == (target == source)
        assert graph.adjacency[0, i + 1] == (EDGES[i][0] == 0)
        assert graph.adjacency[i + 1, 7] == (target == 3)


@unhurried
@given(spaces, seeds)
def test_path_bits_are_the_set_of_paths(space: NasBench201, seed: int) -> None:
    names = space.allowed_ops
    one = [(a,) for a in names]
    two = [(a, b) for a in names for b in names]
    three = [(a, b, c) for a in names for b in names for c in names]
    meaning_of_bit = one + two + three
    architecture = space.sample(np.random.default_rng(seed))
    ops = op_of(architecture)
    encoding = space.path_encoding(architecture)
    assert len(encoding) == len(meaning_of_bit)
    marked = {meaning_of_bit[bit] for bit in np.flatnonzero(encoding)}
    assert marked == {tuple(ops[edge] for edge in path) for path in PATHS}
