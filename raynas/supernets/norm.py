"""The batch norm of supernets: its output scaled at no cost, its statistics those of all workers.

Ioffe and Szegedy, "Batch Normalization", ICML 2015.
"""

from typing import Any, cast

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn


class Norm(nn.Module):
    """A batch norm on images `B x C x H x W`.

    In train mode it takes the statistics of the batch, in eval mode the running ones.

    Args:
        channels: C.
        affine: Whether it has a weight and a bias for each channel.
        eps: Added to the variance.
        momentum: Share of the batch in the new running statistics.

    Attributes:
        tracking: Whether the running statistics are updated in train mode.
        synchronised: Whether the batch is that of all workers of `torch.distributed`'s default
            group together; see `set_synchronised`.
    """

    def __init__(
        self, channels: int, *, affine: bool = True, eps: float = 1e-5, momentum: float = 0.1
    ) -> None:
        super().__init__()
        self.eps = eps
        self.momentum = momentum
        self.tracking = True
        self.synchronised = False
        self.weight = nn.Parameter(torch.ones(channels)) if affine else None
        self.bias = nn.Parameter(torch.zeros(channels)) if affine else None
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    def forward(self, images: Tensor, scale: Tensor | None = None) -> Tensor:
        """Return the normalised images.

        Args:
            images: `B x C x H x W`.
            scale: `C`, contiguous, what the output of a norm without parameters is multiplied by;
                None: 1.
        """
        assert scale is None or self.weight is None
        weight = self.weight if scale is None else scale
        if self.training and self.synchronised and dist.is_initialized():
            return self._joint(images, weight)
        tracked = self.tracking or not self.training
        output: Tensor = F.batch_norm(
            images,
            cast(Tensor, self.running_mean) if tracked else None,
            cast(Tensor, self.running_var) if tracked else None,
            weight,
            self.bias,
            self.training,
            self.momentum,
            self.eps,
        )
        return output

    def _joint(self, images: Tensor, weight: Tensor | None) -> Tensor:
        """Normalise by the statistics of all workers' images together."""
        batch, channels, height, width = images.shape
        own = images.new_full((1,), batch * height * width)
        total = _sum_over_workers(torch.cat([images.sum(dim=(0, 2, 3)), own]))
        mean, count = total[:channels] / total[channels], total[channels].detach()
        centred = images - mean[:, None, None]
        # The squares of differences, in a second message: their mean less the mean's square would
        # cancel digits.
        var = _sum_over_workers(centred.square().sum(dim=(0, 2, 3))) / count
        if self.tracking:
            self._track(mean.detach(), var.detach() * (count / (count - 1)))
        factor = torch.rsqrt(var + self.eps)
        if weight is not None:
            factor = factor * weight
        output = centred * factor[:, None, None]
        return output if self.bias is None else output + self.bias[:, None, None]

    @torch.no_grad()
    def _track(self, mean: Tensor, var: Tensor) -> None:
        cast(Tensor, self.running_mean).lerp_(mean, self.momentum)
        cast(Tensor, self.running_var).lerp_(var, self.momentum)

    def extra_repr(self) -> str:
        """Return what `repr` shows."""
        return f"{len(cast(Tensor, self.running_mean))}, affine={self.weight is not None}"


def set_synchronised(network: nn.Module, on: bool) -> None:
    """Say whether the norms take the statistics of all workers' images together.

    Then W workers compute on shares of a batch what one worker computes on all of it, gradients
    included, if each takes the loss ``sum over its images / number of images of the joint batch``
    and the gradients of all workers are **summed** (with equal shares that is the mean loss, and
    the mean of the gradients). All workers must run the same mixture.
    """
    for module in network.modules():
        if isinstance(module, Norm):
            module.synchronised = on


class _SumOverWorkers(torch.autograd.Function):
    """The sum of every worker's tensor; its gradient is the sum of every worker's gradient."""

    @staticmethod
    def forward(ctx: Any, own: Tensor) -> Tensor:
        total = own.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return _sum_over_workers(gradients[0])


def _sum_over_workers(own: Tensor) -> Tensor:
    return cast(Tensor, _SumOverWorkers.apply(own))  # type: ignore[no-untyped-call]
