"""Tensor functions that save a pass over the images; who uses them for what is in `node_sum`.

* `weighted_sum`: a sum of terms made in place, its gradients from the gradient of the sum.
* `phases`: a depthwise convolution of dilation 2 is a dense one on each of the four images made of
  every second pixel, which CPUs run far faster.
* `shuffled`: partial channels put back together and shuffled in one copy.
"""

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor


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


def weighted_sum(
    terms: Sequence[Tensor], weighted: Sequence[tuple[Tensor, Tensor]]
) -> Tensor | None:
    """Return ``Σ terms + Σ weight · image``; the term itself if it is the only one; None of none.

    Args:
        terms: Images `B x C x H x W`.
        weighted: Images of the same shape, and their weights of no dimensions.
    """
    if len(terms) <= 1 and not weighted:
        return terms[0] if terms else None
    images = [image for image, _ in weighted]
    weights = [weight for _, weight in weighted]
    total = _WeightedSum.apply(  # type: ignore[no-untyped-call]
        len(images), *images, *weights, *terms
    )
    return cast(Tensor, total)


class _WeightedSum(torch.autograd.Function):
    """Sums in place, and keeps nothing but weights and, of those that learn, the images.

    The backward pass is made of differentiable operations, so it can be differentiated again.
    """

    @staticmethod
    def forward(ctx: Any, count: int, *tensors: Tensor) -> Tensor:
        images, weights, terms = tensors[:count], tensors[count : 2 * count], tensors[2 * count :]
        ctx.count = count
        learnt = ctx.needs_input_grad[1 + count : 1 + 2 * count]
        kept = [image if need else None for image, need in zip(images, learnt, strict=True)]
        ctx.save_for_backward(*kept, *weights)
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


def shuffled(mixed: Tensor, passed: Tensor) -> Tensor:
    """Return images whose channels are those of both, taking turns.

    One of `mixed`, then one of each of the K - 1 groups in `passed` (Zhang et al., "ShuffleNet",
    CVPR 2018; Xu et al., "PC-DARTS", ICLR 2020).

    Args:
        mixed: `B x C/K x H x W`.
        passed: `B x (K - 1) C/K x H x W`.
    """
    batch, part, height, width = mixed.shape
    groups = passed.shape[1] // part
    own = mixed.permute(0, 2, 3, 1).unsqueeze(-1)
    others = passed.permute(0, 2, 3, 1).reshape(batch, height, width, groups, part)
    turns = torch.cat([own, others.transpose(-1, -2)], dim=-1)
    return turns.reshape(batch, height, width, (1 + groups) * part).permute(0, 3, 1, 2)
