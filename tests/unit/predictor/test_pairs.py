import numpy as np
import pytest

from raynas.predictor.pairs import PairConfig, PairKind, make_pairs
from raynas.scheduling.snapshot import PoolRecord, PoolSnapshot, ScoredRecord


def record(number, *accuracies, failed=False, **proxies):
    return PoolRecord(
        number, f"a{number}", f"a{number}", len(accuracies), accuracies, proxies, failed
    )


def snapshot(*records, scored=(), round=1):
    texts = tuple(ScoredRecord(f"s{i}", f"s{i}", proxies) for i, proxies in enumerate(scored))
    return PoolSnapshot(round, (1, 2, 4), records, texts)


def labelled(pool, fidelity=0, **options):
    config = PairConfig(fidelity=fidelity, **options)
    pairs = make_pairs(pool, config, np.random.default_rng(0))
    names = pairs.texts
    return {
        (names[won], names[lost]): weight
        for won, lost, weight in zip(pairs.winner, pairs.loser, pairs.weight, strict=True)
    }, pairs


# a1 rose with 0.5; the newcomer a2 has 0.6 at the first level already.
POOL = snapshot(record(0, 0.3), record(1, 0.5, 0.7), record(2, 0.6))


def test_level_is_the_published_rule():
    found, pairs = labelled(POOL)
    assert found == {("a1", "a0"): 1, ("a1", "a2"): 1, ("a2", "a0"): 1}
    assert pairs.disagreement == pytest.approx(1 / 3)


def test_common_epoch_compares_where_both_have_been():
    found, _ = labelled(POOL, rule="common_epoch")
    assert found == {("a1", "a0"): 1, ("a2", "a1"): 1, ("a2", "a0"): 1}


def test_agree_trusts_what_both_say():
    found, _ = labelled(POOL, rule="agree")
    assert found == {("a1", "a0"): 1, ("a1", "a2"): 0.3, ("a2", "a0"): 1}
    found, _ = labelled(POOL, rule="agree", disagree_weight=0)
    assert found == {("a1", "a0"): 1, ("a2", "a0"): 1}


@pytest.mark.parametrize("rule", ["level", "common_epoch"])
def test_a_pair_counts_by_how_long_both_were_trained(rule):
    pool = snapshot(
        record(0, 0.3), record(1, 0.4, 0.6), record(2, 0.5, 0.7, 0.8), record(3, 0.2, 0.5)
    )
    found, _ = labelled(pool, rule=rule, fidelity=1)  # levels of 1, 2 and 4 epochs
    weights = {frozenset(pair): weight for pair, weight in found.items()}
    assert weights[frozenset(("a0", "a1"))] == 1 / 4
    assert weights[frozenset(("a0", "a2"))] == 1 / 4
    assert weights[frozenset(("a1", "a2"))] == 1 / 2
    assert weights[frozenset(("a1", "a3"))] == 1 / 2
    squared, _ = labelled(pool, rule=rule, fidelity=2)
    assert squared == {pair: weight**2 for pair, weight in found.items()}


def test_equal_accuracies_make_no_pair():
    assert labelled(snapshot(record(0, 0.5), record(1, 0.5)))[0] == {}


def test_the_failed_lose():
    pool = snapshot(record(0, 0.1), record(1, failed=True), record(2, 0.9, failed=True))
    assert labelled(pool)[0] == {("a0", "a1"): 1, ("a0", "a2"): 1}
    assert labelled(pool, failed_lose=False)[0] == {}


def test_level_0_loses_and_is_ordered_by_agreeing_proxies():
    proxies = [{"p": 1.0, "q": 1.0}, {"p": 2.0, "q": 2.0}, {"p": 3.0, "q": 0.0}]
    pool = snapshot(record(0, 0.3), record(1, 0.5), record(2, 0.6), scored=proxies)
    found, pairs = labelled(pool, level0="full", level0_ratio=1.0)
    level0 = pairs.kind == PairKind.LEVEL0
    assert level0.sum() <= (~level0).sum()  # they never outnumber the trained
    assert set(pairs.weight[level0]) == {0.25}
    assert not any(loser.startswith("a") and winner.startswith("s") for winner, loser in found)
    assert ("s2", "s0") not in found  # the proxies disagree
    assert ("s0", "s2") not in found
    off, _ = labelled(pool, level0="off")
    assert all(name.startswith("a") for pair in off for name in pair)


def test_a_limit_on_pairs():
    pool = snapshot(*(record(i, i / 100) for i in range(60)))
    found, pairs = labelled(pool, max_pairs=100)
    assert len(found) == len(pairs) == 100
    assert all(int(won[1:]) > int(lost[1:]) for won, lost in found)
