"""Spaces of cells in the manner of DARTS.

Liu et al., "DARTS", ICLR 2019. A cell has two inputs (the outputs of the two cells before it) and
four nodes; a node is the sum of two ops on two different earlier states; the output is the
concatenation of the nodes. A network stacks normal cells, and at a third and two thirds of its
depth a reduction cell that halves the image and doubles the channels. An architecture is both
cells, or one that serves as both; a node's ops stand by source::

    normal:|op~source|op~source|+|…|+|…|+|…|;reduce:|…|+|…|+|…|+|…|     two cells
    |op~source|op~source|+|…|+|…|+|…|                                   one cell
"""

import inspect
import itertools
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from raynas.errors import InvalidArchitectureError, SpaceError, nearest
from raynas.spaces.architecture import Architecture
from raynas.spaces.cell import NONE
from raynas.spaces.darts_cell import (
    NAMES,
    Cell,
    CellChoices,
    Choices,
    adjacency,
    cell_choices,
)
from raynas.spaces.darts_ops import EDGES, NODES, CellOps, EdgeOps
from raynas.spaces.darts_text import Genotype, read_pairs
from raynas.spaces.mixture import CellKind
from raynas.spaces.options import whole_number
from raynas.spaces.space import Graph, TaskShape

if TYPE_CHECKING:
    from torch import nn

Stem = Literal["cifar", "imagenet"]

MIN_IMAGE_SIZE = {"cifar": 4, "imagenet": 32}
"""Smallest images of each stem: the network halves them twice, after imagenet's three times."""

MIN_LAYERS = 3
"""With fewer, every cell would be a reduction cell."""

_GRAPH_LABELS = (*NAMES, "input_0", "input_1", "output")


