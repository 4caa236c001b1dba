"""NAS-Bench-101: modules of up to seven vertices that carry operations, and up to nine edges.

Ying et al., "NAS-Bench-101: Towards Reproducible Neural Architecture Search", ICML 2019. Vertex 0
is the input of the module and the last vertex its output; each vertex between them is one of three
operations on the sum of what it reads. An architecture is written as the ops of the inner vertices
in order, a colon, and the adjacency matrix above its diagonal, row by row; with inner vertices 1
and 2 and output 3, edges 0-1, 0-2, 1-3 and 2-3 are::

    conv3x3,maxpool3x3:110011

A text has no vertex that lies on no path from input to output (`parse` takes such vertices out);
isomorphic modules may differ in text, but share a key.
"""

import itertools
import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from hashlib import md5
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from raynas.errors import InvalidArchitectureError, SpaceError, nearest
from raynas.spaces.architecture import Architecture
from raynas.spaces.options import whole_number
from raynas.spaces.space import Graph, TaskShape

if TYPE_CHECKING:
    from torch import nn

OPS = ("conv3x3", "conv1x1", "maxpool3x3")
"""Every operation of an inner vertex, in the order of the published labels 0, 1, 2."""

LABELS = ("input", *OPS, "output")
"""What each node label of `NasBench101.graph` stands for."""

MAX_VERTICES = 7
"""Vertices of a module, input and output among them."""

MAX_EDGES = 9
"""Edges of a module after pruning."""

_FORM = "op,op:bits, for example conv3x3,maxpool3x3:110011"
_TEXT = re.compile(r"([^:]*):([01]+)")
_MAX_BITS = MAX_VERTICES * (MAX_VERTICES - 1) // 2
_NUM_PATHS: int = sum(len(OPS) ** length for length in range(MAX_VERTICES - 1))


class Module(NamedTuple):
    """A module without idle vertices.

    Attributes:
        ops: Op of each inner vertex.
        rows: One bit mask a vertex: bit `target` of ``rows[source]`` is set if source feeds target.
    """

    ops: tuple[str, ...]
    rows: tuple[int, ...]

    def targets(self, source: int) -> list[int]:
        """Return the vertices that read `source`, ascending."""
        return [v for v in range(len(self.rows)) if self.rows[source] >> v & 1]

    def sources(self, target: int) -> list[int]:
        """Return the vertices that `target` reads, ascending."""
        return [v for v in range(target) if self.rows[v] >> target & 1]


