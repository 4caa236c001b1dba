"""BRP-NAS: a graph convolutional network that compares two architectures, and iterative sampling.

Dudziak et al., NeurIPS 2020 (the predictor is `raynas.predictor.gcn`). Half of a proposal are the
architectures ranked highest, half are drawn from the top ``1 / 2^i`` of the ranking in round i, so
that the predictor learns ever better what tells good ones apart.

Each round fits new weights, so that a proposal is a function of the pool and a seed (published: the
weights are carried over). Graphs are the space's own with a global node added; published ones have
skips contracted and empty edges taken out first.
"""

import math
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from raynas.config import built
from raynas.errors import ConfigError
from raynas.predictor.gcn import BinaryPredictor, FlowSet, GcnConfig
from raynas.proposing.learning import Candidates, LearningProposer, Scores, Trained
from raynas.scheduling.snapshot import PoolSnapshot
from raynas.spaces.architecture import Architecture
from raynas.spaces.space import SearchSpace


class BrpProposer(LearningProposer[FlowSet]):
    """Proposes the best by a binary predictor, and a draw from what it ranks high.

    Args:
        space: Where architectures come from.
        predictor: Options of `GcnConfig`.
        exploration: Share of each proposal drawn from the top of the ranking instead of taken.
        min_trained: Trained architectures below which it proposes at random.
        max_listed: Size up to which a space that can be listed is scored whole.
        sample_size: Architectures drawn and scored where it is not.

    Raises:
        ConfigError: an option that is unknown or out of range.
    """

    def __init__(
        self,
        space: SearchSpace,
        *,
        predictor: Mapping[str, Any] | GcnConfig | None = None,
        exploration: float = 0.5,
        min_trained: int = 4,
        max_listed: int = 500_000,
        sample_size: int = 10_000,
    ) -> None:
        super().__init__(
            space, min_trained=min_trained, max_listed=max_listed, sample_size=sample_size
        )
        if not 0 <= exploration <= 1:
            raise ConfigError(f"proposer.exploration: {exploration:g} must lie in [0, 1]")
        self._exploration = exploration
        self._config = built(GcnConfig, predictor, "proposer.predictor.")

    def _encode(self, architectures: Sequence[Architecture]) -> FlowSet:
        graphs = [self._space.graph(architecture) for architecture in architectures]
        return FlowSet.of(graphs, self._space.num_labels, self._config.layers)

    def _score(
        self, trained: Trained, candidates: Candidates[FlowSet], rng: np.random.Generator
    ) -> tuple[Scores, dict[str, Any]]:
        started = time.perf_counter()
        predictor = BinaryPredictor(self._space.num_labels, self._config)
        graphs = [self._space.graph(a) for a in self._as_listed(trained, candidates)]
        facts = predictor.fit(graphs, trained.accuracy, int(rng.integers(2**63)))
        fit_s = time.perf_counter() - started
        scores = predictor.score(candidates.encoded)
        score_s = time.perf_counter() - started - fit_s
        return scores, {**facts, "fit_s": fit_s, "score_s": score_s}

    def _choose(
        self, order: list[int], pool: PoolSnapshot, count: int, rng: np.random.Generator
    ) -> list[int]:
        num_drawn = math.floor(self._exploration * count)
        best = order[: count - num_drawn]
        top = order[len(best) : max(count, math.ceil(len(order) / 2**pool.round))]
        drawn = rng.choice(len(top), min(num_drawn, len(top)), replace=False)
        return best + [top[i] for i in drawn]
