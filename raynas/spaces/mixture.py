"""What a supernet of a space mixes: the cells, their edges, and the ops on each edge.

A supernet holds every op of every edge at once (Liu et al., "DARTS", ICLR 2019). Of each kind of
cell it has one set of mixing weights, `E x O`: a row for each edge, a column for each op, shared by
all cells of that kind.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from raynas.errors import SpaceError
from raynas.spaces.architecture import Architecture
from raynas.spaces.space import SearchSpace


@dataclass(frozen=True, slots=True)
class CellKind:
    """One kind of cell.

    Attributes:
        name: ``normal`` and ``reduce``, or ``cell`` where there is one kind.
        edges: Source and target state of each edge, by target, sources ascending. States that are
            no target are the inputs.
        ops: Ops of each edge, equally many on all: the columns of its row of weights.
        keep: How many of its incoming edges a node keeps in an architecture; None: all.

    Raises:
        SpaceError: an edge has fewer than two ops, or edges have different numbers of ops.
    """

    name: str
    edges: tuple[tuple[int, int], ...]
    ops: tuple[tuple[str, ...], ...]
    keep: int | None = None

    def __post_init__(self) -> None:
        for (source, target), ops in zip(self.edges, self.ops, strict=True):
            where = f"the edge from state {source} to state {target} of a {self.name} cell"
            if len(ops) < 2:
                raise SpaceError(
                    f"a supernet needs two or more ops to choose from on every edge, but {where} "
                    f"has {len(ops)} ({', '.join(ops) or 'none at all'})"
                )
            if len(ops) != len(self.ops[0]):
                raise SpaceError(
                    f"a supernet needs equally many ops on every edge, but {where} has {len(ops)} "
                    f"and the first has {len(self.ops[0])}"
                )

    @property
    def num_edges(self) -> int:
        """Number of edges, E."""
        return len(self.edges)

    @property
    def num_ops(self) -> int:
        """Number of ops of an edge, O."""
        return len(self.ops[0])

    @property
    def nodes(self) -> tuple[int, ...]:
        """The states that are sums of edges, ascending."""
        return tuple(sorted({target for _, target in self.edges}))

    def incoming(self, node: int) -> tuple[int, ...]:
        """Return the numbers of the edges into a node, sources ascending."""
        return tuple(e for e, (_, target) in enumerate(self.edges) if target == node)

    def crowded(self) -> tuple[int, ...]:
        """Return the nodes with more incoming edges than an architecture keeps."""
        if self.keep is None:
            return ()
        return tuple(node for node in self.nodes if len(self.incoming(node)) > self.keep)


@runtime_checkable
class MixableSpace(SearchSpace, Protocol):
    """A space that says what a supernet of it mixes.

    The supernet's modules are made in `raynas.supernets`, which knows the families of raynas and
    their subclasses.
    """

    @property
    def kinds(self) -> tuple[CellKind, ...]:
        """The kinds of cells; raises `SpaceError` if no supernet can be made."""
        ...

    def assemble(self, chosen: Sequence[Mapping[int, str]]) -> Architecture:
        """Return the architecture of chosen ops.

        Args:
            chosen: For each kind the op of each edge that is kept, by number of the edge.

        Raises:
            SpaceError: not one op for each edge that an architecture has, or one it cannot have.
        """
        ...
