import json
import math
import pickle

import numpy as np
import pytest

from raynas.config import construct
from raynas.errors import ConfigError
from raynas.proposing import PROPOSERS
from raynas.proposing.random import draw_new
from raynas.proposing.robot import (
    GaussianProcess,
    Query,
    RobotProposer,
    matern,
    next_weights,
    scaled,
)
from raynas.registry import lookup
from raynas.scheduling.budget import Budget
from raynas.scheduling.nosh import NoshPolicy
from raynas.scheduling.snapshot import PoolSnapshot
from raynas.seeds import derive_rng
from raynas.spaces.nasbench201 import NasBench201
from raynas.testing import ProposerContract, ToySpace

EMPTY = PoolSnapshot(0, (1, 2, 4), (), ())
NAN = float("nan")


def toy_score(architectures):
    numbers = [int(a.text[1:]) for a in architectures]
    return [{"up": float(n), "down": -float(n), "odd": float(n % 2)} for n in numbers]


class Noisy:
    """Proxies of planted NAS-Bench-201: one knows (its sign may be wrong), `noise` do not."""

    def __init__(self, planted, noise=4, sign=1):
        self.planted = planted
        self.noise = noise
        self.sign = sign
        self.calls = []

    def __call__(self, architectures):
        self.calls.append(len(architectures))
        return [
            {
                "informed": self.sign * self.planted.quality(a),
                **{f"noise {i}": float(x) for i, x in enumerate(self._noise(a))},
            }
            for a in architectures
        ]

    def _noise(self, architecture):
        return derive_rng(0, "noise", architecture.text).normal(size=self.noise)


@pytest.fixture(scope="module")
def noisy_scores(planted):
    """Scores of the whole space, worked out once: a function to look them up."""
    space = NasBench201()
    listed = list({space.key(a): a for a in reversed(list(space))}.values())
    known = dict(zip(listed, Noisy(planted)(listed), strict=True))
    return lambda architectures: [known[a] for a in architectures]


class TestContract(ProposerContract):
    @pytest.fixture
    def make_proposer(self):
        return lambda space: RobotProposer(space, score=toy_score)


class TestContractOfASample(ProposerContract):
    @pytest.fixture
    def make_proposer(self):
        return lambda space: RobotProposer(space, score=toy_score, max_listed=1, sample_size=20)


class TestContractOfOneProxy(ProposerContract):
    @pytest.fixture
    def make_proposer(self):
        return lambda space: RobotProposer(space, score=toy_score, proxies=["odd"])


def test_is_found_by_name_and_is_given_scores():
    target = lookup("proposer", "robot", PROPOSERS)
    proposer = construct("proposer", target, {"explore": 9}, ToySpace(), score=toy_score)
    assert isinstance(proposer, RobotProposer)


def test_recovers_the_informed_one_among_noisy_proxies(noisy_scores, search):
    found = []
    for seed in range(4):
        proposer = RobotProposer(NasBench201(), score=noisy_scores)
        pool = list(search(proposer, evaluations=40, seed=seed))
        queries = proposer.state_dict()["queries"]
        worth = {c.key: c.accuracy for c in pool}
        assert len(queries) == 20
        weights, key = max(reversed(queries), key=lambda query: worth[query[1]])
        greedy = np.mean([c.accuracy for c in pool[-15:]])
        found.append((weights[0], worth[key], greedy))  # "informed" comes first by name
    weight, best, greedy = np.mean(found, axis=0)
    assert weight > 0.6  # 0 on average at random, 0.45 of all alike
    assert best > 0.85  # random search: 0.64
    assert greedy > 0.4  # random search: 0.19


def test_a_proxy_that_points_the_wrong_way_is_turned_round(planted, search):
    score = Noisy(planted, noise=0, sign=-1)
    proposer = RobotProposer(NasBench201(), score=score)
    pool = search(proposer, evaluations=15, per_round=3)
    assert max(c.accuracy for c in pool) == 1
    assert len(score.calls) == 1


def test_the_first_weighs_all_alike_and_the_rest_of_a_batch_follows_it():
    def score(architectures):
        numbers = [int(a.text[1:]) for a in architectures]
        return [{"a": -abs(n - 40), "b": -abs(n - 60)} for n in numbers]

    proposer = RobotProposer(ToySpace(200), score=score)
    proposed = proposer.propose(EMPTY, 40, np.random.default_rng(0))
    weights, key = proposer.state_dict()["queries"][0]
    np.testing.assert_allclose(weights, [0.5**0.5] * 2)
    assert 40 <= int(key[1:]) <= 60
    assert len(proposer.state_dict()["queries"]) == 5  # more would be blind
    assert all(20 <= int(a.text[1:]) <= 80 for a in proposed[5:])


