"""The Siamese ranker: a graph isomorphism network (GIN) and an MLP that give one score a graph.

One layer, on node states `h` of a graph with adjacency `A` (Xu et al., "How powerful are graph
neural networks?", ICLR 2019; arch2vec uses it on cells)::

    symmetric:  x = W ((1 + ε) h + (A + Aᵀ) h) + b       as published
    directed:   x = W₀ h + W₁ Aᵀ h + W₂ A h + b           sources and targets told apart
    h' = W' relu(norm(x)) + b',  then relu except after the last layer

The score is an MLP of the sum of `h` over the nodes. Differences from arch2vec: LayerNorm instead
of BatchNorm, so that a score does not depend on what else is scored, and one inside the MLP only.

Two facts make it fast without changing what it computes. Linear maps are applied before sums over
neighbours, and the last one after the sum over nodes. And the state of a node after l layers
depends only on what surrounds it within l edges: nodes that look alike there are computed once
(`GraphSet`, the colours of the Weisfeiler-Lehman test).

Shapes: B graphs, N nodes of each, U distinct states, H hidden.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from raynas.spaces.space import Graph, stack_graphs

_ROWS_AT_ONCE = 16_384
"""States of the last layer worked on together when scoring: about what a core's cache holds."""

Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Gather:
    """Sums of rows: output row i is the sum of input rows ``index[offsets[i]:offsets[i + 1]]``.

    Attributes:
        index: int64 input rows, those of one output row together.
        offsets: int64, one more than output rows.
        num_inputs: Number of input rows.
    """

    index: Tensor
    offsets: Tensor
    num_inputs: int

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def apply(self, rows: Tensor, start: int = 0, stop: int | None = None) -> Tensor:
        """Return output rows `start` to `stop`; `rows` is `num_inputs x H`."""
        if torch.is_grad_enabled() and rows.requires_grad:
            summed: Tensor = _GatherSum.apply(rows, self)  # type: ignore[no-untyped-call]
            return summed
        offsets = self.offsets[start : None if stop is None else stop + 1]
        index = self.index[int(offsets[0]) : int(offsets[-1])]
        return F.embedding_bag(
            index, rows, offsets - offsets[0], mode="sum", include_last_offset=True
        )

    @cached_property
    def transposed(self) -> "Gather":
        """The gather that sums output rows back into input rows."""
        counts = torch.bincount(self.index, minlength=self.num_inputs)
        offsets = F.pad(counts.cumsum(0), (1, 0))
        outputs = torch.repeat_interleave(torch.arange(len(self)), self.offsets.diff())
        order = torch.argsort(self.index, stable=True)
        return Gather(outputs[order], offsets, len(self))


class _GatherSum(torch.autograd.Function):
    """A gather whose gradient is a gather too; PyTorch's own scatters, 15 times as slowly."""

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, rows: Tensor, gather: Gather) -> Tensor:
        ctx.gather = gather  # type: ignore[attr-defined]
        return gather.apply(rows.detach())

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, *grads: Tensor) -> tuple[Tensor, None]:
        return ctx.gather.transposed.apply(grads[0].contiguous()), None  # type: ignore[attr-defined]


@dataclass(frozen=True, eq=False)
class Layer:
    """What one GIN layer sums for each distinct state: rows are states of the layer before.

    Attributes:
        own: `U` int64, the state the node itself was in.
        sources: Sums over the nodes that feed it.
        targets: Sums over the nodes it feeds.
    """

    own: Tensor
    sources: Gather
    targets: Gather


@dataclass(frozen=True, eq=False)
class GraphSet:
    """Graphs made ready for a network of so many layers; made once, scored many times.

    Attributes:
        layers: One entry a GIN layer.
        readout: Sums the last states of each graph's nodes.
        labels: `U_0` int64 node labels: the states before the first layer.
    """

    labels: Tensor
    layers: tuple[Layer, ...]
    readout: Gather

    def __len__(self) -> int:
        return len(self.readout)

    @classmethod
    def of(cls, graphs: Sequence[Graph], num_layers: int) -> "GraphSet":
        """Colour the nodes of `graphs` (at least one) layer by layer."""
        adjacency_BNN, labels_BN = stack_graphs(graphs)
        real_BN = labels_BN >= 0
        labels, colours = np.unique(labels_BN[real_BN], return_inverse=True)
        colours_BN = np.zeros(labels_BN.shape, dtype=np.int64)
        colours_BN[real_BN] = colours
        num_colours = len(labels)
        layers = []
        for depth in range(num_layers):
            signature_BN = _signatures(adjacency_BNN, colours_BN, num_colours, depth)
            _, first, inverse = np.unique(
                signature_BN[real_BN], return_index=True, return_inverse=True
            )
            graph, node = (axis[first] for axis in np.nonzero(real_BN))
            layers.append(
                Layer(
                    own=torch.from_numpy(colours_BN[graph, node]),
                    sources=_gather(adjacency_BNN[graph, :, node], colours_BN[graph], num_colours),
                    targets=_gather(adjacency_BNN[graph, node, :], colours_BN[graph], num_colours),
                )
            )
            colours_BN = np.zeros_like(colours_BN)
            colours_BN[real_BN] = inverse
            num_colours = len(first)
        return cls(
            labels=torch.from_numpy(labels),
            layers=tuple(layers),
            readout=_gather(real_BN, colours_BN, num_colours),
        )


