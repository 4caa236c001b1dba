import pickle

import numpy as np
import pytest

from raynas.errors import ConfigError
from raynas.predictor.fit import RankingPredictor
from raynas.proposing.answer import Answer
from raynas.proposing.random import RandomProposer, draw_new
from raynas.proposing.ranking import RankingProposer
from raynas.scheduling.search import Request
from raynas.scheduling.snapshot import PoolRecord, PoolSnapshot
from raynas.spaces.nasbench201 import NasBench201
from raynas.testing import ProposerContract, ToySpace

FAST = {"epochs": 20, "ensemble": 1}


class TestRandom(ProposerContract):
    @pytest.fixture
    def make_proposer(self):
        return RandomProposer


class TestRanking(ProposerContract):
    @pytest.fixture
    def make_proposer(self):
        return lambda space: RankingProposer(space, predictor=FAST)


class TestRankingOfASample(ProposerContract):
    """A space too large to list."""

    @pytest.fixture
    def make_proposer(self):
        return lambda space: RankingProposer(space, predictor=FAST, max_listed=1, sample_size=20)


class TestRankingWithExploration(ProposerContract):
    @pytest.fixture
    def make_proposer(self):
        return lambda space: RankingProposer(space, predictor=FAST, exploration=0.5)


def pool_of(space, count, quality):
    architectures = draw_new(space, set(), count, np.random.default_rng(0))
    records = tuple(
        PoolRecord(i, a.text, space.key(a), 1, (quality(a),), {}, False)
        for i, a in enumerate(architectures)
    )
    return PoolSnapshot(1, (1, 2, 4), records, ())


def test_proposes_what_the_predictor_ranks_highest():
    space = NasBench201()

    def convolutions(architecture):
        return sum("conv" in op for op in space.ops(architecture)) / 6

    pool = pool_of(space, 40, convolutions)
    proposer = RankingProposer(space)
    proposed = proposer.propose(pool, 10, np.random.default_rng(0))
    mean = np.mean([convolutions(a) for a in proposed])
    assert mean > 0.85
    assert mean > np.mean([record.level_accuracy[0] for record in pool.candidates]) + 0.3


def test_the_fit_is_on_record():
    space = NasBench201()
    proposer = RankingProposer(space, predictor=FAST)
    proposer.propose(PoolSnapshot(0, (1, 2), (), ()), 3, np.random.default_rng(0))
    assert proposer.fit_record is None
    pool = pool_of(space, 12, lambda a: len(a.text) / 100)
    proposer.propose(pool, 3, np.random.default_rng(0))
    assert proposer.fit_record["num_trained"] == 12
    assert proposer.fit_record["num_scored"] == 5390  # keys: one function is scored once
    assert proposer.fit_record["score_s"] > 0


def test_equal_functions_are_one_to_the_predictor(monkeypatch):
    """Skipped or cut-off ops differ in text only: the pool's copy is learnt as its twin's."""
    space = NasBench201()
    seen = []
    fit = RankingPredictor.fit

    def hear(self, graphs, pairs, seed):
        seen.extend(graphs)
        return fit(self, graphs, pairs, seed)

    monkeypatch.setattr(RankingPredictor, "fit", hear)
    twins = [a for a in space if space.key(a) == "((0)@nor_conv_3x3)@nor_conv_3x3"]
    assert len(twins) > 1
    others = pool_of(space, 10, lambda a: len(a.text) / 100).candidates
    last = PoolRecord(10, twins[-1].text, space.key(twins[-1]), 1, (0.5,), {}, False)
    pool = PoolSnapshot(1, (1, 2, 4), (*others, last), ())
    RankingProposer(space, predictor=FAST).propose(pool, 3, np.random.default_rng(0))
    np.testing.assert_array_equal(seen[10].labels, space.graph(twins[0]).labels)
    assert (seen[10].labels != space.graph(twins[-1]).labels).any()


def test_what_is_cached_does_not_travel():
    proposer = RankingProposer(NasBench201(), predictor=FAST)
    proposer.propose(pool_of(NasBench201(), 12, lambda a: 0.1), 3, np.random.default_rng(0))
    pool = pool_of(NasBench201(), 12, lambda a: len(a.text) / 100)
    proposer.propose(pool, 3, np.random.default_rng(0))
    assert len(pickle.dumps(proposer)) < 5_000


def test_answers_requests():
    answer = Answer("random", RandomProposer(ToySpace()))
    request = Request(round=0, wanted=3, count=6, score=True, seed=5)
    snapshot = PoolSnapshot(0, (1, 2), (), ())
    first, second = (answer(request, snapshot, {}) for _ in range(2))
    assert first == second
    assert first.source == "random"
    assert len(first.architectures) == 6


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"exploration": 2}, "exploration"),
        ({"predictor": {"hiden": 3}}, "hidden"),
        ({"pairs": {"rule": "best"}}, "rule"),
    ],
)
def test_bad_options(options, word):
    with pytest.raises(ConfigError, match=word):
        RankingProposer(ToySpace(), **options)