def test_known_answers_cost_nothing(pool_of):
    """Weightings that rank trained architectures first are learnt from, and nothing is proposed."""
    space = ToySpace(10)
    ends = [(space.parse(text), 0.5) for text in ("a0", "a9")]
    proposer = RobotProposer(space, score=toy_score, proxies=["up"], explore=8)
    proposed = proposer.propose(pool_of(ends, space=space), 3, np.random.default_rng(0))
    assert len(proposed) == 3
    queries = proposer.state_dict()["queries"]
    assert len(queries) == 8
    assert {key for _, key in queries} <= {"a0", "a9"}


def test_greedy_goes_down_the_best_ranking(pool_of):
    space = ToySpace(30)
    known = [(space.parse("a0"), 0.9), (space.parse("a29"), 0.2)]
    proposer = RobotProposer(space, score=toy_score, proxies=["up"], explore=10)
    proposed = proposer.propose(pool_of(known, space=space), 4, np.random.default_rng(0))
    assert [a.text for a in proposed] == ["a1", "a2", "a3", "a4"]


@pytest.mark.parametrize(("worths", "expected"), [((0.5, 0.5), "a0"), ((0.6, 0.5), "a29")])
def test_greedy_follows_the_best_query_or_the_latest_of_equal_ones(pool_of, worths, expected):
    space = ToySpace(32)
    queries = [[[1.0], "a30"], [[-1.0], "a1"]]
    taken = [("a30", worths[0]), ("a1", worths[1]), ("a31", 0.1)]
    proposer = RobotProposer(space, score=toy_score, proxies=["up"], explore=2)
    proposer.load_state_dict({"seed": 0, "queries": queries})
    pool = pool_of([(space.parse(text), worth) for text, worth in taken], space=space)
    [proposed] = proposer.propose(pool, 1, np.random.default_rng(0))
    assert proposed.text == expected


def test_the_failed_count_as_the_worst(pool_of):
    space = ToySpace(30)
    known = [(space.parse("a0"), 0.2), (space.parse("a29"), NAN), (space.parse("a15"), 0.1)]
    proposer = RobotProposer(space, score=toy_score, proxies=["up"], explore=10)
    proposed = proposer.propose(pool_of(known, space=space), 2, np.random.default_rng(0))
    assert [a.text for a in proposed] == ["a1", "a2"]


def test_queries_that_level_0_turned_down_are_forgotten(pool_of):
    space = ToySpace(30)
    proposer = RobotProposer(space, score=toy_score)
    proposer.propose(EMPTY, 3, np.random.default_rng(0))
    assert proposer.state_dict()["queries"]
    pool = pool_of([(space.parse("a17"), None)], space=space)
    proposer.propose(pool, 1, np.random.default_rng(0))
    queries = proposer.state_dict()["queries"]
    np.testing.assert_allclose(queries[0][0], [3**-0.5] * 3)  # it starts from the beginning


def test_scores_are_logarithms_scaled():
    rows = [{"a": 0.0, "b": -9.0}, {"a": 9.0, "b": 9.0}, {"a": 99.0, "b": math.inf}, {"b": NAN}]
    np.testing.assert_allclose(scaled(rows), [[0, 0], [0.5, 1], [1, 0], [0, 0]])
    np.testing.assert_allclose(scaled(rows, ["b"]), [[0], [1], [0], [0]])
    np.testing.assert_allclose(scaled([{"a": 3.0}, {"a": 3.0}]), [[0], [0]])
    np.testing.assert_allclose(scaled([{"a": NAN}]), [[0]])


def test_continues_after_a_restart(planted, search):
    space = NasBench201()
    options = {"max_listed": 1, "sample_size": 50}
    proposer = RobotProposer(space, score=Noisy(planted), **options)
    pool = search(proposer, evaluations=10).snapshot()
    other = RobotProposer(space, score=Noisy(planted), **options)
    other.load_state_dict(json.loads(json.dumps(proposer.state_dict())))
    first, second = (p.propose(pool, 5, np.random.default_rng(7)) for p in (proposer, other))
    assert first == second


def test_what_is_cached_does_not_travel():
    light = len(pickle.dumps(RobotProposer(ToySpace(), score=toy_score)))
    proposer = RobotProposer(ToySpace(), score=toy_score)
    proposer.propose(EMPTY, 3, np.random.default_rng(0))
    assert len(pickle.dumps(proposer)) < light + 1000


def test_works_under_early_stopping(noisy_scores, search):
    proposer = RobotProposer(NasBench201(), score=noisy_scores)
    pool = search(proposer, policy=NoshPolicy((1, 2, 4), Budget(120)))
    assert max(pool, key=lambda c: (c.level, c.accuracy)).accuracy > 0.85


