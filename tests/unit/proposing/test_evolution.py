import numpy as np
import pytest

from raynas.errors import ConfigError
from raynas.proposing import PROPOSERS
from raynas.proposing.evolution import EvolutionProposer, standing
from raynas.proposing.random import RandomProposer, draw_new
from raynas.registry import lookup
from raynas.scheduling.budget import Budget
from raynas.scheduling.nosh import NoshPolicy
from raynas.scheduling.snapshot import PoolRecord
from raynas.spaces.nasbench201 import NasBench201
from raynas.testing import ProposerContract

NAN = float("nan")


class TestContract(ProposerContract):
    @pytest.fixture
    def make_proposer(self):
        return EvolutionProposer


class TestContractOfNasBench201(ProposerContract):
    @pytest.fixture
    def make_proposer(self):
        return lambda space: EvolutionProposer(space, population=3, tournament=2, initial=1)


@pytest.fixture
def space():
    return NasBench201()


def drawn(space, count):
    return draw_new(space, set(), count, np.random.default_rng(0))


def is_mutation(space, child, parent):
    return child in space.neighbours(parent)


def test_is_found_by_name():
    assert lookup("proposer", "evolution", PROPOSERS) is EvolutionProposer


def test_beats_random_search(search):
    best = {}
    for make in (EvolutionProposer, RandomProposer):
        pools = [search(make(NasBench201()), seed=seed) for seed in range(6)]
        best[make] = np.mean([max(c.accuracy for c in pool) for pool in pools])
    assert best[EvolutionProposer] > 0.95
    assert best[EvolutionProposer] > best[RandomProposer] + 0.1


def test_children_are_mutations_of_the_best(space, pool_of):
    parents = drawn(space, 12)
    pool = pool_of([(a, i / 12) for i, a in enumerate(parents)])
    proposer = EvolutionProposer(space, tournament=12)
    children = proposer.propose(pool, 5, np.random.default_rng(0))
    assert all(is_mutation(space, child, parents[-1]) for child in children)


def test_a_tournament_of_one_is_won_by_anybody(space, pool_of):
    parents = drawn(space, 12)
    pool = pool_of([(a, i / 12) for i, a in enumerate(parents)])
    proposer = EvolutionProposer(space, tournament=1)
    children = proposer.propose(pool, 30, np.random.default_rng(0))
    having = {i for i, p in enumerate(parents) for c in children if is_mutation(space, c, p)}
    assert len(having) > 6


def test_the_oldest_die(space, pool_of):
    parents = drawn(space, 12)
    pool = pool_of([(a, 1 - i / 12) for i, a in enumerate(parents)])
    proposer = EvolutionProposer(space, population=4, tournament=4)
    children = proposer.propose(pool, 5, np.random.default_rng(0))
    assert all(is_mutation(space, child, parents[8]) for child in children)


def test_the_untrained_are_no_parents_and_take_no_place(space, pool_of):
    parents = drawn(space, 12)
    pool = pool_of([(a, 0.5 if i == 3 else None) for i, a in enumerate(parents)])
    proposer = EvolutionProposer(space, population=2)
    children = proposer.propose(pool, 5, np.random.default_rng(0))
    assert all(is_mutation(space, child, parents[3]) for child in children)


def test_the_failed_lose_every_tournament_but_age_others_out(space, pool_of):
    parents = drawn(space, 12)
    failed = pool_of([(a, 0.1 if i == 11 else NAN) for i, a in enumerate(parents)])
    children = EvolutionProposer(space).propose(failed, 5, np.random.default_rng(0))
    # Of a sample without the survivor nobody wins, and it is drawn again.
    assert all(is_mutation(space, child, parents[11]) for child in children)
    aged = pool_of([(a, 0.9 if i == 0 else NAN) for i, a in enumerate(parents)])
    proposer = EvolutionProposer(space, population=11)
    children = proposer.propose(aged, 5, np.random.default_rng(0))
    assert children == drawn_outside(space, aged, 5)


def drawn_outside(space, pool, count):
    return draw_new(space, pool.keys(), count, np.random.default_rng(0))


def test_starts_at_random(space, pool_of):
    pool = pool_of([(a, 0.5) for a in drawn(space, 3)])
    proposer = EvolutionProposer(space, initial=8)
    assert proposer.propose(pool, 5, np.random.default_rng(0)) == drawn_outside(space, pool, 5)
    mixed = proposer.propose(pool, 9, np.random.default_rng(0))
    assert mixed[:5] == drawn_outside(space, pool, 5)
    assert all(any(is_mutation(space, c, p) for p in drawn(space, 3)) for c in mixed[5:])


def test_random_ones_come_when_the_parents_have_no_new_children(space, pool_of):
    parent = drawn(space, 1)[0]
    family = {space.key(a): a for a in [parent, *space.neighbours(parent)]}
    pool = pool_of([(a, 1.0 if a == parent else NAN) for a in family.values()])
    proposed = EvolutionProposer(space).propose(pool, 4, np.random.default_rng(0))
    assert len(proposed) == 4


def test_compares_by_level_first():
    def record(level, accuracy, failed=False):
        return PoolRecord(0, "", "", level, accuracy, {}, failed)

    order = [
        record(2, (0.1, 0.2)),
        record(1, (0.9,)),
        record(1, (0.3,)),
        record(0, ()),
        record(2, (0.9, 0.9), failed=True),
    ]
    assert sorted(order, key=standing, reverse=True) == order


def test_works_under_early_stopping(search):
    pool = search(EvolutionProposer(NasBench201()), policy=NoshPolicy((1, 2, 4), Budget(200)))
    best = max(pool, key=lambda c: (c.level, c.accuracy))
    assert best.level == 3
    assert best.accuracy > 0.9


@pytest.mark.parametrize("option", ["population", "tournament", "initial"])
def test_bad_options(space, option):
    with pytest.raises(ConfigError, match=rf"proposer\.{option}: 0 must be at least 1"):
        EvolutionProposer(space, **{option: 0})
