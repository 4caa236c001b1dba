"""The pool where costs count beside accuracy: its front, and who of a level comes first.

Costs are numbers that came with a candidate (`Candidate.costs`), lower is better. With no costs
both questions have today's answers: the most accurate.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from raynas.scheduling.candidate import Candidate, Status
from raynas.scheduling.growing_fronts import GrowingFronts
from raynas.scheduling.pareto import Floats, fronts
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
    members = [pool[i] for i in pool.reached_ids(best.level)]
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

    A cache and no state: what it knows can be read from the pool at any time. Whoever reaches a
    level is sorted in; a failure, which is rare after a level, has the level sorted anew.

    Args:
        costs: Names of what is minimised beside accuracy.
    """

    def __init__(self, costs: Sequence[str]) -> None:
        self._costs = tuple(costs)
        self._pool: Pool | None = None
        self._known: dict[int, _LevelFronts] = {}

    def best_resting(self, pool: Pool, level: int, count: int) -> list[Candidate]:
        """Return the best `count` promotable candidates at rest on `level`, best first."""
        if self._pool is not pool:
            self._pool, self._known = pool, {}
        known = self._known.get(level)
        if known is None or known.num_failed != pool.failed_after(level):
            known = self._known[level] = _LevelFronts(pool, level, self._costs)
        known.catch_up()
        found: list[Candidate] = []
        if count <= 0:
            return found
        for candidate in known.remaining():
            if candidate.status is Status.PAUSED:
                found.append(candidate)
                if len(found) == count:
                    break
        return found


class _LevelFronts:
    """The fronts of those that reached one level and have not failed.

    Args:
        pool: The pool.
        level: The level.
        costs: Names of what is minimised beside accuracy.
    """

    def __init__(self, pool: Pool, level: int, costs: Sequence[str]) -> None:
        self._pool, self._level, self._costs = pool, level, costs
        self.num_failed = pool.failed_after(level)
        members = [pool[i] for i in pool.reached_ids(level)]
        self._members = [c for c in members if c.status is not Status.FAILED]
        self._points = {c.id: point for point, c in enumerate(self._members)}
        self._heard, self._heard_above = len(members), 0
        self._fronts = GrowingFronts(1 + len(costs), 3)
        keys = np.array([c.rank_key(level) for c in self._members]).reshape(-1, 3)
        self._fronts.start(_values(self._members, level, costs), keys)

    def catch_up(self) -> None:
        """Take in who has reached the level, or the one above, since the last time."""
        for candidate_id in self._pool.reached_ids(self._level)[self._heard :]:
            candidate = self._pool[candidate_id]
            self._points[candidate_id] = len(self._members)
            self._members.append(candidate)
            values = _values([candidate], self._level, self._costs)[0]
            self._fronts.add(values.tolist(), candidate.rank_key(self._level))
        self._heard = self._pool.reached(self._level)
        if self._level < self._pool.num_levels:
            for candidate_id in self._pool.reached_ids(self._level + 1)[self._heard_above :]:
                if candidate_id in self._points:  # else it has failed since
                    self._fronts.leave(self._points[candidate_id])
            self._heard_above = self._pool.reached(self._level + 1)

    def remaining(self) -> Iterator[Candidate]:
        """Yield who has reached no higher level, best first."""
        return (self._members[point] for point in self._fronts.remaining())


def _values(members: Sequence[Candidate], level: int, costs: Sequence[str]) -> Floats:
    """Return `N x M` values, higher is better: accuracy at `level`, then every cost negated."""
    rows = [[c.level_accuracy[level - 1], *(-c.costs[name] for name in costs)] for c in members]
    return np.array(rows, dtype=np.float64).reshape(len(rows), 1 + len(costs))
