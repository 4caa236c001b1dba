"""RANK-NOSH's proposer: fit a ranking predictor to the pool, propose what it ranks highest.

Thesis ch. 4: the predictor learns from pairs of partly trained architectures and proposes its
top K. A space that can be listed is scored whole; of others, a random sample and mutations of the
best trained so far.

Zero-cost proxies are further judges: their ranks are added to the predictor's, each with a weight
that says how well it agrees with what has been trained (`raynas.predictor.stacking`).

Architectures of equal key compute the same function, so in a listed space the first text of a key
stands for all of them, also when the predictor learns: one function, one graph, one score. On
NAS-Bench-201 that leaves 5,390 of 15,625 to score, and ranks better from 50 trained cells on.

Only what keeps within a search's limits is ranked. Where costs are objectives beside accuracy, the
order is that of `raynas.scheduling.pareto.best_first` over (score, costs): front by front, the
loneliest of a front first. Costs that are dear to learn are asked for those ranked highest, and for
as many spread evenly over the rest, so that cheap ones are seen too.
"""

import time
from collections.abc import Iterable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from raynas.config import built
from raynas.errors import ConfigError
from raynas.predictor.fit import PredictorConfig, RankingPredictor
from raynas.predictor.metrics import average_ranks
from raynas.predictor.model import GraphSet
from raynas.predictor.pairs import PairConfig, PairSet, make_pairs
from raynas.predictor.stacking import judge_weights
from raynas.proposing.proposer import Proposer
from raynas.proposing.random import draw_new
from raynas.scheduling.pareto import best_first
from raynas.scheduling.snapshot import PoolSnapshot
from raynas.spaces.architecture import Architecture
from raynas.spaces.limited import LimitedSpace, allows, bulk
from raynas.spaces.space import EnumerableSpace, SearchSpace

_UNKNOWN = 0.5
"""Rank of an architecture that a judge says nothing of."""

_PRICED = 100
"""How many of the highest ranked, and how many of the rest, are asked for costs that are dear."""

_MUTATED = 20
"""How many of the best trained give mutations where the space cannot be listed."""


@dataclass(frozen=True, slots=True, eq=False)
class _Candidates:
    """What may be proposed: one architecture per key, in the order found, ready to be scored."""

    by_key: Mapping[str, Architecture]
    graphs: GraphSet


_ready: MutableMapping[SearchSpace, dict[int, _Candidates]] = WeakKeyDictionary()
"""Listed spaces made ready, by space and number of layers: one run needs it as the next does."""


