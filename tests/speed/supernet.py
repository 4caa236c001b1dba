"""One step of first-order DARTS: fused supernets against one module for each op of each edge.

Run: ``python tests/speed/supernet.py [--published] [--rounds 5] [--spaces s2 darts]``.

The textbook (`tests/textbook/supernet.py`) runs NCHW, adds up ``w · op(x)``, and back-propagates
both steps into all parameters. First the two are shown to compute the same (float64: logits, the
gradients of α, of all weights); then they are timed, interleaved in one process (one thread, CPU
time, median of paired ratios). What needs no clock is counted: bytes kept for the backward pass of
an image, and calls into torch. ``--published`` takes the papers' sizes (C = 16; NAS-Bench-201 with
5 cells a stage, DARTS with 8) instead of small ones; batches are 8 and 4 images.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from raynas.networks.seeding import seeded
from raynas.spaces.darts import DartsSpace, S2Space
from raynas.spaces.mixture import MixableSpace
from raynas.spaces.nasbench201 import NasBench201
from raynas.spaces.space import TaskShape
from raynas.supernets.build import build_supernet
from raynas.supernets.decisions import Decisions
from raynas.supernets.mixture import Mixture

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from textbook.counting import saved_bytes, torch_calls
from textbook.supernet import copy_weights, parameter_pairs, textbook_of

TASK = TaskShape(in_channels=3, image_size=32, num_classes=10)
BATCH = {"nasbench201": 8, "darts": 4, "s2": 8}


def spaces(published: bool) -> dict[str, MixableSpace]:
    """The three spaces, at the papers' sizes or at small ones."""
    if published:
        return {"nasbench201": NasBench201(), "darts": DartsSpace(), "s2": S2Space()}
    return {
        "nasbench201": NasBench201(channels=8, cells_per_stage=1),
        "darts": DartsSpace(channels=8, layers=5),
        "s2": S2Space(channels=8, layers=5),
    }


class Side:
    """A supernet with its α and optimisers, and one step of each."""

    def __init__(self, network: nn.Module, alpha: list[Tensor]) -> None:
        self.network = network
        self.weights = list(network.parameters())
        self.alpha = [rows.clone().requires_grad_() for rows in alpha]
        self.sgd = torch.optim.SGD(self.weights, lr=0.025, momentum=0.9, weight_decay=3e-4)
        self.adam = torch.optim.Adam(self.alpha, lr=3e-4, betas=(0.5, 0.999), weight_decay=1e-3)

    def theta(self) -> list[Tensor]:
        """The mixing weights."""
        return [rows.softmax(dim=1) for rows in self.alpha]

    def move(self) -> None:
        """Take the step of w that its gradients say."""
        nn.utils.clip_grad_norm_(self.weights, 5)
        self.sgd.step()


class Textbook(Side):
    """The textbook's."""

    def logits(self, images: Tensor) -> Tensor:
        """Logits of images."""
        logits: Tensor = self.network(images, self.theta())
        return logits

    def step(self, images: Tensor, labels: Tensor) -> None:
        """Move α, then w."""
        self.adam.zero_grad()
        F.cross_entropy(self.logits(images), labels).backward()
        self.adam.step()
        self.sgd.zero_grad()
        F.cross_entropy(self.logits(images), labels).backward()
        self.move()


class Ours(Side):
    """The project's, stepped as `raynas.supernets.training` does."""

    def __init__(self, network: nn.Module, alpha: list[Tensor]) -> None:
        super().__init__(network, alpha)
        self.decisions = Decisions(network.kinds)

    def mixture(self) -> Mixture:
        """Everything is open."""
        return self.decisions.mix(self.theta())

    def logits(self, images: Tensor) -> Tensor:
        """Logits of images."""
        logits: Tensor = self.network(images, self.mixture())
        return logits

    def step(self, images: Tensor, labels: Tensor) -> None:
        """Move α, then w."""
        for parameter in self.weights:
            parameter.requires_grad_(False)
        loss = F.cross_entropy(self.logits(images), labels)
        self._set(self.alpha, torch.autograd.grad(loss, self.alpha))
        self.adam.step()
        for parameter in self.weights:
            parameter.requires_grad_(True)
        loss = F.cross_entropy(self.network(images, self.mixture().detach()), labels)
        self._set(self.weights, torch.autograd.grad(loss, self.weights))
        self.move()

    @staticmethod
    def _set(parameters: list[Tensor], gradients: tuple[Tensor, ...]) -> None:
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient


