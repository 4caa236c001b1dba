"""The fast network against the formulas, one node, one graph and one pair at a time."""

import itertools

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from raynas.networks.seeding import seeded
from raynas.predictor.gcn import BinaryGcn, BinaryPredictor, FlowSet, GcnConfig
from raynas.predictor.metrics import kendall_tau
from raynas.seeds import derive_seed
from raynas.spaces.space import Graph


def random_graphs(rng, count=12):
    """Graphs of different sizes, so that padding matters."""
    found = []
    for _ in range(count):
        size = int(rng.integers(2, 7))
        adjacency = np.triu(rng.integers(0, 2, (size, size)), 1).astype(np.int8)
        found.append(Graph(adjacency, rng.integers(0, 5, size)))
    return found


def straight(network, graph):
    """Embed one graph from the formula in the module's docstring."""
    size = len(graph.labels)
    links = torch.eye(size + 1, dtype=torch.float64)
    links[:size, :size] += torch.from_numpy(graph.adjacency)
    links[:size, size] = 1  # every node feeds the global one
    mapped = network.embed.weight[torch.tensor([*graph.labels, network.embed.num_embeddings - 1])]
    for depth, (bias, norm) in enumerate(zip(network.biases, network.norms, strict=True)):
        if depth > 0:
            mapped = states @ network.maps[depth - 1].weight.T  # noqa: F821
        states = F.relu(norm(links.T @ mapped + bias))
    return states[size]


def network_of(num_layers, **options):
    torch.manual_seed(0)
    config = GcnConfig(hidden=8, layers=num_layers, **options)
    network = BinaryGcn(5, config).double()
    for bias in network.biases:
        torch.nn.init.normal_(bias)
    return network


@pytest.mark.parametrize("num_layers", [1, 2, 4])
def test_embeddings_and_gradients_are_those_of_the_formulas(num_layers):
    graphs = random_graphs(np.random.default_rng(num_layers))
    network = network_of(num_layers, dropout=0)
    parameters = [p for name, p in network.named_parameters() if not name.startswith("head")]
    slow = torch.stack([straight(network, graph) for graph in graphs])
    fast = network(FlowSet.of(graphs, 5, num_layers))
    torch.testing.assert_close(fast, slow, rtol=1e-9, atol=1e-12)
    weights = torch.randn_like(slow)
    expected = torch.autograd.grad((slow * weights).sum(), parameters)
    found = torch.autograd.grad((fast * weights).sum(), parameters)
    torch.testing.assert_close(found, expected, rtol=1e-7, atol=1e-10)


def test_dropout_is_for_training_only():
    data = FlowSet.of(random_graphs(np.random.default_rng(0)), 5, 2)
    network = network_of(2, dropout=0.5)
    assert not torch.equal(network(data), network(data))
    network.eval()
    assert torch.equal(network(data), network(data))


def test_like_nodes_are_computed_once(planted):
    graphs = planted.graphs(planted.trained + planted.unseen)
    data = FlowSet.of(graphs, planted.space.num_labels, 2)
    assert len(data) == len(graphs) == 360
    assert len(data.layers[0]) < 360  # of 3,240 nodes
    assert len(data.layers[1]) == len(data.graph_state.unique()) <= 360


def test_probabilities_are_of_the_pair_side_by_side():
    network = network_of(1)
    embedded = torch.randn(4, 8, dtype=torch.float64)
    first, second = torch.tensor([0, 1, 3]), torch.tensor([2, 0, 1])
    together = torch.cat([embedded[first], embedded[second]], dim=1)
    expected = F.log_softmax(network.head(together), dim=1)
    found = network.log_probabilities(embedded, first, second)
    torch.testing.assert_close(found, expected)


def test_scores_differ_by_the_symmetrised_log_odds():
    network = network_of(1)
    embedded = torch.randn(6, 8, dtype=torch.float64)
    first, second = torch.tensor(list(itertools.permutations(range(6), 2))).T
    forth = network.log_probabilities(embedded, first, second)
    back = network.log_probabilities(embedded, second, first)
    odds = (forth[:, 0] - forth[:, 1] + back[:, 1] - back[:, 0]) / 2
    scores = network.scores(embedded)
    torch.testing.assert_close(scores[first] - scores[second], odds)


