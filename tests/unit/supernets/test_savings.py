"""What supernets save against the textbook's, in counts that need no clock."""

import pytest
import torch
from textbook.counting import saved_bytes, torch_calls
from textbook.supernet import textbook_of

from raynas.spaces.darts import DartsSpace, S2Space
from raynas.spaces.nasbench201 import NasBench201
from raynas.spaces.space import TaskShape
from raynas.supernets.build import build_supernet
from raynas.supernets.decisions import Decisions

TASK = TaskShape(in_channels=3, image_size=16, num_classes=10)
SPACES = {
    "nasbench201": NasBench201(channels=4, cells_per_stage=2),
    "darts": DartsSpace(channels=4, layers=3),
    "s2": S2Space(channels=4, layers=4),
}


def both(name, learns):
    """Return what runs the textbook's supernet and ours, and the two."""
    ours, textbook = build_supernet(SPACES[name], TASK), textbook_of(SPACES[name], TASK)
    theta = [torch.rand(k.num_edges, k.num_ops).requires_grad_(learns) for k in ours.kinds]
    mixture = Decisions(ours.kinds).mix(theta)
    images = torch.randn(2, 3, 16, 16)
    return (lambda: textbook(images, theta), textbook), (lambda: ours(images, mixture), ours)


@pytest.mark.parametrize(("name", "floor"), [("nasbench201", 2.2), ("darts", 1.6), ("s2", 1.3)])
def test_less_is_kept_for_the_backward_pass(name, floor):
    textbooks, ours = (saved_bytes(run, network) for run, network in both(name, learns=True))
    assert textbooks / ours > floor


def test_the_step_of_the_weights_keeps_no_image_for_alpha():
    sizes = []
    for learns in (True, False):
        _, (run, network) = both("nasbench201", learns)
        sizes.append(saved_bytes(run, network))
    # Of each cell, three states and three pools are kept only for the gradients of α.
    assert sizes[0] > 1.1 * sizes[1]


@pytest.mark.parametrize(("name", "floor"), [("nasbench201", 1.6), ("darts", 1.3), ("s2", 1.3)])
def test_torch_is_called_less(name, floor):
    textbooks, ours = (
        torch_calls(lambda run=run: run().sum().backward()) for run, _ in both(name, learns=True)
    )
    assert textbooks / ours > floor
