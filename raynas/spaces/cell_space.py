"""A cell space of your own: every edge of the cell carries one of your operations.

Node 0 is the input of the cell; every later node is the sum of one op from each earlier node, so a
cell of n nodes has n (n - 1) / 2 edges. The network around it is that of NAS-Bench-201. An
architecture is written by target node, sources ascending::

    |op~0|+|op~0|op~1|+|op~0|op~1|op~2|

From a config, ``space: {name: cell, nodes: 4, ops: {none: none, mine: mypkg.ops:MyConv}}``.
"""

import itertools
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from raynas.errors import ConfigError, InvalidArchitectureError, SpaceError, nearest
from raynas.registry import load_object
from raynas.spaces.architecture import Architecture
from raynas.spaces.cell import NONE, Edge
from raynas.spaces.cell_identity import identity
from raynas.spaces.mixture import CellKind
from raynas.spaces.options import whole_number
from raynas.spaces.space import Graph, TaskShape

if TYPE_CHECKING:
    from torch import nn

Op = str | Callable[[int], Any]
"""A built-in op, or a function (a class will do) from channels to a module that keeps them."""

BUILT_IN = (
    NONE,
    "skip_connect",
    "nor_conv_1x1",
    "nor_conv_3x3",
    "avg_pool_3x3",
    "max_pool_3x3",
)
"""Ops that need no code: those of NAS-Bench-201, and a max pool."""

WEIGHTLESS = ("skip_connect", "avg_pool_3x3", "max_pool_3x3")
"""Built-in ops that are a fixed function of their input."""

OUTPUTS = ("last", "concat")
"""What a cell returns: its last node, or all but its input, joined and projected."""

MAX_LISTED = 500_000
"""Number of architectures up to which a space can be listed."""

_NAME = re.compile(r"[\w.-]+")
_OP = re.compile(r"[^~|+]*")


