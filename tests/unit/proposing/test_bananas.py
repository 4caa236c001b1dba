import numpy as np
import pytest

from raynas.errors import ConfigError
from raynas.predictor.mlp import MlpEnsemble
from raynas.proposing.bananas import BananasProposer
from raynas.proposing.random import draw_new
from raynas.spaces.nasbench201 import NasBench201
from raynas.testing import ProposerContract, ToySpace

FAST = {"epochs": 5, "layers": 2, "ensemble": 2}


class PathSpace(ToySpace):
    """A toy space whose paths are the bits of the number."""

    def path_encoding(self, architecture):
        number = int(architecture.text[1:])
        return np.array([number >> shift & 1 for shift in range(10)], dtype=np.int8)


class TestContract(ProposerContract):
    @pytest.fixture
    def space(self):
        return NasBench201()

    @pytest.fixture
    def make_proposer(self):
        return lambda space: BananasProposer(
            PathSpace(len(space)) if space.name == "toy" else space, predictor=FAST, min_trained=4
        )


class TestContractOfASpace(ProposerContract):
    @pytest.fixture
    def make_proposer(self):
        return lambda space: BananasProposer(
            PathSpace(len(space)), predictor=FAST, min_trained=4, candidates="space"
        )


@pytest.fixture
def pool(planted, pool_of):
    cells = draw_new(planted.space, set(), 40, np.random.default_rng(0))
    return pool_of([(cell, planted.quality(cell)) for cell in cells])


def best_first(pool, space):
    records = sorted(pool.candidates, key=lambda r: -r.level_accuracy[0])
    return [space.parse(record.text) for record in records]


def test_searches_better_than_chance(planted, pool):
    proposer = BananasProposer(planted.space, predictor={"layers": 3, "epochs": 60})
    proposed = proposer.propose(pool, 10, np.random.default_rng(0))
    trained = [record.level_accuracy[0] for record in pool.candidates]
    assert np.mean([planted.quality(cell) for cell in proposed]) > np.mean(trained) + 0.2


def test_candidates_are_mutations_of_the_best(pool):
    space = NasBench201()
    proposer = BananasProposer(space, predictor=FAST, num_candidates=30, per_parent=8)
    proposed = proposer.propose(pool, 30, np.random.default_rng(0))
    assert proposer.fit_record["num_scored"] == 30
    parents = best_first(pool, space)
    for cell in proposed:
        assert any(cell in space.neighbours(parent) for parent in parents[:5])
    only_of_first = [c for c in proposed if c in space.neighbours(parents[0])]
    assert len(only_of_first) <= 8 + 4  # its own eight, and a few that are others' too


def test_at_random_before_it_has_seen_ten(pool_of):
    space = NasBench201()
    cells = draw_new(space, set(), 9, np.random.default_rng(0))
    proposer = BananasProposer(space, predictor=FAST)
    proposer.propose(
        pool_of([(c, i / 9) for i, c in enumerate(cells)]), 5, np.random.default_rng(0)
    )
    assert proposer.fit_record is None


def foretell(monkeypatch, mean, deviation):
    """Make every ensemble of two predict functions of the first bits."""
    monkeypatch.setattr(MlpEnsemble, "fit", lambda self, features, accuracy: 0.0)

    def predict(self, features):
        centre = mean(features)
        return np.stack([centre - deviation, centre + deviation])

    monkeypatch.setattr(MlpEnsemble, "predict", predict)


def first_bit(features):
    return features[:, 0].astype(float)


def proposed_numbers(pool_of, **options):
    space = PathSpace(600)
    pool = pool_of([(space.parse(f"a{i}"), i / 20) for i in range(10)], space=space)
    proposer = BananasProposer(space, predictor=FAST, candidates="space", **options)
    return [int(a.text[1:]) for a in proposer.propose(pool, 100, np.random.default_rng(0))]


def test_members_who_agree_leave_nothing_to_chance(monkeypatch, pool_of):
    foretell(monkeypatch, first_bit, 0.0)
    assert all(number % 2 for number in proposed_numbers(pool_of))


def test_members_who_disagree_explore(monkeypatch, pool_of):
    foretell(monkeypatch, first_bit, 5.0)
    odd = np.mean([number % 2 for number in proposed_numbers(pool_of)])
    assert 0.4 < odd < 0.9


def test_paths_may_be_cut_short(monkeypatch, pool_of):
    seen = []
    foretell(monkeypatch, lambda features: seen.append(features.shape[1]) or first_bit(features), 0)
    proposed_numbers(pool_of, path_bits=3)
    assert seen == [3]


def test_a_space_without_paths():
    with pytest.raises(ConfigError, match="path_encoding; toy has none"):
        BananasProposer(ToySpace())


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"predictor": {"hiden": 3}}, "hidden"),
        ({"candidates": "mutants"}, "'mutations' or 'space'"),
        ({"num_candidates": 0}, "num_candidates: 0"),
        ({"per_parent": 0}, "per_parent: 0"),
        ({"path_bits": 0}, "path_bits: 0"),
    ],
)
def test_bad_options(options, word):
    with pytest.raises(ConfigError, match=word):
        BananasProposer(NasBench201(), **options)
