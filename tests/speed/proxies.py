"""Zero-cost proxies: one shared trace against one pass per proxy, on NAS-Bench-201 networks.

Run: ``python tests/speed/proxies.py [--channels 16 --cells 5 --batch 64 --rounds 3]``.

Three ways, timed interleaved in one process (one thread, CPU time, median of paired ratios):

* shared: `ProxySuite` on the project's network;
* alone: each proxy from its formula, in a pass of its own on a fresh deep copy of the network;
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
from raynas.spaces.nasbench201 import EDGES, NasBench201
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
    kernel = np.zeros((len(images), len(images)))
    for x in inputs.values():
        code = (x.detach() > 0).flatten(1).float()
        part = code @ code.T + (1 - code) @ (1 - code).T
        kernel += part.double().numpy() if bool((part != part[0, 0]).any()) else 0
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
    """Raise unless all three ways agree to 1e-6 in float64 on every architecture."""
    space, batch = NasBench201(channels=4, cells_per_stage=1), random_batch(12, 16, torch.float64)
    for text in texts:
        network, textbook = (net.double() for net in networks(space, text, 16))
        shared = ProxySuite(NAMES).score(network, *batch)
        for way, other in (("alone", network), ("textbook", textbook)):
            for name, score in one_by_one(other, *batch).items():
                same = math.isclose(score, shared[name], rel_tol=1e-6)
                assert same, f"{name} {way} {text}: {score} != {shared[name]}"


def cpu_s(run: Callable[[], Scores]) -> float:
    start = time.process_time()
    run()
    return time.process_time() - start


def measure(space: NasBench201, text: str, batch_size: int, rounds: int) -> tuple[float, float]:
    network, textbook = networks(space, text, 32)
    images, labels = random_batch(batch_size, 32, torch.float32)
    suite = ProxySuite(NAMES)
    times = []
    for _ in range(rounds + 1):
        times.append(
            (
                cpu_s(lambda: suite.score(network, images, labels)),
                cpu_s(lambda: one_by_one(network, images, labels)),
                cpu_s(lambda: one_by_one(textbook, images, labels)),
            )
        )
    shared, alone, book = (statistics.median(column) for column in zip(*times[1:], strict=True))
    to_alone = [a / s for s, a, _ in times[1:]]
    to_book = [b / s for s, _, b in times[1:]]
    print(f"{text}\n  shared {shared * 1e3:.0f} ms, alone {alone * 1e3:.0f}, ", end="")
    print(f"textbook {book * 1e3:.0f}; ratio", end=" ")
    print(f"to alone {spread(to_alone)}, to textbook {spread(to_book)}", flush=True)
    return statistics.median(to_alone), statistics.median(to_book)


def spread(ratios: list[float]) -> str:
    return f"x{statistics.median(ratios):.1f} ({min(ratios):.1f} to {max(ratios):.1f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for option, default in (("channels", 16), ("cells", 5), ("batch", 64), ("rounds", 3)):
        parser.add_argument(f"--{option}", type=int, default=default)
    parser.add_argument("--architectures", type=int, default=6)
    options = parser.parse_args()
    torch.set_num_threads(1)

    space = NasBench201(channels=options.channels, cells_per_stage=options.cells)
    rng = np.random.default_rng(0)
    sampled = [space.sample(rng) for _ in range(4 * options.architectures)]
    alive = [a.text for a in sampled if not space.is_dead(a)]
    texts = ["|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|"
             "+|nor_conv_3x3~0|nor_conv_3x3~1|nor_conv_3x3~2|", *alive]  # fmt: skip
    assert_equal_scores(texts)
    print(f"{len(NAMES)} proxies; scores equal on {len(texts)} architectures (float64, 1e-6)")
    ratios = [
        measure(space, text, options.batch, options.rounds)
        for text in texts[: options.architectures]
    ]
    to_alone, to_book = zip(*ratios, strict=True)
    print(
        f"over {len(ratios)} architectures: {spread(list(to_alone))} of one pass per proxy on the "
        f"same network, {spread(list(to_book))} of that on the textbook network"
    )


if __name__ == "__main__":
    main()
