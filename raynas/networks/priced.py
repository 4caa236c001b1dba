"""What an architecture costs, asked of the network itself: counted, or timed on this machine.

Parameters are counted on torch's meta device, whose tensors have shapes and no memory. FLOPs are
counted on a real network: one image through it is faster than torch's account of the shapes.
"""

import statistics
import time
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from raynas.networks.cost import flops, num_params
from raynas.networks.seeding import seeded
from raynas.spaces.architecture import Architecture
from raynas.spaces.space import SearchSpace, TaskShape

_CPU = torch.device("cpu")


@dataclass(frozen=True, slots=True)
class Counted:
    """Parameters or multiply-accumulates of an architecture's network.

    Attributes:
        space: Builds the network.
        task: What it must fit.
        name: ``num_params`` or ``flops``.
    """

    space: SearchSpace
    task: TaskShape
    name: str
    instant: bool = False

    def __call__(self, architecture: Architecture) -> float:
        """Build the network and count."""
        if self.name == "flops":
            network = _built(self.space, architecture, self.task, "cpu")
            return float(flops(network, self.task))
        try:
            network = _built(self.space, architecture, self.task, "meta")
        except (RuntimeError, NotImplementedError, TypeError):
            # One that looks at a value while it is built has none to look at on the meta device.
            network = _built(self.space, architecture, self.task, "cpu")
        return float(num_params(network))

    def describe(self) -> str:
        """Say that it is counted."""
        return "counted on the network"


@dataclass(frozen=True, slots=True)
class Timed:
    """Milliseconds that one forward pass takes on this machine's CPU.

    The median of up to `repeats` passes after `warm_up` others, in eval mode, without gradients,
    on `threads` threads; random weights, since those do not matter to the time.

    Attributes:
        space: Builds the network.
        task: What it must fit.
        batch: Images in a pass; the time is that of the whole batch.
        warm_up: Passes that are not timed.
        repeats: Passes that are, at most.
        at_least: Passes that are, however long they take.
        enough_s: Seconds of timed passes after which no more are made.
        threads: Threads of torch while it is timed.
    """

    space: SearchSpace
    task: TaskShape
    batch: int = 1
    warm_up: int = 2
    repeats: int = 15
    at_least: int = 3
    enough_s: float = 0.2
    threads: int = 1
    instant: bool = False

    def __call__(self, architecture: Architecture) -> float:
        """Build the network and time it."""
        task = self.task
        network = _built(self.space, architecture, task, "cpu").eval()
        images = torch.zeros(self.batch, task.in_channels, task.image_size, task.image_size)
        before = torch.get_num_threads()
        torch.set_num_threads(self.threads)
        try:
            with torch.inference_mode(), seeded(0, _CPU):
                for _ in range(self.warm_up):
                    network(images)
                times_s: list[float] = []
                while len(times_s) < self.repeats:
                    times_s.append(_seconds(network, images))
                    if len(times_s) >= self.at_least and sum(times_s) >= self.enough_s:
                        break
        finally:
            torch.set_num_threads(before)
        return 1000 * statistics.median(times_s)

    def describe(self) -> dict[str, Any]:
        """Say how it was timed, and on what."""
        return {
            "device": "cpu",
            "capability": torch.backends.cpu.get_cpu_capability(),
            "batch": self.batch,
            "threads": self.threads,
            "warm_up": self.warm_up,
            "repeats": self.repeats,
            "figure": "median",
        }


def _seconds(network: nn.Module, images: torch.Tensor) -> float:
    started = time.perf_counter()
    network(images)
    return time.perf_counter() - started


def _built(
    space: SearchSpace, architecture: Architecture, task: TaskShape, device: str
) -> nn.Module:
    with seeded(0, _CPU), torch.device(device):
        return space.build(architecture, task)
