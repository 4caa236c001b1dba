"""A network that holds every op of every edge of its cells; what runs is told each time anew."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from raynas.networks.darts_operations import Zero
from raynas.spaces.mixture import CellKind
from raynas.supernets.mixed_cell import MixedCell
from raynas.supernets.mixture import Mixture
from raynas.supernets.node_sum import Weights
from raynas.supernets.norm import Norm

Carried = tuple[Tensor, ...]
"""What goes from one stage of a supernet to the next."""


class Stage(nn.Module):
    """A part of a supernet's body: a cell, or a block between cells."""

    def forward(self, carried: Carried, weights: Sequence[Weights], drop: float) -> Carried:
        """Return what is handed on.

        Args:
            carried: What the stage before handed on.
            weights: Of each kind of cell.
            drop: Probability with which the output of an op is dropped.
        """
        raise NotImplementedError


class CellStage(Stage):
    """A cell.

    Args:
        number: Number of its kind.
        mixed: Its edges.
    """

    def __init__(self, number: int, mixed: MixedCell) -> None:
        super().__init__()
        self.number = number
        self.mixed = mixed

    def forward(self, carried: Carried, weights: Sequence[Weights], drop: float) -> Carried:
        """Run the cell."""
        inputs = [images for images in self.inputs(carried) if images is not None]
        return self.outputs(carried, self.mixed(inputs, weights[self.number], drop))

    def inputs(self, carried: Sequence[Tensor | None]) -> list[Tensor | None]:
        """Return the cell's input states; None where what it is made of is None."""
        raise NotImplementedError

    def outputs(self, carried: Carried, nodes: Sequence[Tensor]) -> Carried:
        """Return what the cell hands on.

        Args:
            carried: What was handed to it.
            nodes: Values of its nodes.
        """
        raise NotImplementedError

    def passed_on(self, carried: Sequence[Tensor | None]) -> tuple[Tensor | None, ...]:
        """Return what the cell hands on as it was handed to it; None in the other places."""
        raise NotImplementedError


class Supernet(nn.Module):
    """A stem, stages, a classifier.

    Args:
        kinds: The kinds of cells.
        stages: The body.

    Attributes:
        kinds: Likewise.
        stages: Likewise.
        drop_path_probability: In train mode, the probability with which the output of an op
            (identities excepted) is dropped, for each image by itself; 0 unless set.
    """

    def __init__(self, kinds: Sequence[CellKind], stages: Sequence[Stage]) -> None:
        super().__init__()
        self.kinds = tuple(kinds)
        self.stages = nn.ModuleList(stages)
        self.drop_path_probability = 0.0

    @property
    def partial(self) -> int:
        """K of partial channels: ops read the first 1 / K of a state's channels."""
        return next(stage.mixed.partial for stage in self.stages if isinstance(stage, CellStage))

    @property
    def tracking(self) -> bool:
        """Whether batch norms update their running statistics in train mode (at first they do)."""
        return all(norm.tracking for norm in self.norms())

    @tracking.setter
    def tracking(self, on: bool) -> None:
        for norm in self.norms():
            norm.tracking = on

    def adds_nothing(self, kind: int, edge: int, op: int) -> bool:
        """Return whether an op is `none`, by whatever name."""
        cells = (stage for stage in self.stages if isinstance(stage, CellStage))
        mixed = next(cell.mixed for cell in cells if cell.number == kind)
        return isinstance(mixed.operation(edge, op), Zero)

    def norms(self) -> list[Norm]:
        """Return the batch norms."""
        return [module for module in self.modules() if isinstance(module, Norm)]

    def forward(self, images: Tensor, mixture: Mixture) -> Tensor:
        """Map images to logits.

        Args:
            images: `B x in_channels x H x W`.
            mixture: Weights of the ops of each kind of cell, and which are run.

        Returns:
            `B x num_classes`.
        """
        drop = self.drop_path_probability if self.training else 0.0
        weights = weights_of(self, mixture)
        carried = self.begin(images)
        for stage in self.stages:
            carried = stage(carried, weights, drop)
        return self.end(carried)

    def begin(self, images: Tensor) -> Carried:
        """Return what the first stage is given."""
        raise NotImplementedError

    def end(self, carried: Carried) -> Tensor:
        """Return the logits `B x num_classes` of what the last stage handed on."""
        raise NotImplementedError

    def in_channels_last(self) -> None:
        """Keep weights in channels_last order, which is faster."""
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def channels_last(images: Tensor) -> Tensor:
    """Return images in channels_last order, which is faster."""
    return images.contiguous(memory_format=torch.channels_last)


def stage_of(module: nn.Module) -> Stage:
    """Return a stage as such, for type checkers."""
    assert isinstance(module, Stage)
    return module


def weights_of(supernet: Supernet, mixture: Mixture) -> list[Weights]:
    """Return the weights of each kind of cell, for one forward pass or several without gradient."""
    return [Weights(mixture, number) for number in range(len(supernet.kinds))]
