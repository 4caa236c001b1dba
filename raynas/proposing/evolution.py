"""Regularised evolution: mutate the winners of tournaments, let the oldest die.

Real et al., "Regularized Evolution for Image Classifier Architecture Search", AAAI 2019.

The population is the last candidates by admission of whom anything is known, so it is read off
the pool and there is no state to lose. Partly trained ones are compared as the pool compares them:
by the highest level reached, then by accuracy there. A child waits outside the population until
its first level; a failed one ages in it like any other, but loses every tournament.
"""

from collections.abc import Container, Sequence

import numpy as np

from raynas.proposing.learning import at_least, one_per_key
from raynas.proposing.proposer import Proposer
from raynas.proposing.random import draw_new
from raynas.scheduling.snapshot import PoolRecord, PoolSnapshot
from raynas.spaces.architecture import Architecture
from raynas.spaces.space import SearchSpace

_TRIES = 100
"""Tournaments and mutations per child before a random architecture takes its place."""


class EvolutionProposer(Proposer):
    """Proposes mutations of the best of tournaments among the young.

    Tournament and mutation are drawn again until the child is new. One mutation is one choice, as
    the space's `mutate` makes it. All children of a proposal come from the same population.

    Args:
        space: Where architectures come from.
        population: Candidates that can be parents: the youngest (NAS-Bench-201's authors took 10).
        tournament: How many of them compete to be one (they took 3); at least 1.
        initial: Random candidates before the first child.

    Raises:
        ConfigError: an option out of range.
    """

    def __init__(
        self,
        space: SearchSpace,
        *,
        population: int = 30,
        tournament: int = 10,
        initial: int = 10,
    ) -> None:
        at_least("population", population, 1)
        at_least("tournament", tournament, 1)
        at_least("initial", initial, 1)
        self._space = space
        self._population = population
        self._tournament = tournament
        self._initial = initial

    def propose(
        self, pool: PoolSnapshot, count: int, rng: np.random.Generator
    ) -> list[Architecture]:
        """Return `count` new architectures; see `Proposer.propose`."""
        taken = pool.keys()
        num_random = min(count, max(0, self._initial - len(pool.candidates)))
        found: dict[str, Architecture] = {}
        if num_random:
            found = one_per_key(self._space, draw_new(self._space, taken, num_random, rng))
        parents = self._best_first(pool)
        while len(found) < count:
            child = self._child(parents, taken, found, rng)
            if child is None:
                break
            found[self._space.key(child)] = child
        if len(found) == count:
            return list(found.values())
        more = draw_new(self._space, taken | found.keys(), count - len(found), rng)
        return [*found.values(), *more]

    def _best_first(self, pool: PoolSnapshot) -> list[Architecture | None]:
        """Return the population, the best first; a failed one is None."""
        known = [r for r in pool.candidates if r.failed or r.level > 0][-self._population :]
        best_first = sorted(known, key=standing, reverse=True)
        return [None if r.failed else Architecture(self._space.name, r.text) for r in best_first]

    def _child(
        self,
        parents: Sequence[Architecture | None],
        taken: Container[str],
        found: Container[str],
        rng: np.random.Generator,
    ) -> Architecture | None:
        """Return a new mutation of a tournament's winner, None if none was found."""
        if not parents or parents[0] is None:
            return None
        size = min(self._tournament, len(parents))
        for _ in range(_TRIES):
            # The population is in order, so the first of a sample is its winner.
            winner = parents[int(rng.permutation(len(parents))[:size].min())]
            if winner is not None:
                child = self._space.mutate(winner, rng)
                key = self._space.key(child)
                if key not in taken and key not in found:
                    return child
        return None


def standing(record: PoolRecord) -> tuple[int, float]:
    """Return how good a candidate is known to be: its level, then its accuracy there.

    A failed one is below all others, one that was never trained just above.
    """
    if record.failed:
        return -1, 0.0
    return record.level, record.level_accuracy[-1] if record.level else 0.0
