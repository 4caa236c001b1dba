"""NAS-Bench-201: what calls of the space cost, and its networks against one module per edge.

Run: ``python tests/speed/spaces.py [--rounds 5]``.

* Codecs: microseconds a call, over 2,000 architectures each seen for the first time in the process,
  then again (the caches of `raynas.spaces.nasbench201`), and the ratio of the two.
* Networks: forward (no gradient) and forward with backward, against the straight network of
  ``tests/unit/networks/conftest.py`` (NCHW, every edge run); CPU time of one thread, interleaved,
  median of paired ratios. Their logits are compared first (float64).
* What `raynas.networks.cost.flops` and building cost, as parts of one such training step.
"""

import argparse
import functools
import runpy
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from raynas.networks.cost import flops
from raynas.spaces import nasbench201
from raynas.spaces.architecture import Architecture
from raynas.spaces.nasbench201 import NasBench201
from raynas.spaces.space import TaskShape

CONFTEST = Path(__file__).parents[1] / "unit" / "networks" / "conftest.py"
Shape = tuple[int, int, int, TaskShape]
SHAPES: dict[str, Shape] = {
    "C=8 N=1, 64 images 1x8x8": (8, 1, 64, TaskShape(1, 8, 10)),
    "C=16 N=5, 16 images 3x32x32": (16, 5, 16, TaskShape(3, 32, 10)),
}


def cpu_s(call: Callable[[], Any]) -> float:
    start = time.process_time()
    call()
    return time.process_time() - start


def forget() -> None:
    for value in vars(nasbench201).values():
        if isinstance(value, functools._lru_cache_wrapper):
            value.cache_clear()


# -- codecs ------------------------------------------------------------------------------------


def codecs(rounds: int) -> None:
    space = NasBench201()
    rng = np.random.default_rng(0)
    texts = [f"{a}" for a in (space.sample(rng) for _ in range(2000))]
    fresh = [Architecture(space.name, text) for text in texts]
    calls: dict[str, Callable[[Architecture], Any]] = {
        "sample": lambda _: space.sample(rng),
        "mutate": lambda a: space.mutate(a, rng),
        "parse": lambda a: space.parse(a.text),
        "key": space.key,
        "canonical_text": space.canonical_text,
        "graph": space.graph,
        "path_encoding": space.path_encoding,
        "index": space.index,
    }
    print(f"{'codec':16}{'first, us':>12}{'again, us':>12}{'ratio':>8}")
    for name, call in calls.items():
        pairs = []
        for _ in range(rounds):
            forget()
            space.index(space.architecture(0))  # lists the space: once a process
            first, again = (cpu_s(lambda call=call: [call(a) for a in fresh]) for _ in range(2))
            pairs.append((first, again))
        columns = zip(*pairs, strict=True)
        first, again = (statistics.median(column) / len(fresh) * 1e6 for column in columns)
        print(f"{name:16}{first:12.1f}{again:12.1f}{first / again:8.1f}")


# -- networks ----------------------------------------------------------------------------------


def copy_state(source: nn.Module, target: nn.Module) -> None:
    for value, place in zip(
        source.state_dict().values(), target.state_dict().values(), strict=True
    ):
        place.copy_(value)


def step(network: nn.Module, images: Tensor, labels: Tensor) -> None:
    network.zero_grad(set_to_none=True)
    F.cross_entropy(network(images), labels).backward()


@torch.no_grad()
def forward(network: nn.Module, images: Tensor) -> None:
    network(images)


def check(ours: nn.Module, theirs: nn.Module, images: Tensor) -> None:
    with torch.no_grad():
        logits = [n.double()(images[:4].double()) for n in (ours, theirs)]
    torch.testing.assert_close(*logits, rtol=1e-9, atol=1e-9)
    ours.float(), theirs.float()


def compare(cell: Architecture, shape: Shape, straight: type[nn.Module], rounds: int) -> None:
    channels, cells_per_stage, batch, task = shape
    space = NasBench201(channels=channels, cells_per_stage=cells_per_stage)
    ours = space.build(cell, task)
    theirs = straight(
        space.ops(cell),
        channels=channels,
        cells_per_stage=cells_per_stage,
        in_channels=task.in_channels,
        num_classes=task.num_classes,
    )
    images = torch.randn(batch, task.in_channels, task.image_size, task.image_size)
    labels = torch.arange(batch) % task.num_classes
    copy_state(ours, theirs)
    check(ours, theirs, images)
    rows = []
    for turn in range(rounds + 1):
        one = cpu_s(lambda: forward(ours, images))
        other = cpu_s(lambda: forward(theirs, images))
        mine = cpu_s(lambda: step(ours, images, labels))
        yours = cpu_s(lambda: step(theirs, images, labels))
        count = cpu_s(lambda: flops(ours, task))
        build = cpu_s(lambda: space.build(cell, task))
        if turn:  # the first warms up
            rows.append((other / one, yours / mine, count / mine, build / mine))
    medians = [statistics.median(column) for column in zip(*rows, strict=True)]
    print("".join(f"{value:8.2f}x" for value in medians), f" {cell}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    torch.manual_seed(0)
    codecs(rounds)
    space = NasBench201()
    rng = np.random.default_rng(1)
    best = space.architecture(6111)
    cells = [best, *(space.sample(rng) for _ in range(4))]
    straight = runpy.run_path(str(CONFTEST))["StraightNetwork"]
    for title, shape in SHAPES.items():
        print(f"\n{title}\n{'forward':>9}{'step':>9}{'flops':>9}{'build':>9}  cell")
        for cell in cells:
            compare(cell, shape, straight, rounds)


if __name__ == "__main__":
    main()