class CellSpace:
    """Cells of nodes that are sums of ops on all earlier nodes.

    A space of up to `MAX_LISTED` architectures can be listed (`EnumerableSpace`).

    Args:
        ops: Name of each op in texts, and what it is: one of `BUILT_IN`, a function from channels
            to a module (stride 1, `B x C x H x W` to the same; a class will do), or one of yours as
            ``"module:Class"``. A list names built-in ops. ``none`` makes no connection.
        nodes: Nodes of a cell, its input among them.
        output: ``"last"``: a cell returns its last node. ``"concat"``: all but its input that an
            op leads to, concatenated, then ReLU, 1 x 1 convolution to the cell's channels, norm.
        channels: Channels of the first stage; each stage doubles them.
        stages: Stages of cells, with a block that halves the image between them.
        cells_per_stage: Cells in each stage.

    Attributes:
        ops: Name of each op and what it is, in the order given, imported.
        edges: Source and target of each edge, in the order of the text.

    Raises:
        SpaceError: an argument is out of range, or something is no op.
        ConfigError: an op cannot be imported.
    """

    name = "cell"

    def __init__(
        self,
        *,
        ops: Mapping[str, Op] | Sequence[str],
        nodes: int = 4,
        output: str = "last",
        channels: int = 16,
        stages: int = 3,
        cells_per_stage: int = 5,
    ) -> None:
        self.ops = _checked(ops)
        self.nodes = whole_number(self.name, "nodes", nodes, least=2)
        self.output = _one_of("output", output, OUTPUTS)
        self.channels = whole_number(self.name, "channels", channels)
        self.stages = whole_number(self.name, "stages", stages)
        self.cells_per_stage = whole_number(self.name, "cells_per_stage", cells_per_stage)
        self.num_labels = len(self.ops) + 2
        self.edges = _edges(nodes)
        if type(self) is CellSpace and self._num_cells <= MAX_LISTED:
            # Who asks whether a space can be listed looks for its methods.
            self.__class__ = ListedCellSpace

    def __repr__(self) -> str:
        return (
            f"CellSpace(ops={self.ops}, nodes={self.nodes}, output={self.output!r}, "
            f"channels={self.channels}, stages={self.stages}, "
            f"cells_per_stage={self.cells_per_stage})"
        )

    @staticmethod
    def code_in(options: Mapping[str, Any]) -> list[str]:
        """Return the ``module:Class`` names in a config's options: code that would be imported."""
        ops = options.get("ops")
        named = ops.values() if isinstance(ops, Mapping) else ()
        return [op for op in named if isinstance(op, str) and ":" in op]

    @property
    def _num_cells(self) -> int:
        return int(len(self.ops) ** len(self.edges))

    def sample(self, rng: np.random.Generator) -> Architecture:
        """Draw one text uniformly."""
        names = tuple(self.ops)
        drawn = rng.integers(len(names), size=len(self.edges))
        return self._architecture([names[op] for op in drawn])

    def mutate(self, architecture: Architecture, rng: np.random.Generator) -> Architecture:
        """Draw one of the neighbours uniformly: another op on one edge."""
        ops = list(self.edge_ops(architecture))
        edge = int(rng.integers(len(ops)))
        others = [op for op in self.ops if op != ops[edge]]
        ops[edge] = others[int(rng.integers(len(others)))]
        return self._architecture(ops)

    def neighbours(self, architecture: Architecture) -> list[Architecture]:
        """Return the cells that differ in one op, by edge, then by op."""
        ops = self.edge_ops(architecture)
        return [
            self._architecture([*ops[:edge], op, *ops[edge + 1 :]])
            for edge in range(len(ops))
            for op in self.ops
            if op != ops[edge]
        ]

    def parse(self, text: str) -> Architecture:
        """Read an architecture; white space around it does not matter.

        Raises:
            InvalidArchitectureError: `text` is no cell of this space; the message says where.
        """
        return self._architecture(_read(text.strip(), self.nodes, tuple(self.ops)))

    def edge_ops(self, architecture: Architecture) -> tuple[str, ...]:
        """Return the op name of each edge, in the order of `edges`."""
        if architecture.space != self.name:
            raise SpaceError(f"{architecture} is of space {architecture.space!r}, not {self.name}")
        return _read(architecture.text, self.nodes, tuple(self.ops))

    def choices(self) -> tuple[tuple[str, ...], ...]:
        """Return the options of each choice: the ops of each edge, in the order of `edges`."""
        return (tuple(self.ops),) * len(self.edges)

    def from_choices(self, indices: Sequence[int]) -> Architecture:
        """Return the cell whose edge i carries op ``choices()[i][indices[i]]``.

        Raises:
            SpaceError: not one index for each edge, or one out of range.
        """
        names = tuple(self.ops)
        if len(indices) != len(self.edges) or not all(0 <= i < len(names) for i in indices):
            raise SpaceError(
                f"{self.name}: {list(indices)} must be {len(self.edges)} indices "
                f"from 0 to {len(names) - 1}"
            )
        return self._architecture([names[i] for i in indices])

    def to_choices(self, architecture: Architecture) -> tuple[int, ...]:
        """Return the index of each edge's op; the inverse of :meth:`from_choices`."""
        names = tuple(self.ops)
        return tuple(map(names.index, self.edge_ops(architecture)))

    def key(self, architecture: Architecture) -> str:
        """Return the connections that reach the output; see `raynas.spaces.cell_identity`.

        All dead cells share ``#``. An op of yours counts as one with weights: two nodes that are
        the same op of one node are not taken for one node that is used twice. A sum that a skip
        passes on keeps its place in the larger sum, so a few equal cells differ in key.
        """
        edges = tuple(self._connections(architecture))
        skips, weightless = self._named(("skip_connect",)), self._named(WEIGHTLESS)
        return identity(edges, self.nodes, self.output == "concat", skips, weightless)

    def graph(self, architecture: Architecture) -> Graph:
        """Encode ops as nodes: input, the edges, output; directed.

        Labels are 0 for the input, then the ops in their order, then the output.
        """
        names = tuple(self.ops)
        labels = [1 + names.index(op) for op in self.edge_ops(architecture)]
        adjacency = _adjacency(self.nodes, self.output == "concat")
        return Graph(adjacency.copy(), np.array([0, *labels, len(names) + 1], dtype=np.int64))

    def check_fit(self, task: TaskShape) -> None:
        """Raise `SpaceError` if the images are too small for networks of this space."""
        smallest = 2 ** (self.stages - 1)
        if task.image_size < smallest:
            raise SpaceError(
                f"{self.name} networks of {self.stages} stages need images of at least "
                f"{smallest} x {smallest} pixels, not {task.image_size}"
            )

    @property
    def kinds(self) -> tuple[CellKind, ...]:
        """What a supernet mixes: every op on every edge of the one kind of cell."""
        return (CellKind("cell", self.edges, (tuple(self.ops),) * len(self.edges)),)

    def assemble(self, chosen: Sequence[Mapping[int, str]]) -> Architecture:
        """Return the cell of one op for each edge; see `MixableSpace.assemble`."""
        (cell,) = chosen
        if sorted(cell) != list(range(len(self.edges))):
            raise SpaceError(f"{self.name}: every edge needs an op, not edges {sorted(cell)} alone")
        return self._architecture([cell[edge] for edge in range(len(self.edges))])

    def build(self, architecture: Architecture, task: TaskShape) -> "nn.Module":
        """Build the network; edges that do not reach the output get no weights.

        Raises:
            SpaceError: the images vanish (each stage after the first halves them), or an op does
                not do what an op must; the message names it.
        """
        from raynas.networks.user_cell_network import UserCellNetwork

        self.check_fit(task)
        return UserCellNetwork(
            self._connections(architecture),
            self.ops,
            nodes=self.nodes,
            concat=self.output == "concat",
            channels=self.channels,
            stages=self.stages,
            cells_per_stage=self.cells_per_stage,
            task=task,
        )

    def _named(self, ops: Sequence[str]) -> frozenset[str]:
        """Return the names of built-in ops."""
        return frozenset(name for name, op in self.ops.items() if op in ops)

    def _architecture(self, ops: Sequence[str]) -> Architecture:
        by_target = itertools.groupby(zip(ops, self.edges, strict=True), lambda it: it[1][1])
        nodes = ("".join(f"|{op}~{source}" for op, (source, _) in node) for _, node in by_target)
        return Architecture(self.name, "|+".join(nodes) + "|")

    def _connections(self, architecture: Architecture) -> list[Edge]:
        """Return the edges with names of ops, `NONE` for whichever is called that."""
        pairs = zip(self.edges, self.edge_ops(architecture), strict=True)
        return [Edge(*ends, NONE if self.ops[op] == NONE else op) for ends, op in pairs]


