import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from raynas.networks.seeding import seeded
from raynas.predictor.fit import PredictorConfig
from raynas.predictor.metrics import kendall_tau
from raynas.predictor.model import GraphRanker, GraphSet
from raynas.predictor.regression import AccuracyRegressor, RegressionConfig
from raynas.seeds import derive_rng, derive_seed


@pytest.fixture
def fitted(planted):
    """Return a function: a regressor fitted to some of the cells, and its report."""

    def fit(count=60, seed=0, **options):
        regressor = AccuracyRegressor(planted.space.num_labels, RegressionConfig(**options))
        cells = planted.trained[:count]
        return regressor, regressor.fit(planted.graphs(cells), planted.quality(cells), seed)

    return fit


def test_the_options_are_the_rankers_but_for_the_loss():
    """Ranking against regression is a fair comparison only then."""
    ranking, regression = PredictorConfig().model_dump(), RegressionConfig().model_dump()
    assert ranking.pop("loss") == "logistic"
    assert regression == ranking


def test_predicts_a_planted_accuracy_from_60_cells(planted, fitted):
    regressor, report = fitted()
    predicted = regressor.predict(GraphSet.of(planted.graphs(planted.unseen), 2))
    truth = planted.quality(planted.unseen)
    assert kendall_tau(predicted, truth) > 0.7
    assert np.mean((predicted - truth) ** 2) < np.var(truth) / 4  # a scale, not an order alone
    assert report["kendall_tau"] > 0.6
    assert report["num_held_out"] == 60


def test_members_are_those_of_a_plain_loop(planted, fitted):
    """One by one, standardised targets, gradients fresh at each step, stopped by the fold."""
    steps, folds = 30, 5
    options = {"hidden": 6, "epochs": steps, "ensemble": 2, "patience": steps, "lr": 0.01}
    regressor, _ = fitted(20, seed=7, **options)
    data = GraphSet.of(planted.graphs(planted.trained[:20]), 2)
    accuracy = planted.quality(planted.trained[:20])
    target = torch.from_numpy((accuracy - accuracy.mean()) / accuracy.std()).float()
    fold = derive_rng(7, "folds").permutation(np.arange(20) % folds)
    predicted = []
    for number in range(2):
        with seeded(derive_seed(7, "member", number), torch.device("cpu")):
            network = GraphRanker(planted.space.num_labels, hidden=6, num_layers=2)
        held_out = torch.from_numpy(fold == number)
        optimizer = torch.optim.Adam(network.parameters(), lr=0.01, weight_decay=1e-4)
        judged, seen = [], []
        for _ in range(steps):
            scores = network(data)
            judged.append(float(F.mse_loss(scores.detach()[held_out], target[held_out])))
            seen.append(scores.detach())
            loss = F.mse_loss(scores[~held_out], target[~held_out])
            gradients = torch.autograd.grad(loss, list(network.parameters()))
            for parameter, gradient in zip(network.parameters(), gradients, strict=True):
                parameter.grad = gradient
            optimizer.step()
        assert 3 < np.argmin(judged) < steps - 1  # neither what it began nor what it ended with
        predicted.append(seen[int(np.argmin(judged))].double().numpy())
    expected = accuracy.mean() + accuracy.std() * np.mean(predicted, axis=0)
    off = np.abs(regressor.predict(data) - expected)
    assert off.max() < 1e-3 * accuracy.std()


def test_a_fit_is_a_function_of_data_and_seed(planted, fitted):
    others = GraphSet.of(planted.graphs(planted.unseen[:50]), 2)
    first, second, other = (fitted(seed=seed, epochs=5)[0].predict(others) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, second)
    assert (first != other).any()


def test_leaves_the_global_generator_alone(fitted):
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    fitted(30, epochs=3, dropout=0.5)
    assert torch.rand(1) == expected


@pytest.mark.parametrize("count", [2, 9])
def test_too_few_to_hold_anything_out_is_said(fitted, count):
    _, report = fitted(count, epochs=5)
    assert report["num_held_out"] == 0
    assert report["kendall_tau"] is None
    json.dumps(report, allow_nan=False)
