"""Which edge is decided next."""

import numpy as np
import pytest
import torch

from raynas.selection.order import certain_importance, entropy, next_edge, next_node
from raynas.spaces.darts import DartsSpace, S3Space

from .fakes import FakeTraining


def test_entropy_of_rows():
    found = entropy(np.array([[0.5, 0.5, 0], [1, 0, 0], [1 / 3] * 3]))
    assert found == pytest.approx([np.log(2), 0, np.log(3)])


def test_sgas_criterion_1_by_hand():
    """Importance times certainty, both stretched over the edges (algorithms.md §2.3)."""
    theta = np.array([[0.2, 0.4, 0.4], [0.5, 0.45, 0.05], [0.1, 0.6, 0.3]])
    is_none = np.array([[True, False, False]] * 3)
    importance = np.array([0.8, 0.5, 0.9])
    shares = [(0.5, 0.5), (0.9, 0.1), (2 / 3, 1 / 3)]
    certainty = np.array([1 + sum(p * np.log(p) for p in row) / np.log(2) for row in shares])
    expected = (importance - 0.5) / 0.4 * (certainty - certainty[0]) / (certainty[1] - certainty[0])
    assert certain_importance(theta, is_none) == pytest.approx(expected)


def test_sgas_criterion_where_no_op_is_none_or_but_one_is():
    theta = np.array([[0.5, 0.5], [0.9, 0.1]])
    assert certain_importance(theta, np.zeros((2, 2), dtype=bool)).tolist() == [0, 1]
    one = np.array([[True, False], [True, False]])
    assert certain_importance(theta, one).tolist() == [0, 0]  # equally certain: no choice
    assert certain_importance(np.array([[1.0, 0.0], [1.0, 0.0]]), one).tolist() == [0, 0]


class Fixed(FakeTraining):
    def theta(self):
        rows = torch.full((14, 3), 1 / 3, dtype=torch.float64)
        rows[4] = torch.tensor([0.9, 0.05, 0.05])  # certain, but of none
        rows[7] = torch.tensor([0.1, 0.85, 0.05])
        return [rows] * 2


def test_orders():
    training = Fixed(S3Space())
    assert next_edge(training, 0, "forward", 0) == 0
    assert next_edge(training, 0, "entropy", 0) == 4
    assert next_edge(training, 0, "sgas", 0) == 7
    training.decisions.decide_op(0, 0, 1)
    training.decisions.decide_op(0, 4, 1)
    training.decisions.decide_op(0, 7, 1)
    assert next_edge(training, 0, "forward", 0) == 1
    assert next_edge(training, 0, "entropy", 0) == 1  # all alike: the first
    assert next_edge(training, 1, "sgas", 0) == 7
    assert next_node(training, 0, "sgas", 0) == 3
    training.decisions.keep_edges(0, 3, (2, 3))
    assert next_node(training, 0, "forward", 0) == 4


def test_random_order_draws_evenly_among_the_undecided():
    training = FakeTraining(DartsSpace())
    for edge in (0, 5, 13):
        training.decisions.decide_op(0, edge, 1)
    drawn = [next_edge(training, 0, "random", seed) for seed in range(2200)]
    counts = np.bincount(drawn, minlength=14)
    assert np.flatnonzero(counts == 0).tolist() == [0, 5, 13]
    assert counts.max() < 2 * counts[counts > 0].min()
    assert {next_node(training, 0, "random", seed) for seed in range(50)} == {3, 4, 5}
