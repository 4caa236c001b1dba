"""Zero-cost proxies: one shared trace against one pass per proxy, on NAS-Bench-201 networks.

Run: ``python tests/speed/proxies.py [--channels 16 --cells 5 --batch 64 --rounds 3]``.

Five lines per architecture: the six proxies that Abdelfattah et al. (ICLR 2021) compare, less
grasp; all of one forward pass and first derivatives; the whole set; grasp alone, whose second
derivatives are most of the whole set's cost; and ntk, which is left out of the whole set and has a
batch of its own (``--ntk-batch``), as its backward pass per image would hide all else.

Three ways, timed interleaved in one process (one thread, CPU time, median of paired ratios):

* shared: `ProxySuite` on the project's network;
* alone: each proxy from its formula, in a pass of its own on a fresh deep copy of the network;
* textbook: likewise, on a network with one module per edge that runs every edge (also those that
  lead nowhere), each convolution with a ReLU of its own, NCHW.

Before anything is timed, the scores of all three are shown to be equal (float64, small network).
"""

import argparse
import copy
import functools
import math
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any
from unittest import mock

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from raynas.proxies.score import ProxySuite
from raynas.spaces.nasbench201 import EDGES, NasBench201
from raynas.spaces.space import TaskShape

Scores = dict[str, float]
SIX = ("snip", "grad_norm", "jacob_cov", "synflow", "fisher", "plain")
FIRST = (*SIX, "naswot", "linear_regions", "synflow_bn", "depth")
COUNTS = ("params", "flops", "l2_norm")
WHOLE = (*FIRST, *COUNTS, "grasp")
GROUPS = {
    "published six": SIX,
    "first order": FIRST,
    "whole set": WHOLE,
    "grasp": ("grasp",),
    "ntk": ("ntk",),
}


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


def codes(network: nn.Module, images: Tensor) -> list[Tensor]:
    """Hears ``F.relu``; ReLUs of one tensor count once, those no image moves not at all."""
    seen: list[tuple[Tensor, Tensor]] = []
    relu = F.relu

    def hear(x: Tensor, inplace: bool = False) -> Tensor:
        y = relu(x)
        if x.requires_grad:
            seen.append((x, y))
        return y

    with mock.patch.object(F, "relu", hear):
        logits = network(images)
    grads = torch.autograd.grad(logits.sum(), [y for _, y in seen], allow_unused=True)
    inputs = {id(x): x for (x, _), grad in zip(seen, grads, strict=True) if grad is not None}
    return [(x.detach() > 0).flatten(1) for x in inputs.values()]


def naswot(network: nn.Module, images: Tensor, labels: Tensor) -> float:
    kernel = np.zeros((len(images), len(images)))
    for code in (code.float() for code in codes(network, images)):
        part = code @ code.T + (1 - code) @ (1 - code).T
        kernel += part.double().numpy() if bool((part != part[0, 0]).any()) else 0
    return float(np.linalg.slogdet(kernel)[1])


def linear_regions(network: nn.Module, images: Tensor, labels: Tensor) -> float:
    packed = [np.packbits(code.numpy(), axis=1) for code in codes(network, images)]
    return float(len(np.unique(np.concatenate(packed, axis=1), axis=0)))


def grasp(network: nn.Module, images: Tensor, labels: Tensor) -> float:
    weights = [layer.weight for layer in layers(network)]
    loss = F.cross_entropy(network(images), labels)
    grads = torch.autograd.grad(loss, weights, create_graph=True, allow_unused=True)
    sum((grad.detach() * grad).sum() for grad in grads if grad is not None).backward()
    used = [weight for weight in weights if weight.grad is not None]
    return sum(float((-weight * weight.grad).sum().detach()) for weight in used)


def ntk(network: nn.Module, images: Tensor, labels: Tensor) -> float:
    logits, rows = network(images), []
    for image in range(len(images)):
        network.zero_grad()
        logits[image].sum().backward(retain_graph=True)
        used = [m.weight for m in layers(network) if m.weight.grad is not None]
        rows.append(torch.cat([weight.grad.flatten() for weight in used]).double().numpy())
    eigenvalues = np.linalg.eigvalsh(np.stack(rows) @ np.stack(rows).T)
    return -math.log(eigenvalues[-1] / eigenvalues[0])


