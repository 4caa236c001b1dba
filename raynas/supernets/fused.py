"""The pieces that make a supernet fast: what several ops share, and sums without temporaries.

A node is ``Σ_edges Σ_ops w · op(x)``. Written so, every term is a new image, pools are pooled once
an edge, and each convolution is scaled after its norm. The same numbers come from less:

* What ops read is made once a state: its ReLU, its pools, its phases (`State`).
* An op that ends in a norm without parameters takes its weight as the norm's (`Weights.channels`):
  scaling costs nothing, and the gradient of the weight is that of the norm's.
* The terms without parameters are added up in place, and their gradients made from the gradient of
  the sum, by one function (`weighted_sum`). `none` is no term.
* A depthwise convolution of dilation 2 is a dense one on each of the four images made of every
  second pixel (`phases`), which processors run far faster.
"""

from collections.abc import Sequence
from functools import cached_property
from typing import Any, cast

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
from raynas.supernets.mixture import Active, Mixture
from raynas.supernets.norm import Norm


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
    """

    def __init__(self, value: Tensor) -> None:
        self.value = value
        self._pooled: dict[Pool, Tensor] = {}

    @cached_property
    def rectified(self) -> Tensor:
        """Its ReLU."""
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


class NodeSum:
    """The terms of a node, added up when all are there.

    Args:
        drop: Probability with which a term (identities excepted) is dropped, image by image.
    """

    def __init__(self, drop: float = 0.0) -> None:
        self._drop = drop
        self._terms: list[Tensor] = []
        self._phased: list[Tensor] = []
        self._weighted: list[tuple[Tensor, Tensor]] = []

    def add(self, term: Tensor) -> None:
        """Add a term as it is."""
        self._terms.append(term)

    def add_op(
        self, operation: Operation, state: State, weights: Weights, place: tuple[int, int]
    ) -> None:
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
            norm = operation.last_norm
            assert isinstance(norm, Norm)
            features, phased = _features(operation, state)
            scale = weights.channels(*place, features.shape[1])
            output = norm(features, scale)
            (self._phased if phased else self._terms).append(drop_path(output, self._drop))
            return
        if isinstance(operation, Identity):
            output = state.value
        elif isinstance(operation, Pool):
            output = drop_path(state.pooled(operation), self._drop)
        else:
            output = operation(state.rectified if operation.on_rectified else state.value)
            output = drop_path(output, self._drop)
        self._weighted.append((output, weights.scalar(*place)))

    def total(self) -> Tensor | None:
        """Return the sum, a new tensor or the one term there is; None if there are no terms."""
        terms = self._terms
        if self._phased:
            terms = [*terms, unphased(weighted_sum(self._phased, []))]
        if not terms and not self._weighted:
            return None
        return weighted_sum(terms, self._weighted)


def _features(operation: NormedOperation, state: State) -> tuple[Tensor, bool]:
    """Return what the last norm of an op is given, and whether in phases."""
    if isinstance(operation, SeparableConv) and operation.dilation == 2:
        if operation.stride == 2:
            return _dense(operation, state.halved), False
        height, width = state.value.shape[2:]
        if height % 2 == 0 and width % 2 == 0:
            return _dense(operation, state.phased), True
    return operation.features(state.rectified), False


def _dense(operation: SeparableConv, images: Tensor) -> Tensor:
    """Run a dilated op of one part without its dilation."""
    depthwise, pointwise, _ = operation.parts[0].children()
    weight = cast(Tensor, depthwise.weight)
    channels, _, kernel, _ = weight.shape
    output: Tensor = pointwise(F.conv2d(images, weight, padding=kernel // 2, groups=channels))
    return output


def phases(images: Tensor) -> Tensor:
    """Return the four images of every second pixel of each image: `4 B x C x H/2 x W/2`.

    The sides must be even; the order along the batch is that of (row, column, image).
    """
    batch, channels, height, width = images.shape
    split = images.permute(0, 2, 3, 1).reshape(batch, height // 2, 2, width // 2, 2, channels)
    moved = split.permute(2, 4, 0, 1, 3, 5).reshape(4 * batch, height // 2, width // 2, channels)
    return moved.permute(0, 3, 1, 2)


def unphased(images: Tensor) -> Tensor:
    """Return the images that `phases` took apart."""
    batch, channels, height, width = images.shape
    split = images.permute(0, 2, 3, 1).reshape(2, 2, batch // 4, height, width, channels)
    moved = split.permute(2, 3, 0, 4, 1, 5)
    return moved.reshape(batch // 4, 2 * height, 2 * width, channels).permute(0, 3, 1, 2)


def weighted_sum(terms: Sequence[Tensor], weighted: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
    """Return ``Σ terms + Σ weight · image``.

    Args:
        terms: Images `B x C x H x W`.
        weighted: Images of the same shape, and their weights of no dimensions.
    """
    if len(terms) == 1 and not weighted:
        return terms[0]
    images = [image for image, _ in weighted]
    weights = [weight for _, weight in weighted]
    total = _WeightedSum.apply(  # type: ignore[no-untyped-call]
        len(images), *images, *weights, *terms
    )
    return cast(Tensor, total)


class _WeightedSum(torch.autograd.Function):
    """Sums in place, and keeps nothing but the weighted images and their weights.

    The backward pass is made of differentiable operations, so it can be differentiated again.
    """

    @staticmethod
    def forward(ctx: Any, count: int, *tensors: Tensor) -> Tensor:
        images, weights, terms = tensors[:count], tensors[count : 2 * count], tensors[2 * count :]
        ctx.count = count
        ctx.save_for_backward(*images, *weights)
        if images:
            total = images[0] * weights[0]
            rest = terms
        else:
            total = terms[0] + terms[1]
            rest = terms[2:]
        for image, weight in zip(images[1:], weights[1:], strict=True):
            total.addcmul_(image, weight)
        for term in rest:
            total.add_(term)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = gradients
        saved, count = ctx.saved_tensors, ctx.count
        images, weights = saved[:count], saved[count:]
        needed = ctx.needs_input_grad[1:]
        to_images = [
            gradient * weight if need else None
            for weight, need in zip(weights, needed, strict=False)
        ]
        to_weights = [
            _dot(gradient, image).to(weight.dtype) if need else None
            for image, weight, need in zip(images, weights, needed[count:], strict=False)
        ]
        to_terms = [gradient if need else None for need in needed[2 * count :]]
        return None, *to_images, *to_weights, *to_terms


def _dot(first: Tensor, second: Tensor) -> Tensor:
    """Return the sum of products of two images, of no dimensions; of half floats in full."""
    if first.dtype in (torch.float16, torch.bfloat16):
        return (first * second).sum(dtype=torch.float32)
    return torch.dot(_in_a_row(first), _in_a_row(second))


def _in_a_row(images: Tensor) -> Tensor:
    """Return the numbers in the order in which channels_last lays them; no copy if it does."""
    return images.permute(0, 2, 3, 1).reshape(-1)
