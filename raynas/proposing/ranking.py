"""RANK-NOSH's proposer: fit a ranking predictor to the pool, propose what it ranks highest.

Thesis ch. 4: the predictor learns from pairs of partly trained architectures and proposes its
top K. A space that can be listed is scored whole; of others, a random sample and mutations of the
best trained so far.

Architectures of equal key compute the same function, so in a listed space the first text of a key
stands for all of them, also when the predictor learns: one function, one graph, one score. On
NAS-Bench-201 that leaves 5,390 of 15,625 to score, and ranks better from 50 trained cells on.
"""

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from raynas.config import validate
from raynas.errors import ConfigError
from raynas.predictor.fit import PredictorConfig, RankingPredictor
from raynas.predictor.model import GraphSet
from raynas.predictor.pairs import PairConfig, PairSet, make_pairs
from raynas.proposing.proposer import Proposer
from raynas.proposing.random import draw_new
from raynas.scheduling.snapshot import PoolSnapshot
from raynas.spaces.architecture import Architecture
from raynas.spaces.space import EnumerableSpace, SearchSpace

_MUTATED = 20
"""How many of the best trained give mutations where the space cannot be listed."""


@dataclass(frozen=True, slots=True, eq=False)
class _Candidates:
    """What may be proposed: one architecture per key, in the order found, ready to be scored."""

    by_key: Mapping[str, Architecture]
    graphs: GraphSet


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
        self._predictor_config = _config(PredictorConfig, predictor, "proposer.predictor.")
        self._pair_config = _config(PairConfig, pairs, "proposer.pairs.")
        self._min_trained = max(2, min_trained)
        self._exploration = exploration
        self._max_listed = max_listed
        self._sample_size = sample_size
        self._whole: _Candidates | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_whole": None}  # made again where it is needed

    def propose(
        self, pool: PoolSnapshot, count: int, rng: np.random.Generator
    ) -> list[Architecture]:
        """Return `count` new architectures, the highest-ranked first; see `Proposer.propose`."""
        self.fit_record = None
        num_trained = sum(record.level > 0 and not record.failed for record in pool.candidates)
        pairs = make_pairs(pool, self._pair_config, rng)
        if num_trained < self._min_trained or len(pairs) == 0:
            return draw_new(self._space, pool.keys(), count, rng)
        started = time.perf_counter()
        candidates = self._candidates(pool, pairs, rng)
        listed_s = time.perf_counter() - started
        predictor = self._fit(pairs, candidates, int(rng.integers(2**63)))
        started = time.perf_counter()
        scores = predictor.score(candidates.graphs)
        taken = pool.keys()
        explored = draw_new(self._space, taken, round(self._exploration * count), rng)
        chosen = {self._space.key(architecture): architecture for architecture in explored}
        found = list(candidates.by_key.items())
        for index in np.argsort(-scores, kind="stable"):
            if len(chosen) >= count:
                break
            key, architecture = found[index]
            if key not in taken:
                chosen.setdefault(key, architecture)
        assert self.fit_record is not None
        self.fit_record |= {
            "score_s": listed_s + time.perf_counter() - started,
            "num_scored": len(found),
        }
        if len(chosen) < count:  # the candidates ran out, the space perhaps not
            more = draw_new(self._space, taken | chosen.keys(), count - len(chosen), rng)
            chosen |= {self._space.key(architecture): architecture for architecture in more}
        return list(chosen.values())

    def _fit(self, pairs: PairSet, candidates: _Candidates, seed: int) -> RankingPredictor:
        graphs = []
        for text in pairs.texts:
            own = Architecture(self._space.name, text)
            graphs.append(self._space.graph(candidates.by_key.get(self._space.key(own), own)))
        predictor = RankingPredictor(self._space.num_labels, self._predictor_config)
        self.fit_record = predictor.fit(graphs, pairs, seed).as_record()
        return predictor

    def _candidates(
        self, pool: PoolSnapshot, pairs: PairSet, rng: np.random.Generator
    ) -> _Candidates:
        if isinstance(self._space, EnumerableSpace) and len(self._space) <= self._max_listed:
            if self._whole is None:
                self._whole = self._prepared(self._space)
            return self._whole
        found = draw_new(self._space, pool.keys(), self._sample_size, rng)
        for text in _best_texts(pairs):
            found += self._space.neighbours(Architecture(self._space.name, text))
        return self._prepared(found)

    def _prepared(self, architectures: Iterable[Architecture]) -> _Candidates:
        by_key: dict[str, Architecture] = {}
        for architecture in architectures:
            by_key.setdefault(self._space.key(architecture), architecture)
        graphs = [self._space.graph(architecture) for architecture in by_key.values()]
        return _Candidates(by_key, GraphSet.of(graphs, self._predictor_config.layers))


def _best_texts(pairs: PairSet) -> list[str]:
    """Return the best trained: by level, then by accuracy there."""
    trained = range(pairs.num_trained)
    order = sorted(trained, key=lambda i: (-pairs.levels[i], -pairs.accuracy[i]))
    return [pairs.texts[i] for i in order[:_MUTATED]]


def _config(model: Any, given: Any, where: str) -> Any:
    return given if isinstance(given, model) else validate(model, given or {}, where=where)
