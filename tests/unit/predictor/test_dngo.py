import math

import numpy as np
import pytest
import torch
from scipy import stats

from raynas.networks.seeding import seeded
from raynas.predictor.dngo import BayesianLinear, Dngo, DngoConfig, expected_improvement


def basis_and_targets(seed=0, count=30, size=6, noise=0.3):
    rng = np.random.default_rng(seed)
    basis = rng.normal(size=(count, size))
    return basis, basis @ rng.normal(size=size) + noise * rng.normal(size=count)


def log_evidence(basis, target, alpha, beta):
    covariance = np.eye(len(target)) / beta + basis @ basis.T / alpha
    return stats.multivariate_normal(np.zeros(len(target)), covariance).logpdf(target)


@pytest.mark.parametrize(("count", "size"), [(30, 6), (8, 20)])
def test_evidence_is_that_of_the_normal_distribution_and_is_highest(count, size):
    basis, target = basis_and_targets(count=count, size=size)
    found = BayesianLinear.fit(basis, target)
    best = log_evidence(basis, target, found.alpha, found.beta)
    assert found.log_evidence == pytest.approx(best, abs=1e-4)
    for up in (0.8, 1.25):
        for across in (0.8, 1.0, 1.25):
            other = log_evidence(basis, target, found.alpha * up, found.beta * across)
            assert other <= best + 1e-4


def test_finds_the_noise():
    basis, target = basis_and_targets(count=2000, noise=0.3)
    found = BayesianLinear.fit(basis, target)
    assert 1 / math.sqrt(found.beta) == pytest.approx(0.3, rel=0.05)


def test_predictions_are_a_gaussian_process():
    """The same posterior the other way round, over architectures instead of weights."""
    basis, target = basis_and_targets(noise=0.5)
    found = BayesianLinear.fit(basis, target)
    new = np.random.default_rng(1).normal(size=(5, 6))
    covariance = basis @ basis.T / found.alpha + np.eye(30) / found.beta
    cross = new @ basis.T / found.alpha
    expected = cross @ np.linalg.solve(covariance, target)
    variance = np.diag(new @ new.T / found.alpha - cross @ np.linalg.solve(covariance, cross.T))
    mean, deviation = found.predict(new)
    np.testing.assert_allclose(mean, expected, rtol=1e-6)
    np.testing.assert_allclose(deviation**2, variance + 1 / found.beta, rtol=1e-6)


def curve(count, seed=0):
    """Features in the middle of the line, and a smooth accuracy."""
    x = np.random.default_rng(seed).uniform(-1, 1, (count, 1))
    return x, 0.5 + 0.2 * np.sin(3 * x[:, 0])


def test_learns_a_curve_in_its_units():
    regression = Dngo(DngoConfig(hidden=32, epochs=60))
    regression.fit(*curve(40), seed=0)
    x, truth = curve(100, seed=1)
    mean, deviation = regression.predict(x)
    assert np.abs(mean - truth).mean() < 0.02
    assert np.mean(np.abs(mean - truth) < 3 * deviation) > 0.9


def test_uncertainty_shrinks_at_data():
    x, y = curve(15)
    far = np.array([[-4.0], [3.0], [4.0]])
    regression = Dngo(DngoConfig(hidden=32))
    regression.fit(x, y, seed=0)
    _, at_data = regression.predict(x)
    _, away = regression.predict(far)
    assert at_data.max() < away.min() / 2
    regression.fit(np.concatenate([x, far]), np.concatenate([y, [0.5, 0.6, 0.4]]), seed=0)
    _, now_known = regression.predict(far)
    assert now_known.max() < away.min()


def test_the_basis_is_fitted_as_by_a_plain_loop():
    """Full-batch Adam on standardised features and accuracies, gradients fresh at each step."""
    config = DngoConfig(hidden=5, layers=2, epochs=4)
    rng = np.random.default_rng(0)
    features = np.column_stack([rng.normal(3, 2, 20), np.full(20, 7.0)])  # one says nothing
    accuracy = rng.uniform(0, 1, 20)
    regression = Dngo(config)
    facts = regression.fit(features, accuracy, seed=3)
    x = np.column_stack([(features[:, 0] - features[:, 0].mean()) / features[:, 0].std(), [0] * 20])
    y = torch.from_numpy((accuracy - accuracy.mean()) / accuracy.std()).float()
    with seeded(3, torch.device("cpu")):
        first, second = torch.nn.Linear(2, 5), torch.nn.Linear(5, 5)
        head = torch.nn.Linear(5, 1)
    parameters = [*first.parameters(), *second.parameters(), *head.parameters()]
    optimizer = torch.optim.Adam(parameters, lr=0.01)
    for _ in range(4):
        basis = torch.tanh(second(torch.tanh(first(torch.from_numpy(x).float()))))
        loss = ((head(basis).squeeze(1) - y) ** 2).mean()
        for parameter, gradient in zip(
            parameters, torch.autograd.grad(loss, parameters), strict=True
        ):
            parameter.grad = gradient
        optimizer.step()
    assert facts["loss"] == pytest.approx(float(loss.detach()), rel=1e-4)
    assert facts["loss"] < 1.5


def test_a_fit_is_a_function_of_data_and_seed():
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    x, y = curve(20)
    found = []
    for seed in (1, 1, 2):
        regression = Dngo(DngoConfig(hidden=8))
        regression.fit(x, y, seed)
        found.append(regression.predict(x)[0])
    assert torch.rand(1) == expected
    np.testing.assert_array_equal(found[0], found[1])
    assert (found[0] != found[2]).any()


def test_expected_improvement_is_the_mean_of_what_exceeds_the_best():
    draws = np.random.default_rng(0).standard_normal(400_000)
    for mean, deviation in ((0.5, 0.1), (0.7, 0.1), (0.4, 0.3)):
        sampled = np.maximum(mean + deviation * draws - 0.6, 0).mean()
        found = expected_improvement(np.array([mean]), np.array([deviation]), best=0.6)[0]
        assert found == pytest.approx(sampled, abs=5e-4)


def test_ranks_unseen_cells_after_60_by_embedding(planted):
    from raynas.predictor.autoencoder import AutoencoderConfig, DenseGraphs, pretrain
    from raynas.predictor.metrics import kendall_tau

    trained, unseen = (
        DenseGraphs.of(planted.graphs(cells)) for cells in (planted.trained, planted.unseen)
    )
    config = AutoencoderConfig(hidden=32, layers=3, epochs=10)
    network = pretrain(unseen, planted.space.num_labels, config)
    regression = Dngo()
    regression.fit(network.embed(trained), planted.quality(planted.trained), seed=0)
    mean, _ = regression.predict(network.embed(unseen))
    assert kendall_tau(mean, planted.quality(planted.unseen)) > 0.5
