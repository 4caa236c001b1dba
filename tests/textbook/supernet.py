"""Supernets written straight from the papers' formulas: one module for each op of each edge.

NCHW, every op run, ``Σ w · op(x)`` with a temporary for each term, statistics from torch's own
batch norms. Nothing is taken from raynas but what a space says of its cells (`CellKind`).

Liu et al., "DARTS", ICLR 2019; Dong and Yang, "NAS-Bench-201", ICLR 2020; partial channels: Xu et
al., "PC-DARTS", ICLR 2020. `copy_weights` brings over the weights of a supernet of raynas.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn


class Zero(nn.Module):
    def __init__(self, stride: int) -> None:
        super().__init__()
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        return x[:, :, :: self.stride, :: self.stride] * 0.0


class Noise(nn.Module):
    """Takes what `source` makes of the image, if that is set."""

    source: Callable[[Tensor], Tensor] | None = None

    def __init__(self, stride: int) -> None:
        super().__init__()
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        if self.source is not None:
            return self.source(x)
        return torch.randn_like(x[:, :, :: self.stride, :: self.stride])


class FactorizedReduce(nn.Module):
    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        self.even = nn.Conv2d(c_in, c_out // 2, 1, stride=2, bias=False)
        self.odd = nn.Conv2d(c_in, c_out - c_out // 2, 1, stride=2, bias=False)
        self.norm = nn.BatchNorm2d(c_out, affine=False)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(x)
        return self.norm(torch.cat([self.even(x), self.odd(x[:, :, 1:, 1:])], dim=1))


def relu_conv_norm(c_in: int, c_out: int, kernel: int, stride: int = 1, affine: bool = False):
    return nn.Sequential(
        nn.ReLU(),
        nn.Conv2d(c_in, c_out, kernel, stride, padding=kernel // 2, bias=False),
        nn.BatchNorm2d(c_out, affine=affine),
    )


def separable(c: int, kernel: int, stride: int, dilation: int) -> nn.Sequential:
    padding = dilation * (kernel - 1) // 2
    return nn.Sequential(
        nn.ReLU(),
        nn.Conv2d(c, c, kernel, stride, padding, dilation, groups=c, bias=False),
        nn.Conv2d(c, c, 1, bias=False),
        nn.BatchNorm2d(c, affine=False),
    )


def pool(kind: str, c: int, stride: int) -> nn.Sequential:
    window = {
        "max": nn.MaxPool2d(3, stride, padding=1),
        "avg": nn.AvgPool2d(3, stride, padding=1, count_include_pad=False),
    }[kind]
    return nn.Sequential(window, nn.BatchNorm2d(c, affine=False))


def darts_op(name: str, c: int, stride: int) -> nn.Module:
    match name:
        case "none":
            return Zero(stride)
        case "noise":
            return Noise(stride)
        case "skip_connect":
            return nn.Identity() if stride == 1 else FactorizedReduce(c, c)
        case "max_pool_3x3":
            return pool("max", c, stride)
        case "avg_pool_3x3":
            return pool("avg", c, stride)
        case "sep_conv_3x3":
            return nn.Sequential(separable(c, 3, stride, 1), separable(c, 3, 1, 1))
        case "sep_conv_5x5":
            return nn.Sequential(separable(c, 5, stride, 1), separable(c, 5, 1, 1))
        case "dil_conv_3x3":
            return separable(c, 3, stride, 2)
        case "dil_conv_5x5":
            return separable(c, 5, stride, 2)
    raise ValueError(name)


def nasbench201_op(name: str, c: int) -> nn.Module:
    match name:
        case "none":
            return Zero(1)
        case "noise":
            return Noise(1)
        case "skip_connect":
            return nn.Identity()
        case "nor_conv_1x1":
            return relu_conv_norm(c, c, 1)
        case "nor_conv_3x3":
            return relu_conv_norm(c, c, 3)
        case "avg_pool_3x3":
            return nn.AvgPool2d(3, 1, padding=1, count_include_pad=False)
        case "max_pool_3x3":
            return nn.MaxPool2d(3, 1, padding=1)
    raise ValueError(name)


class MixedOp(nn.Module):
    """`Σ w_o o(x)`; with K > 1 on the first C / K channels, the others pass by."""

    def __init__(self, ops: Sequence[nn.Module], k: int, stride: int) -> None:
        super().__init__()
        self.ops = nn.ModuleList(ops)
        self.k = k
        self.bypass = nn.MaxPool2d(2, 2) if stride == 2 else nn.Identity()

    def forward(self, x: Tensor, weights: Tensor) -> Tensor:
        part = x.shape[1] // self.k
        mixed = sum(w * op(x[:, :part]) for w, op in zip(weights, self.ops, strict=True))
        if self.k == 1:
            return mixed
        joined = torch.cat([mixed, self.bypass(x[:, part:])], dim=1)
        batch, channels, height, width = joined.shape
        grouped = joined.view(batch, self.k, channels // self.k, height, width)
        return grouped.transpose(1, 2).reshape(batch, channels, height, width)


class Cell(nn.Module):
    """Nodes that are sums over all of their edges; edges that are gone have the weight 0."""

    def __init__(self, edges: Sequence[tuple[int, int]], mixed_ops: Sequence[MixedOp]) -> None:
        super().__init__()
        self.ends = tuple(edges)
        self.edges = nn.ModuleList(mixed_ops)

    def nodes(self, states: list[Tensor], weights: Tensor, edge_weights: Tensor) -> list[Tensor]:
        states = list(states)
        for node in sorted({target for _, target in self.ends}):
            terms = [
                edge_weights[e] * self.edges[e](states[source], weights[e])
                for e, (source, target) in enumerate(self.ends)
                if target == node
            ]
            states.append(sum(terms))
        return states


class DartsCell(Cell):
    def __init__(self, kind, c_before, c_previous, c, *, reduction, halved, k) -> None:
        mixed = []
        for (source, _), names in zip(kind.edges, kind.ops, strict=True):
            stride = 2 if reduction and source < 2 else 1
            mixed.append(MixedOp([darts_op(n, c // k, stride) for n in names], k, stride))
        super().__init__(kind.edges, mixed)
        if halved:
            self.fit0 = FactorizedReduce(c_before, c)
        else:
            self.fit0 = relu_conv_norm(c_before, c, 1)
        self.fit1 = relu_conv_norm(c_previous, c, 1)

    def forward(self, before, previous, weights, edge_weights):
        states = self.nodes([self.fit0(before), self.fit1(previous)], weights, edge_weights)
        return torch.cat(states[2:], dim=1)


class TextbookDarts(nn.Module):
    """`weights[i]` is `E x O` of the i-th kind of cell, `edge_weights[i]` is `E`."""

    def __init__(self, kinds, *, channels, layers, in_channels, num_classes, k=1) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(in_channels, 3 * channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(3 * channels),
        )
        self.cells, self.kind_of_cell = nn.ModuleList(), []
        before, previous, halved = 3 * channels, 3 * channels, False
        for layer in range(layers):
            reduction = layer in (layers // 3, 2 * layers // 3)
            if reduction:
                channels *= 2
            number = len(kinds) - 1 if reduction else 0
            self.cells.append(
                DartsCell(
                    kinds[number],
                    before,
                    previous,
                    channels,
                    reduction=reduction,
                    halved=halved,
                    k=k,
                )
            )
            self.kind_of_cell.append(number)
            before, previous, halved = previous, 4 * channels, reduction
        self.classifier = nn.Linear(previous, num_classes)

    def forward(self, images, weights, edge_weights=None):
        if edge_weights is None:
            edge_weights = [w.new_ones(len(w)) for w in weights]
        before = previous = self.stem(images)
        for cell, number in zip(self.cells, self.kind_of_cell, strict=True):
            output = cell(before, previous, weights[number], edge_weights[number])
            before, previous = previous, output
        return self.classifier(previous.mean(dim=(2, 3)))


class Residual(nn.Module):
    def __init__(self, c: int) -> None:
        super().__init__()
        self.first = relu_conv_norm(c, 2 * c, 3, 2, affine=True)
        self.second = relu_conv_norm(2 * c, 2 * c, 3, affine=True)
        self.shortcut = nn.Conv2d(c, 2 * c, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.shortcut(nn.functional.avg_pool2d(x, 2, 2)) + self.second(self.first(x))


class OneKindCell(Cell):
    """A cell of NAS-Bench-201 or of a user, in whose `ops` a name may mean something else."""

    def __init__(self, kind, c, *, concat, ops, k) -> None:
        def make(name):
            op = ops.get(name, name)
            return op(c // k) if callable(op) else nasbench201_op(op, c // k)

        super().__init__(kind.edges, [MixedOp([make(n) for n in ops], k, 1) for ops in kind.ops])
        num_nodes = len({target for _, target in kind.edges})
        self.project = relu_conv_norm(num_nodes * c, c, 1, affine=True) if concat else None

    def forward(self, x, weights, edge_weights):
        nodes = self.nodes([x], weights, edge_weights)[1:]
        return nodes[-1] if self.project is None else self.project(torch.cat(nodes, dim=1))


class TextbookCells(nn.Module):
    """NAS-Bench-201, and a user's cells in its skeleton."""

    def __init__(
        self,
        kinds,
        *,
        channels,
        stages,
        cells_per_stage,
        in_channels,
        num_classes,
        concat=False,
        ops=None,
        k=1,
    ) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(in_channels, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels)
        )
        self.cells = nn.ModuleList()
        for stage in range(stages):
            if stage:
                self.cells.append(Residual(channels))
                channels *= 2
            for _ in range(cells_per_stage):
                cell = OneKindCell(kinds[0], channels, concat=concat, ops=ops or {}, k=k)
                self.cells.append(cell)
        self.norm = nn.BatchNorm2d(channels)
        self.classifier = nn.Linear(channels, num_classes)

    def forward(self, images, weights, edge_weights=None):
        if edge_weights is None:
            edge_weights = [w.new_ones(len(w)) for w in weights]
        x = self.stem(images)
        for cell in self.cells:
            x = cell(x) if isinstance(cell, Residual) else cell(x, weights[0], edge_weights[0])
        return self.classifier(torch.relu(self.norm(x)).mean(dim=(2, 3)))


