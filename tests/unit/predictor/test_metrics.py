import math

import numpy as np
import pytest
from scipy import stats

from raynas.predictor.metrics import average_ranks, kendall_tau, spearman


@pytest.mark.parametrize("size", [2, 3, 10, 200])
@pytest.mark.parametrize("values", [2, 5, 10**6])
def test_equal_to_scipy(size, values):
    rng = np.random.default_rng(size * values)
    for _ in range(20):
        first, second = rng.integers(0, values, (2, size)).astype(float)
        tau, rho = stats.kendalltau(first, second)[0], math.nan
        if np.ptp(first) and np.ptp(second):
            rho = stats.spearmanr(first, second)[0]
        assert kendall_tau(first, second) == pytest.approx(tau, nan_ok=True)
        assert spearman(first, second) == pytest.approx(rho, nan_ok=True)
        np.testing.assert_allclose(average_ranks(first), stats.rankdata(first) - 1)


def test_the_ends_of_the_scale():
    order = np.arange(50)
    assert kendall_tau(order, order**3) == spearman(order, order**3) == 1
    assert kendall_tau(order, -order) == spearman(order, -order) == -1
    assert math.isnan(kendall_tau([1, 1], [1, 2]))
    assert math.isnan(spearman([1], [1]))
