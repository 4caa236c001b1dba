"""The operations that networks are made of, on images `B x C x H x W`."""

from collections import OrderedDict
from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor, nn

MakeNorm = Callable[..., nn.Module]
"""A batch norm's class: called with the channels and, where it matters, ``affine``."""


def conv_norm(
    in_channels: int,
    out_channels: int,
    kernel: int,
    stride: int = 1,
    *,
    norm: MakeNorm = nn.BatchNorm2d,
) -> nn.Sequential:
    """Return a convolution without bias and a batch norm; the size is kept, or divided by `stride`.

    Args:
        in_channels: Channels that come in.
        out_channels: Channels that go out.
        kernel: Side of the kernel, odd.
        stride: Step; a size that it does not divide is rounded up.
        norm: Makes the norm.
    """
    conv = nn.Conv2d(in_channels, out_channels, kernel, stride, padding=kernel // 2, bias=False)
    return nn.Sequential(OrderedDict(conv=conv, norm=norm(out_channels)))


def average_pool(images: Tensor) -> Tensor:
    """Average 3 x 3 neighbours that lie inside the image; the size is kept."""
    return F.avg_pool2d(images, 3, stride=1, padding=1, count_include_pad=False)


class ReductionBlock(nn.Module):
    """The residual block of NAS-Bench-201 that halves the image (rounding up)."""

    def __init__(
        self, in_channels: int, out_channels: int, *, norm: MakeNorm = nn.BatchNorm2d
    ) -> None:
        super().__init__()
        self.conv1 = conv_norm(in_channels, out_channels, 3, stride=2, norm=norm)
        self.conv2 = conv_norm(out_channels, out_channels, 3, norm=norm)
        self.shortcut = nn.Conv2d(in_channels, out_channels, 1, bias=False)

    def forward(self, images: Tensor) -> Tensor:
        """Return `B x C_out x ⌈H/2⌉ x ⌈W/2⌉`."""
        branch: Tensor = self.conv2(F.relu(self.conv1(F.relu(images))))
        # ceil_mode: as the strided convolution rounds odd sizes up, so must the shortcut.
        shortcut: Tensor = self.shortcut(F.avg_pool2d(images, 2, ceil_mode=True))
        return shortcut + branch