def depth(network: nn.Module, images: Tensor, labels: Tensor) -> float:
    images = images.clone().requires_grad_()

    @functools.cache
    def longest(node: Any) -> float:
        """Layers between the images and what `node` computes, -inf if they do not reach it."""
        if getattr(node, "variable", None) is images:
            return 0.0
        before = max((longest(n) for n, _ in node.next_functions if n), default=-math.inf)
        return before + (node.name() in ("ConvolutionBackward0", "AddmmBackward0"))

    return longest(network(images).grad_fn)


def called(network: nn.Module, images: Tensor) -> list[tuple[nn.Module, int]]:
    """Each layer that one image passes through, and the size of what it puts out."""
    seen: list[tuple[nn.Module, int]] = []
    for layer in layers(network):
        layer.register_forward_hook(lambda m, inputs, out: seen.append((m, out.numel())))
    with torch.no_grad():
        network(images[:1])
    return seen


def params(network: nn.Module, images: Tensor, labels: Tensor) -> float:
    return float(sum(parameter.numel() for parameter in network.parameters()))


def flops(network: nn.Module, images: Tensor, labels: Tensor) -> float:
    return float(sum(size * m.weight[0].numel() for m, size in called(network, images)))


def l2_norm(network: nn.Module, images: Tensor, labels: Tensor) -> float:
    return sum(float(m.weight.detach().norm()) for m, _ in called(network, images))


def synflow(network: nn.Module, images: Tensor, labels: Tensor) -> float:
    for module in network.modules():
        for name, child in module.named_children():
            if isinstance(child, nn.BatchNorm2d):
                setattr(module, name, nn.Identity())
    return synflow_bn(network, images, labels)


def synflow_bn(network: nn.Module, images: Tensor, labels: Tensor) -> float:
    network = network.double()
    for parameter in network.parameters():
        parameter.data.abs_()
    network(torch.ones_like(images[:1], dtype=torch.float64)).sum().backward()
    used = [m for m in layers(network) if m.weight.grad is not None]
    return math.log(sum(float((m.weight * m.weight.grad).abs().sum().detach()) for m in used))


FUNCTIONS: tuple[Callable[[nn.Module, Tensor, Tensor], float], ...] = (
    *(snip, grad_norm, jacob_cov, naswot, synflow, fisher, plain),
    *(grasp, synflow_bn, linear_regions, depth, ntk, params, flops, l2_norm),
)
ALONE = {function.__name__: function for function in FUNCTIONS}


def one_by_one(names: Sequence[str], network: nn.Module, images: Tensor, labels: Tensor) -> Scores:
    return {name: ALONE[name](copy.deepcopy(network), images, labels) for name in names}


# -- one module per edge -----------------------------------------------------------------------


class TextbookCell(nn.Module):
    """Runs every edge by itself; takes the parameters of the project's cell."""

    def __init__(self, ops: tuple[str, ...], convs: nn.ModuleDict) -> None:
        super().__init__()
        self.ops = ops
        self.convs = copy.deepcopy(convs)

    def forward(self, images: Tensor) -> Tensor:
        nodes = [images]
        for target in (1, 2, 3):
            terms = [
                self.run_edge(op, nodes[source], f"{source}_{target}")
                for op, (source, end) in zip(self.ops, EDGES, strict=True)
                if end == target
            ]
            nodes.append(sum(terms[1:], terms[0]))
        return nodes[3]

    def run_edge(self, op: str, x: Tensor, name: str) -> Tensor:
        if op == "none":
            return torch.zeros_like(x)
        if op == "avg_pool_3x3":
            return F.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False)
        return x if op == "skip_connect" else self.convs[name](F.relu(x))


class TextbookNetwork(nn.Module):
    """The same function as the project's network, NCHW."""

    def __init__(self, network: nn.Module, ops: tuple[str, ...]) -> None:
        super().__init__()
        net = copy.deepcopy(network)
        blocks = [TextbookCell(ops, b.convs) if hasattr(b, "convs") else b for b in net.body]
        self.body = nn.Sequential(net.stem, *blocks, net.norm)
        self.classifier = net.classifier
        self.to(memory_format=torch.contiguous_format)

    def forward(self, images: Tensor) -> Tensor:
        return self.classifier(F.relu(self.body(images)).mean(dim=(2, 3)))


# -- measuring ---------------------------------------------------------------------------------


