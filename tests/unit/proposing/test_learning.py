"""Whom proposers of accuracies learn from, and what they may propose."""

import pickle

import numpy as np
import pytest

from raynas.errors import ConfigError
from raynas.proposing import PROPOSERS
from raynas.proposing.learning import LearningProposer, trained_at_one_level
from raynas.registry import lookup
from raynas.scheduling.snapshot import PoolRecord, PoolSnapshot
from raynas.testing import ToySpace


def pool_of(*accuracies, failed=()):
    """A pool of a0, a1, …; each has the accuracies of the levels it reached."""
    records = tuple(
        PoolRecord(i, f"a{i}", f"a{i}", len(reached), tuple(reached), {}, i in failed)
        for i, reached in enumerate(accuracies)
    )
    return PoolSnapshot(2, (1, 2, 4), records, ())


def learnt(pool, min_trained=2):
    found = trained_at_one_level(pool, "toy", min_trained)
    if found is None:
        return None
    texts = [architecture.text for architecture in found.architectures]
    return found.level, dict(zip(texts, found.accuracy, strict=True))


def test_the_top_level_where_all_have_reached_it():
    pool = pool_of((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    assert learnt(pool) == (3, {"a0": 0.3, "a1": 0.6})


def test_the_top_level_while_some_are_under_way():
    pool = pool_of((0.1, 0.2, 0.3), (0.4, 0.5, 0.6), (0.7,), (0.8, 0.9), ())
    assert learnt(pool) == (3, {"a0": 0.3, "a1": 0.6})


def test_not_the_few_best_but_a_third_at_least():
    pool = pool_of((0.5, 0.6, 0.7), (0.6, 0.7, 0.8), (0.4, 0.5), *[(i / 100,) for i in range(4)])
    assert learnt(pool) == (2, {"a0": 0.6, "a1": 0.7, "a2": 0.5})


def test_fewer_than_wanted_at_a_level_give_way_to_a_lower_one():
    pool = pool_of((0.1, 0.2), (0.3, 0.4), (0.5,))
    assert learnt(pool, 2)[0] == 2
    assert learnt(pool, 3) == (1, {"a0": 0.1, "a1": 0.3, "a2": 0.5})
    assert learnt(pool, 4) is None


def test_the_failed_are_left_out():
    pool = pool_of((0.1,), (0.2,), (0.3,), failed=[1])
    assert learnt(pool) == (1, {"a0": 0.1, "a2": 0.3})


def test_nothing_to_learn_from_equal_accuracies():
    assert learnt(pool_of((0.5,), (0.5,), (0.5,))) is None


class Doubling(LearningProposer):
    """Encodes by number, and likes those next to what was the best."""

    def __init__(self, space, *, min_trained=2, max_listed=1000, sample_size=20):
        super().__init__(
            space, min_trained=min_trained, max_listed=max_listed, sample_size=sample_size
        )
        self.encodings = 0

    def _encode(self, architectures):
        self.encodings += 1
        return np.array([int(architecture.text[1:]) for architecture in architectures])

    def _score(self, trained, candidates, rng):
        best = int(trained.best_first()[0].text[1:])
        return -np.abs(candidates.encoded - best).astype(float), {"fact": best}


def numbers(architectures):
    return [int(architecture.text[1:]) for architecture in architectures]


def test_proposes_the_best_of_what_is_new():
    proposer = Doubling(ToySpace(60))
    pool = pool_of((0.1,), (0.2,), (0.9,), (0.3,))
    found = numbers(proposer.propose(pool, 4, np.random.default_rng(0)))
    assert found == [4, 5, 6, 7]
    assert proposer.fit_record == {
        "num_trained": 4,
        "level": 1,
        "list_s": proposer.fit_record["list_s"],
        "num_scored": 60,
        "fact": 2,
    }


def test_a_listed_space_is_encoded_once():
    proposer = Doubling(ToySpace(60))
    for _ in range(3):
        proposer.propose(pool_of((0.1,), (0.2,)), 4, np.random.default_rng(0))
    assert proposer.encodings == 1


def test_others_by_a_sample_and_mutations_of_the_best():
    proposer = Doubling(ToySpace(100_000))
    pool = pool_of((0.1,), (0.2,), (0.9,), (0.3,))
    found = numbers(proposer.propose(pool, 4, np.random.default_rng(0)))
    assert found[0] == 4  # the only neighbour of a trained one that is new
    assert 20 < proposer.fit_record["num_scored"] < 30


def test_too_little_is_no_ground_for_a_model():
    proposer = Doubling(ToySpace(60), min_trained=5)
    proposer.propose(pool_of((0.1,), (0.2,)), 4, np.random.default_rng(0))
    assert proposer.fit_record is None
    assert proposer.encodings == 0


def test_the_last_of_a_space_are_found():
    proposer = Doubling(ToySpace(9))
    found = proposer.propose(pool_of((0.1,), (0.2,)), 20, np.random.default_rng(0))
    assert sorted(numbers(found)) == list(range(2, 9))


def test_what_is_listed_does_not_travel():
    proposer = Doubling(ToySpace(900))
    pool = pool_of((0.1,), (0.2,))
    proposed = proposer.propose(pool, 4, np.random.default_rng(0))
    sent = pickle.dumps(proposer)
    assert len(sent) < 1000
    assert pickle.loads(sent).propose(pool, 4, np.random.default_rng(0)) == proposed


@pytest.mark.parametrize("option", ["min_trained", "sample_size"])
def test_bad_options(option):
    with pytest.raises(ConfigError, match=rf"proposer\.{option}: 0 must be at least"):
        Doubling(ToySpace(), **{option: 0})


@pytest.mark.parametrize("name", ["arch2vec", "bananas", "brp", "gin"])
def test_are_found_by_name(name):
    assert issubclass(lookup("proposer", name, PROPOSERS), LearningProposer)
