import numpy as np
import pytest
import torch
from torch import nn

from raynas.predictor.metrics import kendall_tau
from raynas.predictor.mlp import MlpConfig, MlpEnsemble


@pytest.fixture
def paths(planted):
    """Return a function: the path encodings of cells."""
    return lambda cells: np.stack([planted.space.path_encoding(cell) for cell in cells])


@pytest.fixture
def data(planted, paths):
    cells = planted.trained[:50]
    return paths(cells), planted.quality(cells)


def test_ranks_unseen_cells_after_60(planted, paths):
    ensemble = MlpEnsemble(155, MlpConfig(layers=4, epochs=80), seeds=range(5))
    ensemble.fit(paths(planted.trained), planted.quality(planted.trained))
    predicted = ensemble.predict(paths(planted.unseen))
    truth = planted.quality(planted.unseen)
    assert predicted.shape == (5, 300)
    assert kendall_tau(predicted.mean(0), truth) > 0.5
    assert abs(predicted.mean() - truth.mean()) < 0.1  # in the units it was given


def test_members_know_least_where_nothing_was_seen(planted, paths):
    ensemble = MlpEnsemble(155, MlpConfig(layers=4, epochs=80), seeds=range(5))
    seen = paths(planted.trained)
    ensemble.fit(seen, planted.quality(planted.trained))
    deviation = [np.median(ensemble.predict(x).std(0)) for x in (seen, paths(planted.unseen))]
    assert deviation[0] < deviation[1] / 2


def test_a_member_comes_out_as_it_would_alone(data):
    config = MlpConfig(layers=3, hidden=6, epochs=4, batch_size=16)
    together = MlpEnsemble(155, config, seeds=[5, 6, 7], dtype=torch.float64)
    together.fit(*data)
    for number, seed in enumerate([5, 6, 7]):
        alone = MlpEnsemble(155, config, seeds=[seed], dtype=torch.float64)
        alone.fit(*data)
        found = together.predict(data[0])[number], alone.predict(data[0])[0]
        np.testing.assert_allclose(*found, rtol=1e-9)


def test_a_member_is_a_plain_network_in_a_plain_loop(data):
    """Mean absolute error of standardised accuracies, gradients fresh at each step, Adam."""
    features, accuracy = data
    config = MlpConfig(layers=2, hidden=5, epochs=3, batch_size=20)
    ensemble = MlpEnsemble(155, config, seeds=[9], dtype=torch.float64)
    network = nn.Sequential(
        nn.Linear(155, 5), nn.ReLU(), nn.Linear(5, 5), nn.ReLU(), nn.Linear(5, 1)
    ).double()
    parameters = list(network.parameters())
    with torch.no_grad():
        for linear, weight in zip(network[::2], ensemble.weights, strict=True):
            linear.weight.copy_(weight[0].T)
            linear.bias.zero_()
    order = torch.Generator().manual_seed(9)
    for weight in ensemble.weights:
        torch.rand(*weight.shape[1:], generator=order, dtype=torch.float64)
    x = torch.from_numpy(features).double()
    y = torch.from_numpy((accuracy - accuracy.mean()) / accuracy.std())
    optimizer = torch.optim.Adam(parameters, lr=0.01, betas=(0.9, 0.99))
    for _ in range(3):
        for batch in torch.randperm(50, generator=order).split(20):
            loss = (network(x[batch]).squeeze(1) - y[batch]).abs().mean()
            for parameter, gradient in zip(
                parameters, torch.autograd.grad(loss, parameters), strict=True
            ):
                parameter.grad = gradient
            optimizer.step()
    ensemble.fit(features, accuracy)
    expected = network(x).squeeze(1).detach().numpy() * accuracy.std() + accuracy.mean()
    np.testing.assert_allclose(ensemble.predict(features)[0], expected, rtol=1e-9)


def test_draws_from_its_own_seeds_alone(data):
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    config = MlpConfig(layers=1, epochs=2)
    found = []
    for _ in range(2):
        ensemble = MlpEnsemble(155, config, seeds=[1, 2])
        ensemble.fit(*data)
        found.append(ensemble.predict(data[0]))
    assert torch.rand(1) == expected
    np.testing.assert_array_equal(*found)
    assert (found[0][0] != found[0][1]).any()
