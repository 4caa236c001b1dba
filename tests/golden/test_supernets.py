"""Supernets against published figures (algorithms.md §11)."""

import pytest
import torch

from raynas.networks.cost import num_params
from raynas.spaces.darts import DartsSpace, S1Space, S2Space, S3Space, S4Space
from raynas.spaces.nasbench201 import NasBench201
from raynas.spaces.space import TaskShape
from raynas.supernets.build import build_supernet

CIFAR10 = TaskShape(in_channels=3, image_size=32, num_classes=10)


@pytest.mark.parametrize(
    ("space", "params"),
    [
        (DartsSpace(), 1_930_618),
        (DartsSpace(with_none=True), 1_930_618),
        (S1Space(), 405_146),
        (S2Space(), 665_466),
        (S3Space(), 665_466),
        (S4Space(), 624_506),
        (NasBench201(), 1_686_106),
    ],
    ids=str,
)
def test_parameters(space, params):
    with torch.device("meta"):
        assert num_params(build_supernet(space, CIFAR10)) == params
