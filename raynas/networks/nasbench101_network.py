"""The networks of NAS-Bench-101 (Ying et al., ICML 2019).

Stem, stacks of equal modules, a max pool that halves the image (rounding up) between stacks,
average over the image, linear classifier; the first module of a later stack doubles the channels.
Every convolution is followed by batch norm and ReLU. In a module the inner vertices sum what they
read; the output is the concatenation of the vertices that feed it, plus the input if that does.

Difference: weights are drawn by torch's defaults, not from the paper's truncated normal.
"""

from collections import OrderedDict

import torch
from torch import Tensor, nn

from raynas.spaces.nasbench101 import Module

NORM_MOMENTUM = 0.003
"""Share of a new batch in the running statistics (in the paper 0.997 is what is kept)."""

KERNELS = {"conv3x3": 3, "conv1x1": 1}
"""Kernel side of each convolution."""


class NasBench101Network(nn.Module):
    """The network of one module.

    Args:
        module: Ops and edges.
        channels: Channels of the stem and the first stack; each later stack doubles them.
        stacks: Stacks of modules.
        modules_per_stack: Modules in each stack.
        in_channels: Channels of the images.
        num_classes: Number of logits.

    Weights are kept in channels_last order, which is faster.
    """

    def __init__(
        self,
        module: Module,
        *,
        channels: int = 128,
        stacks: int = 3,
        modules_per_stack: int = 3,
        in_channels: int = 3,
        num_classes: int = 10,
    ) -> None:
        super().__init__()
        self.stem = conv_norm_relu(in_channels, channels, 3)
        self.body = nn.Sequential()
        width = channels
        for stack in range(stacks):
            if stack > 0:
                # ceil_mode: TensorFlow's "same" padding rounds odd sizes up.
                self.body.append(nn.MaxPool2d(2, ceil_mode=True))
            for _ in range(modules_per_stack):
                self.body.append(Cell(module, width, channels << stack))
                width = channels << stack
        self.classifier = nn.Linear(width, num_classes)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, images: Tensor) -> Tensor:
        """Map `B x in_channels x H x W` images to `B x num_classes` logits."""
        features = self.body(self.stem(images.contiguous(memory_format=torch.channels_last)))
        logits: Tensor = self.classifier(features.mean(dim=(2, 3)))
        return logits


class Cell(nn.Module):
    """One module of the network.

    Args:
        module: Ops and edges.
        in_channels: Channels of the input vertex.
        out_channels: Channels of the output vertex, at least as many as vertices feed it.
    """

    def __init__(self, module: Module, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self._widths = vertex_channels(module, in_channels, out_channels)
        self._output = len(module.rows) - 1
        self._sources = [
            [source for source in module.sources(vertex) if source > 0]
            for vertex in range(self._output + 1)
        ]
        self.projections = nn.ModuleDict(
            {
                str(target): conv_norm_relu(in_channels, self._widths[target], 1)
                for target in module.targets(0)
            }
        )
        self.ops = nn.ModuleDict(
            {
                str(vertex): _operation(op, self._widths[vertex])
                for vertex, op in enumerate(module.ops, start=1)
            }
        )

    def forward(self, images: Tensor) -> Tensor:
        """Map `B x in_channels x H x W` to `B x out_channels x H x W`."""
        values: dict[int, Tensor] = {}
        for vertex in range(1, self._output):
            width = self._widths[vertex]
            terms = [values[source][:, :width] for source in self._sources[vertex]]
            values[vertex] = self.ops[str(vertex)](self._with_input(terms, vertex, images))
        parts = [values[source] for source in self._sources[self._output]]
        joined = [torch.cat(parts, dim=1)] if len(parts) > 1 else parts
        return self._with_input(joined, self._output, images)

    def _with_input(self, terms: list[Tensor], vertex: int, images: Tensor) -> Tensor:
        """Sum `terms` and the projected input, if the vertex reads it."""
        if str(vertex) in self.projections:
            terms = [*terms, self.projections[str(vertex)](images)]
        total, *rest = terms
        for term in rest:
            total = total + term
        return total


def vertex_channels(module: Module, in_channels: int, out_channels: int) -> list[int]:
    """Return the channels of every vertex.

    The output's are divided among the inner vertices that feed it, the first of them taking one
    more each until the remainder is used up. Any other inner vertex has as many as the widest it
    feeds, and is cut to the width of the others.

    Args:
        module: Ops and edges.
        in_channels: Channels of the input vertex.
        out_channels: Channels of the output vertex.
    """
    output = len(module.rows) - 1
    widths = [in_channels, *[0] * len(module.ops), out_channels]
    last = [vertex for vertex in module.sources(output) if vertex > 0]
    for place, vertex in enumerate(last):
        widths[vertex] = out_channels // len(last) + (place < out_channels % len(last))
    for vertex in reversed(range(1, output)):
        if vertex not in last:
            widths[vertex] = max(widths[target] for target in module.targets(vertex))
    return widths


def conv_norm_relu(in_channels: int, out_channels: int, kernel: int) -> nn.Sequential:
    """Return a convolution without bias, a batch norm of the paper's momentum and a ReLU."""
    conv = nn.Conv2d(in_channels, out_channels, kernel, padding=kernel // 2, bias=False)
    norm = nn.BatchNorm2d(out_channels, momentum=NORM_MOMENTUM)
    return nn.Sequential(OrderedDict(conv=conv, norm=norm, relu=nn.ReLU()))


def _operation(op: str, channels: int) -> nn.Module:
    if op in KERNELS:
        return conv_norm_relu(channels, channels, KERNELS[op])
    return nn.MaxPool2d(3, stride=1, padding=1)
