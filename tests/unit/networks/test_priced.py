"""Costs asked of a network: counted without memory, timed without a trace."""

import math
from collections import Counter
from typing import ClassVar

import pytest
import torch
from torch import nn

from raynas.networks.cost import flops, num_params
from raynas.networks.priced import Counted, Timed
from raynas.spaces.architecture import Architecture
from raynas.spaces.nasbench201 import NasBench201
from raynas.spaces.space import TaskShape

TASK = TaskShape(in_channels=3, image_size=8, num_classes=5)
CELL = Architecture(
    "nasbench201",
    "|nor_conv_3x3~0|+|skip_connect~0|nor_conv_1x1~1|+|avg_pool_3x3~0|none~1|nor_conv_3x3~2|",
)


class Asking(nn.Module):
    """A network that looks at a value when it is built, which the meta device has not."""

    calls: ClassVar[Counter] = Counter()

    def __init__(self, builds):
        super().__init__()
        self.linear = nn.Linear(4, 4)
        self.drop = nn.Dropout(0.5)
        builds.append(self.linear.weight.device.type)
        assert self.linear.weight.sum().item() < math.inf

    def forward(self, images):
        assert not self.training
        self.calls["passes"] += 1
        self.calls["threads"] = torch.get_num_threads()
        return self.linear(images.flatten(1)[:, :4])


class AskingSpace:
    name = "asking"

    def __init__(self):
        self.builds = []

    def build(self, architecture, task):
        return Asking(self.builds)


@pytest.fixture(autouse=True)
def untouched():
    """Whatever is asked of a network, torch's draws and threads stay as they were."""
    Asking.calls.clear()
    before, threads = torch.get_rng_state(), torch.get_num_threads()
    yield
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.get_num_threads() == threads


@pytest.mark.parametrize(("name", "count"), [("num_params", num_params), ("flops", flops)])
def test_counts_what_a_real_network_has(name, count):
    space = NasBench201(channels=4, cells_per_stage=1)
    with torch.random.fork_rng():
        network = space.build(CELL, TASK)
    by_hand = count(network) if name == "num_params" else count(network, TASK)
    assert Counted(space, TASK, name)(CELL) == by_hand


def test_a_network_that_cannot_be_counted_without_values_is_built():
    space = AskingSpace()
    assert Counted(space, TASK, "num_params")(Architecture("asking", "a")) == 20
    assert space.builds == ["meta", "cpu"]


def test_needs_no_memory_for_parameters():
    class Huge(AskingSpace):
        def build(self, architecture, task):
            return nn.Linear(10**6, 10**6, bias=False)

    assert Counted(Huge(), TASK, "num_params")(Architecture("huge", "a")) == 10**12


@pytest.mark.parametrize(("enough_s", "passes"), [(1e9, 2 + 5), (0.0, 2 + 3)])
def test_times_so_many_passes_after_warming_up(enough_s, passes):
    timed = Timed(AskingSpace(), TASK, 32, warm_up=2, repeats=5, at_least=3, enough_s=enough_s)
    assert 0 < timed(Architecture("asking", "a")) < math.inf
    assert Asking.calls == {"passes": passes, "threads": 1}
    assert timed.describe()["batch"] == 32
    assert timed.describe()["threads"] == 1


def test_threads_come_back_after_an_error():
    class Failing(nn.Module):
        def forward(self, images):
            raise RuntimeError("no")

    class Space(AskingSpace):
        def build(self, architecture, task):
            return Failing()

    with pytest.raises(RuntimeError, match="no"):
        Timed(Space(), TASK, threads=2)(Architecture("asking", "a"))
