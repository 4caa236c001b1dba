"""NAS-Bench-201 with noise for an op: no published benchmark, but a space like any other."""

import numpy as np
import pytest
import torch

from raynas.errors import SpaceError
from raynas.spaces.nasbench201 import LABELS, NasBench201
from raynas.spaces.space import TaskShape

SPACE = NasBench201(channels=4, cells_per_stage=1, ops=["nor_conv_3x3", "noise"])


def test_noise_comes_first_and_every_cell_is_there():
    assert SPACE.allowed_ops == ("noise", "nor_conv_3x3")
    assert len(set(SPACE)) == len(SPACE) == 64
    assert [SPACE.index(cell) for cell in SPACE] == list(range(64))
    assert all(SPACE.parse(cell.text) == cell for cell in SPACE)
    assert not any(map(SPACE.is_dead, SPACE))


def test_noise_has_a_label_of_its_own():
    graph = SPACE.graph(SPACE.from_choices((0, 1, 0, 1, 0, 1)))
    assert SPACE.num_labels == len(LABELS) + 1 == NasBench201().num_labels + 1
    assert graph.labels[1::2].tolist() == [len(LABELS)] * 3 + [LABELS.index("output")]


def test_a_key_ignores_what_noise_reads():
    one = SPACE.parse("|noise~0|+|noise~0|noise~1|+|nor_conv_3x3~0|noise~1|noise~2|")
    assert SPACE.key(one) == "(0)@nor_conv_3x3+noise+noise"


def test_networks_draw_noise_anew():
    network = SPACE.build(SPACE.sample(np.random.default_rng(0)), TaskShape(3, 8, 5)).eval()
    noise = SPACE.build(SPACE.from_choices((0,) * 6), TaskShape(3, 8, 5)).eval()
    images = torch.randn(2, 3, 8, 8)
    assert network(images).shape == (2, 5)
    assert not torch.equal(noise(images), noise(images))


def test_not_beside_none():
    with pytest.raises(SpaceError, match="cannot have both none and noise"):
        NasBench201(ops=["none", "noise", "skip_connect"])