class DartsFamily:
    """A space of cells in the manner of DARTS; subclasses say what may stand on which edge.

    Args:
        two_cells: Whether normal and reduction cell are chosen separately, or one serves as both.
        channels: C, the channels of a node of the first cells; each reduction doubles them.
        layers: Number of cells of the network, at least 3.
        stem: What comes before the cells: ``cifar`` keeps the size of the image, ``imagenet``
            divides it by 8.
        auxiliary: Whether networks have an auxiliary classifier, for training.
        drop_path: Probability with which networks drop a path in training.

    Attributes:
        edge_ops: Ops of each edge, in the order in which a supernet mixes them. `none` may be among
            them, but never stands in an architecture.

    Raises:
        SpaceError: an argument is out of range, or no cell can serve as both.
    """

    name: str
    edge_ops: EdgeOps

    def __init__(
        self,
        *,
        two_cells: bool = True,
        channels: int = 16,
        layers: int = 8,
        stem: Stem = "cifar",
        auxiliary: bool = False,
        drop_path: float = 0.0,
    ) -> None:
        self.two_cells = self._flag("two_cells", two_cells)
        least = 2 if stem == "imagenet" else 1
        self.channels = whole_number(self.name, "channels", channels, least=least)
        self.layers = whole_number(self.name, "layers", layers, least=MIN_LAYERS)
        self.stem = stem
        self.auxiliary = self._flag("auxiliary", auxiliary)
        self.drop_path = drop_path
        if stem not in ("cifar", "imagenet"):
            hint = nearest(str(stem), MIN_IMAGE_SIZE)
            raise SpaceError(f"{self.name}: unknown stem {stem!r}{hint} (allowed: cifar, imagenet)")
        number = isinstance(drop_path, int | float) and not isinstance(drop_path, bool)
        if not number or not 0 <= drop_path < 1:
            raise SpaceError(f"{self.name}: drop_path must lie in [0, 1), not {drop_path!r}")
        self._allowed_ops()  # refuses a table that leaves nothing to choose

    def __repr__(self) -> str:
        options = inspect.signature(type(self)).parameters
        values = ", ".join(f"{option}={getattr(self, option)!r}" for option in options)
        return f"{type(self).__name__}({values})"

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_tables"}

    @property
    def labels(self) -> tuple[str, ...]:
        """What each node label of `graph` stands for."""
        return self._tables.labels

    @property
    def num_labels(self) -> int:
        """Number of node labels of `graph`."""
        return len(self.labels)

    @property
    def num_architectures(self) -> int:
        """Number of architectures (texts, not keys)."""
        count = 1
        for choices in self._tables.choices:
            count *= choices.num_cells
        return count

    def sample(self, rng: np.random.Generator) -> Architecture:
        """Draw one text uniformly."""
        return self._architecture([choices.draw(rng) for choices in self._tables.choices])

    def mutate(self, architecture: Architecture, rng: np.random.Generator) -> Architecture:
        """Draw one of the neighbours uniformly."""
        cells, tables = list(self._read(architecture)), self._tables.choices
        counts = [c.num_neighbours(own) for c, own in zip(tables, cells, strict=True)]
        number = int(rng.integers(sum(counts)))
        place = int(number >= counts[0])
        cells[place] = tables[place].neighbour(cells[place], number - place * counts[0])
        return self._architecture(cells)

    def neighbours(self, architecture: Architecture) -> list[Architecture]:
        """Return the architectures that differ in one op or one source (120 in `darts`).

        By cell, by node, by pair; ops first, then sources. An op goes along to the new source;
        where that edge does not have it, each op it has gives a neighbour.
        """
        cells = self._read(architecture)
        return [
            self._architecture((*cells[:place], changed, *cells[place + 1 :]))
            for place, choices in enumerate(self._tables.choices)
            for changed in choices.neighbours(cells[place])
        ]

    def parse(self, text: str) -> Architecture:
        """Read a compact text, a literal ``Genotype(...)``, or the name of a published one.

        The two pairs of a node may stand in either order. Nothing in a literal is run.

        Raises:
            InvalidArchitectureError: `text` is no architecture of this space; says where.
        """
        return self._architecture(self._parse(text.strip()))

    def cells(self, architecture: Architecture) -> tuple[Cell, Cell]:
        """Return the normal and the reduction cell: four nodes of two pairs (op, source) each."""
        cells = zip(self._tables.choices, self._read(architecture), strict=True)
        found = [choices.cell(own) for choices, own in cells]
        return found[0], found[-1]

    def genotype(self, architecture: Architecture) -> Genotype:
        """Return what the field's code calls a genotype; its `repr` is the published literal."""
        return Genotype.of(*self.cells(architecture))

    def key(self, architecture: Architecture) -> str:
        """Return the text under the numbering of the nodes that makes it least.

        Equal for architectures that differ in the numbers of nodes alone: they compute the same
        function up to the order of channels in a concatenation, which the weights that read it take
        up. The converse does not hold: a sum of skips that can be added up in two orders gives
        equal functions of different keys.
        """
        cells = zip(self._tables.choices, self._read(architecture), strict=True)
        return self._join([choices.identity(own) for choices, own in cells])

    def graph(self, architecture: Architecture) -> Graph:
        """Encode ops as nodes: 11 for each cell, directed, labelled by `labels`.

        A cell is its inputs, two ops for each node, and its output; an op is fed by the input it
        reads or by both ops of the node it reads. Two cells stand side by side with no edge between
        them, and each has labels of its own: a ranker that sums over nodes can so tell what an op
        does in a normal cell from what it does in a reduction cell.
        """
        cells = zip(self._tables.choices, self._read(architecture), strict=True)
        pairs = [choices.ops_and_sources(own) for choices, own in cells]
        labels: list[int] = []
        for (ops, _), numbers in zip(pairs, self._tables.label_numbers, strict=True):
            labels += (numbers[-3], numbers[-2], *[numbers[op] for op in ops], numbers[-1])
        return Graph(adjacency([sources for _, sources in pairs]), np.array(labels, dtype=np.int64))

    def build(self, architecture: Architecture, task: TaskShape) -> "nn.Module":
        """Build the evaluation network, weights drawn from torch's generator.

        Raises:
            SpaceError: the images are too small, or no auxiliary classifier fits them.
        """
        from raynas.networks.cell_network import AUXILIARY_SIZES, CellNetwork, final_size

        self.check_fit(task)
        size = task.image_size
        left, fitting = final_size(size, self.stem), AUXILIARY_SIZES[self.stem]
        if self.auxiliary and left not in fitting:
            raise SpaceError(
                f"{self.name}: the auxiliary classifier of stem {self.stem} reads maps of "
                f"{fitting[0]} to {fitting[-1]} pixels a side, but images of {size} x {size} leave "
                f"{left} (set auxiliary: false)"
            )
        normal, reduce = self.cells(architecture)
        return CellNetwork(
            normal,
            reduce,
            channels=self.channels,
            layers=self.layers,
            stem=self.stem,
            auxiliary=self.auxiliary,
            drop_path=self.drop_path,
            in_channels=task.in_channels,
            num_classes=task.num_classes,
        )

    def check_fit(self, task: TaskShape) -> None:
        """Raise `SpaceError` if the images are too small for networks of this space."""
        smallest, size = MIN_IMAGE_SIZE[self.stem], task.image_size
        if size < smallest:
            raise SpaceError(
                f"{self.name} networks with stem {self.stem} need images of at least {smallest} x "
                f"{smallest} pixels, not {size}"
            )

    @property
    def kinds(self) -> tuple[CellKind, ...]:
        """What a supernet mixes: the normal and the reduction cell, or one that serves as both."""
        if self.two_cells:
            tables = {"normal": self.edge_ops.normal, "reduce": self.edge_ops.reduce}
        else:
            pairs = zip(*self.edge_ops, strict=True)
            tables = {"cell": tuple(tuple(o for o in ops if o in both) for ops, both in pairs)}
        return tuple(CellKind(name, EDGES, ops, keep=2) for name, ops in tables.items())

    def assemble(self, chosen: Sequence[Mapping[int, str]]) -> Architecture:
        """Return the architecture of two edges for each node; see `MixableSpace.assemble`."""
        cells = []
        for choices, cell in zip(self._tables.choices, chosen, strict=True):
            edges = sorted(cell)
            if [EDGES[e][1] for e in edges] != [node for node in NODES for _ in range(2)]:
                raise SpaceError(f"{self.name}: every node keeps two edges, not edges {edges}")
            placed = [(cell[e], EDGES[e][0], f"on edge {e}") for e in edges]
            cells.append(choices.choose(placed))
        return self._architecture(cells)

    @cached_property
    def _tables(self) -> "_Tables":
        return _Tables.of(self._allowed_ops())

    def _allowed_ops(self) -> tuple[CellOps, ...]:
        """Return the ops of each edge of each cell to choose, `none` left out."""
        for op in itertools.chain.from_iterable(itertools.chain(*self.edge_ops)):
            if op not in NAMES:
                allowed = ", ".join(NAMES)
                raise SpaceError(
                    f"{self.name}: unknown op {op!r}{nearest(op, NAMES)} (allowed: {allowed})"
                )
        normal, reduce = (
            tuple(tuple(op for op in ops if op != NONE) for ops in cell) for cell in self.edge_ops
        )
        if self.two_cells:
            cells: tuple[CellOps, ...] = (normal, reduce)
            lack = "op but none"
        else:
            pairs = zip(normal, reduce, strict=True)
            both = tuple(tuple(op for op in ops if op in others) for ops, others in pairs)
            cells = (both,)
            lack = "op that both cells may have (set two_cells: true)"
        for cell in cells:
            if () in cell:
                source, node = EDGES[cell.index(())]
                raise SpaceError(
                    f"{self.name}: the edge from state {source} to node {node} has no {lack}"
                )
        return cells

    def _architecture(self, cells: Sequence[Choices]) -> Architecture:
        pairs = zip(self._tables.choices, cells, strict=True)
        return Architecture(self.name, self._join([choices.text(own) for choices, own in pairs]))

    def _join(self, cells: list[str]) -> str:
        return "".join(map("".join, zip(self._prefixes, cells, strict=True)))

    def _read(self, architecture: Architecture) -> tuple[Choices, ...]:
        if architecture.space != self.name:
            raise SpaceError(f"{architecture} is of space {architecture.space!r}, not {self.name}")
        return self._parse(architecture.text)

    def _parse(self, text: str) -> tuple[Choices, ...]:
        found = self._parse_canonical(text)
        if None not in found:
            return found  # type: ignore[return-value]
        try:
            placed = read_pairs(text, self._prefixes)
            cells = zip(self._tables.choices, placed, strict=True)
            return tuple(choices.choose(pairs) for choices, pairs in cells)
        except InvalidArchitectureError as error:
            raise InvalidArchitectureError(f"{self.name}: {error}") from None

    def _parse_canonical(self, text: str) -> tuple[Choices | None, ...]:
        """Read a text that is written as we write it, which takes one look-up for each node."""
        first, *second = self._prefixes
        if not text.startswith(first):
            return (None,)
        parts = text[len(first) :].split(second[0]) if second else [text]
        if len(parts) != len(self._prefixes):
            return (None,)
        cells = zip(self._tables.choices, parts, strict=True)
        return tuple(choices.read(part) for choices, part in cells)

    @property
    def _prefixes(self) -> tuple[str, ...]:
        """What stands before each cell in a text."""
        return ("normal:", ";reduce:") if self.two_cells else ("",)

    def _flag(self, option: str, value: bool) -> bool:
        if not isinstance(value, bool):
            raise SpaceError(f"{self.name}: {option} must be true or false, not {value!r}")
        return value


class _Tables(NamedTuple):
    """What is worked out from the ops of a space; not sent along with it.

    Attributes:
        choices: What each cell may be.
        labels: See `DartsFamily.labels`.
        label_numbers: For each cell the position in `labels` of each op in `NAMES` (-1 if it does
            not occur), then of the two inputs and the output.
    """

    choices: tuple[CellChoices, ...]
    labels: tuple[str, ...]
    label_numbers: tuple[tuple[int, ...], ...]

    @classmethod
    def of(cls, ops: tuple[CellOps, ...]) -> "_Tables":
        kinds = ("normal ", "reduce ") if len(ops) > 1 else ("",)
        labels: list[str] = []
        for kind, cell in zip(kinds, ops, strict=True):
            present = {"input_0", "input_1", "output"}.union(*cell)
            labels += [kind + label for label in _GRAPH_LABELS if label in present]
        position = {label: number for number, label in enumerate(labels)}
        numbers = [tuple(position.get(kind + one, -1) for one in _GRAPH_LABELS) for kind in kinds]
        return cls(tuple(map(cell_choices, ops)), tuple(labels), tuple(numbers))
