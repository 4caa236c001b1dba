"""Networks of a user's own cells: the skeleton of NAS-Bench-201 around cells of any ops and size.

Stem, stages of equal cells, a residual block that halves the image between stages, then batch norm,
ReLU, average over the image, linear classifier. A cell holds and runs only what reaches its output.
Each op of the user's is tried once per stage when the network is built: it must keep the shape of
its input, and leave it as it was, since other edges read it too.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from raynas.errors import SpaceError
from raynas.networks.operations import ReductionBlock, conv_norm
from raynas.spaces.cell import Edge, live_edges
from raynas.spaces.cell_space import Op
from raynas.spaces.space import TaskShape


def relu_conv_norm(channels: int, kernel: int) -> nn.Sequential:
    """Return ReLU, convolution, batch norm: a convolution of NAS-Bench-201."""
    return nn.Sequential(nn.ReLU(), *conv_norm(channels, channels, kernel))


MODULES: dict[str, Callable[[int], nn.Module]] = {
    "skip_connect": lambda channels: nn.Identity(),
    "nor_conv_1x1": lambda channels: relu_conv_norm(channels, 1),
    "nor_conv_3x3": lambda channels: relu_conv_norm(channels, 3),
    "avg_pool_3x3": lambda channels: nn.AvgPool2d(3, 1, padding=1, count_include_pad=False),
    "max_pool_3x3": lambda channels: nn.MaxPool2d(3, 1, padding=1),
}
"""The built-in ops of `raynas.spaces.cell_space` that connect anything."""


class UserCellNetwork(nn.Module):
    """The network of one cell.

    Args:
        edges: The edges of the cell, by target; their ops are names in `ops`, or ``none``.
        ops: What each name is: a built-in op, or a function from channels to a module.
        nodes: Nodes of the cell.
        concat: Whether the cell returns the concatenation of its nodes rather than the last.
        channels: Channels of the first stage; each later stage doubles them.
        stages: Stages of cells.
        cells_per_stage: Cells in each stage.
        task: Images and classes.

    Weights are drawn from torch's generator in the order of the modules, and kept in channels_last
    order.

    Raises:
        SpaceError: an op cannot be built or run, or changes the shape or the values it is given.
    """

    def __init__(
        self,
        edges: Sequence[Edge],
        ops: Mapping[str, Op],
        *,
        nodes: int,
        concat: bool,
        channels: int,
        stages: int,
        cells_per_stage: int,
        task: TaskShape,
    ) -> None:
        super().__init__()
        self.stem = conv_norm(task.in_channels, channels, 3)
        self.body = nn.Sequential()
        size = task.image_size
        for stage in range(stages):
            if stage > 0:
                self.body.append(ReductionBlock(channels, 2 * channels))
                channels, size = 2 * channels, (size + 1) // 2
            make = OpMaker(ops, channels, size)
            self.body.extend(
                UserCell(edges, make, nodes=nodes, concat=concat, channels=channels)
                for _ in range(cells_per_stage)
            )
        self.norm = nn.BatchNorm2d(channels)
        self.classifier = nn.Linear(channels, task.num_classes)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, images: Tensor) -> Tensor:
        """Map `B x in_channels x H x W` images to `B x num_classes` logits."""
        features = self.body(self.stem(images.contiguous(memory_format=torch.channels_last)))
        pooled = F.relu(self.norm(features)).mean(dim=(2, 3))
        logits: Tensor = self.classifier(pooled)
        return logits


class UserCell(nn.Module):
    """A cell whose nodes are sums of their incoming edges.

    Args:
        edges: All of its edges, by target; ``none`` connects nothing.
        make: From the name of an op to a new module.
        nodes: Number of nodes, the input among them.
        concat: Whether to return the nodes that are fed, joined and projected to `channels`,
            rather than the last node.
        channels: Channels of every node.
    """

    def __init__(
        self,
        edges: Sequence[Edge],
        make: Callable[[str], nn.Module],
        *,
        nodes: int,
        concat: bool,
        channels: int,
    ) -> None:
        super().__init__()
        outputs = range(1, nodes) if concat else [nodes - 1]
        live = live_edges([*edges, *(Edge(node, nodes, "") for node in outputs)], nodes)
        self._outputs = [edge.source for edge in live if edge.target == nodes]
        self._incoming = {
            target: [edge for edge in live if edge.target == target]
            for target in sorted({edge.target for edge in live if edge.target < nodes})
        }
        self.ops = nn.ModuleDict(
            {_name(edge): make(edge.op) for found in self._incoming.values() for edge in found}
        )
        self.project: nn.Module | None = None
        if concat and self._outputs:
            joined = conv_norm(len(self._outputs) * channels, channels, 1)
            self.project = nn.Sequential(nn.ReLU(), *joined)

    def forward(self, images: Tensor) -> Tensor:
        """Return the output, of the shape of `images`; zeros if no path leads there."""
        nodes = {0: images}
        for target, edges in self._incoming.items():
            total, *rest = (self.ops[_name(edge)](nodes[edge.source]) for edge in edges)
            for term in rest:
                total = total + term
            nodes[target] = total
        if not self._outputs:
            return torch.zeros_like(images)
        if self.project is None:
            return nodes[self._outputs[0]]
        joined: Tensor = self.project(torch.cat([nodes[node] for node in self._outputs], dim=1))
        return joined


class OpMaker:
    """Makes the modules of one stage, and tries each op of the user's once.

    Args:
        ops: What each name is; see `UserCellNetwork`.
        channels: Channels of the stage.
        size: Sides of its images.
        built_in: Makes each built-in op.
    """

    def __init__(
        self,
        ops: Mapping[str, Op],
        channels: int,
        size: int,
        built_in: Mapping[str, Callable[[int], nn.Module]] = MODULES,
    ) -> None:
        self._ops = ops
        self._channels = channels
        self._size = size
        self._built_in = built_in
        self._tried: set[str] = set()

    def __call__(self, name: str) -> nn.Module:
        """Return a new module of the op of that name.

        Raises:
            SpaceError: the op cannot be built or run, or does not do what an op must.
        """
        op = self._ops[name]
        if isinstance(op, str):
            return self._built_in[op](self._channels)
        try:
            module = op(self._channels)
        except Exception as error:
            raise _refused(name, f"cannot be built for {self._channels} channels", error) from error
        if not isinstance(module, nn.Module):
            raise SpaceError(f"cell: op {name!r} made {type(module).__name__}, which is no module")
        if name not in self._tried:
            self._tried.add(name)
            self._try(name, module)
        return module

    @torch.no_grad()
    def _try(self, name: str, module: nn.Module) -> None:
        images = torch.zeros(2, self._channels, self._size, self._size)
        version = images._version
        modes = [(part, part.training) for part in module.modules()]
        try:
            output: Any = module.eval()(images)
        except Exception as error:
            raise _refused(name, f"fails on images {_shape(images)}", error) from error
        finally:
            for part, training in modes:
                part.training = training
        if not isinstance(output, Tensor) or output.shape != images.shape:
            gave = _shape(output) if isinstance(output, Tensor) else type(output).__name__
            raise SpaceError(
                f"cell: op {name!r} must keep the shape of its input, {_shape(images)}, "
                f"but gave {gave}"
            )
        if images._version != version:
            raise SpaceError(
                f"cell: op {name!r} changes its input in place, which other edges read too"
            )


def _refused(name: str, what: str, error: Exception) -> SpaceError:
    words = " ".join(f"{type(error).__name__}: {error}".split())
    return SpaceError(f"cell: op {name!r} {what}: {words[:300]}")


def _shape(images: Tensor) -> str:
    return " x ".join(map(str, images.shape))


def _name(edge: Edge) -> str:
    return f"{edge.source}_{edge.target}"
