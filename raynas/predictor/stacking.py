"""How much to trust each judge: weights for a predictor and zero-cost proxies, learnt from pairs.

A judge is anything that ranks architectures: the graph predictor (by out-of-fold ranks, as it would
rank newcomers) and each proxy. Their ranks are added with weights under which they order the pairs
trained so far best (stacking, Wolpert 1992, with weights of at least 0 as in Breiman 1996)::

    minimise over w >= 0:  A · mean over pairs of log(1 + exp(-w · (x_winner - x_loser))) + λ |w|²

A judge that does not agree with what was trained gets no weight, so a useless proxy is soon
ignored; with few pairs the second term keeps the weights small and alike.

Shapes: A trained architectures, J judges.
"""

import numpy as np
from numpy.typing import NDArray

from raynas.predictor.pairs import PairKind, PairSet

Floats = NDArray[np.float64]


def judge_weights(ranks_AJ: Floats, pairs: PairSet, regularisation: float = 0.3) -> Floats:
    """Return a weight for each judge; all equal if none agrees with the pairs.

    Args:
        ranks_AJ: Rank of each trained architecture by each judge, in [0, 1], 1 the best.
        pairs: Of the architectures whose first A are those; pairs with others are left out.
        regularisation: The λ above.
    """
    from scipy import optimize  # takes a second, and is not needed without proxies

    measured = np.isin(pairs.kind, (PairKind.SAME_LEVEL, PairKind.CROSS_LEVEL))
    winner, loser = pairs.winner[measured], pairs.loser[measured]
    weight = pairs.weight[measured]
    num_judges = ranks_AJ.shape[1]
    if not len(weight) or num_judges == 1:
        return np.ones(num_judges)
    lead_PJ = ranks_AJ[winner] - ranks_AJ[loser]
    weight = weight * (len(ranks_AJ) / weight.sum())

    def cost(w: Floats) -> tuple[float, Floats]:
        margin = lead_PJ @ w
        wrong = np.exp(-np.logaddexp(0.0, margin))  # sigmoid(-margin)
        value = float(weight @ np.logaddexp(0.0, -margin) + regularisation * (w @ w))
        return value, 2 * regularisation * w - (weight * wrong) @ lead_PJ

    found = optimize.minimize(
        cost,
        np.ones(num_judges),
        jac=True,
        bounds=[(0, None)] * num_judges,
        method="L-BFGS-B",
    ).x
    weights: Floats = found if found.any() else np.ones(num_judges)
    return weights
