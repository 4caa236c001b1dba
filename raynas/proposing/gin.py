"""Regression instead of ranking: RANK-NOSH's own graph network, fitted to accuracies.

The published baselines predict accuracies with a graph isomorphism network and squared error; with
the ranker's network, options and proposal step, what remains of the difference is the loss.
"""

import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from raynas.config import built
from raynas.predictor.model import GraphSet
from raynas.predictor.regression import AccuracyRegressor, RegressionConfig
from raynas.proposing.learning import Candidates, LearningProposer, Scores, Trained
from raynas.spaces.architecture import Architecture
from raynas.spaces.space import SearchSpace


class GinProposer(LearningProposer[GraphSet]):
    """Proposes the architectures whose predicted accuracy is highest.

    Args:
        space: Where they come from.
        predictor: Options of `RegressionConfig`.
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
        predictor: Mapping[str, Any] | RegressionConfig | None = None,
        min_trained: int = 4,
        max_listed: int = 500_000,
        sample_size: int = 10_000,
    ) -> None:
        super().__init__(
            space, min_trained=min_trained, max_listed=max_listed, sample_size=sample_size
        )
        self._config = built(RegressionConfig, predictor, "proposer.predictor.")

    def _encode(self, architectures: Sequence[Architecture]) -> GraphSet:
        graphs = [self._space.graph(architecture) for architecture in architectures]
        return GraphSet.of(graphs, self._config.layers)

    def _score(
        self, trained: Trained, candidates: Candidates[GraphSet], rng: np.random.Generator
    ) -> tuple[Scores, dict[str, Any]]:
        regressor = AccuracyRegressor(self._space.num_labels, self._config)
        graphs = [self._space.graph(a) for a in self._as_listed(trained, candidates)]
        facts = regressor.fit(graphs, trained.accuracy, int(rng.integers(2**63)))
        started = time.perf_counter()
        scores = regressor.predict(candidates.encoded)
        return scores, {**facts, "score_s": time.perf_counter() - started}
