"""The pool where costs count beside accuracy: its front, and who of a level comes first.

Costs are numbers that came with a candidate (`Candidate.costs`), lower is better. With no costs
both questions have today's answers: the most accurate.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from raynas.scheduling.candidate import Candidate, Status
from raynas.scheduling.pareto import Floats, best_first, fronts
from raynas.scheduling.pool import Pool


def pool_front(pool: Pool, costs: Sequence[str]) -> list[Candidate]:
    """Return who nobody dominates among those of the highest level reached, most accurate first.

    Accuracies at different levels have no common scale, so only one level is looked at: that of
    `Pool.best`, who is on the front unless somebody as accurate costs less.

    Args:
        pool: The pool.
        costs: Names of what is minimised beside accuracy.
    """
    best = pool.best()
    if best is None:
        return []
    members = [c for c in pool if c.level == best.level]
    members.sort(key=lambda c: c.rank_key(best.level))
    return [members[i] for i in next(fronts(_values(members, best.level, costs)))]


def front_rows(pool: Pool, costs: Sequence[str]) -> list[dict[str, Any]]:
    """Return the front as JSON values: architecture, accuracy, epochs, costs."""
    return [
        {
            "id": candidate.id,
            "architecture": candidate.text,
            "accuracy": candidate.accuracy,
            "epochs": candidate.epochs,
            "costs": candidate.costs,
        }
        for candidate in pool_front(pool, costs)
    ]


class FrontOrder:
    """Orders those at rest on a level by front, then by crowding distance, then by accuracy.

    Fronts are those of all that ever reached the level and have not failed, promoted or not: who is
    dominated only by the promoted still comes after who is dominated by nobody, and the order
    does not change while a level is being promoted from.

    A cache and no state: what it knows can be read from the pool at any time.

    Args:
        costs: Names of what is minimised beside accuracy.
    """

    def __init__(self, costs: Sequence[str]) -> None:
        self._costs = tuple(costs)
        self._pool: Pool | None = None
        self._known: dict[int, tuple[tuple[int, int], list[Candidate]]] = {}

    def best_resting(self, pool: Pool, level: int, count: int) -> list[Candidate]:
        """Return the best `count` promotable candidates at rest on `level`, best first."""
        found: list[Candidate] = []
        for candidate in self._order(pool, level):
            if len(found) >= count:
                break
            if candidate.level == level and candidate.status is Status.PAUSED:
                found.append(candidate)
        return found

    def _order(self, pool: Pool, level: int) -> list[Candidate]:
        if self._pool is not pool:
            self._pool, self._known = pool, {}
        facts = (pool.reached(level), pool.num_failed)
        if level not in self._known or self._known[level][0] != facts:
            members = [c for c in pool if c.level >= level and c.status is not Status.FAILED]
            members.sort(key=lambda c: c.rank_key(level))
            order = best_first(_values(members, level, self._costs))
            self._known[level] = facts, [members[i] for i in order]
        return self._known[level][1]


def _values(members: Sequence[Candidate], level: int, costs: Sequence[str]) -> Floats:
    """Return `N x M` values, higher is better: accuracy at `level`, then every cost negated."""
    rows = [[c.level_accuracy[level - 1], *(-c.costs[name] for name in costs)] for c in members]
    return np.array(rows, dtype=np.float64).reshape(len(rows), 1 + len(costs))
