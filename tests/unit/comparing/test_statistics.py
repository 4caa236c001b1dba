"""Figures over seeds, against scipy and by hand."""

import math

import numpy as np
import pytest
from scipy import stats

from raynas.comparing.run import RunRecord, Step
from raynas.comparing.statistics import Mean, curves, epochs_to_reach, paired_p_value, reports_at


def record(seed, *steps, budget=100):
    made = [Step(e, 2 * e, "a", r, r) for e, r in steps]
    return RunRecord("m", budget, seed, made)


RUNS = [record(0, (10, 0.5), (30, 0.7)), record(1, (20, 0.6), (40, 0.9))]


def test_means_have_students_interval():
    values = np.random.default_rng(0).normal(size=12)
    mean = Mean.of(values)
    low, high = stats.t.interval(0.95, 11, values.mean(), stats.sem(values))
    assert mean.mean == pytest.approx(values.mean())
    assert mean.ci95 == pytest.approx((high - low) / 2)
    assert Mean.of([0.3]).mean == 0.3
    assert math.isnan(Mean.of([0.3]).ci95)
    assert Mean.of([math.nan]).count == 0


def test_reports_are_the_incumbents_in_both_accountings():
    assert reports_at(RUNS, 35).tolist() == [0.7, 0.6]
    assert np.isnan(reports_at(RUNS, 15)).tolist() == [False, True]
    assert reports_at(RUNS, 40, in_full=True).tolist() == [0.5, 0.6]


def test_curves_step_where_an_incumbent_changed():
    epochs, reports = curves(RUNS)
    assert epochs.tolist() == [20, 30, 40]  # both have one from 20 on
    assert reports.tolist() == [[0.5, 0.7, 0.7], [0.6, 0.6, 0.9]]


@pytest.mark.parametrize(("target", "epochs"), [(0.5, 20), (0.6, 30), (0.8, 40), (0.81, None)])
def test_epochs_to_reach(target, epochs):
    assert epochs_to_reach(RUNS, target) == epochs


def test_paired_test_is_wilcoxons():
    rng = np.random.default_rng(1)
    first = rng.normal(size=30)
    second = first + rng.normal(0.5, 1, size=30)
    expected = stats.wilcoxon(first - second, zero_method="zsplit", method="approx").pvalue
    assert paired_p_value(first, second) == expected
    assert paired_p_value(first, first) == 1.0
    assert math.isnan(paired_p_value(np.array([np.nan]), np.array([1.0])))