class RankingProposer(Proposer):
    """Proposes the architectures that a ranking predictor scores highest.

    Args:
        space: Where they come from.
        predictor: Options of `PredictorConfig`.
        pairs: Options of `PairConfig`.
        min_trained: Trained architectures below which it proposes at random.
        exploration: Share of each proposal drawn at random (0: none).
        max_listed: Size up to which a space that can be listed is scored whole.
        sample_size: Architectures drawn and scored where it is not.

    Raises:
        ConfigError: an option that is unknown or out of range.
    """

    def __init__(
        self,
        space: SearchSpace,
        *,
        predictor: Mapping[str, Any] | PredictorConfig | None = None,
        pairs: Mapping[str, Any] | PairConfig | None = None,
        min_trained: int = 4,
        exploration: float = 0.0,
        max_listed: int = 500_000,
        sample_size: int = 10_000,
    ) -> None:
        if not 0 <= exploration <= 1:
            raise ConfigError(f"proposer.exploration: {exploration:g} must lie in [0, 1]")
        self._space = space
        self._predictor_config = built(PredictorConfig, predictor, "proposer.predictor.")
        self._pair_config = built(PairConfig, pairs, "proposer.pairs.")
        self._min_trained = max(2, min_trained)
        self._exploration = exploration
        self._max_listed = max_listed
        self._sample_size = sample_size
        self._own: dict[int, _Candidates] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_own": {}}  # made again where it is needed

    def propose(
        self, pool: PoolSnapshot, count: int, rng: np.random.Generator
    ) -> list[Architecture]:
        """Return `count` new architectures, the highest-ranked first; see `Proposer.propose`."""
        self.fit_record, self.weighed_proxies = None, False
        num_trained = sum(record.level > 0 and not record.failed for record in pool.candidates)
        pairs = make_pairs(pool, self._pair_config, rng)
        if num_trained < self._min_trained or len(pairs) == 0:
            return self._draw(pool.keys(), count, rng)
        started = time.perf_counter()
        candidates = self._candidates(pool, pairs, rng)
        listed_s = time.perf_counter() - started
        predictor = self._fit(pairs, candidates, int(rng.integers(2**63)))
        started = time.perf_counter()
        scores = self._judge(predictor, pool, pairs, candidates)
        taken = pool.keys()
        explored = self._draw(taken, round(self._exploration * count), rng)
        chosen = {self._space.key(architecture): architecture for architecture in explored}
        found = list(candidates.by_key.items())
        for index in self._best_first(scores, found, taken, count):
            if len(chosen) >= count:
                break
            key, architecture = found[index]
            if key not in chosen and allows(self._space, architecture):
                chosen[key] = architecture
        assert self.fit_record is not None
        self.fit_record |= {
            "score_s": listed_s + time.perf_counter() - started,
            "num_scored": len(found),
        }
        if len(chosen) < count:  # the candidates ran out, the space perhaps not
            more = self._draw(taken | chosen.keys(), count - len(chosen), rng)
            chosen |= {self._space.key(architecture): architecture for architecture in more}
        self.weighed_proxies = True
        return list(chosen.values())

    def _best_first(
        self,
        scores_C: NDArray[np.float64],
        found: Sequence[tuple[str, Architecture]],
        taken: set[str],
        count: int,
    ) -> Iterable[int]:
        """Return who is not taken, best first: by score; with costs, `count` by front before."""
        order = [int(i) for i in np.argsort(-scores_C, kind="stable") if found[i][0] not in taken]
        space = self._space
        if not isinstance(space, LimitedSpace) or not space.costs.minimised:
            return order
        if space.costs.instant or len(order) <= 2 * _PRICED:
            priced = order
        else:
            spread = np.linspace(_PRICED, len(order) - 1, _PRICED).astype(int)
            priced = [*order[:_PRICED], *(order[i] for i in spread)]
        priced = [i for i in priced if space.allows(found[i][1])]
        names = space.costs.minimised
        costs_PM = np.array([[space.cost(found[i][1], name) for name in names] for i in priced])
        values = np.column_stack([scores_C[priced], -costs_PM.reshape(len(priced), len(names))])
        by_front = [priced[i] for i in best_first(values, count)]
        return list(dict.fromkeys([*by_front, *order]))

    def _judge(
        self,
        predictor: RankingPredictor,
        pool: PoolSnapshot,
        pairs: PairSet,
        candidates: _Candidates,
    ) -> NDArray[np.float64]:
        """Return one score a candidate: the predictor's rank and the proxies', weighed."""
        ranks_MC = predictor.ranks(candidates.graphs)
        mean_C: NDArray[np.float64] = ranks_MC.mean(axis=0)
        proxies = proxy_ranks(pool, candidates.by_key)
        if not proxies:
            return mean_C
        place = {key: row for row, key in enumerate(candidates.by_key)}
        texts = pairs.texts[: pairs.num_trained]
        keys = (self._space.key(Architecture(self._space.name, text)) for text in texts)
        rows = np.array([place[key] for key in keys])
        judges = [_out_of_fold(ranks_MC[:, rows], predictor.held_out()[:, : len(rows)])]
        judges += [np.nan_to_num(ranks[rows], nan=_UNKNOWN) for ranks in proxies.values()]
        weights = judge_weights(np.stack(judges, axis=1), pairs)
        assert self.fit_record is not None
        names = ("predictor", *proxies)
        self.fit_record |= {
            f"weight_{name}": float(w) for name, w in zip(names, weights, strict=True)
        }
        total: NDArray[np.float64] = weights[0] * mean_C
        for weight, ranks in zip(weights[1:], proxies.values(), strict=True):
            # What has no score yet is expected where the predictor sees it.
            total += weight * np.where(np.isnan(ranks), mean_C, ranks)
        return total

    def _draw(self, taken: set[str], count: int, rng: np.random.Generator) -> list[Architecture]:
        """Draw new architectures; of a listed space, the ones that stand for their keys."""
        if count <= 0:
            return []
        whole = self._listed()
        if whole is None:
            return draw_new(self._space, taken, count, rng)
        free = [a for key, a in whole.by_key.items() if key not in taken]
        shuffled = (free[i] for i in rng.permutation(len(free)))
        drawn = list(islice((a for a in shuffled if allows(self._space, a)), count))
        if len(drawn) < count and bulk(self._space) is not self._space:
            # Where the first text of a key is over a limit, another of the key may be within it.
            taken = taken | {self._space.key(architecture) for architecture in drawn}
            drawn += draw_new(self._space, taken, count - len(drawn), rng)
        return drawn

    def _fit(self, pairs: PairSet, candidates: _Candidates, seed: int) -> RankingPredictor:
        graphs = []
        for text in pairs.texts:
            own = Architecture(self._space.name, text)
            graphs.append(self._space.graph(candidates.by_key.get(self._space.key(own), own)))
        predictor = RankingPredictor(self._space.num_labels, self._predictor_config)
        self.fit_record = predictor.fit(graphs, pairs, seed).as_record()
        return predictor

    def _listed(self) -> _Candidates | None:
        """Return the whole space, made ready once; None if it cannot be listed."""
        space = bulk(self._space)
        if not isinstance(space, EnumerableSpace) or len(space) > self._max_listed:
            return None
        layers = self._predictor_config.layers
        try:
            ready = _ready.setdefault(space, {})
        except TypeError:  # a space that has no hash or takes no weak reference
            ready = self._own
        if layers not in ready:
            ready[layers] = self._prepared(space)
        return ready[layers]

    def _candidates(
        self, pool: PoolSnapshot, pairs: PairSet, rng: np.random.Generator
    ) -> _Candidates:
        whole = self._listed()
        if whole is not None:
            return whole
        name, space = self._space.name, bulk(self._space)
        found = [Architecture(name, text) for text in pairs.texts[: pairs.num_trained]]
        found += [Architecture(name, record.text) for record in pool.scored]
        found += draw_new(space, pool.keys(), self._sample_size, rng)
        for text in _best_texts(pairs):
            found += space.neighbours(Architecture(name, text))
        return self._prepared(found)

    def _prepared(self, architectures: Iterable[Architecture]) -> _Candidates:
        by_key: dict[str, Architecture] = {}
        for architecture in architectures:
            by_key.setdefault(self._space.key(architecture), architecture)
        graphs = [self._space.graph(architecture) for architecture in by_key.values()]
        return _Candidates(by_key, GraphSet.of(graphs, self._predictor_config.layers))


