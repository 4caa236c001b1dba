"""Weights of judges: those who agree with what was trained get them."""

import numpy as np
import pytest

from raynas.predictor.pairs import PairConfig, make_pairs
from raynas.predictor.stacking import judge_weights
from raynas.scheduling.snapshot import PoolRecord, PoolSnapshot


def pool_of(accuracy):
    records = tuple(
        PoolRecord(i, f"a{i}", f"a{i}", 1, (float(a),), {}, False) for i, a in enumerate(accuracy)
    )
    return make_pairs(PoolSnapshot(1, (1,), records, ()), PairConfig(), np.random.default_rng(0))


def ranks(values):
    return np.argsort(np.argsort(values)) / (len(values) - 1)


@pytest.fixture
def accuracy():
    return np.random.default_rng(0).random(40)


def test_who_agrees_is_trusted_and_who_does_not_is_not(accuracy):
    rng = np.random.default_rng(1)
    good, useless, wrong = ranks(accuracy), ranks(rng.random(40)), ranks(-accuracy)
    fair = ranks(accuracy + rng.normal(0, 0.3, 40))
    weights = judge_weights(np.stack([useless, good, wrong, fair], axis=1), pool_of(accuracy))
    assert weights[1] > 5 * weights[0]
    assert weights[1] > weights[3]
    assert weights[2] == 0
    assert (weights >= 0).all()


def test_it_is_the_minimum_of_the_formula(accuracy):
    rng = np.random.default_rng(2)
    judges = np.stack([ranks(accuracy + rng.normal(0, s, 40)) for s in (0.2, 0.4)], axis=1)
    pairs = pool_of(accuracy)
    lead = judges[pairs.winner] - judges[pairs.loser]

    def cost(w):
        return 40 * np.mean(np.log1p(np.exp(-lead @ w))) + 0.3 * w @ w

    found = judge_weights(judges, pairs)
    for step in ([0.01, 0], [-0.01, 0], [0, 0.01], [0, -0.01]):
        assert cost(found) < cost(found + step)


def test_without_evidence_all_are_alike(accuracy):
    assert judge_weights(np.full((40, 3), 0.5), pool_of(accuracy)) == pytest.approx(1, abs=1)
    assert judge_weights(np.random.default_rng(0).random((3, 2)), pool_of([0.5] * 3)).tolist() == [
        1,
        1,
    ]
    wrong = np.stack([ranks(-accuracy)] * 2, axis=1)
    assert judge_weights(wrong, pool_of(accuracy)).tolist() == [1, 1]


def test_judges_are_asked_only_about_measured_pairs(accuracy):
    failed = PoolRecord(40, "f", "f", 0, (), {}, True)
    records = [
        PoolRecord(i, f"a{i}", f"a{i}", 1, (float(a),), {}, False) for i, a in enumerate(accuracy)
    ]
    snapshot = PoolSnapshot(1, (1,), (*records, failed), ())
    pairs = make_pairs(snapshot, PairConfig(), np.random.default_rng(0))
    judges = ranks(accuracy)[:, None].repeat(2, axis=1)
    assert judge_weights(judges, pairs).shape == (2,)