class ListedCellSpace(CellSpace):
    """A `CellSpace` that is small enough to be listed; made by `CellSpace` itself."""

    def __len__(self) -> int:
        return self._num_cells

    def __iter__(self) -> Iterator[Architecture]:
        return map(self._architecture, itertools.product(self.ops, repeat=len(self.edges)))


def _checked(ops: Mapping[str, Op] | Sequence[str]) -> dict[str, Op]:
    if isinstance(ops, str) or not isinstance(ops, Mapping | Sequence):
        raise SpaceError(f"cell: ops must map names to ops, or list built-in ones, not {ops!r}")
    given = dict(ops) if isinstance(ops, Mapping) else {str(op): op for op in ops}
    if len(given) < 2:
        raise SpaceError(f"cell: ops must be two or more, not {list(given)}")
    found: dict[str, Op] = {}
    for name, op in given.items():
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise SpaceError(
                f"cell: an op's name is letters, digits, '_', '-' and '.', not {name!r}"
            )
        if name in BUILT_IN and op != name:
            raise SpaceError(f"cell: the op name {name!r} is taken by the built-in op")
        loaded = _loaded(name, op)
        same = [other for other, known in found.items() if known == loaded]
        if same:
            raise SpaceError(f"cell: ops {same[0]!r} and {name!r} are the same")
        found[name] = loaded
    return found


