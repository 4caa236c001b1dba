"""The supernet of a space."""

from raynas.errors import SpaceError
from raynas.spaces.cell_space import CellSpace
from raynas.spaces.darts_family import DartsFamily
from raynas.spaces.nasbench201 import NasBench201
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
        return DartsSupernet(
            space.kinds,
            channels=space.channels,
            layers=space.layers,
            stem=space.stem,
            partial=partial,
            in_channels=task.in_channels,
            num_classes=task.num_classes,
        )
    if isinstance(space, NasBench201):
        return CellSupernet(
            space.kinds[0],
            {op: op for op in space.allowed_ops},
            concat=False,
            channels=space.channels,
            stages=3,
            cells_per_stage=space.cells_per_stage,
            partial=partial,
            task=task,
        )
    return CellSupernet(
        space.kinds[0],
        space.ops,
        concat=space.output == "concat",
        channels=space.channels,
        stages=space.stages,
        cells_per_stage=space.cells_per_stage,
        partial=partial,
        task=task,
    )
