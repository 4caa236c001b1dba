"""A node of a supernet's cell, ``Σ_edges Σ_ops w · op(x)``, from fewer passes over the images.

Written so, every term would be a new image, a state would be pooled once an edge, and a convolution
scaled after its norm. The same numbers come from less:

* What ops read is made once a state: its ReLU, its pools, its phases (`State`).
* An op that ends in a norm without parameters takes its weight as the norm's (`Weights.channels`):
  scaling costs nothing, and the gradient of the weight is that of the norm's.
* All other terms are added up in place by one function (`NodeSum`, `fused.weighted_sum`); `none`
  is no term.
"""

from functools import cached_property
from typing import NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from raynas.networks.cell_network import drop_path
from raynas.networks.darts_operations import (
    Identity,
    NormedOperation,
    Operation,
    Pool,
    SeparableConv,
    Zero,
)
from raynas.supernets.fused import phases, shuffled, unphased, weighted_sum
from raynas.supernets.mixture import Active, Mixture
from raynas.supernets.norm import Norm

Place = tuple[int, int]
"""Number of an edge, and of an op on it."""


class Weights:
    """The weights of one kind of cell in one forward pass, in the forms in which ops take them.

    Each form is made once a pass for all cells of the kind, so that its gradient is gathered once.

    Args:
        mixture: Of all kinds.
        number: Number of the kind.
    """

    def __init__(self, mixture: Mixture, number: int) -> None:
        self.active: Active = mixture.active[number]
        rows = mixture.weights[number]
        self._edges: tuple[Tensor, ...] | None = None
        if mixture.edge_weights is not None:
            edges = mixture.edge_weights[number]
            rows = rows * edges[:, None]
            self._edges = edges.unbind()
        self._flat = rows.flatten()
        self._num_ops = rows.shape[1]
        self._channels: dict[int, tuple[Tensor, ...]] = {}

    def scalar(self, edge: int, op: int) -> Tensor:
        """Return an op's weight, of no dimensions."""
        return self._scalars[edge * self._num_ops + op]

    def channels(self, edge: int, op: int, channels: int) -> Tensor:
        """Return an op's weight `channels` times over, as the weight of a norm."""
        if channels not in self._channels:
            # Contiguous: torch 2.13 reads out of bounds in the backward pass of a batch norm in
            # channels_last order whose weight has stride 0.
            rows = self._flat[:, None].expand(-1, channels).contiguous()
            self._channels[channels] = rows.unbind()
        return self._channels[channels][edge * self._num_ops + op]

    def edge(self, edge: int) -> Tensor | None:
        """Return what a whole edge is multiplied by, of no dimensions; None: 1."""
        return None if self._edges is None else self._edges[edge]

    @cached_property
    def _scalars(self) -> tuple[Tensor, ...]:
        return self._flat.unbind()


class State:
    """A state of a cell, and what the ops that read it share; made when first asked for.

    Args:
        value: `B x C x H x W`.
        stride: What the edges out of it divide the size of the image by.
        partial: Ops read the first C / `partial` channels; the others pass by.
    """

    def __init__(self, value: Tensor, *, stride: int = 1, partial: int = 1) -> None:
        self.full = value
        self._stride = stride
        self._part = value.shape[1] // partial
        self._pooled: dict[Pool, Tensor] = {}

    @property
    def on_cpu(self) -> bool:
        """Whether dilation costs so much that phases pay."""
        return self.full.device.type == "cpu"

    @cached_property
    def value(self) -> Tensor:
        """The channels that ops read."""
        if self._part == self.full.shape[1]:
            return self.full
        return self.full[:, : self._part].contiguous(memory_format=torch.channels_last)

    @cached_property
    def passed(self) -> Tensor | None:
        """The channels that pass by, as they arrive at the nodes; None if there are none."""
        if self._part == self.full.shape[1]:
            return None
        rest = self.full[:, self._part :]
        if self._stride == 1:
            return rest
        return F.max_pool2d(rest, 2, self._stride, ceil_mode=True)

    @cached_property
    def rectified(self) -> Tensor:
        """The ReLU of what ops read."""
        return F.relu(self.value)

    @cached_property
    def phased(self) -> Tensor:
        """The phases of its ReLU."""
        return phases(self.rectified)

    @cached_property
    def halved(self) -> Tensor:
        """Every second pixel of its ReLU."""
        return self.rectified[:, :, ::2, ::2].contiguous(memory_format=torch.channels_last)

    def pooled(self, pool: Pool) -> Tensor:
        """Return what a pool makes of it; edges out of a state share their pools."""
        if pool not in self._pooled:
            self._pooled[pool] = pool(self.value)
        return self._pooled[pool]


