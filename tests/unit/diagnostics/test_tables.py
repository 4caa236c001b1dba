"""Diagnostics that read a run's tables, on small ones made by hand."""

import math

import pandas as pd
import pytest

from raynas.diagnostics import levels, predictor, saved, skip_gap

# -- skip gap ----------------------------------------------------------------------------------


def alpha_table(by_epoch):
    """Two edges with skip and conv (and one of them a pool), one without a skip."""
    rows = []
    for epoch, (skip, conv, pool) in by_epoch.items():
        ops = [(0, "skip_connect", skip), (0, "sep_conv_3x3", conv), (0, "max_pool_3x3", pool)]
        ops += [(1, "skip_connect", 0.5), (1, "dil_conv_3x3", 0.1), (1, "sep_conv_3x3", 0.3)]
        ops += [(2, "sep_conv_3x3", 0.4), (2, "max_pool_3x3", 0.6)]
        rows += [
            {"step": epoch, "phase": "search", "epoch": epoch, "kind": "normal", "edge": e}
            | {"op": op, "theta": theta}
            for e, op, theta in ops
        ]
    rows += [{**row, "step": 9, "epoch": 9, "phase": "select"} for row in rows[:8]]
    return pd.DataFrame(rows)


def test_gap_is_skip_less_the_mean_of_parametric_ops():
    alpha = alpha_table({1: (0.3, 0.6, 0.1), 2: (0.5, 0.2, 0.3)})
    history = pd.DataFrame({"step": [1, 2, 9], "accuracy": [0.4, 0.8, 0.9]})
    rows = skip_gap.gap_rows(alpha, history)
    assert {row["epoch"] for row in rows} == {1, 2}  # selection is no part of the trend
    of = {(row["epoch"], row["kind"]): row for row in rows}
    assert of[1, "normal"]["gap"] == pytest.approx((-0.3 + 0.3) / 2)
    assert of[2, "normal"]["gap"] == pytest.approx((0.3 + 0.3) / 2)
    assert of[2, "all"]["gap"] == of[2, "normal"]["gap"]
    assert of[2, "all"]["accuracy"] == 0.8
    assert skip_gap.correlation(rows) == 1.0
    told = skip_gap.sentences(rows)
    assert "from 0.000 to 0.300" in told[0]
    assert "from 40.0 % to 80.0 %" in told[0]
    assert "favours skips" in told[1]


def test_gap_that_falls_is_called_so():
    alpha = alpha_table({1: (0.5, 0.2, 0.3), 2: (0.3, 0.6, 0.1)})
    history = pd.DataFrame({"step": [1, 2], "accuracy": [0.4, 0.8]})
    rows = skip_gap.gap_rows(alpha, history)
    assert skip_gap.correlation(rows) == -1.0
    assert "does not come to favour" in skip_gap.sentences(rows)[1]


def test_of_one_epoch_there_is_no_trend():
    rows = skip_gap.gap_rows(
        alpha_table({1: (0.3, 0.6, 0.1)}), pd.DataFrame({"step": [1], "accuracy": [0.4]})
    )
    assert skip_gap.correlation(rows) is None
    (told,) = skip_gap.sentences(rows)
    assert "undefined" in told


# -- a search ----------------------------------------------------------------------------------

LEVELS = (1, 2, 4)


def pool():
    """Eight architectures: all at 1 epoch, four at 2, two at 4; one failed after an epoch."""
    first = [0.10, 0.20, 0.30, 0.40, 0.50, 0.60, 0.70, 0.80]
    second = {4: 0.70, 5: 0.60, 6: 0.65, 7: 0.55}
    third = {4: 0.90, 6: 0.95}
    return pd.DataFrame(
        {
            "id": i,
            "status": "failed" if i == 0 else "paused",
            "level": 3 if i in third else 2 if i in second else 1,
            "epochs": 4 if i in third else 2 if i in second else 1,
            "accuracy_level_1": first[i],
            "accuracy_level_2": second.get(i, math.nan),
            "accuracy_level_3": third.get(i, math.nan),
        }
        for i in range(8)
    )


