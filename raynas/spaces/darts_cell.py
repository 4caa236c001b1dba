"""Cells of the DARTS family: four nodes, each the sum of two ops on two different earlier states.

A cell is written as four numbers, one for each node: which of the node's choices it takes. What is
known of a choice (its text, the choices next to it, the rows of its graph) is worked out once for a
table of ops and looked up from then on.
"""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache

import numpy as np
from numpy.typing import NDArray

from raynas.errors import InvalidArchitectureError, nearest
from raynas.spaces.darts_ops import NODES, NOISE, NUM_INPUTS, NUM_NODES, OPS, CellOps, edge_index

Pair = tuple[str, int]
"""An op and the state it reads."""

Node = tuple[Pair, Pair]
"""The two ops a node sums, by source."""

Cell = tuple[Node, ...]
"""The four nodes."""

Choices = tuple[int, ...]
"""A cell as the number of each node's choice in its `NodeChoices`."""

PlacedPair = tuple[str, int, str]
"""An op, its source, and where it was read, for messages."""

GRAPH_SIZE = NUM_INPUTS + 2 * len(NODES) + 1
"""Nodes of a cell's graph: two inputs, two ops for each node of the cell, the output."""

NAMES = (*OPS, NOISE)
"""Every op there is; its position stands for it in identities and graphs."""


def cell_text(nodes: Sequence[str]) -> str:
    """Join the texts of the four nodes."""
    return "+".join(nodes)


def node_text(node: Node) -> str:
    """Write ``|op~source|op~source|``."""
    return "".join(f"|{op}~{source}" for op, source in node) + "|"


@dataclass(frozen=True, slots=True)
class NodeChoices:
    """Everything one node may be.

    Attributes:
        nodes: The choices.
        texts: Text of each.
        numbers: Number of each text.
        neighbours: Numbers of the choices that are one change away from each: first another op,
            then another source. The op goes along to the new source; where that edge does not
            have it, each op it has is one change.
        codes: Each choice as ``(op, source, op, source)`` in numbers, see `NAMES`.
    """

    nodes: tuple[Node, ...]
    texts: tuple[str, ...]
    numbers: dict[str, int]
    neighbours: tuple[tuple[int, ...], ...]
    codes: tuple[tuple[int, int, int, int], ...]

    @classmethod
    def of(cls, state: int, ops: CellOps) -> "NodeChoices":
        """List the choices of the node that is `state`: by sources, then by ops."""
        allowed = [ops[edge_index(source, state)] for source in range(state)]
        nodes = tuple(
            ((op, source), (other_op, other))
            for source, other in itertools.combinations(range(state), 2)
            for op, other_op in itertools.product(allowed[source], allowed[other])
        )
        texts = tuple(map(node_text, nodes))
        position = {node: number for number, node in enumerate(nodes)}
        return cls(
            nodes,
            texts,
            {text: number for number, text in enumerate(texts)},
            tuple(tuple(position[n] for n in _changed(node, allowed)) for node in nodes),
            tuple((NAMES.index(a), s, NAMES.index(b), t) for (a, s), (b, t) in nodes),
        )


def _changed(node: Node, allowed: Sequence[tuple[str, ...]]) -> Iterator[Node]:
    first, second = node
    for pair, kept in ((first, second), (second, first)):
        for other in _changed_pairs(pair, kept[1], allowed):
            yield (other, kept) if other[1] < kept[1] else (kept, other)


def _changed_pairs(pair: Pair, taken: int, allowed: Sequence[tuple[str, ...]]) -> Iterator[Pair]:
    op, source = pair
    yield from ((other, source) for other in allowed[source] if other != op)
    for other_source, ops in enumerate(allowed):
        if other_source not in (source, taken):
            yield from ((other, other_source) for other in ([op] if op in ops else ops))