def both(space: MixableSpace, dtype: torch.dtype = torch.float32) -> tuple[Textbook, Ours]:
    """Return the two sides, of equal weights and α."""
    with seeded(0, torch.device("cpu")):
        supernet = build_supernet(space, TASK).to(dtype)
        alpha = [1e-3 * torch.randn(k.num_edges, k.num_ops, dtype=dtype) for k in supernet.kinds]
    textbook = textbook_of(space, TASK).to(dtype)
    copy_weights(textbook, supernet)
    return Textbook(textbook, alpha), Ours(supernet, alpha)


def batch(count: int, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    """Return random images and labels."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(count, 3, 32, 32, generator=generator).to(dtype)
    return images, torch.randint(10, (count,), generator=generator)


def check_equal(space: MixableSpace) -> None:
    """Compare logits, gradients, and what a step makes of α and w, in float64."""
    textbook, ours = both(space, torch.float64)
    images, labels = batch(2, torch.float64)
    pairs = parameter_pairs(textbook.network, ours.network)
    found = []
    for side, weights in ((textbook, [p for p, _ in pairs]), (ours, [p for _, p in pairs])):
        logits = side.logits(images)
        loss = F.cross_entropy(logits, labels)
        found.append([logits, *torch.autograd.grad(loss, [*side.alpha, *weights])])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)
    for side in (textbook, ours):
        side.step(images, labels)
    stepped = [*zip(textbook.alpha, ours.alpha, strict=True), *pairs]
    for one, other in stepped:
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-8)


def paired(first: Callable[[], object], second: Callable[[], object], rounds: int) -> str:
    """Time two in turn and return the ratio, its spread, and the second's time."""
    ratios, times = [], []
    for round_ in range(rounds + 1):
        seconds = []
        for run in (first, second):
            started = time.process_time()
            run()
            seconds.append(time.process_time() - started)
        if round_:  # the first warms up
            ratios.append(seconds[0] / seconds[1])
            times.append(seconds[1])
    spread = f"{min(ratios):.2f} to {max(ratios):.2f}"
    return f"x{statistics.median(ratios):.2f} ({spread}), {1000 * statistics.median(times):.0f} ms"


def measure(name: str, space: MixableSpace, rounds: int) -> None:
    """Print the ratios of a space."""
    textbook, ours = both(space)
    images, labels = batch(BATCH[name])

    def forward(side: Side) -> Callable[[], object]:
        def run() -> None:
            with torch.no_grad():
                side.logits(images)

        return run

    step = paired(lambda: textbook.step(images, labels), lambda: ours.step(images, labels), rounds)
    print(f"  {name:12} step {step}; forward {paired(forward(textbook), forward(ours), rounds)}")
    kept = [saved_bytes(lambda s=s: s.logits(images), s.network) for s in (textbook, ours)]
    calls = [torch_calls(lambda s=s: s.logits(images).sum().backward()) for s in (textbook, ours)]
    print(
        f"  {'':12} kept for the backward pass {kept[1] / len(images) / 1e6:.2f} MB an image, "
        f"a {kept[0] / kept[1]:.2f}th; torch calls {calls[1]}, a {calls[0] / calls[1]:.2f}th"
    )


def main() -> None:
    """Prove equality, time, print ratios."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--published", action="store_true", help="the papers' sizes")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--spaces", nargs="+", choices=list(BATCH), default=list(BATCH))
    options = parser.parse_args()
    torch.set_num_threads(1)
    for name in options.spaces:
        check_equal(spaces(False)[name])
    print("equal in float64; CPU time, textbook / ours:")
    for name in options.spaces:
        measure(name, spaces(options.published)[name], options.rounds)


if __name__ == "__main__":
    main()