def test_levels_by_hand():
    rows = {(r["low_level"], r["high_level"]): r for r in levels.level_rows(pool(), LEVELS)}
    assert list(rows) == [(1, 2), (1, 3), (2, 3)]
    low = rows[1, 2]
    # At level 1: 4 < 5 < 6 < 7; at level 2: 7 < 5 < 6 < 4. One of six pairs agrees.
    assert low["both"] == 4
    assert low["kendall_tau"] == pytest.approx((1 - 5) / 6)
    # Half went on from level 1: of the four, 6 and 7 by level 1, but 4 and 6 are the best two.
    assert (low["share"], low["kept"], low["top"], low["lost"]) == (0.5, 2, 2, 1)
    assert rows[1, 3]["kendall_tau"] == 1.0
    assert rows[2, 3]["kendall_tau"] == -1.0
    # 4 leads at level 2 and would have gone on alone; 6 is the best at level 3.
    assert (rows[2, 3]["kept"], rows[2, 3]["top"], rows[2, 3]["lost"]) == (1, 1, 1)
    told = levels.sentences(list(rows.values()))
    assert "1 to 2 epochs -0.67 (4), 2 to 4 epochs -1.00 (2)" in told[0].replace("\u2212", "-")
    assert "the best 1 of 2 after 2 epochs gone on" in told[1]


def test_levels_that_agree_lose_nothing():
    table = pool()
    table["accuracy_level_2"] = table["accuracy_level_1"].where(table["level"] > 1)
    table["accuracy_level_3"] = table["accuracy_level_1"].where(table["level"] > 2)
    rows = levels.level_rows(table, LEVELS)
    assert all(row["kendall_tau"] == 1 and row["lost"] == 0 for row in rows)
    assert "No cut" in levels.sentences(rows)[-1]


def test_a_level_that_one_reached_alone_is_left_out():
    table = pool()
    table.loc[6, ["level", "accuracy_level_3"]] = [2, math.nan]
    assert [(r["low_level"], r["high_level"]) for r in levels.level_rows(table, LEVELS)] == [(1, 2)]


def test_saved_by_hand():
    rows = saved.saved_rows(pool(), LEVELS)
    assert [(r["level"], r["architectures"], r["failed"]) for r in rows] == [
        (1, 4, 1),
        (2, 2, 0),
        (3, 2, 0),
    ]
    assert [r["spent"] for r in rows] == [4, 4, 8]
    # Three paused after 1 of 4 epochs, two after 2; the failed one saves nothing.
    assert [r["saved"] for r in rows] == [9, 4, 0]
    told = saved.sentences(rows, 4)
    assert "8 architectures took 16 epochs" in told[0]
    assert "29, so pausing saved 13 (45 %)" in told[0]
    assert "4 could have been trained in full" in told[1]


def test_one_that_failed_before_any_level_counts_by_its_epochs():
    table = pool()
    table.loc[0, ["level", "epochs"]] = [0, 0]
    assert saved.saved_rows(table, (2, 3, 4))[0]["level"] == 1  # nothing was spent on it
    table.loc[0, "epochs"] = 1
    row = saved.saved_rows(table, (2, 3, 4))[0]
    assert (row["level"], row["spent"], row["saved"]) == (0, 1, 0)


def test_predictor_rows_and_words():
    fits = pd.DataFrame(
        {
            "round": [2, 1, 3],
            "kendall_tau": [0.2, math.nan, 0.6],
            "pair_accuracy": [0.6, 0.5, 0.8],
            "num_trained": [15, 10, 20],
            "loss": [0.1, 0.2, 0.3],
        }
    )
    rows = predictor.predictor_rows(fits)
    assert [row["round"] for row in rows] == [1, 2, 3]
    assert [row["kendall_tau"] for row in rows] == [None, 0.2, 0.6]
    assert rows[0]["spearman"] is None
    told = predictor.sentences(rows)
    assert "last of 3 fits, on 20 architectures" in told[0]
    assert "0.60 (80 % of pairs right)" in told[0]
    assert "undefined over the first 1 fit and 0.40 over the other 2" in told[1]