def test_needs_scores():
    with pytest.raises(ConfigError, match="robot goes by zero-cost scores and was given no"):
        RobotProposer(ToySpace())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"explore": 0}, r"proposer\.explore: 0 must be at least 1"),
        ({"sample_size": 0}, r"proposer\.sample_size: 0 must be at least 1"),
        ({"proxies": []}, r"proposer\.proxies: name at least one"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ConfigError, match=message):
        RobotProposer(ToySpace(), score=toy_score, **options)


@pytest.mark.parametrize(
    ("score", "proxies", "message"),
    [(toy_score, ["upp"], "did you mean 'up'"), (lambda a: [{} for _ in a], None, "no scores")],
)
def test_scores_that_are_not_there(score, proxies, message):
    proposer = RobotProposer(ToySpace(), score=score, proxies=proxies)
    with pytest.raises(ConfigError, match=message):
        proposer.propose(EMPTY, 1, np.random.default_rng(0))


def on_circle(angle):
    return (math.cos(angle), math.sin(angle))


def test_queries_go_where_the_process_expects_most():
    angles = np.arange(0, 2 * math.pi, math.pi / 6)
    queries = [Query(on_circle(angle), f"a{i}") for i, angle in enumerate(angles)]
    worth = {f"a{i}": math.cos(angle - 2.3) for i, angle in enumerate(angles)}
    for seed in range(3):
        weights = next_weights(queries, worth, 2, np.random.default_rng(seed))
        np.testing.assert_allclose(np.linalg.norm(weights), 1)
        assert weights @ on_circle(2.3) > 0.9


def test_queries_go_where_nothing_is_known_or_awaited():
    at = [0.0, 0.2, 0.4, 0.6, 3.3, 3.6]
    queries = [Query(on_circle(angle), f"a{i}") for i, angle in enumerate(at)]
    worth = {"a0": 0.50, "a1": 0.51, "a2": 0.49, "a3": 0.5}
    for seed in range(3):
        weights = next_weights(queries, worth, 2, np.random.default_rng(seed))
        assert max(weights @ on_circle(angle) for angle in at) < 0.97


# -- the process -------------------------------------------------------------------------------


def test_matern_by_hand():
    root = math.sqrt(5) * 0.7
    expected = (1 + root + root**2 / 3) * math.exp(-root)
    np.testing.assert_allclose(matern(np.array([0.0, 0.7])), [1, expected])


def test_regression_agrees_with_scikit_learn():
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import Matern

    rng = np.random.default_rng(0)
    at, values, further = rng.normal(size=(12, 3)), rng.normal(size=12), rng.normal(size=(7, 3))
    kernel = Matern(0.8, nu=2.5)
    theirs = GaussianProcessRegressor(kernel, alpha=1e-2, optimizer=None, normalize_y=True)
    mean, deviation = theirs.fit(at, values).predict(further, return_std=True)
    ours = GaussianProcess(at, values, 0.8, 1e-2).predict(further)
    np.testing.assert_allclose(ours[0], mean, rtol=1e-8)
    np.testing.assert_allclose(ours[1], deviation, rtol=1e-8)


def test_the_likeliest_length_and_noise_win():
    rng = np.random.default_rng(0)
    at = np.linspace(-2, 2, 40)[:, None]
    smooth = GaussianProcess.fitted(at, np.sin(at[:, 0]))
    rough = GaussianProcess.fitted(at, np.sin(at[:, 0]) + rng.normal(0, 0.3, 40))
    assert smooth.noise == 1e-6
    assert rough.noise == 1e-1
    assert smooth.length > 0.4


def test_what_is_believed_adds_certainty_and_changes_no_mean():
    at = np.array([[0.0, 1.0], [1.0, 0.0]])
    process = GaussianProcess(at, np.array([0.2, 0.8]), 0.8, 1e-6)
    further = np.array([[0.6, 0.8]])
    believing = process.believing(further)
    before, after = process.predict(further), believing.predict(further)
    np.testing.assert_allclose(after[0], before[0], rtol=1e-5)
    assert after[1][0] < 0.01 * before[1][0]


def test_equal_values_are_no_trouble():
    process = GaussianProcess.fitted(np.eye(3), np.full(3, 0.4))
    mean, deviation = process.predict(np.array([[1.0, 0.0, 0.0], [5.0, 5.0, 5.0]]))
    np.testing.assert_allclose(mean, 0.4)
    assert deviation[0] < deviation[1]


def test_draws_of_a_sample_are_those_of_its_seed():
    space = ToySpace(1000)
    proposer = RobotProposer(space, score=toy_score, max_listed=1, sample_size=30)
    proposer.load_state_dict({"seed": 5, "queries": []})
    proposed = proposer.propose(EMPTY, 10, np.random.default_rng(0))
    assert set(proposed) <= set(draw_new(space, set(), 30, np.random.default_rng(5)))
