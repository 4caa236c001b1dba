"""The supernet of a space."""

from collections.abc import Mapping

from raynas.errors import SpaceError
from raynas.spaces.cell_space import CellSpace, Op
from raynas.spaces.darts_family import DartsFamily
from raynas.spaces.nasbench201 import NUM_STAGES, NasBench201
from raynas.spaces.space import SearchSpace, TaskShape
from raynas.supernets.cell_supernet import CellSupernet
from raynas.supernets.darts_supernet import DartsSupernet
from raynas.supernets.supernet import Supernet


def build_supernet(space: SearchSpace, task: TaskShape, *, partial: int = 1) -> Supernet:
    """Return a new supernet, weights drawn from torch's generator in the order of the modules.

    Args:
        space: Of the DARTS family, NAS-Bench-201, a `CellSpace`, or a subclass.
        task: Images and classes.
        partial: K of partial channels (Xu et al., "PC-DARTS", ICLR 2020): ops read the first 1 / K
            of a state's channels, the others pass by them. 1: ops read all.

    Raises:
        SpaceError: there are no supernets of such a space, the images are too small, an edge has
            fewer than two ops, an op of the user's does not do what an op must, or K does not
            divide the channels.
    """
    if not isinstance(space, DartsFamily | NasBench201 | CellSpace):
        raise SpaceError(
            f"there are no supernets of space {space.name} (there are of the DARTS family, "
            "nasbench201, cell, and subclasses of these)"
        )
    space.check_fit(task)
    if partial < 1 or space.channels % partial:
        raise SpaceError(
            f"{space.name}: ops cannot read one {partial}th of {space.channels} channels: "
            "the number of partial channels must divide them"
        )
    if isinstance(space, DartsFamily):
        return _darts(space, task, partial)
    return _cells(space, task, partial)


def _darts(space: DartsFamily, task: TaskShape, partial: int) -> Supernet:
    return DartsSupernet(
        space.kinds,
        channels=space.channels,
        layers=space.layers,
        stem=space.stem,
        partial=partial,
        in_channels=task.in_channels,
        num_classes=task.num_classes,
    )


def _cells(space: NasBench201 | CellSpace, task: TaskShape, partial: int) -> Supernet:
    ops: Mapping[str, Op]
    if isinstance(space, NasBench201):
        ops, stages, concat = {op: op for op in space.allowed_ops}, NUM_STAGES, False
    else:
        ops, stages, concat = space.ops, space.stages, space.output == "concat"
    return CellSupernet(
        space.kinds[0],
        ops,
        concat=concat,
        channels=space.channels,
        stages=stages,
        cells_per_stage=space.cells_per_stage,
        partial=partial,
        task=task,
    )
