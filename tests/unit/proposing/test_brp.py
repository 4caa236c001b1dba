import dataclasses

import numpy as np
import pytest

from raynas.errors import ConfigError
from raynas.predictor.gcn import BinaryPredictor
from raynas.proposing.brp import BrpProposer
from raynas.proposing.random import draw_new
from raynas.testing import ProposerContract, ToySpace

FAST = {"epochs": 15, "hidden": 8}


class TestContract(ProposerContract):
    @pytest.fixture
    def make_proposer(self):
        return lambda space: BrpProposer(space, predictor=FAST)


class TestContractOfASample(ProposerContract):
    @pytest.fixture
    def make_proposer(self):
        return lambda space: BrpProposer(space, predictor=FAST, max_listed=1, sample_size=20)


def test_proposes_what_it_ranks_high(planted, pool_of):
    cells = draw_new(planted.space, set(), 40, np.random.default_rng(0))
    pool = pool_of([(cell, planted.quality(cell)) for cell in cells])
    proposer = BrpProposer(planted.space, predictor={"hidden": 32}, exploration=0)
    proposed = proposer.propose(pool, 10, np.random.default_rng(0))
    trained = [record.level_accuracy[0] for record in pool.candidates]
    assert np.mean([planted.quality(cell) for cell in proposed]) > np.max(trained) - 0.05
    assert proposer.fit_record["num_scored"] == 5390


@pytest.fixture
def numbers(monkeypatch, pool_of):
    """Return a function: what is proposed of a0 … a799 if the predictor ranks by number."""
    monkeypatch.setattr(BinaryPredictor, "fit", lambda self, graphs, accuracy, seed: {})
    monkeypatch.setattr(BinaryPredictor, "score", lambda self, g: np.arange(len(g), dtype=float))
    space = ToySpace(800)
    pool = pool_of([(space.parse(f"a{i}"), i / 10) for i in (0, 1, 2, 798, 799)], space=space)

    def propose(count, round, **options):
        asked = dataclasses.replace(pool, round=round)
        proposer = BrpProposer(space, predictor=FAST, **options)
        proposed = proposer.propose(asked, count, np.random.default_rng(0))
        return [int(architecture.text[1:]) for architecture in proposed]

    return propose


@pytest.mark.parametrize("round", [1, 2, 3])
def test_half_are_the_best_and_half_from_the_top(numbers, round):
    found = numbers(41, round)
    assert found[:21] == list(range(797, 776, -1))
    drawn = found[21:]
    assert len(set(drawn)) == 20
    edge = 797 - np.ceil(795 / 2**round)
    assert all(edge < number <= 776 for number in drawn)
    assert min(drawn) < edge + 795 / 2**round / 5  # from all of the top, down to its edge


def test_the_top_is_never_too_small_to_draw_from(numbers):
    assert sorted(numbers(10, 30)) == list(range(788, 798))


def test_without_exploration_the_best_alone(numbers):
    assert numbers(10, 1, exploration=0) == list(range(797, 787, -1))


@pytest.mark.parametrize(
    ("options", "word"), [({"exploration": 2}, "exploration"), ({"predictor": {"lf": 1}}, "lr")]
)
def test_bad_options(options, word):
    with pytest.raises(ConfigError, match=word):
        BrpProposer(ToySpace(), **options)
