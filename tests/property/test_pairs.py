"""Pair labels: antisymmetric, and the two rules agree on pairs of one level."""

import hypothesis.strategies as st
import numpy as np
from hypothesis import given

from raynas.predictor.pairs import PairConfig, PairKind, make_pairs
from raynas.scheduling.snapshot import PoolRecord, PoolSnapshot

ACCURACY = st.sampled_from([0.1, 0.2, 0.3, 0.4])
CURVES = st.lists(st.lists(ACCURACY, min_size=1, max_size=3), min_size=2, max_size=12)


def labels(curves, rule):
    records = tuple(
        PoolRecord(i, f"a{i}", f"a{i}", len(c), tuple(c), {}, False) for i, c in enumerate(curves)
    )
    snapshot = PoolSnapshot(1, (1, 2, 4), records, ())
    return make_pairs(snapshot, PairConfig(rule=rule), np.random.default_rng(0))


def straight(curves, rule):
    """The rules read off the formulas, one pair at a time."""
    found = set()
    for i, a in enumerate(curves):
        for j, b in enumerate(curves):
            common = min(len(a), len(b)) - 1
            if rule == "level":
                wins = len(a) > len(b) or (len(a) == len(b) and a[-1] > b[-1])
            else:
                wins = a[common] > b[common]
            if wins:
                found.add((i, j))
    return found


@given(CURVES, st.sampled_from(["level", "common_epoch"]))
def test_labels_are_the_rule(curves, rule):
    pairs = labels(curves, rule)
    found = set(zip(pairs.winner.tolist(), pairs.loser.tolist(), strict=True))
    assert found == straight(curves, rule)
    assert len(found) == len(pairs)


@given(CURVES, st.sampled_from(["level", "common_epoch", "agree"]))
def test_no_pair_is_labelled_both_ways(curves, rule):
    pairs = labels(curves, rule)
    found = set(zip(pairs.winner.tolist(), pairs.loser.tolist(), strict=True))
    assert not found & {(loser, winner) for winner, loser in found}


@given(CURVES)
def test_within_a_level_the_rules_agree(curves):
    def same_level(rule):
        pairs = labels(curves, rule)
        chosen = pairs.kind == PairKind.SAME_LEVEL
        return set(zip(pairs.winner[chosen].tolist(), pairs.loser[chosen].tolist(), strict=True))

    assert same_level("level") == same_level("common_epoch")
