import pickle

import numpy as np
import pytest

from raynas.errors import ConfigError
from raynas.proposing import arch2vec
from raynas.proposing.arch2vec import Arch2VecProposer
from raynas.proposing.random import draw_new
from raynas.spaces.nasbench201 import NasBench201
from raynas.testing import ProposerContract, ToySpace

SMALL = {
    "autoencoder": {"hidden": 8, "layers": 2, "latent": 4, "epochs": 1},
    "regression": {"hidden": 8, "epochs": 5},
    "min_trained": 4,
}


class TestContract(ProposerContract):
    @pytest.fixture
    def make_proposer(self):
        return lambda space: Arch2VecProposer(space, **SMALL)


class TestContractOfASample(ProposerContract):
    @pytest.fixture
    def make_proposer(self):
        return lambda space: Arch2VecProposer(space, max_listed=1, sample_size=20, **SMALL)


@pytest.fixture
def pretrainings(monkeypatch):
    """The sizes of the sets pre-trained on, with nothing remembered from before."""
    sizes, pretrain = [], arch2vec.pretrain
    arch2vec._pretrained.cache_clear()

    def hear(graphs, num_labels, config):
        sizes.append(len(graphs))
        return pretrain(graphs, num_labels, config)

    monkeypatch.setattr(arch2vec, "pretrain", hear)
    yield sizes
    arch2vec._pretrained.cache_clear()


@pytest.fixture
def toy_pool(pool_of):
    space = ToySpace(60)
    return pool_of([(space.parse(f"a{i}"), (i % 7) / 10) for i in range(10)], space=space)


def propose(pool, space, seed=0, **options):
    proposer = Arch2VecProposer(space, **{**SMALL, **options})
    return proposer, proposer.propose(pool, 5, np.random.default_rng(seed))


def test_searches_better_than_chance(planted, pool_of):
    cells = draw_new(planted.space, set(), 60, np.random.default_rng(0))
    pool = pool_of([(cell, planted.quality(cell)) for cell in cells])
    proposer = Arch2VecProposer(
        planted.space, autoencoder={"hidden": 32, "epochs": 2, "layers": 3}, sample_size=1000
    )
    proposed = proposer.propose(pool, 10, np.random.default_rng(0))
    trained = [record.level_accuracy[0] for record in pool.candidates]
    assert np.mean([planted.quality(cell) for cell in proposed]) > np.mean(trained) + 0.15
    assert proposer.fit_record["num_scored"] == 5390


def test_pretraining_is_shared_by_equal_graphs_and_options(pretrainings, toy_pool):
    _, first = propose(toy_pool, ToySpace(60))
    _, second = propose(toy_pool, ToySpace(60))
    assert pretrainings == [60]
    assert first == second
    propose(toy_pool, ToySpace(50))
    assert pretrainings == [60, 50]
    propose(toy_pool, ToySpace(60), autoencoder={**SMALL["autoencoder"], "latent": 3})
    assert pretrainings == [60, 50, 60]


def test_pretraining_does_not_depend_on_the_run(pretrainings, toy_pool):
    for seed in range(3):
        propose(toy_pool, ToySpace(60), seed=seed, max_listed=1, sample_size=20)
    assert pretrainings == [20]


def test_pretrains_on_no_more_than_a_sample(pretrainings, toy_pool):
    proposer, _ = propose(toy_pool, ToySpace(60), sample_size=15)
    assert pretrainings == [15]
    assert proposer.fit_record["num_scored"] == 60


def test_unlisted_spaces_are_a_sample_and_mutations_of_the_best(pretrainings, pool_of):
    space = ToySpace(100_000)
    pool = pool_of([(space.parse(f"a{i}"), i / 10) for i in range(8)], space=space)
    proposer, _ = propose(pool, space, max_listed=1, sample_size=20)
    assert proposer.fit_record["num_scored"] == 20 + 9  # a0 to a8 lie next to the trained


def test_nothing_is_pretrained_before_there_is_something_to_learn(pretrainings, pool_of):
    propose(pool_of([], space=ToySpace()), ToySpace(60))
    assert pretrainings == []


def test_what_is_pretrained_does_not_travel(toy_pool):
    proposer, proposed = propose(toy_pool, ToySpace(60))
    sent = pickle.dumps(proposer)
    assert len(sent) < 5_000
    assert pickle.loads(sent).propose(toy_pool, 5, np.random.default_rng(0)) == proposed


def test_the_fit_is_on_record(toy_pool):
    proposer, _ = propose(toy_pool, ToySpace(60))
    record = proposer.fit_record
    assert record["num_trained"] == 10
    assert record["noise"] > 0
    assert all(isinstance(value, int | float) for value in record.values())


@pytest.mark.parametrize(
    ("options", "word"),
    [({"autoencoder": {"latnt": 3}}, "latent"), ({"regression": {"epochs": 0}}, "epochs")],
)
def test_bad_options(options, word):
    with pytest.raises(ConfigError, match=word):
        Arch2VecProposer(NasBench201(), **options)
