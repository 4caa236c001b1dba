"""The evaluation networks of the DARTS family: a stem, cells one after the other, a classifier.

Liu et al., "DARTS", ICLR 2019. Every cell reads the outputs of the two cells before it. Reduction
cells stand at ⌊L/3⌋ and ⌊2L/3⌋ of L cells; each halves the image and doubles the channels. While
training, paths may be dropped (Larsson et al., "FractalNet", ICLR 2017) and an auxiliary classifier
may read the output of the second reduction cell.

What several operations read is computed once: the ReLU of a state, a pool of a state, and the ReLU
of a cell's output, which both cells after it read. That changes no number, and leaves fewer
activations to keep for the backward pass.
"""

from collections.abc import Sequence
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from raynas.networks.darts_operations import (
    FactorizedReduce,
    Identity,
    Operation,
    PointwiseConv,
    Pool,
    make_operation,
)
from raynas.networks.operations import MakeNorm, conv_norm
from raynas.spaces.darts_cell import Cell as CellOfOps
from raynas.spaces.darts_ops import NODES, NUM_INPUTS

AUXILIARY_SIZES = {"cifar": range(8, 11), "imagenet": range(7, 9)}
"""Sides of the maps that each stem's auxiliary classifier fits (CIFAR's are 8, ImageNet's 7)."""

_AUXILIARY_STRIDE = {"cifar": 3, "imagenet": 2}
_STEM_HALVINGS = {"cifar": 0, "imagenet": 3}


def final_size(image_size: int, stem: str) -> int:
    """Return the side of the maps after the second reduction cell."""
    for _ in range(_STEM_HALVINGS[stem] + 2):
        image_size = (image_size + 1) // 2
    return image_size


def drop_path(images: Tensor, probability: float) -> Tensor:
    """Set whole images of a batch to zero, each with `probability`; the others make up for it.

    Args:
        images: `B x C x H x W`; left as they are.
        probability: In [0, 1).
    """
    if probability == 0:
        return images
    kept = 1 - probability
    mask = images.new_empty(len(images), 1, 1, 1).bernoulli_(kept).div_(kept)
    return images * mask


