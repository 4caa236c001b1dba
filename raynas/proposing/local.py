"""Local search: try the neighbours of the best, move on as soon as one of them is better.

White et al., "Exploring the Loss Landscape in Neural Architecture Search", UAI 2021, in the
variant that queries a neighbourhood only until it finds something better. Partly trained
candidates are compared as the pool compares them: by the highest level reached, then by accuracy
there.

A proposal may ask for more than one neighbourhood has left, and before its last answers are in.
Then the neighbours of the next best are tried meanwhile, as in the paper's variant that goes on
at a minimum.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from raynas.proposing.evolution import standing
from raynas.proposing.learning import at_least, one_per_key
from raynas.proposing.proposer import Proposer
from raynas.proposing.random import draw_new
from raynas.scheduling.snapshot import PoolRecord, PoolSnapshot
from raynas.spaces.architecture import Architecture
from raynas.spaces.space import SearchSpace


class LocalProposer(Proposer):
    """Proposes untried neighbours of the best candidate, in random order.

    A candidate whose neighbours have all been tried without finding a better one is a local
    optimum: the search starts again at random, and forgets who came before. That is all it
    remembers: the candidate it started from last; the rest is read off the pool.

    Args:
        space: Where architectures come from.
        initial: Random candidates at each start; the best of them is where it begins.

    Raises:
        ConfigError: an option out of range.
    """

    def __init__(self, space: SearchSpace, *, initial: int = 10) -> None:
        at_least("initial", initial, 1)
        self._space = space
        self._initial = initial
        self._start = 0

    def propose(
        self, pool: PoolSnapshot, count: int, rng: np.random.Generator
    ) -> list[Architecture]:
        """Return `count` new architectures; see `Proposer.propose`."""
        taken = pool.keys()
        best_first = self._best_first(pool)
        if best_first and self._is_optimum(best_first[0], pool.candidates):
            self._start = len(pool.candidates)
            best_first = []
        since = len(pool.candidates) - self._start
        num_random = min(count, max(0, self._initial - since))
        found: dict[str, Architecture] = {}
        if num_random:
            found = one_per_key(self._space, draw_new(self._space, taken, num_random, rng))
        for record in best_first:
            if len(found) == count:
                break
            neighbours = self._neighbours(record)
            for index in rng.permutation(len(neighbours)):
                key = self._space.key(neighbours[index])
                if len(found) < count and key not in taken:
                    found.setdefault(key, neighbours[index])
        if len(found) == count:
            return list(found.values())
        more = draw_new(self._space, taken | found.keys(), count - len(found), rng)
        return [*found.values(), *more]

    def state_dict(self) -> dict[str, Any]:
        """Return where the current descent starts in the pool."""
        return {"start": self._start}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self._start = int(state["start"])

    def _best_first(self, pool: PoolSnapshot) -> list[PoolRecord]:
        """Return the trained candidates since the last start; of equal ones, the older first."""
        trained = [r for r in pool.candidates[self._start :] if r.level > 0 and not r.failed]
        return sorted(trained, key=standing, reverse=True)

    def _is_optimum(self, record: PoolRecord, candidates: Sequence[PoolRecord]) -> bool:
        """Return whether every neighbour has been tried, and its outcome is known."""
        tried = {r.key for r in candidates if r.failed or r.level > 0}
        return all(self._space.key(a) in tried for a in self._neighbours(record))

    def _neighbours(self, record: PoolRecord) -> list[Architecture]:
        return self._space.neighbours(Architecture(self._space.name, record.text))