class NasBench101:
    """The space of NAS-Bench-101.

    It has 423,624 keys and no order to list them in.

    Args:
        channels: Channels of the stem and the first stack (128 in the paper), at least 5; each
            later stack doubles them.
        stacks: Stacks of modules, with a halving of the image between them (3 in the paper).
        modules_per_stack: Modules in each stack (3 in the paper).

    Raises:
        SpaceError: an argument is out of range.
    """

    name = "nasbench101"
    num_labels = len(LABELS)

    def __init__(self, *, channels: int = 128, stacks: int = 3, modules_per_stack: int = 3) -> None:
        # The channels are divided among the inner vertices at the output: one each, if all are.
        self.channels = whole_number(self.name, "channels", channels, least=MAX_VERTICES - 2)
        self.stacks = whole_number(self.name, "stacks", stacks)
        self.modules_per_stack = whole_number(self.name, "modules_per_stack", modules_per_stack)

    def __repr__(self) -> str:
        return (
            f"NasBench101(channels={self.channels}, stacks={self.stacks}, "
            f"modules_per_stack={self.modules_per_stack})"
        )

    def sample(self, rng: np.random.Generator) -> Architecture:
        """Draw a matrix of seven vertices uniformly until it is valid, then ops uniformly.

        The paper's way of drawing: valid means that the pruned module is within the limits, and
        a module is the likelier, the more matrices prune to it.
        """
        while True:
            rows = _rows(int(rng.integers(2**_MAX_BITS)), MAX_VERTICES)
            module = _pruned(Module(OPS[:1] * (MAX_VERTICES - 2), rows))
            if module is not None and _num_edges(module) <= MAX_EDGES:
                drawn = rng.integers(len(OPS), size=len(module.ops))
                return _architecture(Module(tuple(OPS[op] for op in drawn), module.rows))

    def mutate(self, architecture: Architecture, rng: np.random.Generator) -> Architecture:
        """Draw the kind of a change, then the change, until one is valid (see `neighbours`)."""
        kinds = [changed for changed in _changes(self.module(architecture)) if changed]
        while True:
            changed = kinds[int(rng.integers(len(kinds)))]
            module = _valid(changed[int(rng.integers(len(changed)))])
            if module is not None:
                return _architecture(module)

    def neighbours(self, architecture: Architecture) -> list[Architecture]:
        """Return the valid modules one change away; none has the key of `architecture`.

        A change is another op; an edge more or less, together with the vertices that it leaves
        idle; or, below seven vertices, one more vertex between two others, which it reads and
        feeds: the way back from an edge less, as a text keeps no idle vertices. Changes lead from
        any key to any other.
        """
        changed = itertools.chain.from_iterable(_changes(self.module(architecture)))
        valid = filter(None, map(_valid, changed))
        return list(dict.fromkeys(map(_architecture, valid)))

    def parse(self, text: str) -> Architecture:
        """Read an architecture and prune it; white space around it does not matter.

        Raises:
            InvalidArchitectureError: `text` is no module of this space; the message says where.
        """
        return _architecture(_read(text.strip()))

    def module(self, architecture: Architecture) -> Module:
        """Return the ops and edges of an architecture."""
        if architecture.space != self.name:
            raise SpaceError(f"{architecture} is of space {architecture.space!r}, not {self.name}")
        return _read(architecture.text)

    def key(self, architecture: Architecture) -> str:
        """Return the benchmark's own hash, the same for all isomorphic modules.

        Of two isomorphic modules the network may still differ by a channel a vertex: what does not
        divide among the vertices at the output goes to the first of them.
        """
        return _hash(self.module(architecture))

    def graph(self, architecture: Architecture) -> Graph:
        """Encode the module itself: vertices labelled by `LABELS`, directed, not padded."""
        module = self.module(architecture)
        shifts = np.arange(len(module.rows))
        adjacency = (np.array(module.rows)[:, None] >> shifts & 1).astype(np.int8)
        labels = [LABELS.index(op) for op in ("input", *module.ops, "output")]
        return Graph(adjacency, np.array(labels, dtype=np.int64))

    def path_encoding(self, architecture: Architecture) -> NDArray[np.int8]:
        """Mark which op sequences lead from input to output (BANANAS).

        Returns:
            364 bits: the path without an op, paths of one op, of two, … of five; within a length
            in the order of `OPS`, the first op of the path weighing most.
        """
        module = self.module(architecture)
        digits = [0, *(1 + OPS.index(op) for op in module.ops)]
        bits = np.zeros(_NUM_PATHS, dtype=np.int8)
        ahead = [(0, 0)]  # vertices to go on from, each with the path so far
        for vertex, path in ahead:
            for target in module.targets(vertex):
                if target == len(digits):
                    bits[path] = 1
                else:  # digits 1 to 3: longer paths count on where shorter ones end
                    ahead.append((target, path * len(OPS) + digits[target]))
        return bits

    def build(self, architecture: Architecture, task: TaskShape) -> "nn.Module":
        """Build the network of the paper around the module, weights from torch's generator.

        Raises:
            SpaceError: the images vanish: each stack after the first halves them.
        """
        from raynas.networks.nasbench101_network import NasBench101Network

        smallest = 2 ** (self.stacks - 1)
        if task.image_size < smallest:
            raise SpaceError(
                f"{self.name} networks of {self.stacks} stacks need images of at least "
                f"{smallest} x {smallest} pixels, not {task.image_size}"
            )
        return NasBench101Network(
            self.module(architecture),
            channels=self.channels,
            stacks=self.stacks,
            modules_per_stack=self.modules_per_stack,
            in_channels=task.in_channels,
            num_classes=task.num_classes,
        )


def _architecture(module: Module) -> Architecture:
    return Architecture(NasBench101.name, f"{','.join(module.ops)}:{_bits(module.rows)}")


def _rows(bits: int, size: int) -> tuple[int, ...]:
    """Return the rows of a matrix whose upper triangle, row by row, is `bits` from the lowest."""
    rows = []
    for width in range(size - 1, -1, -1):
        rows.append((bits & (1 << width) - 1) << size - width)
        bits >>= width
    return tuple(rows)


def _bits(rows: Sequence[int]) -> str:
    bits, place = 0, 0
    for source, row in enumerate(rows):
        bits |= row >> source + 1 << place
        place += len(rows) - 1 - source
    return f"{bits:0{place}b}"[::-1]


def _num_edges(module: Module) -> int:
    return sum(row.bit_count() for row in module.rows)


def _pruned(module: Module) -> Module | None:
    """Take out the vertices on no path from input to output; None if there is no path."""
    ops, rows = module
    size = len(rows)
    fed, read = 1, 1 << size - 1
    for vertex in range(size):
        if fed >> vertex & 1:
            fed |= rows[vertex]
    for vertex in reversed(range(size)):
        if rows[vertex] & read:
            read |= 1 << vertex
    kept = [vertex for vertex in range(size) if fed & read & 1 << vertex]
    if not kept:
        return None
    if len(kept) == size:
        return module
    return Module(
        tuple(ops[vertex - 1] for vertex in kept[1:-1]),
        tuple(
            sum((rows[source] >> target & 1) << place for place, target in enumerate(kept))
            for source in kept
        ),
    )