def textbook_of(space, task, *, k=1) -> nn.Module:
    """Return the textbook supernet of a space of raynas (stem ``cifar`` where there are two)."""
    shape = {"in_channels": task.in_channels, "num_classes": task.num_classes, "k": k}
    if hasattr(space, "layers"):
        assert space.stem == "cifar"
        return TextbookDarts(space.kinds, channels=space.channels, layers=space.layers, **shape)
    return TextbookCells(
        space.kinds,
        channels=space.channels,
        stages=getattr(space, "stages", 3),
        cells_per_stage=space.cells_per_stage,
        concat=getattr(space, "output", "last") == "concat",
        ops=space.ops if isinstance(getattr(space, "ops", None), dict) else None,
        **shape,
    )


def parameter_pairs(textbook: nn.Module, supernet: nn.Module) -> list[tuple[Tensor, Tensor]]:
    """Return each parameter of the textbook's with the one of raynas's supernet it stands for."""
    parts = [(textbook.stem, supernet.stem), (textbook.classifier, supernet.classifier)]
    if isinstance(textbook, TextbookCells):
        parts.append((textbook.norm, supernet.norm))
    for cell, stage in zip(textbook.cells, supernet.stages, strict=True):
        if isinstance(cell, Residual):
            parts.append((cell, stage.block))
            continue
        for edge, own_edge in zip(cell.edges, stage.mixed.edges, strict=True):
            parts += zip(edge.ops, own_edge, strict=True)
        if isinstance(cell, DartsCell):
            parts += [(cell.fit0, stage.fits[0]), (cell.fit1, stage.fits[1])]
        elif cell.project is not None:
            parts.append((cell.project, stage.project))
    pairs = []
    for theirs, own in parts:
        pairs += zip(theirs.parameters(), own.parameters(), strict=True)
    assert len(pairs) == len(list(textbook.parameters())) == len(list(supernet.parameters()))
    return pairs


@torch.no_grad()
def copy_weights(textbook: nn.Module, supernet: nn.Module) -> None:
    """Give the textbook's supernet the weights of raynas's."""
    for theirs, own in parameter_pairs(textbook, supernet):
        theirs.copy_(own)


def share_noise(textbook: nn.Module, supernet: nn.Module) -> None:
    """Make both draw the same noise in every pass, each op its own."""
    theirs = [module for module in textbook.modules() if isinstance(module, Noise)]
    own = [module for module in supernet.modules() if hasattr(module, "seed")]
    for seed, (one, other) in enumerate(zip(theirs, own, strict=True)):
        other.seed = seed
        one.source = other.forward  # a module would be registered as a part