class CellNetwork(nn.Module):
    """The network of a normal and a reduction cell.

    Args:
        normal: Four nodes of two pairs (op, source state) each.
        reduce: The same of the reduction cells.
        channels: Channels of a node in the first cells; CIFAR's stem has three times as many.
        layers: Number of cells, L.
        stem: ``cifar`` or ``imagenet``.
        auxiliary: Whether there is an auxiliary classifier.
        drop_path: Probability of dropping a path to begin with.
        in_channels: Channels of the images.
        num_classes: Number of logits.

    Attributes:
        drop_path_probability: What is dropped in train mode: the output of each op but identities,
            for each image by itself. The papers raise it from 0 to its final value epoch by epoch;
            a training loop may set it at any time.
        auxiliary: The auxiliary classifier, or None.

    Weights are drawn by torch's defaults in the order of the modules, so the same state of torch's
    generator gives the same network. They are kept in channels_last order, which is faster.
    """

    def __init__(
        self,
        normal: CellOfOps,
        reduce: CellOfOps,
        *,
        channels: int = 36,
        layers: int = 20,
        stem: str = "cifar",
        auxiliary: bool = False,
        drop_path: float = 0.0,
        in_channels: int = 3,
        num_classes: int = 10,
    ) -> None:
        super().__init__()
        self.drop_path_probability = drop_path
        reductions = (layers // 3, 2 * layers // 3)
        self._last_reduction = reductions[1]
        self.stem = (CifarStem if stem == "cifar" else ImagenetStem)(in_channels, channels)
        before, previous = self.stem.out_channels
        halved = stem == "imagenet"
        self.cells = nn.ModuleList()
        for layer in range(layers):
            reduction = layer in reductions
            channels *= 2 if reduction else 1
            cell = Cell(
                reduce if reduction else normal,
                (before, previous),
                channels,
                reduction=reduction,
                halved=halved,
            )
            self.cells.append(cell)
            before, previous, halved = previous, len(NODES) * channels, reduction
            if layer == self._last_reduction:
                read = previous
        self.auxiliary = AuxiliaryHead(read, num_classes, stem) if auxiliary else None
        self.classifier = nn.Linear(previous, num_classes)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, images: Tensor) -> Tensor:
        """Map `B x in_channels x H x W` images to `B x num_classes` logits."""
        return self._run(images)[0]

    def forward_with_auxiliary(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return the logits and those of the auxiliary classifier, both `B x num_classes`.

        Raises:
            ValueError: the network has no auxiliary classifier.
        """
        if self.auxiliary is None:
            raise ValueError("the network has no auxiliary classifier")
        logits, features = self._run(images)
        return logits, self.auxiliary(features)

    def _run(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return the logits, and what the auxiliary classifier reads."""
        probability = self.drop_path_probability if self.training else 0.0
        before, previous = self.stem(images.contiguous(memory_format=torch.channels_last))
        for layer, cell in enumerate(self.cells):
            output = cell(before, previous, probability)
            before, previous = previous, F.relu(output)
            if layer == self._last_reduction:
                features = previous
        logits: Tensor = self.classifier(output.mean(dim=(2, 3)))
        return logits, features


class CifarStem(nn.Module):
    """A convolution to 3 C channels; both inputs of the first cell.

    Attributes:
        out_channels: Channels of the two outputs.
    """

    def __init__(self, in_channels: int, channels: int, *, norm: MakeNorm = nn.BatchNorm2d) -> None:
        super().__init__()
        self.out_channels = (3 * channels, 3 * channels)
        self.conv = conv_norm(in_channels, 3 * channels, 3, norm=norm)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return the ReLU of the two inputs of the first cell, which are one."""
        output = F.relu(self.conv(images))
        return output, output


class ImagenetStem(nn.Module):
    """Three convolutions of stride 2; the second input of the first cell is half the first's size.

    Attributes:
        out_channels: Channels of the two outputs.
    """

    def __init__(self, in_channels: int, channels: int, *, norm: MakeNorm = nn.BatchNorm2d) -> None:
        super().__init__()
        self.out_channels = (channels, channels)
        self.conv1 = conv_norm(in_channels, channels // 2, 3, stride=2, norm=norm)
        self.conv2 = conv_norm(channels // 2, channels, 3, stride=2, norm=norm)
        self.conv3 = conv_norm(channels, channels, 3, stride=2, norm=norm)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return the ReLU of the two inputs of the first cell: a quarter and an eighth in size."""
        quarter = F.relu(self.conv2(F.relu(self.conv1(images))))
        return quarter, F.relu(self.conv3(quarter))


class Cell(nn.Module):
    """A cell: four nodes, each the sum of two ops; the output is all of them, 4 C channels.

    Args:
        nodes: Two pairs (op, source state) for each node.
        in_channels: Channels of its two inputs.
        channels: C.
        reduction: Whether ops that read an input halve the image.
        halved: Whether the second input is half the size of the first.
    """

    def __init__(
        self,
        nodes: CellOfOps,
        in_channels: tuple[int, int],
        channels: int,
        *,
        reduction: bool,
        halved: bool,
    ) -> None:
        super().__init__()
        fit = FactorizedReduce if halved else PointwiseConv
        self.inputs = nn.ModuleList(
            [fit(in_channels[0], channels), PointwiseConv(in_channels[1], channels)]
        )
        self._pairs = tuple(pair for node in nodes for pair in node)
        self.operations = nn.ModuleList(
            make_operation(op, channels, 2 if reduction and source < NUM_INPUTS else 1)
            for op, source in self._pairs
        )

    def forward(self, before: Tensor, previous: Tensor, drop_path: float = 0.0) -> Tensor:
        """Return the nodes' values, concatenated.

        Args:
            before: ReLU of the first input.
            previous: ReLU of the second.
            drop_path: Probability of dropping a path.
        """
        fit_before, fit_previous = self.inputs
        states = [_State(fit_before(before)), _State(fit_previous(previous))]
        for first in range(0, len(self._pairs), 2):
            terms = [self._run(pair, states, drop_path) for pair in (first, first + 1)]
            states.append(_State(terms[0] + terms[1]))
        return torch.cat([state.value for state in states[NUM_INPUTS:]], dim=1)

    def _run(self, pair: int, states: Sequence["_State"], probability: float) -> Tensor:
        operation = self.operations[pair]
        assert isinstance(operation, Operation)
        output = states[self._pairs[pair][1]].run(operation)
        return output if isinstance(operation, Identity) else drop_path(output, probability)


class _State:
    """A state's value, and what several ops that read it share; computed when first asked for."""

    def __init__(self, value: Tensor) -> None:
        self.value = value
        self._pooled: dict[str, Tensor] = {}

    @cached_property
    def rectified(self) -> Tensor:
        return F.relu(self.value)

    def run(self, operation: Operation) -> Tensor:
        """Return what an op makes of the state; in a cell all ops on one state have one stride."""
        if isinstance(operation, Pool) and operation.norm is None:
            if operation.kind not in self._pooled:
                self._pooled[operation.kind] = operation(self.value)
            return self._pooled[operation.kind]
        output: Tensor = operation(self.rectified if operation.on_rectified else self.value)
        return output


class AuxiliaryHead(nn.Module):
    """The auxiliary classifier; ImageNet's has no norm after its last convolution, as published.

    Args:
        in_channels: Channels of the maps it reads.
        num_classes: Number of logits.
        stem: Which of the two.
    """

    def __init__(self, in_channels: int, num_classes: int, stem: str) -> None:
        super().__init__()
        self.stride = _AUXILIARY_STRIDE[stem]
        self.conv1 = conv_norm(in_channels, 128, 1)
        self.conv2 = nn.Conv2d(128, 768, 2, bias=False)
        self.norm = nn.BatchNorm2d(768) if stem == "cifar" else nn.Identity()
        self.classifier = nn.Linear(768, num_classes)

    def forward(self, rectified: Tensor) -> Tensor:
        """Return the logits of the ReLU of maps whose sides are in `AUXILIARY_SIZES`."""
        pooled = F.avg_pool2d(rectified, 5, self.stride)
        features = F.relu(self.norm(self.conv2(F.relu(self.conv1(pooled)))))
        logits: Tensor = self.classifier(features.flatten(1))
        return logits