class CellChoices:
    """The cells that a table of ops allows.

    Args:
        ops: Ops of each edge, without `none`.

    Attributes:
        nodes: What each node may be.
        num_cells: How many cells there are.
    """

    def __init__(self, ops: CellOps) -> None:
        self.nodes = tuple(NodeChoices.of(state, ops) for state in NODES)
        self.num_cells = 1
        for node in self.nodes:
            self.num_cells *= len(node.nodes)
        self._ops = ops

    def cell(self, choices: Choices) -> Cell:
        """Return the ops and sources of a cell."""
        return tuple(node.nodes[c] for node, c in zip(self.nodes, choices, strict=True))

    def text(self, choices: Choices) -> str:
        """Write a cell."""
        first, second, third, fourth = self.nodes
        a, b, c, d = choices
        return cell_text((first.texts[a], second.texts[b], third.texts[c], fourth.texts[d]))

    def read(self, text: str) -> Choices | None:
        """Read what `text` wrote; None if it is not written exactly so."""
        texts = text.split("+")
        if len(texts) != len(self.nodes):
            return None
        found = [node.numbers.get(one, -1) for node, one in zip(self.nodes, texts, strict=True)]
        return None if -1 in found else tuple(found)

    def choose(self, pairs: Sequence[PlacedPair]) -> Choices:
        """Return the cell of eight pairs, two for each node, in any order within a node.

        Raises:
            InvalidArchitectureError: the cells have no such node; the message says where.
        """
        found = []
        for node, choices in enumerate(self.nodes):
            both = pairs[2 * node : 2 * node + 2]
            for pair in both:
                self._check(pair, NODES[node])
            (op, source, _), (other_op, other, where) = both
            if source == other:
                raise InvalidArchitectureError(
                    f"{where}, node {NODES[node]} reads state {source} a second time "
                    "(a node reads two different states)"
                )
            ordered = ((op, source), (other_op, other))
            text = node_text(ordered if source < other else ordered[::-1])
            found.append(choices.numbers[text])
        return tuple(found)

    def _check(self, pair: PlacedPair, state: int) -> None:
        op, source, where = pair
        if not 0 <= source < state:
            raise InvalidArchitectureError(
                f"{where}, node {state} reads state {source} (allowed: 0 to {state - 1})"
            )
        allowed = self._ops[edge_index(source, state)]
        if op not in allowed:
            raise InvalidArchitectureError(
                f"{where}, {op[:40]!r} is no op of the edge from state {source} to node {state}"
                f"{nearest(op[:40], allowed)} (allowed: {', '.join(allowed)})"
            )

    def draw(self, rng: np.random.Generator) -> Choices:
        """Draw a cell uniformly."""
        number = int(rng.integers(self.num_cells))
        found = []
        for node in self.nodes:
            number, choice = divmod(number, len(node.nodes))
            found.append(choice)
        return tuple(found)

    def num_neighbours(self, choices: Choices) -> int:
        """Return how many cells are one change away."""
        return sum(len(n.neighbours[c]) for n, c in zip(self.nodes, choices, strict=True))

    def neighbours(self, choices: Choices) -> Iterator[Choices]:
        """Yield the cells one change away, node by node (see `NodeChoices.neighbours`)."""
        for place, node in enumerate(self.nodes):
            for other in node.neighbours[choices[place]]:
                yield (*choices[:place], other, *choices[place + 1 :])

    def neighbour(self, choices: Choices, number: int) -> Choices:
        """Return the neighbour at a position in `neighbours`."""
        for place, node in enumerate(self.nodes):
            others = node.neighbours[choices[place]]
            if number < len(others):
                return (*choices[:place], others[number], *choices[place + 1 :])
            number -= len(others)
        raise IndexError("no such neighbour")

    def identity(self, choices: Choices) -> str:
        """Write the cell under the numbering of its nodes that makes it least.

        Cells that differ only in the numbers of their nodes get one identity, others do not.
        """
        codes = [node.codes[choice] for node, choice in zip(self.nodes, choices, strict=True)]
        return cell_text(
            [_code_text(code) for code in _least(codes, list(_ONLY_INPUTS), NUM_INPUTS)]
        )

    def ops_and_sources(self, choices: Choices) -> tuple[list[int], list[int]]:
        """Return of each of the eight pairs the op's position in `NAMES`, and the source."""
        codes = [node.codes[choice] for node, choice in zip(self.nodes, choices, strict=True)]
        flat = list(itertools.chain.from_iterable(codes))
        return flat[::2], flat[1::2]


