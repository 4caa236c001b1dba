"""The fast ranker against the formulas, one node and one graph at a time, in float64."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from raynas.predictor.loss import LOSSES, PairBatch
from raynas.predictor.model import GraphRanker, GraphSet
from raynas.predictor.pairs import PairSet
from raynas.spaces.nasbench201 import NasBench201
from raynas.spaces.space import Graph

SPACE = NasBench201()


def random_graphs(rng, count=12):
    """Graphs of different sizes, so that padding matters."""
    found = []
    for _ in range(count):
        size = int(rng.integers(2, 7))
        adjacency = np.triu(rng.integers(0, 2, (size, size)), 1).astype(np.int8)
        found.append(Graph(adjacency, rng.integers(0, 5, size)))
    return found


def straight(network, graph):
    """Score one graph from the formulas in the module's docstring."""
    adjacency = torch.from_numpy(graph.adjacency).double()
    states = network.embed.weight[torch.from_numpy(graph.labels)]
    last = len(network.layers) - 1
    for depth, (gin, end) in enumerate(zip(network.layers, network.ends, strict=True)):
        if gin.directed:
            mixed = gin.own(states)
            mixed = mixed + adjacency.T @ (states @ gin.sources.weight.T)
            mixed = mixed + adjacency @ (states @ gin.targets.weight.T)
        else:
            around = (1 + gin.epsilon) * states + (adjacency + adjacency.T) @ states
            mixed = around @ gin.own.weight.T + gin.own.bias
        states = end(F.relu(gin.norm(mixed)))
        if depth < last:
            states = F.relu(states)
    pooled = states.sum(0) / states.shape[1] ** 0.5
    return network.head(pooled)[0]


@pytest.mark.parametrize("directed", [True, False])
@pytest.mark.parametrize("num_layers", [1, 2, 3])
def test_scores_and_gradients_are_those_of_the_formulas(directed, num_layers):
    graphs = random_graphs(np.random.default_rng(num_layers))
    torch.manual_seed(0)
    network = GraphRanker(5, hidden=8, num_layers=num_layers, directed=directed).double()
    slow = torch.stack([straight(network, graph) for graph in graphs])
    weights = torch.randn(len(graphs), dtype=torch.float64)
    expected = torch.autograd.grad(slow @ weights, list(network.parameters()))
    fast = network(GraphSet.of(graphs, num_layers))
    found = torch.autograd.grad(fast @ weights, list(network.parameters()))
    torch.testing.assert_close(fast, slow, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(found, expected, rtol=1e-7, atol=1e-10)


def test_scoring_without_gradients_is_the_same_in_pieces(monkeypatch):
    graphs = random_graphs(np.random.default_rng(9), 40)
    network = GraphRanker(5, hidden=8).double()
    data = GraphSet.of(graphs, 3)
    whole = network(data).detach()
    monkeypatch.setattr("raynas.predictor.model._ROWS_AT_ONCE", 7)
    with torch.no_grad():
        torch.testing.assert_close(network(data), whole)


def test_like_nodes_are_computed_once():
    graphs = [SPACE.graph(architecture) for architecture in list(SPACE)[:3000]]
    data = GraphSet.of(graphs, 2)
    assert len(data) == 3000
    assert len(data.layers[0].own) <= 400


def test_a_score_does_not_depend_on_the_company():
    graphs = random_graphs(np.random.default_rng(3))
    network = GraphRanker(5, hidden=8).double()
    alone = torch.cat([network(GraphSet.of([graph], 3)) for graph in graphs])
    torch.testing.assert_close(network(GraphSet.of(graphs, 3)), alone)


def pairs_of(winner, loser, size):
    count = len(winner)
    return PairSet(
        texts=tuple(f"a{i}" for i in range(size)),
        levels=np.ones(size, dtype=np.int64),
        accuracy=np.zeros(size),
        num_trained=size,
        winner=np.array(winner),
        loser=np.array(loser),
        weight=np.linspace(0.3, 1, count),
        kind=np.zeros(count, dtype=np.int8),
        disagreement=0.0,
    )


def test_pairwise_losses_are_the_formulas():
    scores = torch.tensor([0.3, -1.0, 2.0], dtype=torch.float64)
    pairs = PairBatch.of(pairs_of([2, 0, 1], [1, 1, 2], 3), torch.float64)
    weights = np.linspace(0.3, 1, 3) / np.linspace(0.3, 1, 3).sum()
    margins = np.array([3.0, 1.3, -3.0])
    logistic = float((weights * np.log1p(np.exp(-margins))).sum())
    assert float(LOSSES["logistic"](scores, pairs)) == pytest.approx(logistic)
    hinge = float((weights * np.maximum(0, 0.1 - margins)).sum())
    assert float(LOSSES["hinge"](scores, pairs)) == pytest.approx(hinge)


@pytest.mark.parametrize("name", ["logistic", "hinge", "listmle"])
def test_losses_know_no_zero_point(name):
    scores = torch.randn(6, dtype=torch.float64)
    pairs = PairBatch.of(pairs_of([0, 1, 2, 3], [5, 4, 3, 0], 6), torch.float64)
    first, second = (float(LOSSES[name](scores + shift, pairs)) for shift in (0.0, 5.0))
    assert first == pytest.approx(second)


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_losses_fall_as_the_order_gets_right(name):
    pairs = PairBatch.of(pairs_of([0, 0, 1], [1, 2, 2], 3), torch.float64)
    right = torch.tensor([1.0, 0.0, -1.0], dtype=torch.float64)
    assert float(LOSSES[name](right, pairs)) < float(LOSSES[name](-right, pairs))
