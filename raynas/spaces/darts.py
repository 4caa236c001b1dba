"""The DARTS family of spaces: `darts`, and `s1` to `s4` with fewer ops on each edge.

Liu et al., "DARTS", ICLR 2019; Zela et al., "Understanding and Robustifying Differentiable
Architecture Search", ICLR 2020 (S1 to S4). A space of your own is a subclass of `DartsFamily` with
a `name` and a table::

    class Pooled(DartsFamily):
        name = "pooled"
        edge_ops = darts_ops.everywhere("max_pool_3x3", "sep_conv_3x3")
"""

from raynas.spaces import darts_ops
from raynas.spaces.darts_family import DartsFamily, Stem

__all__ = ["DartsFamily", "DartsSpace", "S1Space", "S2Space", "S3Space", "S4Space"]


class DartsSpace(DartsFamily):
    """The space of DARTS: any of seven ops on every edge.

    Args:
        with_none: Whether a supernet also mixes `none`, as DARTS does and most of its followers do
            not; it makes no difference to what architectures there are.
        options: See `DartsFamily`.
    """

    name = "darts"

    def __init__(
        self,
        *,
        two_cells: bool = True,
        channels: int = 16,
        layers: int = 8,
        with_none: bool = False,
        stem: Stem = "cifar",
        auxiliary: bool = False,
        drop_path: float = 0.0,
    ) -> None:
        self.with_none = self._flag("with_none", with_none)
        self.edge_ops = darts_ops.DARTS_WITH_NONE if with_none else darts_ops.DARTS
        super().__init__(
            two_cells=two_cells,
            channels=channels,
            layers=layers,
            stem=stem,
            auxiliary=auxiliary,
            drop_path=drop_path,
        )


class S1Space(DartsFamily):
    """S1: two ops on every edge, those of DARTS that matter most there; only with `two_cells`."""

    name = "s1"
    edge_ops = darts_ops.S1


class S2Space(DartsFamily):
    """S2: a skip connection or a separable convolution on every edge."""

    name = "s2"
    edge_ops = darts_ops.S2


class S3Space(DartsFamily):
    """S3: as S2 for architectures; a supernet also mixes `none`."""

    name = "s3"
    edge_ops = darts_ops.S3


class S4Space(DartsFamily):
    """S4: noise or a separable convolution on every edge."""

    name = "s4"
    edge_ops = darts_ops.S4