def random_batch(size: int, image_size: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(size, 3, image_size, image_size, generator=generator, dtype=dtype)
    return images, torch.randint(10, (size,), generator=generator)


def networks(space: NasBench201, text: str, image_size: int) -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(0)
    architecture = space.parse(text)
    network = space.build(architecture, TaskShape(3, image_size, 10))
    return network, TextbookNetwork(network, space.ops(architecture))


def assert_equal_scores(texts: list[str]) -> None:
    """Raise unless all three ways agree to 1e-6 in float64 on every architecture.

    Counts of the textbook network include the edges that lead nowhere, so they are not compared.
    """
    space, batch = NasBench201(channels=4, cells_per_stage=1), random_batch(12, 16, torch.float64)
    names = (*WHOLE, "ntk")
    for text in texts:
        network, textbook = (net.double() for net in networks(space, text, 16))
        shared = ProxySuite(names).score(network, *batch)
        for way, other in (("alone", network), ("textbook", textbook)):
            compared = [n for n in names if way == "alone" or n not in COUNTS]
            for name, score in one_by_one(compared, other, *batch).items():
                same = math.isclose(score, shared[name], rel_tol=1e-6)
                assert same, f"{name} {way} {text}: {score} != {shared[name]}"


def cpu_s(run: Callable[[], Scores]) -> float:
    start = time.process_time()
    run()
    return time.process_time() - start


Ratios = tuple[float, float]
"""Of the time alone, and on the textbook network, to the shared time."""


def measure(
    names: Sequence[str], both: tuple[nn.Module, nn.Module], batch: int, rounds: int
) -> tuple[Ratios, str]:
    """Return the median ratios, and a line that tells them with their spread."""
    network, textbook = both
    images, labels = random_batch(batch, 32, torch.float32)
    suite = ProxySuite(names)
    ways = (
        lambda: suite.score(network, images, labels),
        lambda: one_by_one(names, network, images, labels),
        lambda: one_by_one(names, textbook, images, labels),
    )
    times = [[cpu_s(way) for way in ways] for _ in range(rounds + 1)][1:]
    shared, alone, book = (statistics.median(column) * 1e3 for column in zip(*times, strict=True))
    to_alone, to_book = ([row[way] / row[0] for row in times] for way in (1, 2))
    text = (
        f"shared {shared:.0f} ms, alone {alone:.0f}, textbook {book:.0f}; "
        f"ratio to alone {spread(to_alone)}, to textbook {spread(to_book)}"
    )
    return (statistics.median(to_alone), statistics.median(to_book)), text


def spread(ratios: Sequence[float]) -> str:
    return f"x{statistics.median(ratios):.1f} ({min(ratios):.1f} to {max(ratios):.1f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for option, default in (("channels", 16), ("cells", 5), ("batch", 64), ("rounds", 3)):
        parser.add_argument(f"--{option}", type=int, default=default)
    parser.add_argument("--architectures", type=int, default=6)
    parser.add_argument("--ntk-batch", type=int, default=8)
    options = parser.parse_args()
    torch.set_num_threads(1)

    space = NasBench201(channels=options.channels, cells_per_stage=options.cells)
    rng = np.random.default_rng(0)
    sampled = [space.sample(rng) for _ in range(4 * options.architectures)]
    alive = [a.text for a in sampled if not space.is_dead(a)]
    texts = ["|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|"
             "+|nor_conv_3x3~0|nor_conv_3x3~1|nor_conv_3x3~2|", *alive]  # fmt: skip
    assert_equal_scores(texts)
    print(f"{len(ALONE)} proxies; scores equal on {len(texts)} architectures (float64, 1e-6)")
    ratios: dict[str, list[Ratios]] = {group: [] for group in GROUPS}
    for text in texts[: options.architectures]:
        print(text)
        both = networks(space, text, 32)
        for group, names in GROUPS.items():
            size = options.ntk_batch if group == "ntk" else options.batch
            found, line = measure(names, both, size, options.rounds)
            ratios[group].append(found)
            print(f"  {group}: {line}", flush=True)
    print(f"medians over {min(len(texts), options.architectures)} architectures:")
    for group, found in ratios.items():
        to_alone, to_book = zip(*found, strict=True)
        print(
            f"  {group} ({len(GROUPS[group])}): {spread(to_alone)} of one pass per proxy on the "
            f"same network, {spread(to_book)} of that on the textbook network"
        )


if __name__ == "__main__":
    main()