def proxy_ranks(pool: PoolSnapshot, keys: Iterable[str]) -> dict[str, NDArray[np.float64]]:
    """Return, for each proxy the pool knows, the rank of each key in [0, 1]; NaN where unknown."""
    known: dict[str, Mapping[str, float]] = {r.key: r.proxies for r in pool.scored}
    known |= {record.key: record.proxies for record in pool.candidates}
    listed = [known.get(key, {}) for key in keys]
    ranks = {}
    for name in sorted({name for scores in known.values() for name in scores}):
        values = np.array([scores.get(name, np.nan) for scores in listed])
        scored = ~np.isnan(values)
        values[scored] = average_ranks(values[scored]) / max(1, int(scored.sum()) - 1)
        ranks[name] = values
    return ranks


def _out_of_fold(
    ranks_MA: NDArray[np.float64], held_out_MA: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Return the mean rank by the members that did not learn from an architecture."""
    counts = held_out_MA.sum(axis=0)
    total = np.where(held_out_MA, ranks_MA, 0.0).sum(axis=0)
    return np.where(counts > 0, total / np.maximum(counts, 1), _UNKNOWN)


def _best_texts(pairs: PairSet) -> list[str]:
    """Return the best trained: by level, then by accuracy there."""
    trained = range(pairs.num_trained)
    order = sorted(trained, key=lambda i: (-pairs.levels[i], -pairs.accuracy[i]))
    return [pairs.texts[i] for i in order[:_MUTATED]]