def _signatures(
    adjacency_BNN: NDArray[np.int8], colours_BN: Ints, num_colours: int, depth: int
) -> NDArray[np.uint64]:
    """Return a 64-bit hash of each node's colour and the colours around it, as multisets.

    A multiset's hash is the sum of random words of its members; that two differ and collide has a
    chance of about (number of nodes)² / 2⁶⁵, and costs no more than a slightly wrong score.
    """
    rng = np.random.default_rng([num_colours, depth])
    words_3C = rng.integers(0, 2**64, (3, num_colours), dtype=np.uint64)
    own_BN, source_BN, target_BN = words_3C[:, colours_BN]
    links_BNN = adjacency_BNN.astype(np.uint64)
    incoming_BN = np.einsum("bij,bi->bj", links_BNN, source_BN)
    outgoing_BN = np.einsum("bij,bj->bi", links_BNN, target_BN)
    signatures: NDArray[np.uint64] = own_BN + incoming_BN + outgoing_BN
    return signatures


def _gather(chosen: NDArray[np.generic], colours: Ints, num_inputs: int) -> Gather:
    """Return the gather whose row i sums the colours of the nodes chosen in row i."""
    rows, columns = np.nonzero(chosen)
    counts = np.bincount(rows, minlength=len(chosen))
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    return Gather(torch.from_numpy(colours[rows, columns]), torch.from_numpy(offsets), num_inputs)


class GinLayer(nn.Module):
    """One layer, up to the linear map `W'` that ends it (the formulas are in the module's head).

    Args:
        size: H.
        directed: Whether nodes that feed and nodes that are fed have maps of their own.
    """

    def __init__(self, size: int, *, directed: bool) -> None:
        super().__init__()
        self.directed = directed
        self.own = nn.Linear(size, size)
        self.sources = nn.Linear(size, size, bias=False) if directed else None
        self.targets = nn.Linear(size, size, bias=False) if directed else None
        self.epsilon = None if directed else nn.Parameter(torch.zeros(()))
        self.norm = nn.LayerNorm(size)

    def project(self, states: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Map the states of the layer before: for the node itself, its sources, its targets."""
        own = self.own(states)
        if self.sources is not None and self.targets is not None:
            return own, self.sources(states), self.targets(states)
        assert self.epsilon is not None
        linear = own - self.own.bias
        return linear * (1 + self.epsilon) + self.own.bias, linear, linear

    def combine(
        self,
        projected: tuple[Tensor, Tensor, Tensor],
        layer: Layer,
        start: int = 0,
        stop: int | None = None,
    ) -> Tensor:
        """Return ``relu(norm(x))`` of the distinct states `start` to `stop`."""
        own, sources, targets = projected
        summed = own.index_select(0, layer.own[start:stop])
        summed = summed + layer.sources.apply(sources, start, stop)
        summed = summed + layer.targets.apply(targets, start, stop)
        return F.relu(self.norm(summed))


class GraphRanker(nn.Module):
    """Graphs to scores: only the order of scores means anything.

    Args:
        num_labels: Number of node labels.
        hidden: H, width of node states.
        num_layers: GIN layers.
        directed: See `GinLayer`.
        dropout: Of the readout, while training.
    """

    def __init__(
        self,
        num_labels: int,
        *,
        hidden: int = 64,
        num_layers: int = 3,
        directed: bool = True,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.embed = nn.Embedding(num_labels, hidden)
        self.layers = nn.ModuleList(GinLayer(hidden, directed=directed) for _ in range(num_layers))
        self.ends = nn.ModuleList(nn.Linear(hidden, hidden) for _ in range(num_layers))
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Sequential(nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, 1))

    def forward(self, graphs: GraphSet) -> Tensor:
        """Return one score a graph (`B`)."""
        states = self.embed(graphs.labels)
        steps: list[tuple[GinLayer, Layer, nn.Linear]] = list(
            zip(self.layers, graphs.layers, self.ends, strict=True)  # type: ignore[arg-type]
        )
        *lower, top = steps
        for gin, layer, end in lower:
            states = F.relu(end(gin.combine(gin.project(states), layer)))
        gin, layer, end = top
        projected = gin.project(states)
        if torch.is_grad_enabled():
            last = gin.combine(projected, layer)
        else:
            last = states.new_empty(len(layer.own), states.shape[1])
            for start in range(0, len(last), _ROWS_AT_ONCE):
                stop = start + _ROWS_AT_ONCE
                last[start:stop] = gin.combine(projected, layer, start, stop)
        # Σ (W' h + b') over a graph's nodes is W' Σ h + n b'.
        num_nodes = graphs.readout.offsets.diff().to(last.dtype).unsqueeze(1)
        pooled = F.linear(graphs.readout.apply(last), end.weight) + num_nodes * end.bias
        scores: Tensor = self.head(self.dropout(pooled / math.sqrt(states.shape[1]))).squeeze(1)
        return scores
