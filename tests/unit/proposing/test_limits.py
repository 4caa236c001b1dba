"""Limits are kept whoever proposes: ours, which know of them, and a user's, which need not."""

import numpy as np
import pytest

from raynas.config import construct
from raynas.proposing import PROPOSERS
from raynas.proposing.answer import Answer
from raynas.proposing.proposer import Proposer
from raynas.proposing.ranking import RankingProposer
from raynas.registry import lookup
from raynas.scheduling.pareto import fronts
from raynas.scheduling.search import Request
from raynas.scheduling.snapshot import PoolRecord, PoolSnapshot
from raynas.spaces.costs import Costs, FunctionCost
from raynas.spaces.limited import limited
from raynas.spaces.nasbench201 import NasBench201
from raynas.testing import ProposerContract, ToySpace

OPS = ("none", "skip_connect", "nor_conv_3x3")
FAST = {"ensemble": 2, "epochs": 3}
OPTIONS = {
    "ranking": {"predictor": FAST},
    "bananas": {"predictor": {"ensemble": 2, "epochs": 3}},
    "brp": {"predictor": {"epochs": 3}},
    "gin": {"predictor": {"epochs": 3}},
    "arch2vec": {"autoencoder": {"epochs": 1}, "regression": {"epochs": 3}},
    "mfnas": {"proxy": "convs", "max_scored": 50},
}
EMPTY = PoolSnapshot(0, (1, 2), (), ())


def convolutions(architecture):
    return architecture.text.count("nor_conv")


def at_most(highest, *, instant=True, base=None, minimised=()):
    source = FunctionCost(convolutions, "convolutions", instant)
    limits = {} if highest is None else {"flops": highest}
    return limited(base or NasBench201(ops=OPS), Costs({"flops": source}, limits, minimised))


def trained(space, count=24):
    """A pool of allowed cells whose accuracy is their share of convolutions, nearly."""
    rng, found = np.random.default_rng(1), {}
    while len(found) < count:
        architecture = space.sample(rng)
        found.setdefault(space.key(architecture), architecture)
    records = [
        PoolRecord(i, a.text, key, 1, (convolutions(a) / 7 + i / 1000,), {}, False)
        for i, (key, a) in enumerate(found.items())
    ]
    return PoolSnapshot(1, (1, 2), tuple(records), ())


def ask(answer, snapshot, count, seed=0):
    proposals = answer(Request(snapshot.round, count, count, False, seed), snapshot, {})
    keys = [answer.space.key(a) for a in proposals.architectures]
    assert len(set(keys)) == len(keys)
    assert not set(keys) & snapshot.keys()
    assert set(proposals.costs) == {a.text for a in proposals.architectures}
    return proposals


def scores(architectures):
    return [{"convs": float(convolutions(a)), "length": len(a.text)} for a in architectures]


@pytest.mark.parametrize("instant", [True, False], ids=["listed", "judged one by one"])
@pytest.mark.parametrize("name", PROPOSERS)
def test_every_proposer_keeps_within_them(name, instant):
    space = at_most(2, instant=instant)
    target = lookup("proposer", name, PROPOSERS)
    proposer = construct("proposer", target, OPTIONS.get(name, {}), space, score=scores)
    for snapshot in (EMPTY, trained(space)):
        proposals = ask(Answer(name, proposer, space), snapshot, 8)
        assert len(proposals.architectures) == 8
        assert max(map(convolutions, proposals.architectures)) <= 2
        assert all(c["flops"] <= 2 for c in proposals.costs.values())


@pytest.mark.parametrize("instant", [True, False], ids=["listed", "judged one by one"])
@pytest.mark.parametrize("name", ["ranking", "random", "evolution", "brp"])
def test_what_is_left_within_them_is_proposed_to_the_last(name, instant):
    space = at_most(1, instant=instant)
    expected = {space.key(a) for a in space.base if convolutions(a) <= 1}
    snapshot = trained(space, count=min(24, len(expected) - 5))
    target = lookup("proposer", name, PROPOSERS)
    proposer = construct("proposer", target, OPTIONS.get(name, {}), space)
    proposals = ask(Answer(name, proposer, space), snapshot, 500)
    keys = {space.key(a) for a in proposals.architectures}
    assert keys == expected - snapshot.keys()


