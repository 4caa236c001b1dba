import pickle

import numpy as np
import pytest

from raynas.errors import ConfigError
from raynas.predictor.regression import AccuracyRegressor
from raynas.proposing.gin import GinProposer
from raynas.proposing.random import draw_new
from raynas.spaces.nasbench201 import NasBench201
from raynas.testing import ProposerContract, ToySpace

FAST = {"epochs": 20, "ensemble": 1}


class TestContract(ProposerContract):
    @pytest.fixture
    def make_proposer(self):
        return lambda space: GinProposer(space, predictor=FAST)


class TestContractOfASample(ProposerContract):
    @pytest.fixture
    def make_proposer(self):
        return lambda space: GinProposer(space, predictor=FAST, max_listed=1, sample_size=20)


@pytest.fixture
def pool(planted, pool_of):
    cells = draw_new(planted.space, set(), 40, np.random.default_rng(0))
    return pool_of([(cell, planted.quality(cell)) for cell in cells])


def test_proposes_what_it_predicts_to_be_best(planted, pool):
    proposer = GinProposer(planted.space)
    proposed = proposer.propose(pool, 10, np.random.default_rng(0))
    trained = [record.level_accuracy[0] for record in pool.candidates]
    assert np.mean([planted.quality(cell) for cell in proposed]) > np.max(trained)


def test_the_fit_is_on_record(pool):
    proposer = GinProposer(NasBench201(), predictor=FAST)
    proposer.propose(pool, 3, np.random.default_rng(0))
    assert proposer.fit_record["num_trained"] == 40
    assert proposer.fit_record["num_scored"] == 5390
    assert proposer.fit_record["kendall_tau"] > 0


def test_equal_functions_are_one_to_the_predictor(monkeypatch, pool_of):
    space, seen = NasBench201(), []
    fit = AccuracyRegressor.fit

    def hear(self, graphs, accuracy, seed):
        seen.extend(graphs)
        return fit(self, graphs, accuracy, seed)

    monkeypatch.setattr(AccuracyRegressor, "fit", hear)
    twins = [a for a in space if space.key(a) == "((0)@nor_conv_3x3)@nor_conv_3x3"]
    others = draw_new(space, set(), 5, np.random.default_rng(0))
    pool = pool_of([(twins[-1], 0.5), *((a, i / 10) for i, a in enumerate(others))])
    GinProposer(space, predictor=FAST).propose(pool, 3, np.random.default_rng(0))
    np.testing.assert_array_equal(seen[0].labels, space.graph(twins[0]).labels)
    assert (seen[0].labels != space.graph(twins[-1]).labels).any()


def test_what_is_cached_does_not_travel(pool):
    proposer = GinProposer(NasBench201(), predictor=FAST)
    proposer.propose(pool, 3, np.random.default_rng(0))
    assert len(pickle.dumps(proposer)) < 5_000


def test_bad_options():
    with pytest.raises(ConfigError, match=r"proposer\.predictor\.hiden.*hidden"):
        GinProposer(ToySpace(), predictor={"hiden": 3})
