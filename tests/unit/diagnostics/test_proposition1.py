"""Proposition 1 in closed form, and how its A, B and K are measured."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar

from raynas.diagnostics.estimation import moments_of, optimal_theta
from raynas.diagnostics.visiting import cells_of, train_mode
from raynas.seeds import derive_rng


def test_the_example_of_the_thesis():
    assert optimal_theta(0.25, 1.0) == pytest.approx((0.20, 0.80))
    assert optimal_theta(1.0, 1.0) == pytest.approx((0.5, 0.5))


@given(st.floats(0.01, 4), st.floats(0.01, 4), st.floats(-0.95, 0.95))
def test_it_is_the_minimum(a, b, correlation):
    k = correlation * math.sqrt(a * b)

    def variance(op):
        return op**2 * b + (1 - op) ** 2 * a + 2 * op * (1 - op) * k

    op, skip = optimal_theta(a, b, k)
    assert op + skip == pytest.approx(1)
    found = minimize_scalar(variance, bounds=(op - 5, op + 5), method="bounded")
    assert variance(op) <= found.fun + 1e-9 * (a + b)


def test_it_is_what_samples_say():
    rng = derive_rng(0, "samples")
    covariance = np.array([[0.25, 0.1], [0.1, 1.0]])
    errors = rng.multivariate_normal([0, 0], covariance, size=200_000)
    grid = np.linspace(-0.5, 1.5, 401)
    variances = [np.var(op * errors[:, 1] + (1 - op) * errors[:, 0]) for op in grid]
    op, _ = optimal_theta(0.25, 1.0, 0.1)
    assert grid[int(np.argmin(variances))] == pytest.approx(op, abs=0.02)


def test_of_two_that_are_the_same_any_weight_does():
    assert all(map(math.isnan, optimal_theta(0.5, 0.5, 0.5)))


def test_moments_are_those_of_a_straight_line_version(exact_training):
    training = exact_training()
    images, _ = next(training.selection_batches(8))
    mixture = training.mixture()
    theta = mixture.weights[0]
    with train_mode(training), torch.no_grad():
        visit = next(iter(cells_of(training.supernet, images, mixture)))
        found = {(e, o): m for e, o, m in moments_of(visit, theta)}
        states, kind = visit.states, visit.cell.kind

        def scaled(x):
            return (x - x.mean()) / x.std(correction=0)

        def run(edge, op):
            state = states[kind.edges[edge][0]].full
            module = visit.cell.operation(edge, op)
            return module(torch.relu(state) if module.on_rectified else state)

        for node in kind.nodes:
            mixed = []
            for edge in kind.incoming(node):
                whole = 0
                for op, name in enumerate(kind.ops[edge]):
                    if name != "none":
                        whole = whole + theta[edge, op] * run(edge, op)
                mixed.append(scaled(whole))
            features = sum(mixed) / len(mixed)
            for edge in kind.incoming(node):
                skip = kind.ops[edge].index("skip_connect")
                for op, name in enumerate(kind.ops[edge]):
                    if "conv" not in name:
                        assert (edge, op) not in found
                        continue
                    x = (scaled(run(edge, skip)) - features).flatten()
                    o = (scaled(run(edge, op)) - features).flatten()
                    expected = np.cov(torch.stack([x, o]).numpy(), ddof=0)
                    a, b, k = found.pop((edge, op))
                    assert [a, k, k, b] == pytest.approx(expected.ravel().tolist())
    assert not found


def test_a_visit_runs_the_supernet_as_it_runs(exact_training):
    """The states that a visit shows are those of a forward pass, cell after cell."""
    for space in ("nasbench201", "s2"):
        training = exact_training(space)
        images, _ = next(training.selection_batches(8))
        mixture, seen = training.mixture(), []
        cells = [stage.mixed for stage in training.supernet.stages if hasattr(stage, "mixed")]

        def keep(module, inputs, nodes, seen=seen):
            seen.append(nodes)

        hooks = [cell.register_forward_hook(keep) for cell in cells]
        with train_mode(training), torch.no_grad():
            training.supernet(images, mixture)
            visits = list(cells_of(training.supernet, images, mixture))
        for hook in hooks:
            hook.remove()
        assert len(visits) == len(seen) == len(cells)
        for visit, nodes in zip(visits, seen, strict=True):
            shown = [state.full for state in visit.states[-len(nodes) :]]
            for one, other in zip(shown, nodes, strict=True):
                assert torch.equal(one, other)
