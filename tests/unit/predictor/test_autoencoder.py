import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch.distributions import Normal, kl_divergence

from raynas.predictor.autoencoder import (
    AutoencoderConfig,
    DenseGraphs,
    GraphAutoencoder,
    pretrain,
)
from raynas.proposing.random import draw_new
from raynas.spaces.nasbench201 import NasBench201
from raynas.spaces.space import Graph

SPACE = NasBench201()


def graphs_of(count, seed=0):
    cells = draw_new(SPACE, set(), count, np.random.default_rng(seed))
    return DenseGraphs.of([SPACE.graph(cell) for cell in cells])


def small(**options):
    return AutoencoderConfig(**{"hidden": 32, "layers": 3, "epochs": 4, **options})


@pytest.fixture(scope="module")
def network():
    config = small(hidden=64, epochs=12, lr=5e-3)
    return pretrain(graphs_of(1000), SPACE.num_labels, config)


@torch.no_grad()
def reconstructed(network, graphs):
    """Return the shares of labels and of links, between different nodes, that come out right."""
    mean, _ = network.encode(graphs)
    links, labels = network.decode(mean)
    right = (links > 0) == (graphs.links_BNN > 0)
    off_diagonal = ~torch.eye(links.shape[1], dtype=torch.bool)
    label_share = (labels.argmax(2) == graphs.labels_BN).double().mean()
    return float(label_share), float(right[:, off_diagonal].double().mean())


def test_reconstructs_cells_it_has_not_seen(network):
    """Chance is a fifth for the six ops and the share of missing links, .64, for those."""
    labels, links = reconstructed(network, graphs_of(300, seed=1))
    assert labels > 0.9
    assert links > 0.95
    raw = GraphAutoencoder(SPACE.num_labels, small()).eval()
    assert reconstructed(raw, graphs_of(300, seed=1))[0] < 0.5


def test_a_heavy_divergence_leaves_nothing_to_decode():
    """What `kl_weight` is small for."""
    collapsed = pretrain(graphs_of(200), SPACE.num_labels, small(kl_weight=10.0))
    assert reconstructed(collapsed, graphs_of(100, seed=1))[0] < 0.5


def test_different_cells_have_different_embeddings(network):
    embedded = network.embed(graphs_of(300, seed=1))
    assert embedded.shape == (300, 16)
    assert len(np.unique(embedded.round(4), axis=0)) == 300


def test_an_embedding_does_not_depend_on_company_nor_padding(network):
    graphs = [SPACE.graph(cell) for cell in draw_new(SPACE, set(), 5, np.random.default_rng(2))]
    larger = Graph(np.eye(11, k=1, dtype=np.int8), np.zeros(11, dtype=np.int64))
    alone = np.concatenate([network.embed(DenseGraphs.of([graph])) for graph in graphs])
    together = network.embed(DenseGraphs.of([*graphs, larger]))[:5]
    np.testing.assert_allclose(together, alone, rtol=1e-4, atol=1e-5)


def test_an_embedding_does_not_depend_on_the_order_of_nodes(network):
    graph = SPACE.graph(SPACE.architecture(77))
    order = np.random.default_rng(0).permutation(8)
    shuffled = Graph(graph.adjacency[np.ix_(order, order)], graph.labels[order])
    first, second = network.embed(DenseGraphs.of([graph, shuffled]))
    np.testing.assert_allclose(first, second, rtol=1e-4, atol=1e-5)


def test_embeddings_of_many_are_made_in_parts(network, monkeypatch):
    graphs = graphs_of(50)
    whole = network.embed(graphs)
    monkeypatch.setattr("raynas.predictor.autoencoder._GRAPHS_AT_ONCE", 7)
    np.testing.assert_allclose(network.embed(graphs), whole, rtol=1e-4, atol=1e-5)