@pytest.fixture
def fitted(planted):
    """Return a function: a predictor fitted to some of the cells, and the facts of its fit."""

    def fit(count=60, seed=0, **options):
        predictor = BinaryPredictor(planted.space.num_labels, GcnConfig(**options))
        cells = planted.trained[:count]
        return predictor, predictor.fit(planted.graphs(cells), planted.quality(cells), seed)

    return fit


def scores_of(predictor, planted, cells):
    graphs = planted.graphs(cells)
    data = FlowSet.of(graphs, planted.space.num_labels, predictor.config.layers)
    return predictor.score(data)


def test_ranks_unseen_cells_after_60(planted, fitted):
    predictor, facts = fitted(hidden=32, lr=3e-3, epochs=120)
    scores = scores_of(predictor, planted, planted.unseen)
    assert kendall_tau(scores, planted.quality(planted.unseen)) > 0.6
    assert facts["num_held_out"] == 6
    assert facts["epochs"] > 20


def test_few_pairs_at_a_time_learn_too(planted, fitted):
    predictor, _ = fitted(hidden=32, lr=3e-3, epochs=30, batch_size=64, max_pairs=256)
    scores = scores_of(predictor, planted, planted.unseen)
    assert kendall_tau(scores, planted.quality(planted.unseen)) > 0.5


def test_weights_are_those_of_a_plain_loop(planted, fitted):
    """All ordered pairs, divergence from the softmax of accuracies, fresh gradients, cosine."""
    steps, count = 5, 12
    options = {"hidden": 8, "epochs": steps, "held_out": 0, "dropout": 0, "lr": 0.01}
    predictor, _ = fitted(count, seed=3, **options)
    config = GcnConfig(**options)
    with seeded(derive_seed(3, "weights"), torch.device("cpu")):
        network = BinaryGcn(planted.space.num_labels, config)
    cells = planted.trained[:count]
    data = FlowSet.of(planted.graphs(cells), planted.space.num_labels, config.layers)
    accuracy = torch.from_numpy(planted.quality(cells))
    first, second = torch.tensor(list(itertools.permutations(range(count), 2))).T
    target = torch.stack([accuracy[first], accuracy[second]], dim=1) / 0.01
    target = torch.softmax(target, dim=1).float()
    parameters = list(network.parameters())
    optimizer = torch.optim.AdamW(parameters, lr=0.01, weight_decay=5e-4)
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = 0.01 * (1 + np.cos(np.pi * step / steps)) / 2
        embedded = network(data)
        logits = network.head(torch.cat([embedded[first], embedded[second]], dim=1))
        cross = -(target * F.log_softmax(logits, dim=1)).sum(1).mean()
        for parameter, gradient in zip(
            parameters, torch.autograd.grad(cross, parameters), strict=True
        ):
            parameter.grad = gradient
        optimizer.step()
    expected = network.scores(network(data)).detach().double().numpy()
    np.testing.assert_allclose(predictor.score(data), expected, rtol=1e-3, atol=1e-5)


def test_stops_when_what_is_held_out_gets_no_better(fitted):
    _, facts = fitted(30, hidden=8, lr=0.1, epochs=250, patience=2, min_epochs=3)
    assert facts["epochs"] < 100


def test_a_fit_is_a_function_of_data_and_seed(planted, fitted):
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    predictors = [fitted(20, seed=seed, hidden=8, epochs=3)[0] for seed in (1, 1, 2)]
    assert torch.rand(1) == expected
    first, second, other = (scores_of(p, planted, planted.unseen) for p in predictors)
    np.testing.assert_array_equal(first, second)
    assert (first != other).any()


@pytest.mark.parametrize("held_out", [0.0, 0.99])
def test_two_are_enough_to_learn_from(fitted, held_out):
    _, facts = fitted(2, hidden=4, epochs=2, held_out=held_out)
    assert facts["num_held_out"] == 0
    assert facts["kendall_tau"] is None
