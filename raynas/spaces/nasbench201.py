"""NAS-Bench-201: cells of four nodes whose six edges each carry one of five operations.

Dong and Yang, "NAS-Bench-201", ICLR 2020. A node is the sum of its incoming edges; the cell reads
node 0 and returns node 3. An architecture is written by target node, sources ascending::

    |op~0|+|op~0|op~1|+|op~0|op~1|op~2|

What is worked out from a cell is cached per process (every cache is bounded, and by the 15,625
cells at most a few MB), so a space itself holds three numbers and costs nothing to send.
"""

import itertools
import random
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache, lru_cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from raynas.errors import InvalidArchitectureError, SpaceError, nearest
from raynas.spaces.architecture import Architecture
from raynas.spaces.cell import NONE
from raynas.spaces.darts_ops import NOISE
from raynas.spaces.mixture import CellKind
from raynas.spaces.space import Graph, TaskShape

if TYPE_CHECKING:
    from torch import nn

Ops = tuple[str, ...]

OPS: Ops = (NONE, "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
"""Every operation of the benchmark, in the published order."""

ALLOWED = (*OPS, NOISE)
"""What a space may choose from: also noise, for supernets in the manner of S4."""

EDGES = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))
"""Source and target of each edge, in the order of the text."""

LABELS = ("input", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3", "skip_connect", NONE, "output")
"""What each node label of `NasBench201.graph` stands for; where there is noise, one more for it."""

NUM_STAGES = 3
"""Stages of cells, with a block that halves the image between them."""

MIN_IMAGE_SIZE = 4
"""Two stages halve the image; a third needs something left."""

_FORM = "|{}~0|+|{}~0|{}~1|+|{}~0|{}~1|{}~2|"
_LITERALS = _FORM.split("{}")
_OP = re.compile(r"[^~|+]*")
_TEXT = re.compile(f"({_OP.pattern})".join(map(re.escape, _LITERALS)))
_PATHS = ((3,), (0, 4), (1, 5), (0, 2, 5))  # edges on each way from node 0 to node 3
_NUM_CELLS: int = len(OPS) ** len(EDGES)
_ZERO = "#"

# Nodes: input, the six edges, output. Edge k is node k + 1 (algorithms.md §6.6).
_ADJACENCY = np.zeros((8, 8), dtype=np.int8)
_ADJACENCY[0, [1, 2, 4]] = 1
_ADJACENCY[1, [3, 5]] = 1
_ADJACENCY[[2, 3], 6] = 1
_ADJACENCY[[4, 5, 6], 7] = 1


class NasBench201:
    """The space of NAS-Bench-201, or the part of it that uses only some operations.

    Args:
        channels: Channels of the first stage (16 in the paper); each stage doubles them.
        cells_per_stage: Cells in each of the three stages (5 in the paper).
        ops: Operations to choose from, at least two of `ALLOWED`; their order does not matter.
            With `noise` (Zela et al., ICLR 2020: S4) there can be no `none`: every node is fed.

    Raises:
        SpaceError: an argument is out of range.
    """

    name = "nasbench201"

    def __init__(
        self, *, channels: int = 16, cells_per_stage: int = 5, ops: Sequence[str] = OPS
    ) -> None:
        self.channels = _positive("channels", channels)
        self.cells_per_stage = _positive("cells_per_stage", cells_per_stage)
        self.allowed_ops = _checked(ops)
        self.num_labels = len(LABELS) + (NOISE in self.allowed_ops)

    def __repr__(self) -> str:
        return (
            f"NasBench201(channels={self.channels}, cells_per_stage={self.cells_per_stage}, "
            f"ops={self.allowed_ops})"
        )

    def __len__(self) -> int:
        return int(len(self.allowed_ops) ** len(EDGES))

    def __iter__(self) -> Iterator[Architecture]:
        return map(_architecture, _index_order(self.allowed_ops))

    def index(self, architecture: Architecture) -> int:
        """Return the position in the published order (without the cells that are left out).

        With noise, which the benchmark does not have, in an order of ours.
        """
        return _indices(self.allowed_ops)[self.ops(architecture)]

    def architecture(self, index: int) -> Architecture:
        """Return the architecture at `index`; the inverse of :meth:`index`.

        Raises:
            SpaceError: `index` is not in ``[0, len(space))``.
        """
        if not 0 <= index < len(self):
            raise SpaceError(f"{self.name} has indices 0 to {len(self) - 1}, not {index}")
        return _architecture(_index_order(self.allowed_ops)[index])

    def sample(self, rng: np.random.Generator) -> Architecture:
        """Draw one text uniformly."""
        return self.architecture(int(rng.integers(len(self))))

    def mutate(self, architecture: Architecture, rng: np.random.Generator) -> Architecture:
        """Draw one of the neighbours uniformly: another op on one edge."""
        neighbours = self.neighbours(architecture)
        return neighbours[int(rng.integers(len(neighbours)))]

    def neighbours(self, architecture: Architecture) -> list[Architecture]:
        """Return the cells that differ in one op (24 with all ops), by edge, then by op."""
        ops = self.ops(architecture)
        return [
            _architecture((*ops[:edge], op, *ops[edge + 1 :]))
            for edge in range(len(EDGES))
            for op in self.allowed_ops
            if op != ops[edge]
        ]

    def parse(self, text: str) -> Architecture:
        """Read an architecture; white space around it does not matter.

        Raises:
            InvalidArchitectureError: `text` is no cell of this space; the message says where.
        """
        return _architecture(_read(text.strip(), self.allowed_ops))

    def ops(self, architecture: Architecture) -> Ops:
        """Return the six op names, in the order of `EDGES`."""
        if architecture.space != self.name:
            raise SpaceError(f"{architecture} is of space {architecture.space!r}, not {self.name}")
        return _read(architecture.text, self.allowed_ops)

    def choices(self) -> tuple[Ops, ...]:
        """Return the options of each choice: the allowed ops of each edge, in `EDGES` order."""
        return (self.allowed_ops,) * len(EDGES)

    def from_choices(self, indices: Sequence[int]) -> Architecture:
        """Return the cell whose edge i carries op ``choices()[i][indices[i]]``.

        Raises:
            SpaceError: not one index for each edge, or one out of range.
        """
        num_ops = len(self.allowed_ops)
        if len(indices) != len(EDGES) or not all(0 <= i < num_ops for i in indices):
            raise SpaceError(
                f"{self.name}: {list(indices)} must be {len(EDGES)} indices from 0 to {num_ops - 1}"
            )
        return _architecture(tuple(self.allowed_ops[i] for i in indices))

    def to_choices(self, architecture: Architecture) -> tuple[int, ...]:
        """Return the index of each edge's op; the inverse of :meth:`from_choices`."""
        return tuple(map(self.allowed_ops.index, self.ops(architecture)))

    def key(self, architecture: Architecture) -> str:
        """Return the cell as an expression over its input ``0``, without the terms that are zero.

        5,390 keys; all dead cells share ``#``. Cells with one key compute the same function if
        convolutions of the same op and input have the same weights: two convolutions of one
        tensor and one that is used twice are not told apart. The converse does not hold: a sum
        that a skip passes on keeps its place in the larger sum, so a few equal cells differ in key.
        """
        return _expression(self.ops(architecture), keep_zeros=False)

    def canonical_text(self, architecture: Architecture) -> str:
        """Return the benchmark's canonical string, in which zero terms stay as ``#``.

        6,466 distinct ones: the figure to report as "unique".
        """
        return _expression(self.ops(architecture), keep_zeros=True)

    def is_dead(self, architecture: Architecture) -> bool:
        """Return whether no path leads from input to output (341 of the 15,625 cells)."""
        return self.key(architecture) == _ZERO

    def graph(self, architecture: Architecture) -> Graph:
        """Encode ops as nodes: input, the six edges, output, labelled by `LABELS`; directed."""
        names = (*LABELS, NOISE)
        labels = [names.index(op) for op in ("input", *self.ops(architecture), "output")]
        return Graph(_ADJACENCY.copy(), np.array(labels, dtype=np.int64))

    def path_encoding(self, architecture: Architecture) -> NDArray[np.int8]:
        """Mark which op sequences lead from input to output (BANANAS; ``none`` is an op here).

        Returns:
            k + k² + k³ bits for k ops, 155 with all: paths of one op, of two, of three; within a
            length in the order of the ops, the first op of the path weighing most.
        """
        ops = self.ops(architecture)
        num_ops = len(self.allowed_ops)
        bits = np.zeros(num_ops + num_ops**2 + num_ops**3, dtype=np.int8)
        for path in _PATHS:
            position = 0
            for edge in path:  # digits 1 to k: longer paths count on where shorter ones end
                position = position * num_ops + self.allowed_ops.index(ops[edge]) + 1
            bits[position - 1] = 1
        return bits

    def check_fit(self, task: TaskShape) -> None:
        """Raise `SpaceError` if the images are too small for networks of this space."""
        if task.image_size < MIN_IMAGE_SIZE:
            raise SpaceError(
                f"{self.name} networks need images of at least {MIN_IMAGE_SIZE} x "
                f"{MIN_IMAGE_SIZE} pixels, not {task.image_size}"
            )

    @property
    def kinds(self) -> tuple[CellKind, ...]:
        """What a supernet mixes: every op of the space on every edge of the one kind of cell."""
        return (CellKind("cell", EDGES, (self.allowed_ops,) * len(EDGES)),)

    def assemble(self, chosen: Sequence[Mapping[int, str]]) -> Architecture:
        """Return the cell of one op for each edge; see `MixableSpace.assemble`."""
        (cell,) = chosen
        if sorted(cell) != list(range(len(EDGES))):
            raise SpaceError(f"{self.name}: every edge needs an op, not edges {sorted(cell)} alone")
        return self.parse(_FORM.format(*(cell[edge] for edge in range(len(EDGES)))))

    def build(self, architecture: Architecture, task: TaskShape) -> "nn.Module":
        """Build the network of the paper around the cell, weights drawn from torch's generator.

        Raises:
            SpaceError: the images are smaller than 4 pixels.
        """
        from raynas.networks.nasbench201_network import NasBench201Network

        self.check_fit(task)
        return NasBench201Network(
            self.ops(architecture),
            channels=self.channels,
            cells_per_stage=self.cells_per_stage,
            in_channels=task.in_channels,
            num_classes=task.num_classes,
        )


def _positive(name: str, value: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise SpaceError(f"nasbench201: {name} must be a whole number of at least 1, not {value!r}")
    return value


def _checked(ops: Sequence[str]) -> Ops:
    names = (ops,) if isinstance(ops, str) else tuple(map(str, ops))
    for op in names:
        if op not in ALLOWED:
            allowed = ", ".join(ALLOWED)
            raise SpaceError(
                f"nasbench201: unknown op {op!r}{nearest(op, ALLOWED)} (allowed: {allowed})"
            )
    if len(names) != len(set(names)) or len(names) < 2:
        raise SpaceError(f"nasbench201: ops must be two or more different ones, not {list(names)}")
    if NONE in names and NOISE in names:
        raise SpaceError(
            f"nasbench201: ops cannot have both {NONE} and {NOISE}, as {list(names)} do"
        )
    return tuple(op for op in (NOISE, *OPS) if op in names)


@lru_cache(maxsize=_NUM_CELLS)
def _architecture(ops: Ops) -> Architecture:
    return Architecture(NasBench201.name, _FORM.format(*ops))


@lru_cache(maxsize=_NUM_CELLS)
def _read(text: str, allowed: Ops) -> Ops:
    match = _TEXT.fullmatch(text)
    if match is None or not set(match.groups()) <= set(allowed):
        raise InvalidArchitectureError(f"{NasBench201.name}: {_what_is_wrong(text, allowed)}")
    return match.groups()


def _what_is_wrong(text: str, allowed: Ops) -> str:
    place = 0
    for literal, edge in itertools.zip_longest(_LITERALS, EDGES):
        if not text.startswith(literal, place):
            found = repr(text[place : place + len(literal)]) if place < len(text) else "the end"
            form = _FORM.format(*["op"] * len(EDGES))
            return f"expected {literal!r} at character {place + 1}, not {found} (form: {form})"
        place += len(literal)
        if edge is None:
            break
        op = _OP.match(text, place)[0]  # type: ignore[index]  # matches anything, even nothing
        if op not in allowed:
            return (
                f"{op[:40]!r} at character {place + 1} (edge {edge[0]} to {edge[1]}) is no op of "
                f"the space{nearest(op[:40], allowed)} (allowed: {', '.join(allowed)})"
            )
        place += len(op)
    return f"nothing may follow after character {place}, but {text[place : place + 20]!r} does"


@lru_cache(maxsize=2 * _NUM_CELLS)
def _expression(ops: Ops, keep_zeros: bool) -> str:
    nodes = ["0"]
    for node in range(1, 4):
        terms = []
        for op, (source, target) in zip(ops, EDGES, strict=True):
            if target == node:
                terms.append(_term(nodes[source], op))
        if not keep_zeros:
            terms = [term for term in terms if term != _ZERO] or [_ZERO]
        nodes.append("+".join(sorted(terms)))
    return nodes[-1]


def _term(source: str, op: str) -> str:
    if op == NOISE:
        return NOISE
    if op == NONE or source == _ZERO:
        return _ZERO
    return source if op == "skip_connect" else f"({source})@{op}"


@cache
def _index_order(allowed: Ops) -> tuple[Ops, ...]:
    """Return all cells in the benchmark's order: listed by text, then shuffled with seed 88."""
    ops = allowed if NOISE in allowed else OPS
    cells = list(itertools.product(ops, repeat=len(EDGES)))
    random.Random(88).shuffle(cells)
    return tuple(cell for cell in cells if set(cell) <= set(allowed))


@cache
def _indices(allowed: Ops) -> dict[Ops, int]:
    return {cell: index for index, cell in enumerate(_index_order(allowed))}