def padded():
    """Two graphs of which one is smaller."""
    return [
        Graph(np.array([[0, 1, 1], [0, 0, 1], [0, 0, 0]], dtype=np.int8), np.array([0, 1, 2])),
        Graph(np.array([[0, 1], [0, 0]], dtype=np.int8), np.array([0, 3])),
    ]


@torch.no_grad()
def test_the_loss_is_the_formula():
    graphs = padded()
    torch.manual_seed(0)
    network = GraphAutoencoder(4, small(latent=5)).eval()
    dense = DenseGraphs.of(graphs)
    torch.manual_seed(1)
    found = float(network.loss(dense, kl_weight=0.3))
    torch.manual_seed(1)
    mean, log_variance = network.encode(dense)
    latent = mean + torch.randn_like(mean) * log_variance.exp().sqrt()
    linked, labelled, divergences = [], [], []
    for row, graph in enumerate(graphs):
        size = len(graph.labels)
        z = latent[row, :size]
        for i in range(size):
            scores = network.labels(z[i])
            labelled.append(float(torch.logsumexp(scores, 0) - scores[graph.labels[i]]))
            posterior = Normal(mean[row, i], (log_variance[row, i] / 2).exp())
            prior = Normal(torch.zeros(5), torch.ones(5))
            divergences.append(float(kl_divergence(posterior, prior).sum()))
            for j in range(size):
                if i != j:
                    sign = 1 if graph.adjacency[i, j] or graph.adjacency[j, i] else -1
                    linked.append(math.log1p(math.exp(-sign * float(z[i] @ z[j]))))
    expected = np.mean(linked) + np.mean(labelled) + 0.3 * np.mean(divergences)
    assert found == pytest.approx(expected, rel=1e-5)


def test_batch_statistics_are_of_real_nodes():
    dense = DenseGraphs.of(padded())
    wider = DenseGraphs(
        F.pad(dense.links_BNN, (0, 3, 0, 3)), F.pad(dense.labels_BN, (0, 3), value=-1)
    )
    networks = []
    for graphs in (dense, wider):
        torch.manual_seed(0)
        networks.append(GraphAutoencoder(4, small()).train())
        networks[-1].encode(graphs)
    for one, other in zip(networks[0].layers, networks[1].layers, strict=True):
        assert one.norm.running_mean.any()
        torch.testing.assert_close(one.norm.running_mean, other.norm.running_mean)
        torch.testing.assert_close(one.norm.running_var, other.norm.running_var)


def test_pretraining_is_a_function_of_graphs_and_options():
    graphs = graphs_of(40)
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    networks = [pretrain(graphs, SPACE.num_labels, small(epochs=1, seed=s)) for s in (1, 1, 2)]
    assert torch.rand(1) == expected
    first, second, other = (network.embed(graphs) for network in networks)
    np.testing.assert_array_equal(first, second)
    assert (first != other).any()


def test_steps_are_adam_on_fresh_clipped_gradients():
    """Some epochs of one batch, against a loop that asks autograd for each gradient."""
    graphs, config = graphs_of(8), small(batch_size=8, epochs=6)
    found = pretrain(graphs, SPACE.num_labels, config)
    torch.manual_seed(config.seed)
    network = GraphAutoencoder(SPACE.num_labels, config).train()
    parameters = list(network.parameters())
    optimizer = torch.optim.Adam(parameters, lr=1e-3)
    for _ in range(6):
        batch = graphs.select(torch.randperm(8))
        gradients = torch.autograd.grad(network.loss(batch, 0.005), parameters)
        scale = min(1.0, 5.0 / float(torch.stack([g.norm() for g in gradients]).norm()))
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient * scale
        optimizer.step()
    # Adam makes a whole step of the rounding error in a gradient that vanishes, as those of biases
    # before a norm do: most weights, then.
    pairs = zip(found.parameters(), parameters, strict=True)
    off = torch.cat([(one - other).detach().abs().flatten() for one, other in pairs])
    assert float(off.quantile(0.9)) < 1e-5
