"""The operations of the DARTS family, on images `B x C x H x W`: for networks and for supernets.

Liu et al., "DARTS", ICLR 2019, appendix A.1.1. Every convolution comes after a ReLU. That of its
source is not part of an operation: one that works on the ReLU says so (`Operation.on_rectified`),
and whoever runs several operations of one source computes it once for all.
"""

from collections import OrderedDict
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from raynas.errors import SpaceError, nearest
from raynas.networks.operations import MakeNorm
from raynas.spaces.cell import NONE
from raynas.spaces.darts_cell import NAMES
from raynas.spaces.darts_ops import NOISE

SEPARABLE = {
    "sep_conv_3x3": (3, 1, 2),
    "sep_conv_5x5": (5, 1, 2),
    "dil_conv_3x3": (3, 2, 1),
    "dil_conv_5x5": (5, 2, 1),
}
"""Kernel, dilation and number of parts of each separable convolution."""


class Operation(nn.Module):
    """What stands on an edge: images to images of C channels, the size divided by the stride.

    A size that the stride does not divide is rounded up.

    Attributes:
        on_rectified: Whether it must be given the ReLU of its source instead of the source.
    """

    on_rectified: ClassVar[bool] = False


class NormedOperation(Operation):
    """An operation whose last step is a norm; a supernet runs the two apart."""

    @property
    def last_norm(self) -> nn.Module:
        """The norm."""
        norm = self.norm
        assert isinstance(norm, nn.Module)
        return norm

    def features(self, images: Tensor) -> Tensor:
        """Return what the norm is given."""
        raise NotImplementedError

    def forward(self, images: Tensor) -> Tensor:
        """Return the images of C channels."""
        output: Tensor = self.last_norm(self.features(images))
        return output


class Zero(Operation):
    """`none`: zeros."""

    def __init__(self, stride: int = 1) -> None:
        super().__init__()
        self.stride = stride

    def forward(self, images: Tensor) -> Tensor:
        """Return zeros of the strided size."""
        return torch.zeros_like(images[:, :, :: self.stride, :: self.stride])


class Noise(Operation):
    """`noise`: numbers from N(0, 1), drawn anew each time, also in eval mode; no gradient.

    Attributes:
        seed: What the noise is drawn from, the same each time; None: torch's generator.
    """

    def __init__(self, stride: int = 1) -> None:
        super().__init__()
        self.stride = stride
        self.seed: int | None = None

    def forward(self, images: Tensor) -> Tensor:
        """Return noise of the strided size; of `images` only the shape and type matter."""
        strided = images[:, :, :: self.stride, :: self.stride]
        generator = None
        if self.seed is not None:
            generator = torch.Generator(images.device).manual_seed(self.seed)
        # The draws must not depend on how the images lie in memory.
        drawn = torch.empty_like(strided, memory_format=torch.contiguous_format)
        return drawn.normal_(generator=generator)


class Identity(Operation):
    """`skip_connect` where the size stays: what comes in."""

    def forward(self, images: Tensor) -> Tensor:
        """Return `images` itself."""
        return images


class Pool(Operation):
    """The largest or the mean of 3 x 3 neighbours that lie inside the image.

    Args:
        kind: ``max`` or ``avg``.
        stride: Step.
        norm: Norm that follows (supernets), or None.
    """

    def __init__(self, kind: str, stride: int = 1, norm: nn.Module | None = None) -> None:
        super().__init__()
        self.kind = kind
        self.stride = stride
        self.norm = norm

    def forward(self, images: Tensor) -> Tensor:
        """Return the pooled images."""
        if self.kind == "max":
            pooled = F.max_pool2d(images, 3, self.stride, padding=1)
        else:
            pooled = F.avg_pool2d(images, 3, self.stride, padding=1, count_include_pad=False)
        return pooled if self.norm is None else self.norm(pooled)


class FactorizedReduce(NormedOperation):
    """`skip_connect` where the size halves: two 1 x 1 convolutions of stride 2, then a norm.

    The second sees the image shifted by one pixel, so that between them no row and no column is
    left out altogether. Where a side is odd, zeros are shifted in.

    Args:
        in_channels: Channels that come in.
        out_channels: Channels that go out; each convolution makes half of them.
        affine: Whether the norm has parameters.
        norm: Makes the norm.
    """

    on_rectified = True

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        affine: bool = True,
        norm: MakeNorm = nn.BatchNorm2d,
    ) -> None:
        super().__init__()
        half = out_channels // 2
        self.conv1 = nn.Conv2d(in_channels, half, 1, stride=2, bias=False)
        self.conv2 = nn.Conv2d(in_channels, out_channels - half, 1, stride=2, bias=False)
        self.norm = norm(out_channels, affine=affine)

    def features(self, rectified: Tensor) -> Tensor:
        """Return `B x C_out x ⌈H/2⌉ x ⌈W/2⌉`."""
        height, width = rectified.shape[2:]
        shifted = rectified[:, :, 1:, 1:]
        if height % 2 or width % 2:
            shifted = F.pad(shifted, (0, width % 2, 0, height % 2))
        return torch.cat([self.conv1(rectified), self.conv2(shifted)], dim=1)


