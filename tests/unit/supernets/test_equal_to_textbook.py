"""Supernets against straight-line ones: outputs, and gradients of all weights, in float64."""

import pytest
import torch
import torch.nn.functional as F
from textbook.supernet import copy_weights, parameter_pairs, share_noise, textbook_of
from torch import nn

from raynas.networks.seeding import seeded
from raynas.spaces.cell_space import CellSpace
from raynas.spaces.darts import DartsSpace, S1Space, S2Space, S3Space, S4Space
from raynas.spaces.nasbench201 import NasBench201
from raynas.spaces.space import TaskShape
from raynas.supernets.build import build_supernet
from raynas.supernets.decisions import Decisions

CPU = torch.device("cpu")
TASK = TaskShape(in_channels=3, image_size=8, num_classes=5)


class Gated(nn.Module):
    """An op of a user's, with a batch norm of its own."""

    def __init__(self, channels):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 1)
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, images):
        return images * torch.sigmoid(self.norm(self.conv(images)))


OWN = {"none": "none", "skip": "skip_connect", "gated": Gated, "max": "max_pool_3x3"}
SPACES = {
    "darts": DartsSpace(channels=2, layers=3, with_none=True),
    "one cell": DartsSpace(channels=2, layers=3, two_cells=False),
    "s1": S1Space(channels=4, layers=3),
    "s2": S2Space(channels=4, layers=4),
    "s3": S3Space(channels=4, layers=3),
    "s4": S4Space(channels=4, layers=3),
    "nasbench201": NasBench201(channels=4, cells_per_stage=1),
    "nasbench201, noise": NasBench201(channels=4, cells_per_stage=1, ops=["noise", "nor_conv_3x3"]),
    "cell, last": CellSpace(ops=OWN, nodes=3, channels=4, stages=2, cells_per_stage=1),
    "cell, concat": CellSpace(
        ops=OWN, nodes=4, channels=4, stages=2, cells_per_stage=1, output="concat"
    ),
}


def make(space, *, partial=1):
    with seeded(0, CPU):
        supernet = build_supernet(space, TASK, partial=partial).double()
    textbook = textbook_of(space, TASK, k=partial).double()
    copy_weights(textbook, supernet)
    share_noise(textbook, supernet)
    return supernet, textbook


def random_weights(kinds, generator):
    return [
        torch.rand(
            k.num_edges, k.num_ops, generator=generator, dtype=torch.float64
        ).requires_grad_()
        for k in kinds
    ]


def batch(seed=0, size=8):
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(3, 3, size, size, generator=generator, dtype=torch.float64)
    return images, torch.randint(5, (3,), generator=generator)


def results(network, *args, parameters, weights, labels):
    """Return logits, and gradients of the parameters and of the mixing weights."""
    logits = network(*args)
    loss = F.cross_entropy(logits, labels)
    grads = torch.autograd.grad(loss, [*parameters, *weights], materialize_grads=True)
    return [logits.detach(), *grads]


def assert_equal(found, expected):
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", SPACES)
def test_outputs_and_gradients_are_the_textbooks(name):
    supernet, textbook = make(SPACES[name])
    generator = torch.Generator().manual_seed(1)
    images, labels = batch()
    for _ in range(2):
        weights = random_weights(supernet.kinds, generator)
        pairs = parameter_pairs(textbook, supernet)
        expected = results(
            textbook,
            images,
            weights,
            parameters=[p for p, _ in pairs],
            weights=weights,
            labels=labels,
        )
        mixture = Decisions(supernet.kinds).mix(weights)
        found = results(
            supernet,
            images,
            mixture,
            parameters=[p for _, p in pairs],
            weights=weights,
            labels=labels,
        )
        assert_equal(found, expected)
        images, labels = batch(1)
    for network in (supernet, textbook):
        network.eval()
    with torch.no_grad():
        assert_equal([supernet(images, mixture)], [textbook(images, weights)])


@pytest.mark.parametrize("name", ["s1", "s3", "nasbench201"])
def test_partial_channels_and_edge_weights_are_the_textbooks(name):
    supernet, textbook = make(SPACES[name], partial=2)
    generator = torch.Generator().manual_seed(1)
    images, labels = batch()
    weights = random_weights(supernet.kinds, generator)
    edges = [
        torch.rand(len(rows), generator=generator, dtype=torch.float64).requires_grad_()
        for rows in weights
    ]
    pairs = parameter_pairs(textbook, supernet)
    expected = results(
        textbook,
        images,
        weights,
        edges,
        parameters=[p for p, _ in pairs],
        weights=[*weights, *edges],
        labels=labels,
    )
    mixture = Decisions(supernet.kinds).mix(weights, edges)
    found = results(
        supernet,
        images,
        mixture,
        parameters=[p for _, p in pairs],
        weights=[*weights, *edges],
        labels=labels,
    )
    assert_equal(found, expected)


@pytest.mark.parametrize("name", ["s2", "nasbench201", "cell, concat"])
def test_what_is_decided_is_a_weight_of_one_and_what_is_gone_of_none(name):
    supernet, textbook = make(SPACES[name])
    decisions = Decisions(supernet.kinds)
    weights = random_weights(supernet.kinds, torch.Generator().manual_seed(1))
    for number, kind in enumerate(supernet.kinds):
        decisions.decide_op(number, 0, 1)
        decisions.prune_op(number, 1, 0)
        if kind.keep:
            decisions.keep_edges(number, 3, [2, 4])
    images, labels = batch()
    rows = [
        torch.where(torch.from_numpy(active), rows, 0)
        for rows, active in zip(decisions.mix(weights).weights, decisions.active(), strict=True)
    ]
    pairs = parameter_pairs(textbook, supernet)
    expected = results(
        textbook, images, rows, parameters=[p for p, _ in pairs], weights=weights, labels=labels
    )
    found = results(
        supernet,
        images,
        decisions.mix(weights),
        parameters=[p for _, p in pairs],
        weights=weights,
        labels=labels,
    )
    assert_equal(found, expected)
    for gradient in found[-len(weights) :]:
        assert gradient[0].abs().sum() == 0  # decided
        assert gradient[1, 0] == 0  # pruned
        assert gradient.abs().sum() > 0
