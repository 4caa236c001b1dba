"""The supernet of a space."""

from raynas.errors import SpaceError
from raynas.spaces.cell_space import CellSpace
from raynas.spaces.darts import DartsFamily
from raynas.spaces.nasbench201 import NasBench201
from raynas.spaces.space import SearchSpace, TaskShape
from raynas.supernets.cell_supernet import CellSupernet
from raynas.supernets.darts_supernet import DartsSupernet
from raynas.supernets.supernet import Supernet


def build_supernet(space: SearchSpace, task: TaskShape) -> Supernet:
    """Return a new supernet, weights drawn from torch's generator in the order of the modules.

    Args:
        space: Of the DARTS family, NAS-Bench-201, a `CellSpace`, or a subclass.
        task: Images and classes.

    Raises:
        SpaceError: there are no supernets of such a space, the images are too small, an edge has
            fewer than two ops, or an op of the user's does not do what an op must.
    """
    if isinstance(space, DartsFamily):
        space.check_fit(task)
        return DartsSupernet(
            space.kinds,
            channels=space.channels,
            layers=space.layers,
            stem=space.stem,
            in_channels=task.in_channels,
            num_classes=task.num_classes,
        )
    if isinstance(space, NasBench201):
        space.check_fit(task)
        return CellSupernet(
            space.kinds[0],
            {op: op for op in space.allowed_ops},
            concat=False,
            channels=space.channels,
            stages=3,
            cells_per_stage=space.cells_per_stage,
            task=task,
        )
    if isinstance(space, CellSpace):
        space.check_fit(task)
        return CellSupernet(
            space.kinds[0],
            space.ops,
            concat=space.output == "concat",
            channels=space.channels,
            stages=space.stages,
            cells_per_stage=space.cells_per_stage,
            task=task,
        )
    raise SpaceError(
        f"there are no supernets of space {space.name} (there are of the DARTS family, "
        "nasbench201, cell, and subclasses of these)"
    )
