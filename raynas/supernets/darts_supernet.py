"""Supernets of the DARTS family.

Liu et al., "DARTS", ICLR 2019. The skeleton is that of the evaluation network
(`raynas.networks.cell_network`), without auxiliary classifier.
"""

from collections.abc import Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from raynas.networks.cell_network import CifarStem, ImagenetStem
from raynas.networks.darts_operations import (
    FactorizedReduce,
    Operation,
    PointwiseConv,
    make_operation,
)
from raynas.spaces.darts_ops import NODES, NUM_INPUTS
from raynas.spaces.mixture import CellKind
from raynas.supernets.mixed_cell import MixedCell
from raynas.supernets.norm import Norm
from raynas.supernets.supernet import Carried, CellStage, Stage, Supernet, channels_last


class DartsSupernet(Supernet):
    """The supernet of the DARTS family.

    Args:
        kinds: The normal and the reduction cell, or one that serves as both.
        channels: Channels of a node in the first cells, C.
        layers: Number of cells.
        stem: ``cifar`` or ``imagenet``.
        partial: Ops read 1 / `partial` of the channels.
        in_channels: Channels of the images.
        num_classes: Number of logits.
    """

    def __init__(
        self,
        kinds: Sequence[CellKind],
        *,
        channels: int,
        layers: int,
        stem: str,
        partial: int,
        in_channels: int,
        num_classes: int,
    ) -> None:
        make_stem = CifarStem if stem == "cifar" else ImagenetStem
        first = make_stem(in_channels, channels, norm=Norm)
        before, previous = first.out_channels
        halved = stem == "imagenet"
        cells: list[Stage] = []
        for layer in range(layers):
            reduction = layer in (layers // 3, 2 * layers // 3)
            channels *= 2 if reduction else 1
            number = len(kinds) - 1 if reduction else 0
            cell = DartsCell(
                kinds[number],
                number,
                (before, previous),
                channels,
                partial=partial,
                reduction=reduction,
                halved=halved,
            )
            cells.append(cell)
            before, previous, halved = previous, len(NODES) * channels, reduction
        super().__init__(kinds, cells)
        self.stem = first
        self.classifier = nn.Linear(previous, num_classes)
        self.in_channels_last()

    def begin(self, images: Tensor) -> Carried:
        """Return the ReLU of the two inputs of the first cell."""
        return cast(Carried, self.stem(channels_last(images)))

    def end(self, carried: Carried) -> Tensor:
        """Return the logits; the third that is carried is the last cell's output as it is."""
        logits: Tensor = self.classifier(carried[2].mean(dim=(2, 3)))
        return logits


class DartsCell(CellStage):
    """A cell with its inputs fitted to its channels; the output is all of its nodes.

    Args:
        kind: Its edges and ops.
        number: Number of the kind.
        in_channels: Channels of its two inputs.
        channels: C.
        partial: Ops read C / `partial` channels.
        reduction: Whether ops that read an input halve the image.
        halved: Whether the second input is half the size of the first.
    """

    def __init__(
        self,
        kind: CellKind,
        number: int,
        in_channels: tuple[int, int],
        channels: int,
        *,
        partial: int,
        reduction: bool,
        halved: bool,
    ) -> None:
        stride = 2 if reduction else 1

        def make(op: str, edge: int) -> Operation:
            step = stride if kind.edges[edge][0] < NUM_INPUTS else 1
            part = channels // partial
            return make_operation(op, part, step, affine=False, pool_norm=True, norm=Norm)

        mixed = MixedCell(kind, make, channels=channels, stride=stride, partial=partial)
        super().__init__(number, mixed)
        fit = FactorizedReduce if halved else PointwiseConv
        self.fits = nn.ModuleList(
            [
                fit(in_channels[0], channels, affine=False, norm=Norm),
                PointwiseConv(in_channels[1], channels, affine=False, norm=Norm),
            ]
        )

    def inputs(self, carried: Sequence[Tensor | None]) -> list[Tensor | None]:
        """Return the two inputs, fitted."""
        pairs = zip(self.fits, carried[:NUM_INPUTS], strict=True)
        return [None if images is None else fit(images) for fit, images in pairs]

    def outputs(self, carried: Carried, nodes: Sequence[Tensor]) -> Carried:
        """Return the ReLU of the second input and of the output, and the output."""
        output = torch.cat(list(nodes), dim=1)
        return carried[1], F.relu(output), output

    def passed_on(self, carried: Sequence[Tensor | None]) -> tuple[Tensor | None, ...]:
        """Return the second input in the first place."""
        return carried[1], None, None
