"""Small networks of every kind, with running statistics that are not the initial ones."""

import numpy as np
import pytest
import torch

from raynas.loading import Loaded
from raynas.spaces.cell_space import CellSpace
from raynas.spaces.darts import DartsSpace, S4Space
from raynas.spaces.nasbench101 import NasBench101
from raynas.spaces.nasbench201 import NasBench201
from raynas.spaces.space import TaskShape

OPS = ["none", "skip_connect", "nor_conv_3x3", "max_pool_3x3", "avg_pool_3x3"]
DEAD = "|none~0|+|nor_conv_3x3~0|none~1|+|none~0|none~1|none~2|"
LIVE = "|nor_conv_3x3~0|+|none~0|skip_connect~1|+|avg_pool_3x3~0|none~1|nor_conv_1x1~2|"
SMALL = {"channels": 2, "layers": 3}

NETWORKS = {
    "darts": (DartsSpace(channels=2, layers=4), 8, "DARTS_V2"),
    "darts, one cell, odd size": (DartsSpace(two_cells=False, **SMALL), 9, None),
    "darts, imagenet stem": (DartsSpace(stem="imagenet", **SMALL), 32, "DrNAS_cifar10"),
    "nasbench201": (NasBench201(channels=2, cells_per_stage=1), 8, LIVE),
    "nasbench201, dead": (NasBench201(channels=2, cells_per_stage=1), 8, DEAD),
    "nasbench101": (NasBench101(channels=8, modules_per_stack=1), 9, None),
    "cell, concat": (CellSpace(ops=OPS, channels=2, cells_per_stage=1, output="concat"), 8, None),
    "cell, last": (CellSpace(ops=OPS, channels=2, cells_per_stage=1), 7, None),
}


def trained(space, size, text=None, seed=3):
    """Return a network that has seen a batch in train mode."""
    task = TaskShape(in_channels=1, image_size=size, num_classes=3)
    rng = np.random.default_rng(seed)
    architecture = space.sample(rng) if text is None else space.parse(text)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = space.build(architecture, task)
        network(torch.randn(8, 1, size, size))
    facts = {"space": {"name": space.name}, "epochs": 1, "accuracy": 0.5, "seed": 0}
    return Loaded(network.eval(), space, architecture, task, facts, None)


@pytest.fixture(params=NETWORKS)
def loaded(request):
    return trained(*NETWORKS[request.param])


@pytest.fixture
def make_loaded():
    return trained


@pytest.fixture
def noisy():
    """A network whose op draws noise at every pass."""
    return trained(S4Space(**SMALL), 8)


@pytest.fixture
def networks():
    return NETWORKS