@lru_cache(maxsize=64)
def cell_choices(ops: CellOps) -> CellChoices:
    """Return the cells of a table; equal tables share one."""
    return CellChoices(ops)


_ONLY_INPUTS = (*range(NUM_INPUTS), *[-1] * NUM_NODES)

_ALL_OPS = NODES.stop
_NOTHING = NODES.stop + 1
_ROWS = NODES.stop + 2


def adjacency(sources: Sequence[Sequence[int]]) -> NDArray[np.int8]:
    """Return the adjacency of cells as graphs of ops, side by side (algorithms.md §6.6).

    Graph nodes of a cell: its inputs, then the two ops of each node, then the output. An op is fed
    by the input it reads, or by both ops of the node it reads; every op feeds the output.

    Args:
        sources: For each cell the sources of its eight pairs.

    Returns:
        `N x N` int8, N = `GRAPH_SIZE` times the number of cells.
    """
    rows: list[int] = []
    for place, cell in enumerate(sources):
        fed_by = (_NOTHING, _NOTHING, *cell, _ALL_OPS)
        rows += [place * _ROWS + row for row in fed_by] if place else fed_by
    return _fed_by(len(sources))[rows].T


@cache
def _fed_by(num_cells: int) -> NDArray[np.int8]:
    """Return the graph nodes that are summed to each state, then all ops, then none; by cell."""
    rows = np.zeros((_ROWS, GRAPH_SIZE), dtype=np.int8)
    for state in range(NODES.stop):
        rows[state, [state] if state < NUM_INPUTS else [2 * state - 2, 2 * state - 1]] = 1
    rows[_ALL_OPS, NUM_INPUTS:-1] = 1
    return np.kron(np.eye(num_cells, dtype=np.int8), rows)


def _least(
    codes: Sequence[tuple[int, int, int, int]], numbers: list[int], count: int
) -> tuple[int, ...]:
    """Return the least code of the cell over all orders of its nodes.

    Node after node, the one with the least code comes first among those whose sources have a
    number; nodes of equal codes are tried in turn.

    Args:
        codes: ``(op, source, op, source)`` of each node.
        numbers: New number of each state, -1 for those without; is changed.
        count: States that have one.
    """
    found = []
    while count < NODES.stop:
        least, tied = -1, []
        for state, (op, source, other_op, other) in enumerate(codes, NUM_INPUTS):
            first, second = numbers[source], numbers[other]
            if first < 0 or second < 0 or numbers[state] >= 0:
                continue
            if first < second:
                code = ((first * 16 + second) * 16 + op) * 16 + other_op
            else:
                code = ((second * 16 + first) * 16 + other_op) * 16 + op
            if least < 0 or code < least:
                least, tied = code, [state]
            elif code == least:
                tied.append(state)
        found.append(least)
        if len(tied) > 1:
            ways = (_numbered(numbers, state, count) for state in tied)
            return (*found, *min(_least(codes, way, count + 1) for way in ways))
        numbers[tied[0]] = count
        count += 1
    return tuple(found)


def _numbered(numbers: Sequence[int], state: int, number: int) -> list[int]:
    return [*numbers[:state], number, *numbers[state + 1 :]]


@lru_cache(maxsize=8192)
def _code_text(code: int) -> str:
    first, second, op, other_op = code >> 12, code >> 8 & 15, code >> 4 & 15, code & 15
    return node_text(((NAMES[op], first), (NAMES[other_op], second)))
