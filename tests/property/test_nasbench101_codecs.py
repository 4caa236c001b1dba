"""Properties of NAS-Bench-101 texts, hashes, changes and encodings."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raynas.errors import InvalidArchitectureError
from raynas.spaces.architecture import Architecture
from raynas.spaces.nasbench101 import LABELS, MAX_EDGES, MAX_VERTICES, OPS, NasBench101

SPACE = NasBench101()
Plain = tuple[list[str], frozenset[tuple[int, int]]]
"""Ops of the inner vertices and edges, idle vertices and all."""

seeds = st.integers(0, 2**32 - 1)


@st.composite
def plain_modules(draw: st.DrawFn) -> Plain:
    """A module whose last vertex can be reached, of at most nine edges."""
    ops = draw(st.lists(st.sampled_from(OPS), max_size=MAX_VERTICES - 2))
    last = len(ops) + 1
    inner = draw(st.lists(st.integers(1, last - 1), unique=True)) if ops else []
    path = [0, *sorted(inner), last]
    pairs = st.sampled_from(list(itertools.combinations(range(last + 1), 2)))
    edges = set(itertools.pairwise(path))
    for pair in draw(st.lists(pairs, max_size=MAX_EDGES)):
        if len(edges) < MAX_EDGES:
            edges.add(pair)
    return ops, frozenset(edges)


def text_of(module: Plain) -> str:
    ops, edges = module
    pairs = itertools.combinations(range(len(ops) + 2), 2)
    return f"{','.join(ops)}:{''.join(str(int(pair in edges)) for pair in pairs)}"


def plain(architecture: Architecture) -> Plain:
    ops, bits = architecture.text.split(":")
    names = ops.split(",") if ops else []
    pairs = itertools.combinations(range(len(names) + 2), 2)
    marked = {pair for pair, bit in zip(pairs, bits, strict=True) if bit == "1"}
    return names, frozenset(marked)


def paths(module: Plain, vertex: int = 0) -> list[tuple[int, ...]]:
    """Every path from `vertex` to the output."""
    ops, edges = module
    if vertex == len(ops) + 1:
        return [(vertex,)]
    targets = [target for source, target in edges if source == vertex]
    return [(vertex, *rest) for target in targets for rest in paths(module, target)]


modules = plain_modules()
architectures = modules.map(text_of).map(SPACE.parse)


# -- texts -------------------------------------------------------------------------------------


@given(modules)
def test_pruning_keeps_the_paths_and_nothing_else(module: Plain) -> None:
    architecture = SPACE.parse(text_of(module))
    assert SPACE.parse(architecture.text) == architecture
    ops, edges = plain(architecture)
    used = {vertex for path in paths((ops, edges)) for vertex in path}
    assert used == set(range(len(ops) + 2))

    def spelled(of: Plain) -> list[list[str]]:
        return sorted([of[0][v - 1] for v in path[1:-1]] for path in paths(of))

    assert spelled((ops, edges)) == spelled(module)
    kept = {edge for path in paths(module) for edge in itertools.pairwise(path)}
    assert len(edges) == len(kept)


@given(modules, st.data())
def test_damaged_texts_are_refused_in_one_line(module: Plain, data: st.DataObject) -> None:
    text = text_of(module)
    place = data.draw(st.integers(0, len(text) - 1))
    put = data.draw(st.text(max_size=3))
    damaged = text[:place] + put + text[place + data.draw(st.integers(0, 2)) :]
    try:
        said = f"nasbench101: {SPACE.parse(damaged)}"
    except InvalidArchitectureError as error:
        said = str(error)
    assert said.startswith("nasbench101: ")
    assert len(said.splitlines()) == 1


@given(st.text(max_size=60).filter(lambda text: ":" not in text))
def test_no_text_breaks_the_parser(text: str) -> None:
    with pytest.raises(InvalidArchitectureError):
        SPACE.parse(text)


# -- identity ----------------------------------------------------------------------------------


@given(modules, st.data())
def test_the_hash_does_not_see_the_order_of_vertices(module: Plain, data: st.DataObject) -> None:
    """Any order of the inner vertices in which edges still go forwards."""
    ops, edges = module
    last = len(ops) + 1
    order = [0]
    while len(order) <= len(ops):
        left = [v for v in range(1, last) if v not in order]
        ready = [v for v in left if not any((s, v) in edges for s in left)]
        order.append(data.draw(st.sampled_from(ready)))
    order.append(last)
    place = {vertex: number for number, vertex in enumerate(order)}
    moved = frozenset((place[source], place[target]) for source, target in edges)
    renamed = [ops[vertex - 1] for vertex in order[1:-1]]
    assert SPACE.key(SPACE.parse(text_of((renamed, moved)))) == SPACE.key(
        SPACE.parse(text_of(module))
    )


@given(modules)
def test_the_hash_does_not_see_idle_vertices(module: Plain) -> None:
    text = text_of(module)
    unpruned = Architecture("nasbench101", text)
    assert SPACE.key(unpruned) == SPACE.key(SPACE.parse(text))


@given(architectures, st.data())
def test_the_hash_sees_ops(architecture: Architecture, data: st.DataObject) -> None:
    ops, edges = plain(architecture)
    if ops:
        place = data.draw(st.integers(0, len(ops) - 1))
        other = data.draw(st.sampled_from([op for op in OPS if op != ops[place]]))
        changed = SPACE.parse(text_of(([*ops[:place], other, *ops[place + 1 :]], edges)))
        assert SPACE.key(changed) != SPACE.key(architecture)


# -- changes -----------------------------------------------------------------------------------


def one_change_of(module: Plain) -> set[str]:
    """Everything one change makes of a module, straight from the words of `neighbours`."""
    ops, edges = module
    last = len(ops) + 1
    pairs = list(itertools.combinations(range(last + 1), 2))
    made: list[Plain] = [
        ([*ops[:place], op, *ops[place + 1 :]], edges)
        for place in range(len(ops))
        for op in OPS
        if op != ops[place]
    ]
    made += [(ops, edges ^ {pair}) for pair in pairs]
    if last + 1 < MAX_VERTICES:
        for (source, target), op in itertools.product(pairs, OPS):
            moved = {(s + (s > source), t + (t > source)) for s, t in edges}
            moved |= {(source, source + 1), (source + 1, target + 1)}
            made.append(([*ops[:source], op, *ops[source:]], frozenset(moved)))
    texts = set()
    for each in made:
        kept = {edge for path in paths(each) for edge in itertools.pairwise(path)}
        if 0 < len(kept) <= MAX_EDGES:
            texts.add(SPACE.parse(text_of(each)).text)
    return texts


@given(architectures, seeds)
def test_a_mutation_is_one_valid_change(architecture: Architecture, seed: int) -> None:
    neighbours = SPACE.neighbours(architecture)
    assert {a.text for a in neighbours} == one_change_of(plain(architecture))
    mutant = SPACE.mutate(architecture, np.random.default_rng(seed))
    assert mutant in neighbours
    assert SPACE.parse(mutant.text) == mutant
    assert SPACE.key(architecture) not in map(SPACE.key, neighbours)


@given(seeds)
def test_samples_are_valid_and_pruned(seed: int) -> None:
    architecture = SPACE.sample(np.random.default_rng(seed))
    assert SPACE.parse(architecture.text).text == architecture.text
    ops, edges = plain(architecture)
    assert len(ops) <= MAX_VERTICES - 2
    assert len(edges) <= MAX_EDGES


# -- encodings ---------------------------------------------------------------------------------


@given(architectures)
def test_the_graph_says_all(architecture: Architecture) -> None:
    ops, edges = plain(architecture)
    graph = SPACE.graph(architecture)
    assert [LABELS[label] for label in graph.labels] == ["input", *ops, "output"]
    assert {tuple(map(int, pair)) for pair in np.argwhere(graph.adjacency)} == edges


@given(architectures)
def test_path_bits_are_the_set_of_paths(architecture: Architecture) -> None:
    meaning = [spelt for length in range(6) for spelt in itertools.product(OPS, repeat=length)]
    encoding = SPACE.path_encoding(architecture)
    assert len(encoding) == len(meaning) == 364
    module = plain(architecture)
    spelled = {tuple(module[0][v - 1] for v in path[1:-1]) for path in paths(module)}
    assert {meaning[bit] for bit in np.flatnonzero(encoding)} == spelled
