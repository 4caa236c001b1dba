"""What has been decided of a supernet's edges on the way to an architecture.

An edge's op can be decided, an op can be pruned, and a node can be told which of its incoming edges
it keeps. What is decided is the only thing that runs: the row of a decided edge is one-hot, that of
an edge not kept is zero, and both get no gradient.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from raynas.errors import CheckpointError, SpaceError
from raynas.spaces.architecture import Architecture
from raynas.spaces.cell import NONE
from raynas.spaces.mixture import CellKind, MixableSpace
from raynas.supernets.mixture import Active, Mixture


@dataclass(frozen=True, slots=True)
class Question:
    """Something to be decided: which op an edge gets, or which edges a node keeps.

    Attributes:
        kind: Number of the kind of cell.
        edge: The edge whose op is asked for; None if it is about a node.
        node: The node whose edges are asked for; None if it is about an edge.
        options: The ops (columns) or edges (rows) to choose among.
    """

    kind: int
    options: tuple[int, ...]
    edge: int | None = None
    node: int | None = None

    def __post_init__(self) -> None:
        assert (self.edge is None) != (self.node is None)


class Decisions:
    """What is decided so far of each kind of cell.

    Args:
        kinds: The kinds of cells.

    Attributes:
        kinds: Likewise.
        ops: Of each kind, of each edge: the column of the decided op, or None.
        kept: Of each kind: the edges that a decided node keeps, by node.
    """

    def __init__(self, kinds: Sequence[CellKind]) -> None:
        self.kinds = tuple(kinds)
        self.ops: list[list[int | None]] = [[None] * kind.num_edges for kind in self.kinds]
        self.kept: list[dict[int, tuple[int, ...]]] = [{} for _ in self.kinds]
        self._allowed = [np.ones((k.num_edges, k.num_ops), dtype=np.bool_) for k in self.kinds]

    # -- deciding ------------------------------------------------------------------------------

    def decide_op(self, kind: int, edge: int, op: int) -> None:
        """Give an edge its op, for good."""
        assert edge in self.undecided_edges(kind), f"edge {edge} is decided already"
        assert self._allowed[kind][edge, op], f"op {op} of edge {edge} was pruned"
        self.ops[kind][edge] = op

    def prune_op(self, kind: int, edge: int, op: int) -> None:
        """Take an op from an undecided edge, for good; at least one is left."""
        assert self.ops[kind][edge] is None, f"edge {edge} is decided already"
        allowed = self._allowed[kind][edge]
        assert allowed[op], f"op {op} of edge {edge} was pruned already"
        assert allowed.sum() > 1, f"edge {edge} has one op left"
        allowed[op] = False

    def keep_edges(self, kind: int, node: int, edges: Sequence[int]) -> None:
        """Say which incoming edges a node keeps; the others are gone."""
        assert node not in self.kept[kind], f"node {node} is decided already"
        assert set(edges) <= set(self.kinds[kind].incoming(node)), f"{edges} do not enter {node}"
        self.kept[kind][node] = tuple(sorted(edges))

    # -- reading -------------------------------------------------------------------------------

    def allowed(self, kind: int) -> Active:
        """Return `E x O`: whether the op has not been pruned."""
        return self._allowed[kind].copy()

    def gone(self, kind: int, edge: int) -> bool:
        """Return whether an edge was not kept by its node."""
        node = self.kinds[kind].edges[edge][1]
        return node in self.kept[kind] and edge not in self.kept[kind][node]

    def undecided_edges(self, kind: int) -> list[int]:
        """Return the edges that still mix: neither decided nor gone."""
        ops = self.ops[kind]
        return [e for e, op in enumerate(ops) if op is None and not self.gone(kind, e)]

    def undecided_nodes(self, kind: int) -> list[int]:
        """Return the nodes that have yet to be told which of their edges they keep."""
        return [node for node in self.kinds[kind].crowded() if node not in self.kept[kind]]

    @property
    def complete(self) -> bool:
        """Whether nothing is left to decide."""
        return all(
            not self.undecided_edges(kind) and not self.undecided_nodes(kind)
            for kind in range(len(self.kinds))
        )

    def active(self) -> tuple[Active, ...]:
        """Return `E x O` a kind: which ops run."""
        return tuple(self._active(kind) for kind in range(len(self.kinds)))

    def _active(self, kind: int) -> Active:
        active = self._allowed[kind].copy()
        for edge, op in enumerate(self.ops[kind]):
            if self.gone(kind, edge):
                active[edge] = False
            elif op is not None:
                active[edge] = False
                active[edge, op] = True
        return active

    def mix(self, theta: Sequence[Tensor], edge_weights: Sequence[Tensor] | None = None) -> Mixture:
        """Return the mixture of weights `theta` under what is decided.

        Undecided rows are those of `theta`; decided ones are one-hot and constant, so no gradient
        reaches the weights that stand in their place.

        Args:
            theta: `E x O` a kind; of pruned ops the method that pruned them sees to the rest.
            edge_weights: `E` a kind, or None.
        """
        active = self.active()
        weights = tuple(self._fixed(kind, rows, active[kind]) for kind, rows in enumerate(theta))
        return Mixture(weights, active, None if edge_weights is None else tuple(edge_weights))

    def _fixed(self, kind: int, theta: Tensor, active: Active) -> Tensor:
        free = np.zeros(self.kinds[kind].num_edges, dtype=np.bool_)
        free[self.undecided_edges(kind)] = True
        if free.all():
            return theta
        constant = torch.from_numpy(active.astype(np.float32)).to(theta)
        rows = torch.from_numpy(free).to(theta.device)[:, None]
        return torch.where(rows, theta, constant)

    def architecture(
        self, space: MixableSpace, instead: Mapping[tuple[int, int], int] | None = None
    ) -> Architecture:
        """Return the architecture, once all is decided.

        Args:
            space: What it is of.
            instead: For (kind, edge) another op than the decided one.

        Raises:
            SpaceError: an edge was given an op that no architecture can have.
        """
        assert self.complete
        instead = instead or {}
        chosen = []
        for number, kind in enumerate(self.kinds):
            ops = {
                edge: instead.get((number, edge), op)
                for edge, op in enumerate(self.ops[number])
                if op is not None and not self.gone(number, edge)
            }
            chosen.append({edge: kind.ops[edge][op] for edge, op in ops.items()})
        return space.assemble(chosen)

    # -- saving --------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return {
            "cells": self._cells,
            "ops": [list(ops) for ops in self.ops],
            "kept": [{str(n): list(edges) for n, edges in kept.items()} for kept in self.kept],
            "pruned": [np.argwhere(~allowed).tolist() for allowed in self._allowed],
        }

    @property
    def _cells(self) -> list[list[Any]]:
        return [[kind.name, kind.num_edges, kind.num_ops] for kind in self.kinds]

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned.

        Raises:
            CheckpointError: it is of other kinds of cells.
        """
        if state["cells"] != self._cells:
            raise CheckpointError(
                f"decisions on cells {_told(state['cells'])}, not on those of this space, "
                f"{_told(self._cells)}"
            )
        self.ops = [list(ops) for ops in state["ops"]]
        self.kept = [{int(n): tuple(e) for n, e in kept.items()} for kept in state["kept"]]
        for allowed, pruned in zip(self._allowed, state["pruned"], strict=True):
            allowed[:] = True
            for edge, op in pruned:
                allowed[edge, op] = False


def _told(cells: list[list[Any]]) -> str:
    return " and ".join(f"{name} ({edges} edges of {ops} ops)" for name, edges, ops in cells)


def expressible(kind: CellKind, edge: int) -> tuple[int, ...]:
    """Return the ops of an edge that an architecture can have there.

    Where a node keeps only some of its edges, `none` is no op of an architecture: the edge that
    would carry it is simply not kept.
    """
    ops = kind.ops[edge]
    found = tuple(o for o, op in enumerate(ops) if kind.keep is None or op != NONE)
    if not found:
        source, target = kind.edges[edge]
        raise SpaceError(f"the edge from state {source} to state {target} has no op but none")
    return found
