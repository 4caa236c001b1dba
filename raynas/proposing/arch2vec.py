"""arch2vec: Bayesian optimisation over embeddings learnt without accuracies.

Yan et al., NeurIPS 2020. A variational autoencoder (`raynas.predictor.autoencoder`) is pre-trained
on the space's graphs; its embeddings stay fixed, and DNGO (`raynas.predictor.dngo`) predicts
accuracies from them. Proposed is what has the highest expected improvement over the best trained.

A space that can be listed is pre-trained on and scored whole; of others, one fixed sample is, and
mutations of the best trained are scored too. Pre-training depends on the graphs and its options
alone, not on the run's seed, so the runs of one process share it.
"""

import hashlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from raynas.config import built
from raynas.predictor.autoencoder import (
    AutoencoderConfig,
    DenseGraphs,
    GraphAutoencoder,
    pretrain,
)
from raynas.predictor.dngo import Dngo, DngoConfig, expected_improvement
from raynas.proposing.learning import (
    MUTATED,
    Candidates,
    LearningProposer,
    Scores,
    Trained,
    one_per_key,
)
from raynas.proposing.random import draw_new
from raynas.scheduling.snapshot import PoolSnapshot
from raynas.seeds import derive_rng
from raynas.spaces.architecture import Architecture
from raynas.spaces.limited import bulk
from raynas.spaces.space import SearchSpace

Embedded = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class _Corpus:
    """What is pre-trained on; equal if the graphs are."""

    digest: str
    graphs: DenseGraphs = field(compare=False)

    @classmethod
    def of(cls, graphs: DenseGraphs) -> "_Corpus":
        arrays = (graphs.links_BNN.numpy(), graphs.labels_BN.numpy())
        content = hashlib.blake2b(repr(arrays[0].shape).encode())
        for array in arrays:
            content.update(array.tobytes())
        return cls(content.hexdigest(), graphs)


class Arch2VecProposer(LearningProposer[Embedded]):
    """Proposes by expected improvement of a Bayesian regression on pre-trained embeddings.

    Args:
        space: Where architectures come from.
        autoencoder: Options of `AutoencoderConfig`.
        regression: Options of `DngoConfig`.
        min_trained: Trained architectures below which it proposes at random.
        max_listed: Size up to which a space that can be listed is scored whole.
        sample_size: Architectures pre-trained on, at most; also the number drawn and scored where
            the space cannot be listed.

    Raises:
        ConfigError: an option that is unknown or out of range.
    """

    def __init__(
        self,
        space: SearchSpace,
        *,
        autoencoder: Mapping[str, Any] | AutoencoderConfig | None = None,
        regression: Mapping[str, Any] | DngoConfig | None = None,
        min_trained: int = 16,
        max_listed: int = 500_000,
        sample_size: int = 10_000,
    ) -> None:
        super().__init__(
            space, min_trained=min_trained, max_listed=max_listed, sample_size=sample_size
        )
        self._autoencoder_config = built(AutoencoderConfig, autoencoder, "proposer.autoencoder.")
        self._regression_config = built(DngoConfig, regression, "proposer.regression.")
        self._network: GraphAutoencoder | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_network": None}

    def _encode(self, architectures: Sequence[Architecture]) -> Embedded:
        assert self._network is not None
        return self._network.embed(self._dense(architectures))

    def _candidates(
        self, pool: PoolSnapshot, trained: Trained, rng: np.random.Generator
    ) -> Candidates[Embedded]:
        listed = self._listed()
        if self._whole is None:
            fixed = derive_rng(self._autoencoder_config.seed, "corpus")
            known = (
                draw_new(bulk(self._space), set(), self._sample_size, fixed)
                if listed is None
                else list(one_per_key(self._space, listed).values())
            )
            chosen = np.sort(fixed.permutation(len(known))[: self._sample_size])
            self._network = _pretrained(
                _Corpus.of(self._dense([known[i] for i in chosen])),
                self._space.num_labels,
                self._autoencoder_config,
            )
            self._whole = self._prepared(known)
        return self._whole if listed is not None else self._with_mutations(self._whole, trained)

    def _with_mutations(
        self, sample: Candidates[Embedded], trained: Trained
    ) -> Candidates[Embedded]:
        best = trained.best_first()[:MUTATED]
        whole = bulk(self._space)
        found = one_per_key(whole, (n for a in best for n in whole.neighbours(a)))
        more = {key: a for key, a in found.items() if key not in sample.by_key}
        if not more:
            return sample
        embedded = np.concatenate([sample.encoded, self._encode(list(more.values()))])
        return Candidates({**sample.by_key, **more}, embedded)

    def _score(
        self, trained: Trained, candidates: Candidates[Embedded], rng: np.random.Generator
    ) -> tuple[Scores, dict[str, Any]]:
        started = time.perf_counter()
        regression = Dngo(self._regression_config)
        embedded = self._encode(self._as_listed(trained, candidates))
        facts = regression.fit(embedded, trained.accuracy, int(rng.integers(2**63)))
        fit_s = time.perf_counter() - started
        mean, deviation = regression.predict(candidates.encoded)
        improvement = expected_improvement(mean, deviation, float(trained.accuracy.max()))
        scores = np.empty(len(mean))
        scores[np.lexsort((mean, improvement))] = np.arange(len(mean))  # where it vanishes, by mean
        score_s = time.perf_counter() - started - fit_s
        return scores, {**facts, "fit_s": fit_s, "score_s": score_s}

    def _dense(self, architectures: Sequence[Architecture]) -> DenseGraphs:
        return DenseGraphs.of([self._space.graph(architecture) for architecture in architectures])


@lru_cache(maxsize=4)
def _pretrained(corpus: _Corpus, num_labels: int, config: AutoencoderConfig) -> GraphAutoencoder:
    return pretrain(corpus.graphs, num_labels, config)
