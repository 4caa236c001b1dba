"""The ops of supernets of NAS-Bench-201 and of a user's cells; those of DARTS are in `networks`."""

from collections.abc import Callable

from torch import Tensor, nn

from raynas.networks.darts_operations import Identity, Noise, NormedOperation, Operation, Pool, Zero
from raynas.spaces.cell import NONE
from raynas.spaces.darts_ops import NOISE
from raynas.supernets.norm import Norm


class NormedConv(NormedOperation):
    """`nor_conv`: a convolution on the ReLU of its source, then a norm without parameters.

    Args:
        channels: Channels that come in and go out.
        kernel: Side of the kernel, odd.
    """

    on_rectified = True

    def __init__(self, channels: int, kernel: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, kernel, padding=kernel // 2, bias=False)
        self.norm = Norm(channels, affine=False)

    def features(self, images: Tensor) -> Tensor:
        """Return `B x C x H x W`."""
        output: Tensor = self.conv(images)
        return output


class UserOperation(Operation):
    """A user's own module.

    Args:
        module: Keeps the shape of its input; its batch norms become `Norm`.
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = with_our_norms(module)

    def forward(self, images: Tensor) -> Tensor:
        """Return what the module makes of the images."""
        output: Tensor = self.module(images)
        return output


BUILT_IN: dict[str, Callable[[int], Operation]] = {
    NONE: lambda channels: Zero(),
    NOISE: lambda channels: Noise(),
    "skip_connect": lambda channels: Identity(),
    "nor_conv_1x1": lambda channels: NormedConv(channels, 1),
    "nor_conv_3x3": lambda channels: NormedConv(channels, 3),
    "avg_pool_3x3": lambda channels: Pool("avg"),
    "max_pool_3x3": lambda channels: Pool("max"),
}
"""The built-in ops of cell spaces and of NAS-Bench-201."""


def with_our_norms(module: nn.Module) -> nn.Module:
    """Return the module with every `nn.BatchNorm2d` in it turned into a `Norm` of equal values.

    Left alone are subclasses of it, and norms without running statistics or with cumulative ones.
    """
    if type(module) is nn.BatchNorm2d and module.track_running_stats and module.momentum:
        norm = Norm(
            module.num_features, affine=module.affine, eps=module.eps, momentum=module.momentum
        )
        state = module.state_dict()
        del state["num_batches_tracked"]
        norm.to(state["running_mean"]).load_state_dict(state)
        return norm.train(module.training)
    for name, child in module.named_children():
        setattr(module, name, with_our_norms(child))
    return module
