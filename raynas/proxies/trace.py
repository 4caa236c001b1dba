"""One forward pass and what is differentiated from it: all that the traced proxies read.

Each of them alone costs a forward and a backward pass, and most read the same numbers. The forward
pass is shared by all; one call of autograd gives the gradients of the loss (weights, and layer
outputs as they pass by), a second differentiates those once more where somebody wants curvature, a
third gives the gradient of the images alone. Only the tangent kernel needs one for each image.

A network is *dead* if its logits are the same for every image of the batch: no path leads from the
images to the logits, or nothing comes through. Its traced score is `WORST` whatever the formula
would say, so a score never depends on which other proxies were asked for.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Flag, auto
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.graph import Node, get_gradient_edge
from torch.overrides import TorchFunctionMode

from raynas.networks.seeding import seeded
from raynas.proxies.paths import between, longest
from raynas.proxies.proxy import WORST, finite
from raynas.proxies.second_order import TWICE_DIFFERENTIABLE
from raynas.proxies.untouched import (
    CONVOLUTIONS,
    LINEAR,
    RELUS,
    argument,
    run_untouched,
)

_SAME_LOGITS = 1e-6
"""Spread over the batch, relative to the largest logit, below which logits count as constant:
float32 rounding, as equal rows of a matrix product need not come out equal to the bit."""

_COLUMNS_AT_ONCE = 2**16  # bounds the memory of gradients in float64


class Need(Flag):
    """What a traced proxy reads beyond the forward pass."""

    NOTHING = 0
    WEIGHT_GRADS = auto()
    CHANNEL_SALIENCY = auto()
    INPUT_GRADS = auto()
    CODES = auto()
    CURVATURE = auto()
    TANGENT_KERNEL = auto()


_OF_THE_LOSS = Need.WEIGHT_GRADS | Need.CHANNEL_SALIENCY | Need.CURVATURE


@dataclass(slots=True)
class Trace:
    """What the passes over one network and batch of B images told.

    Attributes:
        alive: Whether the logits tell images apart.
        flops: Multiply-accumulates of convolutions and linear layers for one image (the field
            calls them FLOPs).
        depth: The most convolutions and linear layers on one path from the images to the logits.
        weights: Weights of every convolution and linear layer called, each once.
        weight_grads: Gradient of the mean cross-entropy with respect to each weight (zero if
            the loss does not depend on it). Need.WEIGHT_GRADS.
        channel_saliency: A scalar per layer call: Σ over its output channels c of
            Δ_c · (weights of c), with Δ_c as in `gradient.fisher`. Need.CHANNEL_SALIENCY.
        input_grad: `B x …`, gradient of the sum of all logits. Need.INPUT_GRADS.
        agreement: `B x B` float64, number of ReLUs' units on which two images agree to be on or
            off, over ReLUs on a path from the images to the logits. Need.CODES.
        hessian_grads: H g for each weight, where g stacks all of `weight_grads` and H is the
            second derivative of the same loss. Need.CURVATURE.
        tangent_kernel: `B x B` float64, inner products of the gradients with respect to all
            weights of each image's sum of logits, through the batch's statistics. A backward pass
            for each image. Need.TANGENT_KERNEL.
    """

    alive: bool
    flops: float
    depth: int
    weights: list[Tensor]
    weight_grads: list[Tensor] = field(default_factory=list)
    channel_saliency: list[Tensor] = field(default_factory=list)
    input_grad: Tensor | None = None
    agreement: Tensor | None = None
    hessian_grads: list[Tensor] = field(default_factory=list)
    tangent_kernel: Tensor | None = None


@dataclass(frozen=True, slots=True)
class TracedProxy:
    """A proxy that is read off a `Trace`; called by itself it makes its own.

    Attributes:
        read: The formula.
        needs: What it reads.
        counts_dead: Whether the formula also holds for dead networks.
    """

    read: Callable[[Trace], float]
    needs: Need = Need.NOTHING
    counts_dead: bool = False

    def __call__(self, network: nn.Module, images: Tensor, labels: Tensor) -> float:
        """Return the score (see `Proxy`), from passes of its own."""
        return self.score(trace(network, images, labels, self.needs))

    def score(self, trace: Trace) -> float:
        """Return the score, finite or `WORST`."""
        if not trace.alive and not self.counts_dead:
            return WORST
        return finite(self.read(trace))


@torch.enable_grad()
def trace(network: nn.Module, images: Tensor, labels: Tensor, needs: Need) -> Trace:
    """Run the passes that `needs` asks for, in train mode, leaving the network as it was.

    Args:
        network: Images to logits `B x classes`.
        images: `B x C x H x W`, at least two.
        labels: `B` int64 classes.
        needs: Which optional parts of the trace to fill.
    """
    leaf = images.detach().clone().requires_grad_()
    recorder = _Recorder(needs, len(images))
    with seeded(0, images.device), recorder:
        logits = run_untouched(network, leaf, training=True)
    on_path = between(leaf, logits)
    result = Trace(
        alive=bool(on_path) and _differ(logits.detach()),
        flops=recorder.flops,
        depth=longest(logits, on_path, recorder.layers) if on_path else 0,
        weights=list(recorder.weights.values()),
    )
    if Need.CODES in needs:
        result.agreement = recorder.agreement(on_path)
    if result.alive:
        _differentiate(result, recorder, logits, labels, leaf, needs)
    return result


def _differentiate(
    result: Trace, recorder: "_Recorder", logits: Tensor, labels: Tensor, leaf: Tensor, needs: Need
) -> None:
    curvature = Need.CURVATURE in needs
    later = bool(needs & (Need.INPUT_GRADS | Need.TANGENT_KERNEL))
    if needs & _OF_THE_LOSS and result.weights:
        loss = F.cross_entropy(logits, labels)
        grads = torch.autograd.grad(
            loss,
            result.weights,
            retain_graph=later or curvature,
            create_graph=curvature,
            materialize_grads=True,
        )
        result.weight_grads = [grad.detach() for grad in grads]
        result.channel_saliency = recorder.saliency
    recorder.remove_hooks()
    if curvature and result.weights:
        result.hessian_grads = _hessian_grads(grads, result.weights, retain_graph=later)
    kernel = Need.TANGENT_KERNEL in needs
    if Need.INPUT_GRADS in needs:
        (result.input_grad,) = torch.autograd.grad(logits.sum(), leaf, retain_graph=kernel)
    if kernel:
        result.tangent_kernel = _tangent_kernel(logits, result.weights)


def _hessian_grads(
    grads: Sequence[Tensor], weights: list[Tensor], retain_graph: bool
) -> list[Tensor]:
    """Return H g by differentiating ⟨g, grads⟩, where g is the value of grads."""
    curved = [grad for grad in grads if grad.requires_grad]
    if not curved:
        return [torch.zeros_like(weight) for weight in weights]
    values = [grad.detach() for grad in curved]
    return list(
        torch.autograd.grad(
            curved, weights, values, retain_graph=retain_graph, materialize_grads=True
        )
    )


def _tangent_kernel(logits: Tensor, weights: list[Tensor]) -> Tensor:
    size = len(logits)
    kernel = torch.zeros(size, size, dtype=torch.float64, device=logits.device)
    if not weights:
        return kernel
    rows = torch.stack([_flat_grads(one.sum(), weights) for one in logits])
    for part in torch.split(rows, _COLUMNS_AT_ONCE, dim=1):
        columns = part.double()  # rounding of float32 would hide all but the largest eigenvalues
        kernel += columns @ columns.T
    return kernel


def _flat_grads(value: Tensor, weights: list[Tensor]) -> Tensor:
    grads = torch.autograd.grad(value, weights, retain_graph=True, materialize_grads=True)
    return torch.cat([grad.reshape(-1) for grad in grads])


class _Recorder(TorchFunctionMode):
    """Hears the calls of a forward pass."""

    def __init__(self, needs: Need, batch_size: int) -> None:
        super().__init__()
        self.weights: dict[int, Tensor] = {}
        self.layers: set[Node] = set()
        self.flops = 0.0
        self.saliency: list[Tensor] = []
        self._batch_size = batch_size
        self._wants_codes = Need.CODES in needs
        self._wants_saliency = Need.CHANNEL_SALIENCY in needs
        self._wants_curvature = Need.CURVATURE in needs
        self._hooks: list[torch.utils.hooks.RemovableHandle] = []
        self._codes: dict[tuple[Node, int], tuple[list[Node], Tensor, int]] = {}

    def __torch_function__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if func in RELUS and self._wants_codes:
            return self._relu(func, args, kwargs)
        stand_in = TWICE_DIFFERENTIABLE.get(func) if self._wants_curvature else None
        output = (stand_in or func)(*args, **kwargs)
        if func in CONVOLUTIONS:
            self._layer(argument(args, kwargs, 1, "weight"), output, channel_axis=1)
        elif func in LINEAR:
            self._layer(argument(args, kwargs, 1, "weight"), output, channel_axis=-1)
        return output

    def _layer(self, weight: Tensor, output: Tensor, channel_axis: int) -> None:
        weights_per_channel = weight.numel() // len(weight)
        self.flops += output.numel() * weights_per_channel / self._batch_size
        if output.requires_grad:
            self.layers.add(get_gradient_edge(output).node)
        if not weight.requires_grad:
            return
        self.weights[id(weight)] = weight
        if self._wants_saliency:
            activation = output.detach()

            def note(grads: tuple[Tensor | None, ...]) -> None:
                if grads[0] is not None:
                    delta = _saliency(activation, grads[0].detach(), channel_axis)
                    self.saliency.append(delta * weights_per_channel)

            # On the node, not on the tensor: a ReLU may overwrite the tensor in place.
            self._hooks.append(get_gradient_edge(output).node.register_prehook(note))

    def _relu(self, func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        source = argument(args, kwargs, 0, "input")
        if not source.requires_grad or len(source) != self._batch_size:
            return func(*args, **kwargs)  # the images do not reach it
        edge = get_gradient_edge(source)
        output = func(*args, **kwargs)
        # A ReLU repeated on the same tensor counts once: sharing it must not change the score.
        key = (edge.node, edge.output_nr)
        if key not in self._codes:
            self._codes[key] = ([], *_common_ones(output.detach()))
        self._codes[key][0].append(get_gradient_edge(output).node)
        return output

    def agreement(self, on_path: set[Node]) -> Tensor | None:
        """Return the agreement of codes (see `Trace`) over ReLUs in `on_path`, None if none is."""
        counted = [
            (ones, units)
            for nodes, ones, units in self._codes.values()
            if not on_path.isdisjoint(nodes)
        ]
        if not counted:
            return None
        common = torch.stack([ones for ones, _ in counted]).double().sum(dim=0)
        on = common.diagonal()
        # both on: c·c', both off: U - |c| - |c'| + c·c'
        return 2 * common - on[:, None] - on + sum(units for _, units in counted)

    def remove_hooks(self) -> None:
        """Stop noting saliencies."""
        for hook in self._hooks:
            hook.remove()


def _saliency(activation: Tensor, grad: Tensor, channel_axis: int) -> Tensor:
    """Return Σ_c Δ_c of one layer call (float32 scalar)."""
    product = (activation * grad).movedim(channel_axis, 1)
    per_image = product.flatten(2).sum(dim=2) if product.dim() > 2 else product
    return per_image.square().mean(dim=0).sum() / 2


def _common_ones(output: Tensor) -> tuple[Tensor, int]:
    """Return `B x B` counts of units that are on for both images, and the number of units."""
    if output.dim() == 4 and not output.is_contiguous():
        output = output.permute(0, 2, 3, 1)  # channels_last: a view; the units' order is no matter
    code = output.sign().flatten(1).float()
    return code @ code.T, code.shape[1]


def _differ(logits: Tensor) -> bool:
    spread = logits.amax(dim=0) - logits.amin(dim=0)
    return bool(spread.max() > _SAME_LOGITS * logits.abs().max())