class PointwiseConv(NormedOperation):
    """A 1 x 1 convolution and a norm: fits an input of a cell to its channels.

    Args:
        in_channels: Channels that come in.
        out_channels: Channels that go out.
        affine: Whether the norm has parameters.
        norm: Makes the norm.
    """

    on_rectified = True

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        affine: bool = True,
        norm: MakeNorm = nn.BatchNorm2d,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, 1, bias=False)
        self.norm = norm(out_channels, affine=affine)

    def features(self, rectified: Tensor) -> Tensor:
        """Return `B x C_out x H x W`."""
        output: Tensor = self.conv(rectified)
        return output


class SeparableConv(NormedOperation):
    """`dil_conv` (one part) or `sep_conv` (two): depthwise, then 1 x 1 convolution, then a norm.

    Args:
        channels: Channels that come in and go out.
        kernel: Side of the depthwise kernel, odd.
        stride: Step of the first depthwise convolution.
        dilation: Of the depthwise convolutions.
        parts: How many times; a ReLU stands between two.
        affine: Whether the norms have parameters.
        norm: Makes the norms.

    Attributes:
        stride: Likewise.
        dilation: Likewise.
    """

    on_rectified = True

    def __init__(
        self,
        channels: int,
        kernel: int,
        stride: int = 1,
        *,
        dilation: int = 1,
        parts: int = 1,
        affine: bool = True,
        norm: MakeNorm = nn.BatchNorm2d,
    ) -> None:
        super().__init__()
        self.stride = stride
        self.dilation = dilation
        self.parts = nn.Sequential()
        for part in range(parts):
            depthwise = nn.Conv2d(
                channels,
                channels,
                kernel,
                stride if part == 0 else 1,
                padding=dilation * (kernel // 2),
                dilation=dilation,
                groups=channels,
                bias=False,
            )
            pointwise = nn.Conv2d(channels, channels, 1, bias=False)
            modules = OrderedDict(
                depthwise=depthwise, pointwise=pointwise, norm=norm(channels, affine=affine)
            )
            self.parts.append(nn.Sequential(modules))

    @property
    def last_norm(self) -> nn.Module:
        """The norm of the last part."""
        norm = self.parts[-1].norm
        assert isinstance(norm, nn.Module)
        return norm

    def features(self, rectified: Tensor) -> Tensor:
        """Return `B x C x ⌈H/stride⌉ x ⌈W/stride⌉`."""
        *before, last = self.parts
        for part in before:
            rectified = F.relu(part(rectified))
        depthwise, pointwise, _ = last.children()
        output: Tensor = pointwise(depthwise(rectified))
        return output


def make_operation(
    op: str,
    channels: int,
    stride: int = 1,
    *,
    affine: bool = True,
    pool_norm: bool = False,
    norm: MakeNorm = nn.BatchNorm2d,
) -> Operation:
    """Return a new operation.

    Args:
        op: Its name.
        channels: Channels that come in and go out.
        stride: 1, or 2 on the edges from the inputs of a reduction cell.
        affine: Whether norms have parameters: yes in networks, no in supernets.
        pool_norm: Whether a norm without parameters follows each pool, as in supernets.
        norm: Makes the norms.

    Raises:
        SpaceError: there is no such op.
    """
    if op in SEPARABLE:
        kernel, dilation, parts = SEPARABLE[op]
        return SeparableConv(
            channels, kernel, stride, dilation=dilation, parts=parts, affine=affine, norm=norm
        )
    if op in ("max_pool_3x3", "avg_pool_3x3"):
        follows = norm(channels, affine=False) if pool_norm else None
        return Pool("max" if op == "max_pool_3x3" else "avg", stride, follows)
    if op == "skip_connect":
        if stride == 1:
            return Identity()
        return FactorizedReduce(channels, channels, affine=affine, norm=norm)
    if op == NONE:
        return Zero(stride)
    if op == NOISE:
        return Noise(stride)
    raise SpaceError(f"unknown op {op!r}{nearest(op, NAMES)} (allowed: {', '.join(NAMES)})")
