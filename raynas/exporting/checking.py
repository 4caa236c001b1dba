"""Does what was exported compute what the network computes?"""

import copy
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from raynas.errors import UsageError
from raynas.networks.seeding import seeded
from raynas.spaces.space import TaskShape

TOLERANCE = 1e-4
"""Largest difference of logits, absolute where they are small and relative where they are large."""

BATCHES = (1, 2, 5)
"""Sizes of the batches that are tried: the number of images must be free."""

_CPU = torch.device("cpu")


def example_images(task: TaskShape, count: int) -> Tensor:
    """Return `count x C x S x S` images as networks see them, the same every time."""
    generator = torch.Generator().manual_seed(count)
    size = task.image_size
    return torch.randn(count, task.in_channels, size, size, generator=generator)


def plain_layout(network: nn.Module) -> nn.Module:
    """Return a copy with weights of the default memory layout, which every reader expects."""
    copied = copy.deepcopy(network)
    copied.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    return copied


@torch.no_grad()
def largest_difference(
    network: nn.Module,
    exported: Callable[[Tensor], Tensor],
    task: TaskShape,
    what: str,
    batches: Sequence[int] = BATCHES,
) -> float:
    """Return the largest difference between the logits of a network and of its export.

    Args:
        network: In eval mode, on the CPU.
        exported: Images to logits.
        task: What images look like.
        what: What to call the export in errors.
        batches: How many images to try at once.

    Raises:
        UsageError: they differ by more than `TOLERANCE`.
    """
    largest = 0.0
    for count in batches:
        images = example_images(task, count)
        with seeded(0, _CPU):  # a network may draw noise
            expected = network(images)
        with seeded(0, _CPU):
            found = exported(images)
        difference = (found - expected).abs()
        largest = float(torch.maximum(difference.max(), torch.tensor(largest)))  # NaN stays NaN
        if not bool((difference <= TOLERANCE * (1 + expected.abs())).all()):
            raise UsageError(
                f"{what}: gives other logits than the network, by up to {largest:.3g} "
                f"(allowed: {TOLERANCE:g})"
            )
    return largest
