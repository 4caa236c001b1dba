"""How requests are cut, and how a supernet is packed. No Ray is started here."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from raynas.engine.evaluators import Piece, pieces
from raynas.engine.flat import FlatLayout
from raynas.selection.scoring import Request
from raynas.supernets.decisions import Question
from raynas.supernets.mixture import Mixture


@settings(deadline=None)
@given(st.integers(1, 9), st.integers(1, 60), st.integers(1, 12))
def test_pieces_cover_everything_once(num_options, num_batches, num_evaluators):
    covered = np.zeros((num_options, num_batches), dtype=int)
    found = pieces(num_options, num_batches, num_evaluators)
    for rows, columns in found:
        covered[rows, columns] += 1
    assert (covered == 1).all()
    assert len(found) >= min(num_evaluators, num_options * num_batches)
    if num_batches >= num_evaluators:  # options share what does not depend on them
        assert all(rows == slice(0, num_options) for rows, _ in found)


def module():
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5), nn.Linear(5, 2, dtype=torch.half))
    layers[1].num_batches_tracked += 7
    return layers


def test_a_module_survives_being_flat():
    one, other = module(), module()
    for parameter in other.parameters():
        nn.init.zeros_(parameter)
    layout = FlatLayout(one)
    assert layout == FlatLayout(other)
    flat = layout.pack(one)
    flat.flags.writeable = False  # as the object store hands it out
    layout.unpack(flat, other.to(memory_format=torch.channels_last))
    for name, tensor in one.state_dict().items():
        assert torch.equal(tensor, other.state_dict()[name])
        assert tensor.dtype == other.state_dict()[name].dtype


def test_another_make_is_another_layout():
    assert FlatLayout(module()) != FlatLayout(nn.Sequential(nn.Conv2d(3, 6, 3)))


@pytest.mark.parametrize("edges", [None, (torch.tensor([0.5, 0.25]),)])
def test_a_request_survives_travelling(edges):
    mixture = Mixture((torch.rand(2, 3),), (np.ones((2, 3), dtype=np.bool_),), edges)
    request = Request(mixture, Question(0, (0, 2), edge=1), (0, 2), "batch", 8, batches=(1, 4))
    piece = Piece.of(request, "v")
    again = piece.mixture(torch.device("cpu"))
    assert torch.equal(again.weights[0], mixture.weights[0])
    assert (again.active[0] == mixture.active[0]).all()
    assert (again.edge_weights is None) == (edges is None)
    if edges is not None:
        assert torch.equal(again.edge_weights[0], edges[0])
    assert piece.request.options == (0, 2)
