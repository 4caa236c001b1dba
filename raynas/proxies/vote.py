"""One order from several proxies: mean of ranks (Borda) or pairwise majority (vote, Copeland).

Proxies differ in scale by decades, so only the order each gives counts. The vote of {synflow,
jacob_cov, snip} is Abdelfattah et al. (ICLR 2021); as its relation can be cyclic, sorting by it
uses the Copeland score. NaN and -inf are the worst and tie with each other; a proxy that an
architecture lacks counts as NaN.

Shapes: A architectures, P proxies.
"""

from collections.abc import Mapping, Sequence
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from raynas.errors import ConfigError, nearest

Aggregation = Literal["borda", "vote", "copeland", "in_turn"]
"""How `aggregate` makes one order of several."""

_ROWS_AT_ONCE = 512  # bounds the memory of A x A comparisons to a few megabytes


def aggregate(
    scores: Sequence[Mapping[str, float]],
    how: Aggregation = "borda",
    names: Sequence[str] | None = None,
) -> NDArray[np.float64]:
    """Return one score per architecture, higher is better.

    Only their order among each other means anything. Architectures that no proxy tells apart
    share a score: sort with ``np.argsort(-scores, kind="stable")`` and the earlier comes first.

    Args:
        scores: Proxy scores of each architecture, by name.
        how: ``"borda"``: mean over proxies of the rank within the set, 0 (worst) to A - 1.
            ``"vote"``: number of architectures beaten by majority of the proxies, a draw
            counting half (Copeland); equal counts are told apart by Borda.
            ``"copeland"``: likewise, and equal counts stay equal (see `copeland`).
            ``"in_turn"``: the best of each proxy, then the second best of each, and so on; equals
            are told apart by Borda. One good proxy is enough for the best to come first.
        names: The proxies to use; None for all that occur.

    Raises:
        ConfigError: `how` is unknown, a name occurs nowhere, or there are no proxies.
    """
    if how not in (allowed := get_args(Aggregation)):
        raise ConfigError(
            f"unknown aggregation {how!r}{nearest(how, allowed)} (allowed: {', '.join(allowed)})"
        )
    if not scores:
        return np.zeros(0)
    if how == "copeland":
        return copeland(scores, names)
    ranks_AP = _ranks(scores, names)
    borda_A: NDArray[np.float64] = ranks_AP.mean(axis=1)
    if how == "borda":
        return borda_A
    if how == "in_turn":
        in_turn_A: NDArray[np.float64] = ranks_AP.max(axis=1) + borda_A / (4 * len(scores))
        return in_turn_A
    # Copeland scores are multiples of 1/2: less than that can only order equal ones.
    borda_A /= 4 * len(scores)
    return copeland(scores, names) + borda_A


def copeland(
    scores: Sequence[Mapping[str, float]], names: Sequence[str] | None = None
) -> NDArray[np.float64]:
    """Return how many of the others each architecture beats by majority, a draw counting half."""
    ranks_AP = _ranks(scores, names)
    total = len(ranks_AP)
    wins_A = np.empty(total)
    for start in range(0, total, _ROWS_AT_ONCE):
        block = slice(start, start + _ROWS_AT_ONCE)
        verdicts = np.sign(_margins(ranks_AP[block], ranks_AP))
        wins_A[block] = verdicts.sum(axis=1, dtype=np.int64)
    # wins - losses, so (x + total - 1) / 2 counts wins + draws / 2 (a draw with itself left out)
    return (wins_A + total - 1) / 2


def vote_margins(
    scores: Sequence[Mapping[str, float]], names: Sequence[str] | None = None
) -> NDArray[np.int16]:
    """Return `A x A` votes: proxies that rank i above j minus those that rank j above i.

    Antisymmetric; 0 where the proxies are divided.
    """
    ranks_AP = _ranks(scores, names)
    return _margins(ranks_AP, ranks_AP)


def _margins(ranks_AP: NDArray[np.float64], others_BP: NDArray[np.float64]) -> NDArray[np.int16]:
    margins = np.zeros((len(ranks_AP), len(others_BP)), dtype=np.int16)
    for mine, theirs in zip(ranks_AP.T, others_BP.T, strict=True):
        margins += mine[:, None] > theirs
        margins -= mine[:, None] < theirs
    return margins


def _ranks(
    scores: Sequence[Mapping[str, float]], names: Sequence[str] | None
) -> NDArray[np.float64]:
    """Return `A x P` ranks within each proxy, 0 is the worst, equals share the mean rank."""
    occurring = list(dict.fromkeys(name for row in scores for name in row))
    for name in names or ():
        if name not in occurring:
            raise ConfigError(
                f"no architecture has a score {name!r}{nearest(name, occurring)} "
                f"(there are: {', '.join(occurring) or 'none'})"
            )
    used = list(dict.fromkeys(names)) if names is not None else occurring
    if scores and not used:
        raise ConfigError("there are no proxies to aggregate: name at least one")
    columns = [_rank([row.get(name, np.nan) for row in scores]) for name in used]
    return np.stack(columns, axis=1) if columns else np.zeros((0, 0))


def _rank(column: Sequence[float]) -> NDArray[np.float64]:
    values = np.asarray(column, dtype=np.float64)
    values = np.where(np.isnan(values), -np.inf, values)
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return (last - (counts + 1) / 2)[inverse.reshape(-1)]
