import json

import numpy as np
import pytest

from raynas.errors import ConfigError
from raynas.proposing import PROPOSERS
from raynas.proposing.local import LocalProposer
from raynas.proposing.random import RandomProposer, draw_new
from raynas.registry import lookup
from raynas.scheduling.budget import Budget
from raynas.scheduling.nosh import NoshPolicy
from raynas.spaces.nasbench201 import NasBench201
from raynas.testing import ProposerContract

NAN = float("nan")


class TestContract(ProposerContract):
    @pytest.fixture
    def make_proposer(self):
        return LocalProposer


class TestContractFromOne(ProposerContract):
    @pytest.fixture
    def make_proposer(self):
        return lambda space: LocalProposer(space, initial=1)


@pytest.fixture
def space():
    return NasBench201()


@pytest.fixture
def start(space):
    return draw_new(space, set(), 10, np.random.default_rng(0))


def around(space, architecture):
    """Return the neighbours of other keys, one for each."""
    found = {space.key(a): a for a in space.neighbours(architecture)}
    found.pop(space.key(architecture), None)
    return list(found.values())


def test_is_found_by_name():
    assert lookup("proposer", "local", PROPOSERS) is LocalProposer


def test_beats_random_search(search):
    best = {}
    for make in (LocalProposer, RandomProposer):
        pools = [search(make(NasBench201()), seed=seed) for seed in range(6)]
        best[make] = np.mean([max(c.accuracy for c in pool) for pool in pools])
    assert best[LocalProposer] > 0.99
    assert best[LocalProposer] > best[RandomProposer] + 0.1


def test_tries_the_neighbours_of_the_best_in_random_order(space, start, pool_of):
    pool = pool_of([(a, i / 10) for i, a in enumerate(start)])
    first, second = (
        LocalProposer(space).propose(pool, 8, np.random.default_rng(seed)) for seed in (0, 1)
    )
    for proposed in (first, second):
        assert set(proposed) <= set(space.neighbours(start[9]))
    assert first != second


def test_moves_as_soon_as_a_neighbour_is_better(space, start, pool_of):
    near = next(a for a in around(space, start[9]) if a not in start)
    pool = pool_of([*((a, i / 10) for i, a in enumerate(start)), (near, 1.0)])
    proposed = LocalProposer(space).propose(pool, 8, np.random.default_rng(0))
    assert set(proposed) <= set(space.neighbours(near))


def tried_around(space, start, outcome):
    """Return the start, and all neighbours of its best with an outcome of theirs."""
    keys = {space.key(a) for a in start}
    near = [a for a in around(space, start[9]) if space.key(a) not in keys]
    return [*((a, i / 10) for i, a in enumerate(start)), *((a, outcome) for a in near)]


@pytest.mark.parametrize("outcome", [0.0, NAN])
def test_starts_again_at_a_local_optimum(space, start, pool_of, outcome):
    pairs = tried_around(space, start, outcome)
    pool = pool_of(pairs)
    proposer = LocalProposer(space, initial=4)
    proposed = proposer.propose(pool, 6, np.random.default_rng(0))
    assert proposed == draw_new(space, pool.keys(), 4, np.random.default_rng(0)) + proposed[4:]
    assert proposer.state_dict() == {"start": len(pairs)}
    # The next descent begins at its own best, though the old optimum is better.
    pool = pool_of([*pairs, *((a, 0.1 + i / 100) for i, a in enumerate(proposed))])
    nearby = proposer.propose(pool, 5, np.random.default_rng(1))
    assert set(nearby) <= set(space.neighbours(proposed[5]))


def test_a_new_start_is_completed_before_neighbours_are_tried(space, start, pool_of):
    pairs = tried_around(space, start, 0.0)
    proposer = LocalProposer(space, initial=4)
    first = proposer.propose(pool_of(pairs), 2, np.random.default_rng(0))
    pool = pool_of([*pairs, (first[0], 0.1), (first[1], 0.2)])
    second = proposer.propose(pool, 5, np.random.default_rng(1))
    assert second[:2] == draw_new(space, pool.keys(), 2, np.random.default_rng(1))
    assert set(second[2:]) <= set(space.neighbours(first[1]))


def test_goes_on_around_the_next_best_while_answers_are_awaited(space, start, pool_of):
    pool = pool_of(tried_around(space, start, None))
    proposer = LocalProposer(space)
    proposed = proposer.propose(pool, 5, np.random.default_rng(0))
    assert set(proposed) <= set(space.neighbours(start[8]))
    assert proposer.state_dict() == {"start": 0}


def test_continues_after_a_restart(space, start, pool_of):
    proposer = LocalProposer(space, initial=4)
    pairs = tried_around(space, start, 0.0)
    proposed = proposer.propose(pool_of(pairs), 4, np.random.default_rng(0))
    other = LocalProposer(space, initial=4)
    other.load_state_dict(json.loads(json.dumps(proposer.state_dict())))
    pool = pool_of([*pairs, *((a, 0.1) for a in proposed)])
    first, second = (p.propose(pool, 5, np.random.default_rng(1)) for p in (proposer, other))
    assert first == second


def test_several_descents_in_one_search(search):
    proposer = LocalProposer(NasBench201(), initial=3)
    search(proposer, evaluations=200)
    assert proposer.state_dict()["start"] > 50


def test_works_under_early_stopping(search):
    pool = search(LocalProposer(NasBench201()), policy=NoshPolicy((1, 2, 4), Budget(200)))
    best = max(pool, key=lambda c: (c.level, c.accuracy))
    assert best.level == 3
    assert best.accuracy > 0.9


def test_bad_options(space):
    with pytest.raises(ConfigError, match=r"proposer\.initial: 0 must be at least 1"):
        LocalProposer(space, initial=0)
