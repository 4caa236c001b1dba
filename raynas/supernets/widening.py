"""Let the ops of a supernet read more channels, keeping what they have learnt.

Chen et al., "DrNAS", ICLR 2021, section 3.3: the second stage of a progressive search prunes ops
and reads more of the channels. A new channel is a copy of a random old one of the same layer: its
weights to and from other channels, the statistics of its norm, its momentum. Copies are not divided
by their number, as published.
"""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from raynas.errors import SpaceError
from raynas.networks.darts_operations import (
    FactorizedReduce,
    Identity,
    Noise,
    Operation,
    Pool,
    SeparableConv,
    Zero,
)
from raynas.supernets.norm import Norm
from raynas.supernets.operations import NormedConv
from raynas.supernets.supernet import CellStage, Supernet

Draw = Callable[[int, int], Tensor]
"""From old and new number of channels to the old channel that each new one is a copy of, int64."""


@dataclass(frozen=True, eq=False)
class Widened:
    """A wider supernet.

    Attributes:
        supernet: It.
        channels: For each parameter that grew, by its name in `supernet`, the old channel of each
            new one, axis by axis; None for an axis that stayed.
    """

    supernet: Supernet
    channels: dict[str, tuple[Tensor | None, ...]]

    def carry_momentum(
        self, before: torch.optim.Optimizer, narrow: Supernet, after: torch.optim.Optimizer
    ) -> None:
        """Give an optimiser of the wider supernet the momentum of one of the narrow supernet's.

        Args:
            before: SGD on the parameters of `narrow`.
            narrow: What was widened.
            after: SGD on the parameters of `supernet`.
        """
        pairs = zip(narrow.parameters(), self.supernet.named_parameters(), strict=True)
        for old, (name, new) in pairs:
            momentum = before.state.get(old, {}).get("momentum_buffer")
            if momentum is not None:
                after.state[new]["momentum_buffer"] = _copied(momentum, self.channels.get(name, ()))


def widen(supernet: Supernet, partial: int, generator: torch.Generator) -> Widened:
    """Return a copy of a supernet whose ops read one `partial`-th of the channels.

    Args:
        supernet: Its ops read fewer; is left as it was.
        partial: K of partial channels.
        generator: On the CPU, draws which channels are copied.

    Raises:
        SpaceError: K does not divide the channels or is not smaller than before, or an op of the
            user's is in the way.
    """
    wide = deepcopy(supernet)
    names = {id(module): name for name, module in wide.named_modules()}
    channels: dict[str, tuple[Tensor | None, ...]] = {}

    def draw(old: int, new: int) -> Tensor:
        copies = torch.randint(old, (new - old,), generator=generator)
        return torch.cat([torch.arange(old), copies])

    for stage in wide.stages:
        if isinstance(stage, CellStage):
            for module, axes in _widen_cell(stage, partial, draw):
                channels[f"{names[id(module)]}.weight"] = axes
    return Widened(wide, channels)


Grown = list[tuple[nn.Module, tuple[Tensor | None, ...]]]


def _widen_cell(stage: CellStage, partial: int, draw: Draw) -> Grown:
    cell = stage.mixed
    if not partial < cell.partial or cell.channels % partial:
        raise SpaceError(
            f"ops that read one {cell.partial}th of {cell.channels} channels cannot be widened to "
            f"one {partial}th: it must be more of them, and divide them"
        )
    old, new = cell.channels // cell.partial, cell.channels // partial
    cell.partial = partial
    grown: Grown = []
    # Edges have their pools in common: each is widened once.
    operations = dict.fromkeys(op for edge in cell.edges for op in cast(nn.ModuleList, edge))
    for operation in operations:
        assert isinstance(operation, Operation)
        grown += _widen_op(operation, old, new, draw)
    return grown


def _widen_op(operation: Operation, old: int, new: int, draw: Draw) -> Grown:
    if isinstance(operation, Identity | Zero | Noise):
        return []
    if isinstance(operation, Pool):
        if operation.norm is not None:
            _grow_norm(operation.norm, draw(old, new))
        return []
    come = draw(old, new)
    if isinstance(operation, SeparableConv):
        return _widen_separable(operation, come, draw)
    if isinstance(operation, FactorizedReduce):
        half = draw(old // 2, new // 2)
        other = draw(old - old // 2, new - new // 2)
        _grow_norm(operation.norm, torch.cat([half, other + old // 2]))
        return [_grow(operation.conv1, half, come), _grow(operation.conv2, other, come)]
    if isinstance(operation, NormedConv):
        go = draw(old, new)
        _grow_norm(operation.norm, go)
        return [_grow(operation.conv, go, come)]
    raise SpaceError(f"cannot widen an op of your own ({type(operation).__name__})")


def _widen_separable(operation: SeparableConv, come: Tensor, draw: Draw) -> Grown:
    grown: Grown = []
    for part in operation.parts:
        depthwise, pointwise, norm = part.children()
        go = draw(int(come.max()) + 1, len(come))
        grown += [_grow(depthwise, come, None), _grow(pointwise, go, come)]
        _grow_norm(norm, go)
        come = go
    return grown


def _grow(
    module: nn.Module, go: Tensor, come: Tensor | None
) -> tuple[nn.Module, tuple[Tensor | None, ...]]:
    """Copy channels of a convolution: those that go out, and come in unless it is depthwise."""
    assert isinstance(module, nn.Conv2d)
    axes = (go, come)
    grown = _copied(module.weight.detach(), axes)
    module.weight = nn.Parameter(grown, requires_grad=module.weight.requires_grad)
    module.out_channels = len(go)
    module.in_channels = len(go if come is None else come)
    if come is None:
        module.groups = len(go)
    return module, axes


def _grow_norm(module: nn.Module, go: Tensor) -> None:
    """Copy the statistics of a norm without parameters."""
    assert isinstance(module, Norm)
    assert module.weight is None
    module.running_mean = _copied(cast(Tensor, module.running_mean), (go,))
    module.running_var = _copied(cast(Tensor, module.running_var), (go,))


def _copied(values: Tensor, axes: tuple[Tensor | None, ...]) -> Tensor:
    """Return a copy of a tensor with its channels repeated along some axes, laid out as it is."""
    grown = values.clone()
    for axis, channels in enumerate(axes):
        if channels is not None:
            grown = grown.index_select(axis, channels.to(values.device))
    if values.dim() == 4:
        return grown.contiguous(memory_format=torch.channels_last)
    return grown
