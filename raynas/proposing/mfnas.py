"""MF-NAS: local search on a zero-cost proxy, whose best finds are then trained.

Phan and Luong, "Efficient Multi-Fidelity Neural Architecture Search with Zero-Cost Proxy-Guided
Local Search", GECCO 2024. Published on NAS-Bench-201: synflow, params or flops, 2,000 scored, and
successive halving of the best 32 found (12, 25, 50, 100, 200 epochs, half promoted; 1,192 epochs),
which is the policy's business here.

The climb moves to the first better neighbour; from a local optimum it jumps two choices away.
Differences: an architecture met again is not scored again (nor counted), and a jump that leads
to nothing new is followed by one to a random place.
"""

from typing import Any

import numpy as np

from raynas.errors import ConfigError, nearest
from raynas.proposing.learning import at_least
from raynas.proposing.proposer import Proposer
from raynas.proposing.random import draw_new
from raynas.scheduling.simulate import Score
from raynas.scheduling.snapshot import PoolSnapshot
from raynas.spaces.architecture import Architecture
from raynas.spaces.space import SearchSpace

_STALE = 20
"""Climbs in a row that meet nothing new before the space counts as known."""


class MfNasProposer(Proposer):
    """Proposes the best by proxy of all that a local search on it came across, best first.

    The search runs at the first proposal and is not repeated; accuracies play no part. When all
    it found is in the pool, proposals are random. It remembers the search's seed alone: an
    object that is made again runs the same search again.

    Args:
        space: Where architectures come from.
        score: Zero-cost scores of architectures by proxy, higher is better.
        proxy: Which of them to climb.
        max_scored: Architectures that the search may score.

    Raises:
        ConfigError: no scores to go by, or an option out of range. When first proposing: `proxy`
            is not among the scores.
    """

    def __init__(
        self,
        space: SearchSpace,
        *,
        score: Score | None = None,
        proxy: str = "synflow",
        max_scored: int = 2000,
    ) -> None:
        at_least("max_scored", max_scored, 1)
        self._space = space
        self._score = required(score, "mfnas")
        self._proxy = proxy
        self._max_scored = max_scored
        self._seed: int | None = None
        self._best_first: dict[str, Architecture] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_best_first": None}  # found again where it is needed

    def propose(
        self, pool: PoolSnapshot, count: int, rng: np.random.Generator
    ) -> list[Architecture]:
        """Return `count` new architectures, the best by proxy first; see `Proposer.propose`."""
        if self._seed is None:
            self._seed = int(rng.integers(2**63))
        if self._best_first is None:
            climb = _Climb(self._space, self._score, self._proxy, self._max_scored)
            self._best_first = climb.run(np.random.default_rng(self._seed))
        taken = pool.keys()
        new = [(key, a) for key, a in self._best_first.items() if key not in taken]
        chosen = dict(new[:count])
        if len(chosen) == count:
            return list(chosen.values())
        more = draw_new(self._space, taken | chosen.keys(), count - len(chosen), rng)
        return [*chosen.values(), *more]

    def state_dict(self) -> dict[str, Any]:
        """Return the seed of the local search."""
        return {"seed": self._seed}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        if state["seed"] != self._seed:
            self._seed, self._best_first = state["seed"], None


class _Climb:
    """One local search: what it has scored, by key, and how many more it may score."""

    def __init__(self, space: SearchSpace, score: Score, proxy: str, max_scored: int) -> None:
        self._space = space
        self._score = score
        self._proxy = proxy
        self._max_scored = max_scored
        self._values: dict[str, float] = {}
        self._architectures: dict[str, Architecture] = {}

    def run(self, rng: np.random.Generator) -> dict[str, Architecture]:
        """Search to the end; return all that was scored by key, the best first."""
        start = self._space.sample(rng)
        stale = 0
        while len(self._values) < self._max_scored and stale < _STALE:
            before = len(self._values)
            top = self._climb(start, rng)
            if len(self._values) > before:
                stale = 0
                start = self._space.mutate(self._space.mutate(top, rng), rng)
            else:
                stale += 1
                start = self._space.sample(rng)
        order = sorted(self._values, key=self._values.__getitem__, reverse=True)
        return {key: self._architectures[key] for key in order}

    def _climb(self, current: Architecture, rng: np.random.Generator) -> Architecture:
        """Return the local optimum above `current`, or where the scores ran out."""
        value = self._value(current)
        while value is not None:
            neighbours = self._space.neighbours(current)
            for index in rng.permutation(len(neighbours)):
                found = self._value(neighbours[index])
                if found is None:
                    return current
                if found > value:
                    current, value = neighbours[index], found
                    break
            else:
                break
        return current

    def _value(self, architecture: Architecture) -> float | None:
        """Return the proxy's score (NaN is the worst), None if no more may be scored."""
        key = self._space.key(architecture)
        if key not in self._values:
            if len(self._values) == self._max_scored:
                return None
            [scores] = self._score([architecture])
            if self._proxy not in scores:
                raise ConfigError(
                    f"proposer.proxy: {self._proxy!r} is not among the scores"
                    f"{nearest(self._proxy, scores)} (there are: {', '.join(scores) or 'none'})"
                )
            value = float(scores[self._proxy])
            self._values[key] = -np.inf if np.isnan(value) else value
            self._architectures[key] = architecture
        return self._values[key]


def required(score: Score | None, proposer: str) -> Score:
    """Return `score`; raises `ConfigError` if there is none."""
    if score is None:
        raise ConfigError(
            f"proposer: {proposer} goes by zero-cost scores and was given no `score` "
            "(a function from architectures to their scores by proxy)"
        )
    return score
