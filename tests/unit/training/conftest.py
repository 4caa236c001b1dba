"""A handful of real digits, and a small network with everything that has state."""

import pytest
import torch
from torch import nn
from toys import one_thread as one_thread

from raynas.training.data import load_data


@pytest.fixture(scope="session")
def digits():
    """200 + 80 digits, cropped at random."""
    return load_data("digits", train_size=200, valid_size=80)


def _small_network():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Conv2d(1, 8, 3, padding=1, bias=False),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Dropout(0.2),
            nn.Flatten(),
            nn.Linear(128, 10),
        )


@pytest.fixture
def make_network():
    """Makes a network of convolution, BatchNorm and dropout; the same weights every time."""
    return _small_network


@pytest.fixture
def same():
    """Whether two states are equal to the last bit, times aside."""
    return _same


def _same(first, second):
    if isinstance(first, torch.Tensor):
        return torch.equal(first, second)
    if isinstance(first, dict):
        keys = first.keys() - {"time_s"}
        return keys == second.keys() - {"time_s"} and all(_same(first[k], second[k]) for k in keys)
    if isinstance(first, list):
        return len(first) == len(second) and all(map(_same, first, second))
    return first == second
