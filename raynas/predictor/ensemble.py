"""Several rankers as one network, trained in the time of one or two.

A ranker for a hundred cells is so small that calling its operations takes longer than computing
them. Here the members' weights are stacked along a first axis, so each operation is called once for
all; scores and gradients are those of the members one by one.

Shapes: M members, B graphs, U distinct states (`raynas.predictor.model`), H hidden.
"""

import math
from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from raynas.predictor.model import Gather, GraphRanker, GraphSet, Layer


class EnsembleRanker(nn.Module):
    """M rankers of one shape.

    Args:
        members: At least one; their weights are copied.
    """

    def __init__(self, members: Sequence[GraphRanker]) -> None:
        super().__init__()
        self._size = len(members)
        self._dropout = members[0].dropout.p
        self._shapes = {name: p.shape for name, p in members[0].named_parameters()}
        rows = [torch.cat([p.detach().flatten() for p in m.parameters()]) for m in members]
        self.flat = nn.Parameter(torch.stack(rows))
        """`M x D`: all weights of a member in one row, so that a step of Adam is one operation."""

    def forward(self, graphs: GraphSet) -> Tensor:
        """Return `M x B` scores; `graphs` is what `repeated` made of B graphs."""
        weights = self._weights()
        states = weights["embed.weight"].flatten(0, 1)[graphs.labels]
        num_layers = len(graphs.layers)
        hidden = states.shape[1]
        for depth, layer in enumerate(graphs.layers):
            summed = self._combine(weights, states, layer, depth)
            if depth < num_layers - 1:
                states = F.relu(self._linear(weights, summed, f"ends.{depth}"))
        top = f"ends.{num_layers - 1}"
        # Σ (W' h + b') over a graph's nodes is W' Σ h + n b', as in `GraphRanker`.
        num_nodes = graphs.readout.offsets.diff().to(states.dtype)
        pooled = self._members(graphs.readout.apply(summed))
        pooled = torch.bmm(pooled, weights[f"{top}.weight"].transpose(1, 2))
        counts = num_nodes.view(self._size, -1, 1)
        pooled = pooled + counts * weights[f"{top}.bias"].unsqueeze(1)
        pooled = F.dropout(pooled / math.sqrt(hidden), self._dropout, self.training)
        between = F.relu(self._linear(weights, pooled.flatten(0, 1), "head.0"))
        return self._members(self._linear(weights, between, "head.2")).squeeze(2)

    def load_into(self, ranker: GraphRanker, row: Tensor) -> None:
        """Give a ranker the weights in `row`, a member's row of `flat`."""
        with torch.no_grad():
            torch.nn.utils.vector_to_parameters(row, ranker.parameters())

    def _weights(self) -> dict[str, Tensor]:
        parts = torch.split(self.flat, [shape.numel() for shape in self._shapes.values()], dim=1)
        return {
            name: part.reshape(self._size, *shape)
            for part, (name, shape) in zip(parts, self._shapes.items(), strict=True)
        }

    def _combine(
        self, weights: Mapping[str, Tensor], states: Tensor, layer: Layer, depth: int
    ) -> Tensor:
        """Return ``relu(norm(x))`` of a layer's distinct states (see `GinLayer`)."""
        name = f"layers.{depth}"
        own = self._linear(weights, states, f"{name}.own")
        if f"{name}.sources.weight" in weights:
            sources = self._linear(weights, states, f"{name}.sources")
            targets = self._linear(weights, states, f"{name}.targets")
        else:
            bias = weights[f"{name}.own.bias"].unsqueeze(1)
            linear = self._members(own) - bias
            sources = targets = linear.flatten(0, 1)
            epsilon = weights[f"{name}.epsilon"].view(-1, 1, 1)
            own = (linear * (1 + epsilon) + bias).flatten(0, 1)
        summed = own.index_select(0, layer.own)
        summed = summed + layer.sources.apply(sources) + layer.targets.apply(targets)
        normed = self._members(F.layer_norm(summed, summed.shape[-1:]))
        scale = weights[f"{name}.norm.weight"].unsqueeze(1)
        shift = weights[f"{name}.norm.bias"].unsqueeze(1)
        return F.relu(normed * scale + shift).flatten(0, 1)

    def _linear(self, weights: Mapping[str, Tensor], rows: Tensor, name: str) -> Tensor:
        weight = weights[f"{name}.weight"].transpose(1, 2)
        inputs = self._members(rows)
        if f"{name}.bias" in weights:
            bias = weights[f"{name}.bias"].unsqueeze(1)
            return torch.baddbmm(bias, inputs, weight).flatten(0, 1)
        return torch.bmm(inputs, weight).flatten(0, 1)

    def _members(self, rows: Tensor) -> Tensor:
        """View rows, member after member, as `M x rows x width`."""
        return rows.view(self._size, -1, rows.shape[-1])


def repeated(graphs: GraphSet, times: int, num_labels: int) -> GraphSet:
    """Return `times` copies of a graph set as one, states of the first copy first.

    Args:
        graphs: As made for one ranker.
        times: Number of members.
        num_labels: Node labels a member knows: what the copies' labels are apart.
    """
    copies = torch.arange(times)
    return GraphSet(
        labels=_offset(graphs.labels, copies * num_labels),
        layers=tuple(
            Layer(
                own=_offset(layer.own, copies * layer.sources.num_inputs),
                sources=_copies(layer.sources, copies),
                targets=_copies(layer.targets, copies),
            )
            for layer in graphs.layers
        ),
        readout=_copies(graphs.readout, copies),
    )


def _copies(gather: Gather, copies: Tensor) -> Gather:
    length = int(gather.offsets[-1])
    offsets = _offset(gather.offsets[:-1], copies * length)
    end = torch.tensor([length * len(copies)])
    return Gather(
        _offset(gather.index, copies * gather.num_inputs),
        torch.cat([offsets, end]),
        gather.num_inputs * len(copies),
    )


def _offset(index: Tensor, by: Tensor) -> Tensor:
    return (by[:, None] + index[None, :]).flatten()
