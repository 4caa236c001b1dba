"""Proposition 2: the trace on μ against torch's own Hessian, and both sides of the bound."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from raynas.diagnostics import trace
from raynas.diagnostics.trace import MeanHessian, coefficient, laplace_mean
from raynas.diagnostics.visiting import train_mode
from raynas.supernets.curvature import dense
from raynas.supernets.mixture import Mixture


def test_coefficient_is_that_of_the_proposition():
    for count, delta in ((2, 0.0), (5, 0.3), (7, 1.5)):
        as_stated = 0.5 * ((1 - 2 / count) / (1 + delta) + 1 / (count * (1 + delta)))
        assert coefficient(count, delta) == pytest.approx(as_stated)


def test_the_softmax_of_mu_is_the_mean_of_the_distribution():
    concentrations = torch.tensor([[0.3, 1.0, 2.5], [1.0, 1.0, 1.0]], dtype=torch.float64)
    means = laplace_mean(concentrations, np.ones((2, 3), dtype=bool))
    share = concentrations / concentrations.sum(dim=1, keepdim=True)
    assert torch.allclose(means.softmax(dim=1), share)
    assert torch.allclose(means.sum(dim=1), torch.zeros(2, dtype=torch.float64))


def hessian_by_mu(training, batches):
    rows = training.method.concentrations()[0].detach()
    means = [laplace_mean(rows, np.ones(rows.shape, dtype=bool))]
    start = means[0].flatten()

    def loss(flat):
        rows = flat.reshape(means[0].shape).softmax(dim=1)
        mixture = Mixture((rows,), (np.ones(rows.shape, dtype=bool),))
        losses = [F.cross_entropy(training.supernet(x, mixture), y) for x, y in batches]
        return torch.stack(losses).mean()

    with train_mode(training):
        return float(loss(start)), torch.autograd.functional.hessian(loss, start)


def test_products_are_those_of_the_dense_hessian(exact_training):
    training = exact_training(method="drnas")
    batches = list(training.selection_batches(8))[:2]
    concentrations = [rows.detach() for rows in training.method.concentrations()]
    with train_mode(training):
        product = MeanHessian(training, trace._means(training, concentrations), batches)
        found = dense(product, 30)
    _, expected = hessian_by_mu(training, batches)
    assert torch.allclose(found, expected, atol=1e-10)


def test_figures_are_those_of_the_dense_hessian(exact_training, holding):
    training = exact_training(method="drnas")
    batches = list(training.selection_batches(8))[:1]
    found = trace._measured(holding(training), step=0, batches=1, probes=80, seed=0)
    at_mean, hessian = hessian_by_mu(training, batches)
    assert found["loss_at_mean"] == pytest.approx(at_mean)
    assert abs(found["total_trace"] - float(hessian.trace())) < 4 * found["trace_error"]
    assert found["trace_error"] < abs(float(hessian.trace()))
    assert sum(row["trace"] for row in found["edges"]) == pytest.approx(found["total_trace"])
    concentrations = training.method.concentrations()[0].detach()
    deltas = (concentrations - 1).norm(dim=1).tolist()
    assert [row["delta"] for row in found["edges"]] == pytest.approx(deltas)
    added = sum(row["trace"] * 0.4 / (1 + row["delta"]) for row in found["edges"])
    assert found["bound"] == pytest.approx(at_mean + added)


def test_monte_carlo_is_the_mean_over_draws(exact_training, holding):
    training = exact_training(method="drnas")
    (images, labels), *_ = training.selection_batches(8)
    found = trace._measured(holding(training), step=0, batches=1, probes=100, seed=0)
    rng = np.random.default_rng(1)
    concentrations = training.method.concentrations()[0].detach().numpy()
    losses = []
    with train_mode(training), torch.no_grad():
        for _ in range(100):
            rows = torch.from_numpy(np.stack([rng.dirichlet(c) for c in concentrations]))
            mixture = Mixture((rows,), (np.ones(rows.shape, dtype=bool),))
            losses.append(float(F.cross_entropy(training.supernet(images, mixture), labels)))
    error = np.hypot(np.std(losses) / 100**0.5, found["expected_loss_error"])
    assert abs(found["expected_loss"] - np.mean(losses)) < 4 * error


def test_pruned_ops_take_no_part(exact_training, holding):
    training = exact_training(method="drnas")
    training.decisions.prune_op(0, 1, 0)
    training.decisions.decide_op(0, 3, 2)
    found = trace._measured(holding(training), step=0, batches=1, probes=8, seed=0)
    assert [row["edge"] for row in found["edges"]] == [0, 1, 2, 4, 5]
    own = training.method.concentrations()[0].detach()[1, 1:]
    assert found["edges"][1]["delta"] == pytest.approx(float((own - 1).norm()))
    assert found["edges"][1]["coefficient"] == pytest.approx(
        coefficient(4, found["edges"][1]["delta"])
    )
    means = laplace_mean(
        training.method.concentrations()[0].detach(), training.decisions.allowed(0)
    )
    assert torch.allclose(means[1, 1:].softmax(0), own / own.sum())
    assert means[1, 0] == 0
