import json
import math
import pickle

import numpy as np
import pytest

from raynas.config import construct
from raynas.errors import ConfigError
from raynas.proposing import PROPOSERS
from raynas.proposing.mfnas import MfNasProposer
from raynas.registry import lookup
from raynas.scheduling.budget import Budget
from raynas.scheduling.nosh import NoshPolicy
from raynas.scheduling.snapshot import PoolSnapshot
from raynas.spaces.nasbench201 import NasBench201
from raynas.testing import ProposerContract, ToySpace

EMPTY = PoolSnapshot(0, (1, 2, 4), (), ())


class ByNumber:
    """The toy space's number as a score: the higher the better, up to a peak."""

    def __init__(self, peak=math.inf):
        self.peak = peak
        self.asked = []

    def __call__(self, architectures):
        self.asked += [a.text for a in architectures]
        numbers = [int(a.text[1:]) for a in architectures]
        return [{"synflow": -abs(min(n, 10**6) - min(self.peak, 10**6))} for n in numbers]


class OnPlanted:
    """A proxy of planted NAS-Bench-201: how good a cell is, dead ones minus infinity."""

    def __init__(self, planted):
        self.planted = planted
        self.asked = []

    def __call__(self, architectures):
        self.asked += architectures
        return [{"synflow": math.log(self.planted.quality(a) or 1e-300)} for a in architectures]


class TestContract(ProposerContract):
    @pytest.fixture
    def make_proposer(self):
        return lambda space: MfNasProposer(space, score=ByNumber())


class TestContractOfAShortSearch(ProposerContract):
    @pytest.fixture
    def make_proposer(self):
        return lambda space: MfNasProposer(space, score=ByNumber(), max_scored=3)


def test_is_found_by_name_and_is_given_scores():
    target = lookup("proposer", "mfnas", PROPOSERS)
    proposer = construct("proposer", target, {"max_scored": 9}, ToySpace(), score=ByNumber(500))
    assert isinstance(proposer, MfNasProposer)


def test_finds_the_proxys_optimum_with_far_fewer_scorings_than_the_space_has(planted):
    for seed in range(5):
        score = OnPlanted(planted)
        proposer = MfNasProposer(NasBench201(), score=score, max_scored=300)
        proposed = proposer.propose(EMPTY, 10, np.random.default_rng(seed))
        assert planted.quality(proposed[0]) == 1
        assert len(score.asked) == 300  # of 5,390 keys


def test_nothing_is_scored_twice(planted):
    score = OnPlanted(planted)
    space = NasBench201()
    MfNasProposer(space, score=score, max_scored=500).propose(EMPTY, 1, np.random.default_rng(0))
    assert len({space.key(a) for a in score.asked}) == len(score.asked) == 500


def test_proposes_all_it_found_best_first(planted, pool_of):
    space = NasBench201()
    proposer = MfNasProposer(space, score=OnPlanted(planted), max_scored=100)
    cohort = proposer.propose(EMPTY, 32, np.random.default_rng(0))
    quality = [planted.quality(a) for a in cohort]
    assert quality == sorted(quality, reverse=True)
    second = proposer.propose(pool_of([(a, 0.5) for a in cohort]), 68, np.random.default_rng(1))
    after = [planted.quality(a) for a in second]
    assert after == sorted(after, reverse=True)
    assert after[0] <= quality[-1]


def test_goes_on_at_random_when_all_it_found_is_in_the_pool(pool_of):
    space = ToySpace(1000)
    proposer = MfNasProposer(space, score=ByNumber(), max_scored=5)
    found = proposer.propose(EMPTY, 5, np.random.default_rng(0))
    pool = pool_of([(a, 0.5) for a in found], space=space)
    more = proposer.propose(pool, 5, np.random.default_rng(1))
    assert len(set(more) - set(found)) == 5


def test_climbs_neighbour_by_neighbour():
    score = ByNumber(peak=500)
    proposer = MfNasProposer(ToySpace(1000), score=score, max_scored=600)
    [best] = proposer.propose(EMPTY, 1, np.random.default_rng(0))
    assert best.text == "a500"


def test_a_space_smaller_than_the_search_is_searched_whole():
    score = ByNumber()
    proposer = MfNasProposer(ToySpace(9), score=score)
    proposed = proposer.propose(EMPTY, 9, np.random.default_rng(0))
    assert [a.text for a in proposed] == [f"a{i}" for i in range(8, -1, -1)]
    assert len(score.asked) == 9


def test_nan_is_the_worst():
    def score(architectures):
        return [
            {"synflow": math.nan if int(a.text[1:]) % 2 else float(a.text[1:])}
            for a in architectures
        ]

    proposed = MfNasProposer(ToySpace(9), score=score).propose(EMPTY, 9, np.random.default_rng(0))
    assert [a.text for a in proposed[:5]] == ["a8", "a6", "a4", "a2", "a0"]


def test_the_same_search_runs_again_after_a_restart(planted, pool_of):
    space = NasBench201()
    proposer = MfNasProposer(space, score=OnPlanted(planted), max_scored=100)
    cohort = proposer.propose(EMPTY, 10, np.random.default_rng(0))
    other = MfNasProposer(space, score=OnPlanted(planted), max_scored=100)
    other.load_state_dict(json.loads(json.dumps(proposer.state_dict())))
    pool = pool_of([(a, 0.5) for a in cohort])
    first, second = (p.propose(pool, 10, np.random.default_rng(7)) for p in (proposer, other))
    assert first == second


def test_what_is_cached_does_not_travel():
    proposer = MfNasProposer(ToySpace(), score=ByNumber(peak=3))
    light = len(pickle.dumps(MfNasProposer(ToySpace(), score=ByNumber(peak=3))))
    proposer.propose(EMPTY, 1, np.random.default_rng(0))
    proposer._score.asked.clear()
    assert len(pickle.dumps(proposer)) < light + 50


def test_works_under_early_stopping(planted, search):
    proposer = MfNasProposer(NasBench201(), score=OnPlanted(planted), max_scored=300)
    pool = search(proposer, policy=NoshPolicy((1, 2, 4), Budget(60)))
    assert max(pool, key=lambda c: (c.level, c.accuracy)).accuracy == 1


def test_needs_scores():
    with pytest.raises(ConfigError, match="mfnas goes by zero-cost scores and was given no"):
        MfNasProposer(ToySpace())


def test_an_unknown_proxy_is_named():
    proposer = MfNasProposer(ToySpace(), score=ByNumber(), proxy="synfow")
    with pytest.raises(ConfigError, match=r"'synfow' is not among.*, did you mean 'synflow'"):
        proposer.propose(EMPTY, 1, np.random.default_rng(0))


def test_bad_options():
    with pytest.raises(ConfigError, match=r"proposer\.max_scored: 0 must be at least 1"):
        MfNasProposer(ToySpace(), score=ByNumber(), max_scored=0)