class Sums(NamedTuple):
    """Terms of a node added up.

    Attributes:
        mixed: Of the channels that went through ops; None: no term.
        passed: Of the channels that pass by; None: no term.
    """

    mixed: Tensor | None
    passed: Tensor | None


class NodeSum:
    """The terms of a node, added up when all are there.

    Args:
        drop: Probability with which the output of an op (identities excepted) is dropped, image by
            image.
    """

    def __init__(self, drop: float = 0.0) -> None:
        self._drop = drop
        self._terms: list[Tensor] = []
        self._phased: list[Tensor] = []
        self._weighted: list[tuple[Tensor, Tensor]] = []
        self._passed: list[Tensor] = []
        self._passed_weighted: list[tuple[Tensor, Tensor]] = []

    def add(self, sums: Sums) -> None:
        """Add terms that are added up already."""
        if sums.mixed is not None:
            self._terms.append(sums.mixed)
        if sums.passed is not None:
            self._passed.append(sums.passed)

    def add_op(self, operation: Operation, state: State, weights: Weights, place: Place) -> None:
        """Add what an op makes of a state, times its weight.

        Args:
            operation: The op.
            state: What it reads.
            weights: Of the kind of cell.
            place: Number of its edge, and of the op on the edge.
        """
        if isinstance(operation, Zero):
            return
        if isinstance(operation, NormedOperation):
            self._add_normed(operation, state, weights, place)
            return
        if isinstance(operation, Pool):
            output = state.pooled(operation)
        else:
            output = operation(state.rectified if operation.on_rectified else state.value)
        if not isinstance(operation, Identity):
            output = drop_path(output, self._drop)
        self._weighted.append((output, weights.scalar(*place)))

    def _add_normed(
        self, operation: NormedOperation, state: State, weights: Weights, place: Place
    ) -> None:
        norm = operation.last_norm
        assert isinstance(norm, Norm)
        features, phased = _features(operation, state)
        output = norm(features, weights.channels(*place, features.shape[1]))
        if phased:
            self._phased.append(self._dropped_whole(output))
        else:
            self._terms.append(drop_path(output, self._drop))

    def _dropped_whole(self, phased: Tensor) -> Tensor:
        """Drop an image in all of its four phases or in none."""
        if self._drop == 0:
            return phased
        mask = drop_path(phased.new_ones(len(phased) // 4, 1, 1, 1), self._drop)
        return phased * mask.repeat(4, 1, 1, 1)

    def add_passed(self, state: State, weights: Weights, edge: int) -> None:
        """Add the channels of a state that pass by the ops of an edge."""
        weight = weights.edge(edge)
        if state.passed is None:
            return
        if weight is None:
            self._passed.append(state.passed)
        else:
            self._passed_weighted.append((state.passed, weight))

    def sums(self) -> Sums:
        """Return the sums."""
        phased = weighted_sum(self._phased, [])
        terms = self._terms if phased is None else [*self._terms, unphased(phased)]
        return Sums(
            weighted_sum(terms, self._weighted), weighted_sum(self._passed, self._passed_weighted)
        )


def joined(sums: Sums, part: int) -> Tensor | None:
    """Return the value of a node, `B x C x H x W`; None if it has no term.

    Args:
        sums: The terms of the node.
        part: Channels that go through ops, C / K.
    """
    mixed, passed = sums
    if passed is None:
        return mixed
    if mixed is None:
        batch, _, height, width = passed.shape
        mixed = passed.new_zeros(batch, part, height, width)
    return shuffled(mixed, passed)


def _features(operation: NormedOperation, state: State) -> tuple[Tensor, bool]:
    """Return what the last norm of an op is given, and whether in phases."""
    if isinstance(operation, SeparableConv) and operation.dilation == 2 and state.on_cpu:
        if operation.stride == 2:
            return _undilated(operation, state.halved), False
        height, width = state.value.shape[2:]
        if height % 2 == 0 and width % 2 == 0:
            return _undilated(operation, state.phased), True
    return operation.features(state.rectified), False


def _undilated(operation: SeparableConv, images: Tensor) -> Tensor:
    """Run a dilated op of one part without its dilation."""
    depthwise, pointwise, _ = operation.parts[0].children()
    weight = cast(Tensor, depthwise.weight)
    channels, _, kernel, _ = weight.shape
    output: Tensor = pointwise(F.conv2d(images, weight, padding=kernel // 2, groups=channels))
    return output
