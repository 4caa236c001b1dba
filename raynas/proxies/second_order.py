"""Convolution and batch normalisation whose second derivative costs about what their first does.

Torch's own second derivatives take some thirty elementwise passes for batch normalisation, losing
the memory format, and for a convolution's weight another convolution with kernels as large as the
image. Value and first derivative are torch's kernels, bit for bit; by the bias (and the scale γ of
a normalisation) nothing is differentiated.

Convolution. The first derivative maps δ to x' = Wᵀδ and W' = x ⋆ δ. The derivatives of
⟨u, x'⟩ + ⟨U, W'⟩ are

    by δ:  W u + U x        by x:  Uᵀδ        by W:  u ⋆ δ

Batch normalisation. Per channel, with N values x, mean μ, s = 1 / √(variance + ε), x̂ = s (x - μ)
and the projection P(v) = v - mean(v) - x̂ · mean(v x̂), the first derivative maps v to w = γ s P(v).
As P is symmetric and ∂(Σ v x̂)/∂x = s P(v), the derivatives of ⟨u, w⟩ are

    by v:  h = γ s P(u)     by x:  -(s / N) · [Σ(u w) · x̂ + Σ(v x̂) · h + Σ(u x̂) · w]
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

_convolve = torch.ops.aten.convolution
_convolve_derivatives = torch.ops.aten.convolution_backward
_normalise_derivatives = torch.ops.aten.native_batch_norm_backward


def conv2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int | Sequence[int] = 1,
    padding: str | int | Sequence[int] = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
) -> Tensor:
    """Stand in for `torch.conv2d`, which is called where there is nothing to gain."""
    if isinstance(padding, str) or input.dim() != 4 or not _worthwhile(input, bias):
        return torch.conv2d(input, weight, bias, stride, padding, dilation, groups)
    shape = [_pair(stride), _pair(padding), _pair(dilation), False, [0, 0], groups]
    output: Tensor = _Convolution.apply(input, weight, _value(bias), shape)  # type: ignore[no-untyped-call]
    return output


def batch_norm(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Stand in for `F.batch_norm`, but for running statistics: nobody reads those of a proxy."""
    if not training or not _worthwhile(input, weight, bias):
        return F.batch_norm(input, running_mean, running_var, weight, bias, training, momentum, eps)
    output: Tensor = _BatchNorm.apply(  # type: ignore[no-untyped-call]
        input, _value(weight), _value(bias), eps
    )
    return output


TWICE_DIFFERENTIABLE: Mapping[Any, Callable[..., Tensor]] = {
    torch.conv2d: conv2d,
    F.batch_norm: batch_norm,
}
"""What takes the place of which function, with the same arguments."""


def _worthwhile(input: Tensor, *constants: Tensor | None) -> bool:
    """Tell whether ours may be used, and is known to be faster (it was measured on CPUs)."""
    return input.is_cpu and all(one is None or one.is_leaf for one in constants)


def _value(parameter: Tensor | None) -> Tensor | None:
    return None if parameter is None else parameter.detach()


def _pair(value: int | Sequence[int]) -> list[int]:
    return [value, value] if isinstance(value, int) else list(value)


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, shape: list[Any]) -> Any:
        ctx.save_for_backward(x, weight)
        ctx.shape = shape
        return _convolve(x, weight, bias, *shape)

    @staticmethod
    def backward(ctx: Any, delta: Tensor) -> Any:
        x, weight = ctx.saved_tensors
        wanted = ctx.needs_input_grad[:2]
        by_x, by_weight = _ConvolutionDerivatives.apply(  # type: ignore[no-untyped-call]
            delta, x, weight, ctx.shape, wanted
        )
        return by_x, by_weight, None, None


class _ConvolutionDerivatives(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, delta: Tensor, x: Tensor, weight: Tensor, shape: list[Any], wanted: list[bool]
    ) -> Any:
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(delta, x, weight)
        ctx.shape = shape
        return _convolve_derivatives(delta, x, weight, None, *shape, [*wanted, False])[:2]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, u: Tensor | None, u_weight: Tensor | None) -> Any:
        delta, x, weight = ctx.saved_tensors
        by_delta = by_x = by_weight = None
        if u is not None:
            by_delta = _convolve(u, weight, None, *ctx.shape)
            by_weight = _convolve_derivatives(
                delta, u, weight, None, *ctx.shape, [False, True, False]
            )[1]
        if u_weight is not None:
            more = _convolve(x, u_weight, None, *ctx.shape)
            by_delta = more if by_delta is None else by_delta.add_(more)
            by_x = _convolve_derivatives(
                delta, x, u_weight, None, *ctx.shape, [True, False, False]
            )[0]
        return by_delta, by_x, by_weight, None, None


class _BatchNorm(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float
    ) -> Tensor:
        output, mean, scale = torch.native_batch_norm(x, weight, bias, None, None, True, 0.0, eps)
        ctx.save_for_backward(x, weight, mean, scale)
        ctx.eps = eps
        return output

    @staticmethod
    def backward(ctx: Any, v: Tensor) -> Any:
        by_x = _BatchNormDerivative.apply(  # type: ignore[no-untyped-call]
            v, *ctx.saved_tensors, ctx.eps
        )
        return by_x, None, None, None


class _BatchNormDerivative(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        v: Tensor,
        x: Tensor,
        weight: Tensor | None,
        mean: Tensor,
        scale: Tensor,
        eps: float,
    ) -> Any:
        w, v_x = _projected(v, x, weight, mean, scale, eps)
        ctx.save_for_backward(x, weight, mean, scale, w, v_x)
        ctx.eps = eps
        return w

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, u: Tensor) -> Any:
        x, weight, mean, scale, w, v_x = ctx.saved_tensors
        h, u_x = _projected(u, x, weight, mean, scale, ctx.eps)
        channels = (slice(None), *[None] * (x.dim() - 2))
        factor = -scale * x.shape[1] / x.numel()
        along_x = factor * scale * (u * w).sum(dim=[0, *range(2, x.dim())])
        by_x = w * (factor * u_x)[channels]
        by_x.addcmul_(h, (factor * v_x)[channels])
        by_x.addcmul_(x, along_x[channels]).sub_((along_x * mean)[channels])
        return h, by_x, None, None, None, None


def _projected(
    v: Tensor, x: Tensor, weight: Tensor | None, mean: Tensor, scale: Tensor, eps: float
) -> tuple[Tensor, Tensor]:
    """Return γ s P(v) and Σ(v x̂) per channel."""
    projected, along, _ = _normalise_derivatives(
        v, x, weight, None, None, mean, scale, True, eps, [True, True, False]
    )
    return projected, along
