"""Supernets of NAS-Bench-201 and of a user's own cells: one skeleton, cells of any ops and size.

Dong and Yang, "NAS-Bench-201", ICLR 2020. Stem, stages of equal cells, a residual block that halves
the image between stages, then batch norm, ReLU, average over the image, linear classifier.
"""

from collections.abc import Callable, Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from raynas.networks.darts_operations import Operation
from raynas.networks.operations import ReductionBlock, conv_norm
from raynas.networks.user_cell_network import OpMaker
from raynas.spaces.cell_space import Op
from raynas.spaces.mixture import CellKind
from raynas.spaces.space import TaskShape
from raynas.supernets.mixed_cell import MixedCell
from raynas.supernets.node_sum import Weights
from raynas.supernets.norm import Norm
from raynas.supernets.operations import BUILT_IN, UserOperation
from raynas.supernets.supernet import Carried, CellStage, Stage, Supernet, channels_last


class CellSupernet(Supernet):
    """The supernet of one kind of cell.

    Args:
        kind: The cell.
        ops: What each name is: a built-in op, or a function from channels to a module.
        concat: Whether the cell returns all of its nodes, joined and projected, rather than the
            last.
        channels: Channels of the first stage; each later stage doubles them.
        stages: Stages of cells.
        cells_per_stage: Cells in each stage.
        partial: Ops read 1 / `partial` of the channels.
        task: Images and classes.

    Raises:
        SpaceError: an op cannot be built or run, or changes the shape or the values it is given.
    """

    def __init__(
        self,
        kind: CellKind,
        ops: Mapping[str, Op],
        *,
        concat: bool,
        channels: int,
        stages: int,
        cells_per_stage: int,
        partial: int,
        task: TaskShape,
    ) -> None:
        first, size = channels, task.image_size
        parts: list[Stage] = []
        for stage in range(stages):
            if stage > 0:
                parts.append(Reduction(channels))
                channels, size = 2 * channels, (size + 1) // 2
            make = OpMaker(ops, channels // partial, size, BUILT_IN)
            parts += [
                Cell(kind, make, channels, concat=concat, partial=partial)
                for _ in range(cells_per_stage)
            ]
        super().__init__([kind], parts)
        self.stem = conv_norm(task.in_channels, first, 3, norm=Norm)
        self.norm = Norm(channels)
        self.classifier = nn.Linear(channels, task.num_classes)
        self.in_channels_last()

    def begin(self, images: Tensor) -> Carried:
        """Return the input of the first cell."""
        return (self.stem(channels_last(images)),)

    def end(self, carried: Carried) -> Tensor:
        """Return the logits of the last cell's output."""
        pooled = F.relu(self.norm(carried[0])).mean(dim=(2, 3))
        logits: Tensor = self.classifier(pooled)
        return logits


class Reduction(Stage):
    """The residual block that halves the image and doubles the channels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.block = ReductionBlock(channels, 2 * channels, norm=Norm)

    def forward(self, carried: Carried, weights: Sequence[Weights], drop: float) -> Carried:
        """Return the images, halved."""
        return (self.block(carried[0]),)


class Cell(CellStage):
    """A cell whose first node is its input.

    Args:
        kind: Its edges and ops.
        make: From the name of an op to a new module.
        channels: Channels of every node.
        concat: See `CellSupernet`.
        partial: See `CellSupernet`.
    """

    def __init__(
        self,
        kind: CellKind,
        make: Callable[[str], nn.Module],
        channels: int,
        *,
        concat: bool,
        partial: int,
    ) -> None:
        def operation(op: str, edge: int) -> Operation:
            module = make(op)
            return module if isinstance(module, Operation) else UserOperation(module)

        super().__init__(0, MixedCell(kind, operation, channels=channels, partial=partial))
        self.project: nn.Module | None = None
        if concat:
            joined = conv_norm(len(kind.nodes) * channels, channels, 1, norm=Norm)
            self.project = nn.Sequential(nn.ReLU(), *joined)

    def inputs(self, carried: Sequence[Tensor | None]) -> list[Tensor | None]:
        """Return what is carried."""
        return list(carried)

    def outputs(self, carried: Carried, nodes: Sequence[Tensor]) -> Carried:
        """Return the output, of the shape of the input."""
        if self.project is None:
            return (nodes[-1],)
        return (self.project(torch.cat(list(nodes), dim=1)),)

    def passed_on(self, carried: Sequence[Tensor | None]) -> tuple[Tensor | None, ...]:
        """Return nothing."""
        return (None,)
