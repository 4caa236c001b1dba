"""Zero-cost proxies: one shared trace against one pass per proxy, on NAS-Bench-201 networks.

Run: ``python tests/speed/proxies.py [--channels 16 --cells 5 --batch 64 --rounds 5]``.

Three ways, timed interleaved in one process (one thread, CPU time, median of paired ratios):

* shared: `ProxySuite` on the project's network;
* alone: each proxy from its formula, with a pass of its own on a fresh deep copy of the same network;
* textbook: likewise, on a network with one module per edge that runs every edge (also those that
  lead nowhere), each convolution with a ReLU of its own, NCHW.

Before anything is timed, the scores of all three are shown to be equal (float64, small network).
"""

import argparse
import copy
import math
import statistics
import time
from collections.abc import Callable
from unittest import mock

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from raynas.proxies.score import ProxySuite
from raynas.spaces.nasbench201 import NasBench201
from raynas.spaces.space import TaskShape

Scores = dict[str, float]
NAMES = ("snip", "grad_norm", "jacob_cov", "naswot", "synflow", "fisher", "plain")


# -- each proxy alone, from its formula --------------------------------------------------------


def layers(network: nn.Module) -> list[nn.Conv2d | nn.Linear]:
    return [m for m in network.modules() if isinstance(m, nn.Conv2d | nn.Linear)]


def trained_layers(network: nn.Module, images: Tensor, labels: Tensor) -> list[nn.Module]:
    F.cross_entropy(network(images), labels).backward()
    return [layer for layer in layers(network) if layer.weight.grad is not None]


def snip(network: nn.Module, images: Tensor, labels: Tensor) -> float:
    used = trained_layers(network, images, labels)
    return sum(float((m.weight * m.weight.grad).abs().sum().detach()) for m in used)


def plain(network: nn.Module, images: Tensor, labels: Tensor) -> float:
    used = trained_layers(network, images, labels)
    return sum(float((m.weight * m.weight.grad).sum().detach()) for m in used)


def grad_norm(network: nn.Module, images: Tensor, labels: Tensor) -> float:
    return sum(float(m.weight.grad.norm()) for m in trained_layers(network, images, labels))


def fisher(network: nn.Module, images: Tensor, labels: Tensor) -> float:
    outputs: list[tuple[nn.Module, Tensor]] = []

    def keep(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        output.retain_grad()
        outputs.append((module, output))

    for layer in layers(network):
        layer.register_forward_hook(keep)
    F.cross_entropy(network(images), labels).backward()
    total = 0.0
    for layer, output in outputs:
        if output.grad is not None:
            per_image = (output.detach() * output.grad).flatten(2 if output.dim() > 2 else 1)
            per_image = per_image.sum(dim=2) if per_image.dim() > 2 else per_image
            delta = per_image.square().mean(dim=0) / 2
            total += float(delta.sum()) * layer.weight[0].numel()
    return total


def jacob_cov(network: nn.Module, images: Tensor, labels: Tensor) -> float:
    images = images.clone().requires_grad_()
    logits = network(images)
    logits.backward(torch.ones_like(logits))
    correlation = np.corrcoef(images.grad.flatten(1).double().numpy())
    values = np.linalg.eigvalsh(correlation) + 1e-5
    return -float(np.sum(np.log(values) + 1 / values))


def naswot(network: nn.Module, images: Tensor, labels: Tensor) -> float:
    """Hears ``F.relu``; a ReLU on the same tensor as another, or on a constant, is left out."""
    seen: dict[int, Tensor] = {}
    kernel = np.zeros((len(images), len(images)))
    relu = F.relu

    def hear(x: Tensor, inplace: bool = False) -> Tensor:
        if id(x) not in seen and bool((x > 0).any(dim=0).ne((x > 0).all(dim=0)).any()):
            seen[id(x)] = x
        return relu(x)

    with mock.patch.object(F, "relu", hear):
        logits = network(images)
    inputs = list(seen.values())
    grads = torch.autograd.grad(logits.sum(), inputs, allow_unused=True)
    for x, grad in zip(inputs, grads, strict=True):
        if grad is not None:
            code = (x.detach() > 0).flatten(1).float()
            kernel += (code @ code.T + (1 - code) @ (1 - code).T).double().numpy()
    return float(np.linalg.slogdet(kernel)[1])


def synflow(network: nn.Module, images: Tensor, labels: Tensor) -> float:
    network = network.double()
    for module in network.modules():
        for name, child in module.named_children():
            if isinstance(child, nn.BatchNorm2d):
                setattr(module, name, nn.Identity())
    for parameter in network.parameters():
        parameter.data.abs_()
    network(torch.ones_like(images[:1], dtype=torch.float64)).sum().backward()
    used = [m for m in layers(network) if m.weight.grad is not None]
    return math.log(sum(float((m.weight * m.weight.grad).sum().detach()) for m in used))


ALONE = (snip, grad_norm, jacob_cov, naswot, synflow, fisher, plain)


def one_by_one(network: nn.Module, images: Tensor, labels: Tensor) -> Scores:
    return {f.__name__: f(copy.deepcopy(network), images, labels) for f in ALONE}