def _valid(module: Module) -> Module | None:
    """Prune; None if nothing is left or too many edges are."""
    pruned = _pruned(module)
    return None if pruned is None or _num_edges(pruned) > MAX_EDGES else pruned


def _changes(module: Module) -> tuple[list[Module], list[Module], list[Module]]:
    """Return what a change of op, of edge, and a new vertex make of a module, valid or not."""
    ops, rows = module
    pairs = list(itertools.combinations(range(len(rows)), 2))
    other_op = [
        Module((*ops[:place], op, *ops[place + 1 :]), rows)
        for place, old in enumerate(ops)
        for op in OPS
        if op != old
    ]
    other_edge = [
        Module(ops, (*rows[:source], rows[source] ^ 1 << target, *rows[source + 1 :]))
        for source, target in pairs
    ]
    if len(rows) == MAX_VERTICES:
        return other_op, other_edge, []
    more = [_with_vertex(module, *ends, op) for ends, op in itertools.product(pairs, OPS)]
    return other_op, other_edge, more


def _with_vertex(module: Module, source: int, target: int, op: str) -> Module:
    """Insert a vertex right after `source` that reads it and feeds `target`."""
    ops, rows = module
    new = source + 1
    low = (1 << new) - 1
    moved = [row & low | (row & ~low) << 1 for row in rows]
    moved[source] |= 1 << new
    moved.insert(new, 1 << target + 1)
    return Module((*ops[:source], op, *ops[source:]), tuple(moved))


@lru_cache(maxsize=2**14)
def _read(text: str) -> Module:
    match = _TEXT.fullmatch(text)
    if match is None:
        raise InvalidArchitectureError(f"{NasBench101.name}: {_what_is_wrong(text)}")
    ops = tuple(match[1].split(",")) if match[1] else ()
    _check_ops(ops)
    size = len(ops) + 2
    wanted = size * (size - 1) // 2
    if len(match[2]) != wanted:
        raise InvalidArchitectureError(
            f"{NasBench101.name}: {len(ops)} ops make {size} vertices, whose matrix has {wanted} "
            f"bits above its diagonal, not {len(match[2])} (form: {_FORM})"
        )
    module = _pruned(Module(ops, _rows(int(match[2][::-1], 2), size)))
    if module is None:
        raise InvalidArchitectureError(
            f"{NasBench101.name}: no path leads from the input to the output in {text!r}"
        )
    if _num_edges(module) > MAX_EDGES:
        raise InvalidArchitectureError(
            f"{NasBench101.name}: {_num_edges(module)} edges on paths from input to output in "
            f"{text!r}, at most {MAX_EDGES} are allowed"
        )
    return module


def _what_is_wrong(text: str) -> str:
    ops, colon, bits = text.partition(":")
    if not colon:
        return f"expected a ':' between ops and bits in {text[:40]!r} (form: {_FORM})"
    for place, bit in enumerate(bits, start=len(ops) + 2):
        if bit not in "01":
            return f"expected 0 or 1 at character {place}, not {bit!r} (form: {_FORM})"
    return f"expected bits after character {len(ops) + 1}, not the end (form: {_FORM})"


def _check_ops(ops: Iterable[str]) -> None:
    place = 1
    for vertex, op in enumerate(ops, start=1):
        if op not in OPS:
            raise InvalidArchitectureError(
                f"{NasBench101.name}: {op[:40]!r} at character {place} (vertex {vertex}) is no op "
                f"of the space{nearest(op[:40], OPS)} (allowed: {', '.join(OPS)})"
            )
        if vertex > MAX_VERTICES - 2:
            raise InvalidArchitectureError(
                f"{NasBench101.name}: a module has at most {MAX_VERTICES - 2} ops, but another "
                f"follows at character {place}"
            )
        place += len(op) + 1


@lru_cache(maxsize=2**14)
def _hash(module: Module) -> str:
    """Hash by refinement: each vertex takes in its neighbours' hashes as often as there are
    vertices; labels are -1 for the input, -2 for the output, else the place in `OPS`.
    """
    vertices = range(len(module.rows))
    labels = [-1, *map(OPS.index, module.ops), -2]
    sources = [module.sources(vertex) for vertex in vertices]
    targets = [module.targets(vertex) for vertex in vertices]
    hashes = [
        _md5(str((len(after), len(before), label)))
        for after, before, label in zip(targets, sources, labels, strict=True)
    ]
    for _ in vertices:
        hashes = [
            _md5(
                "".join(sorted([hashes[v] for v in before]))
                + "|"
                + "".join(sorted([hashes[v] for v in after]))
                + "|"
                + own
            )
            for before, after, own in zip(sources, targets, hashes, strict=True)
        ]
    return _md5(str(sorted(hashes)))


def _md5(text: str) -> str:
    return md5(text.encode(), usedforsecurity=False).hexdigest()
