"""Proxies as judges beside the predictor: the good ones lead, the useless ones do no harm."""

import numpy as np
import pytest

from raynas.proposing.ranking import RankingProposer, proxy_ranks
from raynas.scheduling.snapshot import PoolRecord, PoolSnapshot, ScoredRecord
from raynas.spaces.nasbench201 import NasBench201

SPACE = NasBench201()
FAST = {"epochs": 30, "ensemble": 2, "folds": 2}


@pytest.fixture(scope="module")
def keys():
    found = {}
    for architecture in SPACE:
        found.setdefault(SPACE.key(architecture), architecture.text)
    return found


def pool(keys, proxies, quality_of, trained=24):
    """A pool where `trained` are trained, and all are scored by `proxies`."""
    listed = list(keys.items())
    chosen = np.random.default_rng(0).permutation(len(listed))
    records = [
        PoolRecord(
            n, text, key, 1, (quality_of[key],), {p: s[key] for p, s in proxies.items()}, False
        )
        for n, (key, text) in enumerate(listed[i] for i in chosen[:trained])
    ]
    scored = [
        ScoredRecord(text, key, {p: s[key] for p, s in proxies.items()})
        for key, text in (listed[i] for i in chosen[trained:])
    ]
    return PoolSnapshot(1, (1, 2), tuple(records), tuple(scored))


@pytest.fixture(scope="module")
def measured(keys):
    """Accuracies no graph could tell, so that only the proxy knows."""
    rng = np.random.default_rng(7)
    return {key: float(rng.random()) for key in keys}


def test_a_proxy_that_agrees_leads(keys, measured):
    rng = np.random.default_rng(1)
    proxies = {
        "good": {k: 1e6 * a for k, a in measured.items()},
        "noise": {k: float(rng.random()) for k in keys},
    }
    proposer = RankingProposer(SPACE, predictor=FAST)
    chosen = proposer.propose(pool(keys, proxies, measured), 10, np.random.default_rng(0))
    assert np.mean([measured[SPACE.key(a)] for a in chosen]) > 0.95
    record = proposer.fit_record
    assert record["weight_good"] > 3 * max(record["weight_noise"], record["weight_predictor"])
    assert proposer.weighed_proxies


def test_without_proxies_the_predictor_decides_alone(keys, measured):
    proposer = RankingProposer(SPACE, predictor=FAST)
    proposer.propose(pool(keys, {}, measured), 5, np.random.default_rng(0))
    assert not any(name.startswith("weight_") for name in proposer.fit_record)


def test_proxy_ranks_are_of_those_that_have_a_score(keys):
    snapshot = PoolSnapshot(
        0,
        (1,),
        (PoolRecord(0, "a", "a", 1, (0.5,), {"p": 3.0}, False),),
        (ScoredRecord("b", "b", {"p": -np.inf}), ScoredRecord("c", "c", {"p": 5.0})),
    )
    ranks = proxy_ranks(snapshot, ["a", "x", "b", "c"])["p"]
    assert np.isnan(ranks).tolist() == [False, True, False, False]
    assert ranks[[0, 2, 3]].tolist() == [0.5, 0, 1]


def test_the_first_text_stands_for_its_key(keys):
    first = RankingProposer(SPACE).propose(
        PoolSnapshot(0, (1, 2), (), ()), 50, np.random.default_rng(0)
    )
    assert {a.text for a in first} <= set(keys.values())
    assert len(first) == 50


class Unhashable(NasBench201):
    __hash__ = None


def test_a_space_without_a_hash_will_do():
    proposer = RankingProposer(Unhashable())
    proposed = proposer.propose(PoolSnapshot(0, (1, 2), (), ()), 3, np.random.default_rng(0))
    assert len(proposed) == 3