class Unaware(Proposer):
    """A proposer of a user's that knows no limits: everything, in order, dearest first."""

    def __init__(self, space):
        self.asked = []
        self._ranked = sorted(space, key=convolutions, reverse=True)

    def propose(self, pool, count, rng):
        self.asked.append(count)
        return self._ranked[:count]


def test_a_proposer_that_knows_no_limits_is_asked_for_more_then_made_up_for():
    base = NasBench201(ops=OPS)
    space = at_most(2, base=base)
    unaware = Unaware(base)
    proposals = ask(Answer("own", unaware, space), EMPTY, 6)
    assert unaware.asked == [6, 24, 96]
    assert len(proposals.architectures) == 6
    assert max(map(convolutions, proposals.architectures)) <= 2
    lenient = at_most(4, base=base)
    generous = Unaware(base)
    own = ask(Answer("own", generous, lenient), EMPTY, 2).architectures
    assert [convolutions(a) for a in own] == [4, 4]  # its own order, not a random draw
    assert generous.asked == [2, 8, 32]


def test_what_the_ranking_proposer_takes_is_the_top_of_what_is_allowed():
    """Judged one by one from the top or listed beforehand: the same architectures, in order."""
    snapshot = trained(at_most(2))
    tops = []
    for instant in (True, False):
        space = at_most(2, instant=instant, base=UniqueKeys())
        proposer = RankingProposer(space, predictor=FAST, min_trained=2)
        tops.append([a.text for a in proposer.propose(snapshot, 6, np.random.default_rng(0))])
    assert tops[0] == tops[1]


class UniqueKeys(NasBench201):
    """Every text its own key, so that both ways see the same candidates."""

    def __init__(self):
        super().__init__(ops=OPS)

    def key(self, architecture):
        return architecture.text


@pytest.mark.parametrize("instant", [True, False], ids=["listed", "judged one by one"])
def test_with_costs_as_objectives_the_ranking_proposer_goes_front_by_front(instant, monkeypatch):
    space = at_most(None, instant=instant, base=UniqueKeys(), minimised=("flops",))
    snapshot = trained(space)
    noise = np.random.default_rng(5).random(len(space.base)) / 20
    cells = zip(space.base, noise, strict=True)
    score = {a.text: convolutions(a) / 7 + more for a, more in cells}
    monkeypatch.setattr(
        RankingProposer,
        "_judge",
        lambda self, predictor, pool, pairs, candidates: np.array(
            [score[a.text] for a in candidates.by_key.values()]
        ),
    )
    proposer = RankingProposer(space, predictor=FAST, min_trained=2)
    proposed = proposer.propose(snapshot, 40, np.random.default_rng(0))
    taken = snapshot.keys()
    open_ = [text for text in score if text not in taken]
    values = np.array([[score[n], -n.count("nor_conv")] for n in open_])
    first = {open_[i] for i in next(fronts(values))}
    assert len(first) > 3
    if instant:
        assert {a.text for a in proposed[: len(first)]} == first
    else:  # only some are asked for their costs
        assert max(open_, key=score.__getitem__) in {a.text for a in proposed[:2]}
    assert len({convolutions(a) for a in proposed[: len(first)]}) > 3


def test_costs_that_are_dear_are_asked_for_a_few(monkeypatch):
    asked = set()

    def dear(architecture):
        asked.add(architecture.text)
        return float(convolutions(architecture))

    space = limited(UniqueKeys(), Costs({"flops": FunctionCost(dear, "d")}, {}, ("flops",)))
    snapshot = trained(UniqueKeys())
    asked.clear()
    RankingProposer(space, predictor=FAST, min_trained=2).propose(
        snapshot, 5, np.random.default_rng(0)
    )
    assert 150 <= len(asked) <= 200


class TestRankingWithinLimits(ProposerContract):
    @pytest.fixture
    def space(self):
        return limited(ToySpace(120), Costs({"flops": number()}, {"flops": 80}))

    @pytest.fixture
    def make_proposer(self):
        return lambda space: RankingProposer(space, predictor=FAST)


def number():
    return FunctionCost(lambda a: int(a.text[1:]), "number")
