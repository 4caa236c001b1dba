"""The stacked ensemble computes what its members compute one by one."""

import numpy as np
import pytest
import torch

from raynas.predictor.ensemble import EnsembleRanker, repeated
from raynas.predictor.model import GraphRanker, GraphSet
from raynas.spaces.nasbench201 import NasBench201

SPACE = NasBench201()


@pytest.mark.parametrize("directed", [True, False])
@pytest.mark.parametrize("num_layers", [1, 2, 3])
def test_scores_and_gradients_are_the_members_own(directed, num_layers):
    torch.manual_seed(0)
    rng = np.random.default_rng(num_layers)
    members = [
        GraphRanker(SPACE.num_labels, hidden=8, num_layers=num_layers, directed=directed).double()
        for _ in range(3)
    ]
    graphs = GraphSet.of([SPACE.graph(SPACE.sample(rng)) for _ in range(20)], num_layers)
    weights = torch.randn(3, 20, dtype=torch.float64)
    ensemble = EnsembleRanker(members)
    scores = ensemble(repeated(graphs, 3, SPACE.num_labels))
    (scores * weights).sum().backward()
    for number, member in enumerate(members):
        own = member(graphs)
        (own * weights[number]).sum().backward()
        assert torch.allclose(scores[number], own, rtol=1e-12, atol=1e-12)
        gradient = torch.cat([p.grad.flatten() for p in member.parameters()])
        assert torch.allclose(ensemble.flat.grad[number], gradient, rtol=1e-9, atol=1e-12)


def test_a_members_state_loads_into_a_ranker():
    members = [GraphRanker(SPACE.num_labels, hidden=4, num_layers=2) for _ in range(2)]
    ensemble = EnsembleRanker(members)
    clone = GraphRanker(SPACE.num_labels, hidden=4, num_layers=2)
    ensemble.load_into(clone, ensemble.flat[1])
    graphs = GraphSet.of([SPACE.graph(SPACE.architecture(5))], 2)
    assert torch.equal(clone(graphs), members[1](graphs))
