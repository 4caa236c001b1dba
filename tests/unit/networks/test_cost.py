import copy

import pytest
import torch
from torch import nn

from raynas.networks.cost import flops, num_params
from raynas.networks.nasbench201_network import NasBench201Network
from raynas.spaces.nasbench201 import OPS
from raynas.spaces.space import TaskShape

NONE, SKIP, CONV1, CONV3, POOL = OPS
TASK = TaskShape(in_channels=3, image_size=8, num_classes=5)


class Noisy(nn.Module):
    """Draws, counts its calls in a buffer and has parts in different modes."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.drop = nn.Dropout(0.5)
        self.register_buffer("calls", torch.zeros(()))
        self.drop.eval()

    def forward(self, images):
        self.calls += 1
        features = self.drop(self.norm(self.conv(images)))
        return (features + torch.randn_like(features)).mean(dim=(2, 3))


def by_hand(cell_macs, channels, cells_per_stage):
    """Stem, cells, two reductions and classifier, for images of 8 pixels."""
    total = 9 * 3 * channels * 64
    for stage, pixels in enumerate((64, 16, 4)):
        width = channels * 2**stage
        total += cells_per_stage * cell_macs * width**2 * pixels
        if stage:
            total += pixels * (9 * width * width // 2 + 9 * width**2 + width * width // 2)
    return total + 4 * channels * 5


@pytest.mark.parametrize(
    ("cell", "cell_macs"),
    [
        ((CONV3,) * 6, 6 * 9),
        ((CONV1,) * 6, 6),
        ((POOL,) * 6, 0),
        ((CONV3, SKIP, CONV1, NONE, NONE, CONV1), 9 + 2),
        ((CONV3, SKIP, NONE, CONV1, NONE, NONE), 1),  # what leads nowhere costs nothing
    ],
)
def test_counts_multiply_accumulates_of_what_runs(cell, cell_macs):
    network = NasBench201Network(cell, channels=4, cells_per_stage=2, num_classes=5)
    assert flops(network, TASK) == by_hand(cell_macs, channels=4, cells_per_stage=2)


def test_leaves_everything_as_it_was():
    network = Noisy()
    state = copy.deepcopy(network.state_dict())
    torch.manual_seed(3)
    rng = torch.get_rng_state()
    assert flops(network, TASK) == 36 * 9 * 3 * 4
    assert torch.equal(torch.get_rng_state(), rng)
    assert all(torch.equal(value, state[name]) for name, value in network.state_dict().items())
    assert [network.training, network.norm.training, network.drop.training] == [True, True, False]
    assert all(p.requires_grad and p.grad is None for p in network.parameters())


def test_one_image_is_enough_where_one_pixel_is_left():
    network = NasBench201Network((POOL,) * 6, channels=2, cells_per_stage=1)
    assert flops(network, TaskShape(in_channels=3, image_size=4, num_classes=10)) > 0


def test_modes_come_back_after_an_error():
    network = Noisy()
    with pytest.raises(RuntimeError):
        flops(network, TaskShape(in_channels=2, image_size=8, num_classes=5))
    assert network.training


def test_follows_the_type_of_the_network():
    network = NasBench201Network((CONV3,) * 6, channels=2, cells_per_stage=1)
    assert flops(network.double(), TASK) == flops(network.float(), TASK)


def test_counts_shared_parameters_once():
    layer = nn.Linear(3, 3)
    assert num_params(nn.Sequential(layer, layer)) == 12