def _loaded(name: str, op: Op) -> Op:
    if isinstance(op, str):
        if op in BUILT_IN:
            return op
        if ":" not in op:
            raise SpaceError(
                f"cell: op {name!r} is unknown: {op!r}{nearest(op, BUILT_IN)} "
                f"(allowed: {', '.join(BUILT_IN)}, or module:Class of your own)"
            )
        op = _imported(name, op)
    if isinstance(op, type) or (callable(op) and not hasattr(op, "forward")):
        return op
    raise SpaceError(
        f"cell: op {name!r} must be a class, or a function from channels to a module, not {op!r}"
    )


def _imported(name: str, path: str) -> Any:
    try:
        return load_object(f"cell: op {name!r}", path)
    except ConfigError:
        raise
    except Exception as error:  # whatever the user's module raises
        words = " ".join(f"{type(error).__name__}: {error}".split())
        raise ConfigError(f"cell: op {name!r}: importing {path!r} failed: {words}") from error


def _one_of(option: str, value: str, allowed: Sequence[str]) -> str:
    if value not in allowed:
        raise SpaceError(
            f"cell: {option} must be one of {', '.join(allowed)}, not {value!r}"
            f"{nearest(str(value), allowed)}"
        )
    return value


@lru_cache(maxsize=64)
def _edges(nodes: int) -> tuple[tuple[int, int], ...]:
    return tuple((source, target) for target in range(nodes) for source in range(target))


@lru_cache(maxsize=64)
def _literals(nodes: int) -> tuple[str, ...]:
    """Return what stands before each op of a text, and after the last."""
    between = [
        f"~{source}|" + ("+|" if source + 1 == target else "") for source, target in _edges(nodes)
    ]
    return ("|", *between[:-1], f"~{nodes - 2}|")


@lru_cache(maxsize=2**14)
def _read(text: str, nodes: int, names: tuple[str, ...]) -> tuple[str, ...]:
    ops: list[str] = []
    place = 0
    for literal, edge in itertools.zip_longest(_literals(nodes), _edges(nodes)):
        if not text.startswith(literal, place):
            found = repr(text[place : place + len(literal)]) if place < len(text) else "the end"
            raise InvalidArchitectureError(
                f"cell: expected {literal!r} at character {place + 1}, not {found} "
                f"(form: |op~0|+|op~0|op~1|+…, {nodes} nodes)"
            )
        place += len(literal)
        if edge is None:
            break
        op = _OP.match(text, place)[0]  # type: ignore[index]  # matches anything, even nothing
        if op not in names:
            raise InvalidArchitectureError(
                f"cell: {op[:40]!r} at character {place + 1} (edge {edge[0]} to {edge[1]}) is no "
                f"op of the space{nearest(op[:40], names)} (allowed: {', '.join(names)})"
            )
        ops.append(op)
        place += len(op)
    if place < len(text):
        raise InvalidArchitectureError(
            f"cell: nothing may follow after character {place}, but {text[place : place + 20]!r} "
            "does"
        )
    return tuple(ops)


@lru_cache(maxsize=64)
def _adjacency(nodes: int, concat: bool) -> np.ndarray[Any, np.dtype[np.int8]]:
    """Return the graph of a cell: input, its edges, output; an edge feeds those that read it."""
    edges = _edges(nodes)
    adjacency = np.zeros((len(edges) + 2, len(edges) + 2), dtype=np.int8)
    for place, (source, target) in enumerate(edges, start=1):
        if source == 0:
            adjacency[0, place] = 1
        readers = [other for other, ends in enumerate(edges, start=1) if ends[0] == target]
        adjacency[place, readers] = 1
        adjacency[place, -1] = concat or target == nodes - 1
    return adjacency
