"""Several objectives: who is on the front, who is promoted; accuracy alone is as before."""

import numpy as np
import pytest

from raynas.scheduling.budget import Budget, quotas
from raynas.scheduling.events import Failed, Newcomer, Proposed, Reported, Started
from raynas.scheduling.front import FrontOrder, front_rows, pool_front
from raynas.scheduling.level0 import Level0
from raynas.scheduling.nosh import NoshPolicy
from raynas.scheduling.pool import Pool
from raynas.scheduling.search import Proposals, Search
from raynas.scheduling.simulate import simulate
from raynas.seeds import derive_rng
from raynas.testing import FakeObjective, PolicyContract, ToySpace, propose_at_random

LEVELS = (1, 2, 4)


class TestNoshByFront(PolicyContract):
    @pytest.fixture
    def make_policy(self):
        return lambda budget: NoshPolicy(self.levels, budget, per_round=3)


def cost(text):
    return float(derive_rng(0, "cost", text).uniform(1, 10))


def priced(space):
    """Answers with random architectures and what they cost."""
    answer = propose_at_random(space)

    def propose(request, snapshot, state):
        found = answer(request, snapshot, state)
        costs = {a.text: {"latency_ms": cost(a.text)} for a in found.architectures}
        return Proposals(found.source, found.architectures, costs=costs)

    return propose


def run(policy, workers=1, level0=None, **options):
    search = Search(ToySpace(), policy, Pool(LEVELS), seed=0, level0=level0, **options)
    score = None
    if level0:

        def score(architectures):
            return [
                {"proxy": FakeObjective().metrics(a.text, 4)["accuracy"]} for a in architectures
            ]

    simulate(search, FakeObjective(), priced(search.space), workers=workers, score=score)
    return search.pool


def pool_of(points, levels=(1, 3)):
    """A pool whose candidates have reached level 1 with these (accuracy, cost)."""
    pool = Pool(levels)
    admitted = [Newcomer(f"a{i}", f"a{i}", {}, {"c": c}) for i, (_, c) in enumerate(points)]
    pool.record(Proposed(0, "own", admitted))
    for i, (accuracy, _) in enumerate(points):
        pool.record(Started(i, 1))
        pool.record(Reported(i, 1, {"accuracy": accuracy}))
    return pool


def ids(candidates):
    return [candidate.id for candidate in candidates]


def test_the_front_of_a_pool():
    pool = pool_of([(0.9, 5), (0.8, 5), (0.7, 2), (0.7, 2), (0.6, 3), (0.1, 1)])
    assert ids(pool_front(pool, ("c",))) == [0, 2, 3, 5]
    assert ids(pool_front(pool, ())) == [0]
    assert pool_front(Pool(LEVELS), ("c",)) == []
    rows = front_rows(pool, ("c",))
    assert rows[0] == {
        "id": 0,
        "architecture": "a0",
        "accuracy": 0.9,
        "epochs": 1,
        "costs": {"c": 5},
    }


def test_only_the_highest_level_is_on_the_front():
    pool = pool_of([(0.9, 5), (0.8, 4)])
    pool.record(Started(1, 3))
    pool.record(Reported(1, 3, {"accuracy": 0.5}))
    assert ids(pool_front(pool, ("c",))) == [1]
    assert pool.best().id == 1


def test_promotes_by_front_then_the_loneliest_then_the_most_accurate():
    points = [(0.5, 5.0), (0.9, 9.0), (0.7, 4.0), (0.3, 3.0), (0.2, 1.0), (0.1, 9.0)]
    order = FrontOrder(("c",))
    assert ids(order.best_resting(pool_of(points), 1, 6)) == [1, 4, 2, 3, 0, 5]


def test_who_is_dominated_by_the_promoted_comes_after_who_is_not():
    pool = pool_of([(0.9, 2.0), (0.8, 3.0), (0.5, 1.0)])
    order = FrontOrder(("c",))
    assert ids(order.best_resting(pool, 1, 3)) == [0, 2, 1]
    pool.record(Started(0, 3))
    assert ids(order.best_resting(pool, 1, 3)) == [2, 1]  # 1 is still dominated by 0
    pool.record(Failed(0, "diverged"))
    assert ids(order.best_resting(pool, 1, 3)) == [1, 2]


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_no_costs_is_the_order_of_accuracy(mode):
    def pool(policy):
        return [(c.text, c.level, c.level_accuracy) for c in run(policy, workers=3)]

    plain = NoshPolicy(LEVELS, Budget(90), mode=mode)
    same = NoshPolicy(LEVELS, Budget(90), mode=mode)
    same._by_front = FrontOrder(())
    assert pool(plain) == pool(same)


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_quotas_and_budget_hold_by_front(mode):
    found = run(NoshPolicy(LEVELS, Budget(150), mode=mode, costs=("latency_ms",)), workers=3)
    assert found.population() == quotas(found.reached(1), 0.5, 3)
    assert found.spent_epochs <= 150


def test_the_pool_does_not_depend_on_the_number_of_workers():
    def pool(workers):
        policy = NoshPolicy(LEVELS, Budget(90), costs=("latency_ms",))
        return [(c.text, c.level, c.costs) for c in run(policy, workers)]

    assert pool(1) == pool(2) == pool(7)


def test_the_most_accurate_of_a_level_always_rises():
    found = run(NoshPolicy(LEVELS, Budget(120), costs=("latency_ms",)))
    first = max(found, key=lambda c: c.level_accuracy[0])
    assert first.level > 1
    plain = run(NoshPolicy(LEVELS, Budget(120)))
    assert len(pool_front(found, ("latency_ms",))) > len(pool_front(plain, ("latency_ms",)))


def test_level_0_chooses_by_front_too():
    def by_proxy(scores):
        return np.array([score["p"] for score in scores])

    points = [(0.9, 9.0), (0.8, 8.5), (0.1, 1.0), (0.05, 2.0)]
    residents = [Newcomer(f"a{i}", f"a{i}", {"p": p}, {"c": c}) for i, (p, c) in enumerate(points)]
    names = [n.text for n in Level0("full", 0.5, by_proxy, costs=("c",)).best(residents, 2)]
    assert names == ["a0", "a2"]
    assert [n.text for n in Level0("full", 0.5, by_proxy).best(residents, 2)] == ["a0", "a1"]


def test_level_0_keeps_costs_until_somebody_is_admitted():
    def by_proxy(scores):
        return np.array([score["proxy"] for score in scores])

    level0 = Level0("full", 0.5, by_proxy, initial=40, costs=("latency_ms",))
    policy = NoshPolicy(LEVELS, Budget(60), costs=("latency_ms",))
    found = run(policy, level0=level0, limits={"latency_ms": 10})
    assert all(c.costs == {"latency_ms": cost(c.text)} for c in found)
    assert all(n.costs == {"latency_ms": cost(n.text)} for n in found.scored.values())


@pytest.mark.parametrize("costs", [{"a0": {"latency_ms": 5.1}}, {}])
def test_whoever_proposes_what_is_over_a_limit_is_at_fault(costs):
    search = Search(
        ToySpace(), NoshPolicy(LEVELS, Budget(20)), Pool(LEVELS), seed=0, limits={"latency_ms": 5}
    )
    proposals = Proposals("own", [search.space.parse("a0")], costs=costs)
    with pytest.raises(ValueError, match=r"a0 was proposed: latency_ms .*, limit 5"):
        search.admit(search.request(), proposals)
    assert len(search.pool) == 0
