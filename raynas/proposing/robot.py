"""RoBoT: Bayesian optimisation of a weighted sum of zero-cost proxies, then greedy search on it.

He et al., "Robustifying and Boosting Training-Free Neural Architecture Search", ICLR 2024. A
weighting of the proxies is worth what the architecture it ranks first is worth once trained. A
Gaussian process over weightings (Matérn 5/2) picks the next to query by its upper confidence
bound; a query whose architecture has been trained already costs nothing. The best weighting found
then proposes down its ranking.

As published, proxies are summed as logarithms scaled to [0, 1]. Differences: weightings are
directions (points of the unit sphere, since only the ranking matters) instead of points of
[-1, 1]^M; the first one weighs all proxies alike; the process is told of noise where the
likelihood prefers it; architectures of one key are one. Published queries run one by one; here one
whose worth is not known yet counts as worth what the process expects of it, five may be under way
at a time, and what more a proposal asks for is greedy at once.

Accuracies are read at the highest level that more than half of the trained have reached: the last
one where all are trained in full. A failed architecture counts as the worst of the others.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from raynas.errors import ConfigError, nearest
from raynas.proposing.learning import at_least, one_per_key
from raynas.proposing.mfnas import required
from raynas.proposing.proposer import Proposer
from raynas.proposing.random import draw_new
from raynas.proposing.reinforce import common_level, rewards_at
from raynas.scheduling.simulate import Score
from raynas.scheduling.snapshot import PoolSnapshot
from raynas.spaces.architecture import Architecture
from raynas.spaces.limited import allows, bulk
from raynas.spaces.space import EnumerableSpace, SearchSpace

Floats = NDArray[np.float64]

_MAX_AWAITED = 5
"""Queries of architectures that have not been trained at all, at one time."""
_DIRECTIONS = 500
"""Random weightings among which the acquisition function chooses."""
_KAPPA = 2.576
"""Deviations above the mean that the upper confidence bound lies (published)."""
_LENGTHS = np.array([0.2, 0.4, 0.8, 1.6])
_NOISES = np.array([1e-6, 1e-2, 1e-1])


@dataclass(frozen=True, slots=True)
class Query:
    """A weighting that was tried, and the key of the architecture it ranks first."""

    weights: tuple[float, ...]
    key: str


@dataclass(frozen=True, slots=True, eq=False)
class _Scored:
    """N architectures of different keys, and their `N x M` scores by M proxies, within [0, 1]."""

    keys: list[str]
    architectures: list[Architecture]
    scores_NM: Floats


class RobotProposer(Proposer):
    """Proposes what robust combinations of zero-cost proxies rank highest.

    Args:
        space: Where architectures come from.
        score: Zero-cost scores of architectures by proxy, higher is better.
        proxies: Which of them to combine (None: all there are).
        explore: Weightings to query before the best of them is all that counts. (Published: as
            many as may be trained, 20 on NAS-Bench-201; what repeated architectures leave of the
            budget goes to greedy search.)
        max_listed: Size up to which a space that can be listed is scored whole.
        sample_size: Architectures drawn and scored where it is not.

    Raises:
        ConfigError: no scores to go by, or an option out of range. When first proposing: one of
            `proxies` is not among the scores.
    """

    def __init__(
        self,
        space: SearchSpace,
        *,
        score: Score | None = None,
        proxies: Sequence[str] | None = None,
        explore: int = 20,
        max_listed: int = 20_000,
        sample_size: int = 1_000,
    ) -> None:
        at_least("explore", explore, 1)
        at_least("sample_size", sample_size, 1)
        if proxies is not None and not proxies:
            raise ConfigError("proposer.proxies: name at least one")
        self._space = space
        self._score = required(score, "robot")
        self._proxies = proxies
        self._explore = explore
        self._max_listed = max(max_listed, sample_size)
        self._sample_size = sample_size
        self._seed: int | None = None
        self._queries: list[Query] = []
        self._scored: _Scored | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_scored": None}  # scored again where it is needed

    def propose(
        self, pool: PoolSnapshot, count: int, rng: np.random.Generator
    ) -> list[Architecture]:
        """Return `count` new architectures; see `Proposer.propose`."""
        if self._seed is None:
            self._seed = int(rng.integers(2**63))
        scored = self._prepared(self._seed)
        taken = pool.keys()
        self._queries = [q for q in self._queries if q.key in taken]  # what level 0 turned down
        level = common_level(pool)
        rewards = rewards_at(pool, level) if level else {}
        worth = {r.key: rewards[r.id] for r in pool.candidates if r.id in rewards}
        chosen = self._query(scored, worth, pool, count, rng)
        if len(chosen) < count:
            best = np.array(self._best_weights(worth, scored.scores_NM.shape[1]))
            for index in np.argsort(-(scored.scores_NM @ best), kind="stable"):
                if len(chosen) == count:
                    break
                if scored.keys[index] not in taken:
                    chosen.setdefault(scored.keys[index], scored.architectures[index])
        if len(chosen) < count:  # the sample ran out, the space perhaps not
            more = draw_new(self._space, taken | chosen.keys(), count - len(chosen), rng)
            chosen |= one_per_key(self._space, more)
        return list(chosen.values())

    def state_dict(self) -> dict[str, Any]:
        """Return the seed of the sample, and the queries so far."""
        return {"seed": self._seed, "queries": [[list(q.weights), q.key] for q in self._queries]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        if state["seed"] != self._seed:
            self._seed, self._scored = state["seed"], None
        self._queries = [Query(tuple(weights), key) for weights, key in state["queries"]]

    def _query(
        self,
        scored: _Scored,
        worth: Mapping[str, float],
        pool: PoolSnapshot,
        count: int,
        rng: np.random.Generator,
    ) -> dict[str, Architecture]:
        """Query weightings; return the new architectures that they rank first, by key."""
        taken = pool.keys()
        heard = {r.key for r in pool.candidates if r.level > 0 or r.failed}
        chosen: dict[str, Architecture] = {}
        while len(self._queries) < self._explore and len(chosen) < count:
            if sum(query.key not in heard for query in self._queries) >= _MAX_AWAITED:
                break
            weights = next_weights(self._queries, worth, scored.scores_NM.shape[1], rng)
            index = int(np.argmax(scored.scores_NM @ weights))
            key = scored.keys[index]
            self._queries.append(Query(tuple(weights.tolist()), key))
            if key not in taken:
                chosen[key] = scored.architectures[index]
        return chosen

    def _best_weights(self, worth: Mapping[str, float], num_proxies: int) -> tuple[float, ...]:
        """Return the weighting worth most, of equal ones the latest; all alike if none is known."""
        known = [query for query in reversed(self._queries) if query.key in worth]
        if not known:
            return (1.0,) * num_proxies
        return max(known, key=lambda query: worth[query.key]).weights

    def _prepared(self, seed: int) -> _Scored:
        """Return the space with its ranks, or of a large one a sample that `seed` determines."""
        if self._scored is None:
            space, whole = self._space, bulk(self._space)
            if isinstance(whole, EnumerableSpace) and len(whole) <= self._max_listed:
                by_key = one_per_key(space, (a for a in whole if allows(space, a)))
            else:
                rng = np.random.default_rng(seed)
                by_key = one_per_key(space, draw_new(space, set(), self._sample_size, rng))
            architectures = list(by_key.values())
            scores_NM = scaled(self._score(architectures), self._proxies)
            self._scored = _Scored(list(by_key), architectures, scores_NM)
        return self._scored


def scaled(scores: Sequence[Mapping[str, float]], names: Sequence[str] | None = None) -> Floats:
    """Return `N x M` scores on a common scale, from those of N architectures by proxy.

    ``sign(x) * log(1 + |x|)``, then the finite ones of each proxy stretched over [0, 1]. One that
    is infinite, NaN or missing counts as the lowest.

    Args:
        scores: Higher is better.
        names: Proxies in the order of the columns; None for all, by name.

    Raises:
        ConfigError: no architecture has a score of that name, or there are no scores.
    """
    known = sorted({name for row in scores for name in row})
    if not known:
        raise ConfigError("proposer.proxies: `score` gives no scores at all")
    for name in names or ():
        if name not in known:
            raise ConfigError(
                f"proposer.proxies: {name!r} is not among the scores{nearest(name, known)} "
                f"(there are: {', '.join(known)})"
            )
    columns = []
    for name in names or known:
        raw_N = np.array([row.get(name, np.nan) for row in scores], dtype=np.float64)
        finite_N = np.isfinite(raw_N)
        logs_N = np.sign(raw_N[finite_N]) * np.log1p(np.abs(raw_N[finite_N]))
        column_N = np.zeros(len(raw_N))
        if finite_N.any():
            column_N[finite_N] = (logs_N - logs_N.min()) / (np.ptp(logs_N) or 1.0)
        columns.append(column_N)
    return np.stack(columns, axis=1)


def next_weights(
    queries: Sequence[Query], worth: Mapping[str, float], size: int, rng: np.random.Generator
) -> Floats:
    """Return the unit vector of `size` weights with the highest upper confidence bound.

    All alike if it is the first, at random while no query's worth is known.
    """
    if not queries:
        return np.full(size, size**-0.5)
    directions_CM: Floats = rng.normal(size=(_DIRECTIONS, size))
    directions_CM /= np.linalg.norm(directions_CM, axis=1, keepdims=True)
    known = [query for query in queries if query.key in worth]
    awaited = [query for query in queries if query.key not in worth]
    best = 0
    if known:
        process = _process(known, awaited, worth)
        mean_C, deviation_C = process.predict(directions_CM)
        best = int(np.argmax(mean_C + _KAPPA * deviation_C))
    chosen_M: Floats = directions_CM[best]
    return chosen_M


def _process(
    known: Sequence[Query], awaited: Sequence[Query], worth: Mapping[str, float]
) -> "GaussianProcess":
    at_KM = np.array([query.weights for query in known])
    process = GaussianProcess.fitted(at_KM, np.array([worth[query.key] for query in known]))
    if awaited:
        at_AM = np.array([query.weights for query in awaited])
        process = process.believing(at_AM)
    return process


class GaussianProcess:
    """Exact regression on N points with a Matérn 5/2 kernel, in standardised values.

    Args:
        at_NM: `N x M` points.
        values_N: `N` values.
        length: Length scale of the kernel.
        noise: Variance of the values' noise, in units of their own variance.
    """

    def __init__(self, at_NM: Floats, values_N: Floats, length: float, noise: float) -> None:
        self.at_NM = at_NM
        self.values_N = values_N
        self.length = length
        self.noise = noise
        self._mean = float(values_N.mean())
        self._scale = float(values_N.std()) or 1.0
        kernel_NN = matern(_distances(at_NM, at_NM) / length) + noise * np.eye(len(at_NM))
        self._inverse_NN = np.linalg.inv(kernel_NN)
        self._alpha_N = self._inverse_NN @ ((values_N - self._mean) / self._scale)

    @classmethod
    def fitted(cls, at_NM: Floats, values_N: Floats) -> "GaussianProcess":
        """Return the process whose length scale and noise make the values likeliest."""
        scale = float(values_N.std()) or 1.0
        standard_N = (values_N - values_N.mean()) / scale
        kernel_LNN = matern(_distances(at_NM, at_NM) / _LENGTHS[:, None, None])
        kernel_LSNN = kernel_LNN[:, None] + _NOISES[:, None, None] * np.eye(len(at_NM))
        _, log_det_LS = np.linalg.slogdet(kernel_LSNN)
        solved_LSN = np.linalg.solve(kernel_LSNN, standard_N[:, None])[..., 0]
        likelihood_LS = -(solved_LSN @ standard_N) - log_det_LS
        length, noise = np.unravel_index(int(np.argmax(likelihood_LS)), likelihood_LS.shape)
        return cls(at_NM, values_N, float(_LENGTHS[length]), float(_NOISES[noise]))

    def believing(self, at_AM: Floats) -> "GaussianProcess":
        """Return the process that takes its own means at further points for observed values."""
        mean_A, _ = self.predict(at_AM)
        at_NM = np.concatenate([self.at_NM, at_AM])
        values_N = np.concatenate([self.values_N, mean_A])
        return GaussianProcess(at_NM, values_N, self.length, self.noise)

    def predict(self, at_CM: Floats) -> tuple[Floats, Floats]:
        """Return means and standard deviations (without the noise) at `C x M` points."""
        cross_CN = matern(_distances(at_CM, self.at_NM) / self.length)
        variance_C = 1 - np.einsum("cn,cn->c", cross_CN @ self._inverse_NN, cross_CN)
        mean_C = self._mean + self._scale * (cross_CN @ self._alpha_N)
        return mean_C, self._scale * np.sqrt(np.maximum(variance_C, 0))


def matern(distance: Floats) -> Floats:
    """Return the Matérn 5/2 kernel of distances in units of the length scale."""
    scaled = np.sqrt(5) * distance
    kernel: Floats = (1 + scaled + scaled**2 / 3) * np.exp(-scaled)
    return kernel


def _distances(a_NM: Floats, b_PM: Floats) -> Floats:
    squares_NP = (a_NM**2).sum(1)[:, None] + (b_PM**2).sum(1) - 2 * a_NM @ b_PM.T
    distances: Floats = np.sqrt(np.maximum(squares_NP, 0))
    return distances
