"""What calls of the spaces cost, and NAS-Bench-201's networks against one module per edge.

Run: ``python tests/speed/spaces.py [--rounds 5] [--only codecs]``.

* Codecs of every space: microseconds a call, over 2,000 architectures each seen for the first time
  (all caches of `raynas.spaces` emptied), then again. Every text is first shown to be parsed to
  itself and a second parse to give the same key and graph.
* Networks: forward (no gradient) and forward with backward, against the straight network of
  ``tests/unit/networks/conftest.py`` (NCHW, every edge run); CPU time of one thread, interleaved,
  median of paired ratios. Their logits are compared first (float64).
* What `raynas.networks.cost.flops` and building cost, as parts of one such training step.
"""

import argparse
import functools
import gc
import runpy
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from raynas.networks.cost import flops
from raynas.registry import lookup
from raynas.spaces import SPACES
from raynas.spaces.architecture import Architecture
from raynas.spaces.cell_space import BUILT_IN
from raynas.spaces.nasbench201 import NasBench201
from raynas.spaces.space import EnumerableSpace, SearchSpace, TaskShape

CONFTEST = Path(__file__).parents[1] / "unit" / "networks" / "conftest.py"
Shape = tuple[int, int, int, TaskShape]
SHAPES: dict[str, Shape] = {
    "C=8 N=1, 64 images 1x8x8": (8, 1, 64, TaskShape(1, 8, 10)),
    "C=16 N=5, 16 images 3x32x32": (16, 5, 16, TaskShape(3, 32, 10)),
}


CELL = {"nodes": 5, "ops": BUILT_IN}
"""Options of the space `cell`, which has no ops of its own."""


def cpu_s(call: Callable[[], Any]) -> float:
    start = time.process_time()
    call()
    return time.process_time() - start


def forget() -> None:
    """Empty every cache of functions in `raynas.spaces`."""
    for name in [name for name in sys.modules if name.startswith("raynas.spaces")]:
        for value in vars(sys.modules[name]).values():
            if isinstance(value, functools._lru_cache_wrapper):
                value.cache_clear()


# -- codecs ------------------------------------------------------------------------------------


def check_codec(space: SearchSpace, architectures: list[Architecture]) -> None:
    for architecture in architectures:
        again = space.parse(architecture.text)
        assert again == architecture, f"{architecture} is read as {again}"
        assert space.key(again) == space.key(architecture)
        graphs = space.graph(again), space.graph(architecture)
        np.testing.assert_array_equal(*(graph.adjacency for graph in graphs))
        np.testing.assert_array_equal(*(graph.labels for graph in graphs))


def codecs(space: SearchSpace, rounds: int) -> None:
    """Print microseconds a call, the first time and again."""
    rng = np.random.default_rng(0)
    drawn = [space.sample(rng) for _ in range(2000)]
    check_codec(space, drawn)
    fresh = [Architecture(space.name, architecture.text) for architecture in drawn]
    calls: dict[str, Callable[[Architecture], Any]] = {
        "sample": lambda _: space.sample(rng),
        "key": space.key,
        "parse": lambda a: space.parse(a.text),
        "graph": space.graph,
        "mutate": lambda a: space.mutate(a, rng),
    }
    cells = []
    for call in calls.values():
        pairs = []
        for _ in range(rounds):
            forget()
            if isinstance(space, EnumerableSpace):
                next(iter(space))  # what is listed is listed once a process
            gc.collect()
            first, again = (cpu_s(lambda call=call: [call(a) for a in fresh]) for _ in range(2))
            pairs.append((first, again))
        columns = zip(*pairs, strict=True)
        cells.append(
            "{:7.1f} /{:5.1f}".format(*(1e6 * statistics.median(c) / 2000 for c in columns))
        )
    print(f"{space.name:14}" + "".join(f"{cell:>16}" for cell in cells), flush=True)


def all_codecs(rounds: int) -> None:
    print("microseconds a call, first / again")
    print(
        f"{'space':14}" + "".join(f"{n:>16}" for n in ("sample", "key", "parse", "graph", "mutate"))
    )
    for name in SPACES:
        options = CELL if name == "cell" else {}
        codecs(lookup("space", name, SPACES)(**options), rounds)


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


def networks(rounds: int) -> None:
    space = NasBench201()
    rng = np.random.default_rng(1)
    best = space.architecture(6111)
    cells = [best, *(space.sample(rng) for _ in range(4))]
    straight = runpy.run_path(str(CONFTEST))["StraightNetwork"]
    for title, shape in SHAPES.items():
        print(f"\n{title}\n{'forward':>9}{'step':>9}{'flops':>9}{'build':>9}  cell")
        for cell in cells:
            compare(cell, shape, straight, rounds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", choices=("codecs", "networks"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    if options.only != "networks":
        all_codecs(options.rounds)
    if options.only != "codecs":
        networks(options.rounds)


if __name__ == "__main__":
    main()
