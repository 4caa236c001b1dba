"""BANANAS: Bayesian optimisation with an ensemble of MLPs on path encodings.

White et al., AAAI 2021. The ensemble's mean and deviation make a normal distribution for each
candidate; independent Thompson sampling draws once from each and proposes the highest draws.
Candidates are mutations of the best trained architectures, one choice apart from them.

A published round looks at 100 mutations of the best. A cell of NAS-Bench-201 has but 24 neighbours,
so the best trained give theirs in turn, at most `per_parent` each, until there are enough.
"""

import time
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from raynas.config import built
from raynas.errors import ConfigError
from raynas.predictor.mlp import MlpConfig, MlpEnsemble
from raynas.proposing.learning import Candidates, LearningProposer, Scores, Trained, at_least
from raynas.scheduling.snapshot import PoolSnapshot
from raynas.seeds import derive_seed
from raynas.spaces.architecture import Architecture
from raynas.spaces.space import SearchSpace

Bits = NDArray[np.int8]


@runtime_checkable
class HasPaths(Protocol):
    """A space whose architectures have a path encoding."""

    def path_encoding(self, architecture: Architecture) -> Bits:
        """Mark which op sequences lead from input to output."""
        ...


class BananasProposer(LearningProposer[Bits]):
    """Proposes by independent Thompson sampling from an ensemble of MLPs.

    Args:
        space: Where architectures come from; it must have a `path_encoding`.
        predictor: Options of `MlpConfig`.
        candidates: ``"mutations"`` of the best trained, or the ``"space"`` (as a whole where it can
            be listed, else a sample and mutations).
        num_candidates: Mutations looked at.
        per_parent: Mutations of one parent, at most.
        path_bits: First bits of the path encoding used: the shorter paths (None: all of them).
        min_trained: Trained architectures below which it proposes at random.
        max_listed: Size up to which a space that can be listed is scored whole.
        sample_size: Architectures drawn and scored where it is not.

    Raises:
        ConfigError: an option that is unknown or out of range, or a space without paths.
    """

    def __init__(
        self,
        space: SearchSpace,
        *,
        predictor: Mapping[str, Any] | MlpConfig | None = None,
        candidates: Literal["mutations", "space"] = "mutations",
        num_candidates: int = 100,
        per_parent: int = 20,
        path_bits: int | None = None,
        min_trained: int = 10,
        max_listed: int = 500_000,
        sample_size: int = 10_000,
    ) -> None:
        super().__init__(
            space, min_trained=min_trained, max_listed=max_listed, sample_size=sample_size
        )
        if not isinstance(space, HasPaths):
            raise ConfigError(
                f"proposer: bananas needs a space with a path_encoding; {space.name} has none "
                "(nasbench101 and nasbench201 have one)"
            )
        if candidates not in ("mutations", "space"):
            raise ConfigError(f"proposer.candidates: {candidates!r} must be 'mutations' or 'space'")
        at_least("num_candidates", num_candidates, 1)
        at_least("per_parent", per_parent, 1)
        if path_bits is not None:
            at_least("path_bits", path_bits, 1)
        self._paths: HasPaths = space
        self._config = built(MlpConfig, predictor, "proposer.predictor.")
        self._mutations_only = candidates == "mutations"
        self._num_candidates = num_candidates
        self._per_parent = per_parent
        self._path_bits = path_bits

    def _encode(self, architectures: Sequence[Architecture]) -> Bits:
        return np.stack([self._paths.path_encoding(a)[: self._path_bits] for a in architectures])

    def _candidates(
        self, pool: PoolSnapshot, trained: Trained, rng: np.random.Generator
    ) -> Candidates[Bits]:
        if not self._mutations_only:
            return super()._candidates(pool, trained, rng)
        found = self._mutations(trained, pool.keys(), rng)
        return self._prepared(found) if found else super()._candidates(pool, trained, rng)

    def _mutations(
        self, trained: Trained, taken: set[str], rng: np.random.Generator
    ) -> list[Architecture]:
        """Return new neighbours of the best trained, no key twice."""
        found: dict[str, Architecture] = {}
        for parent in trained.best_first():
            neighbours = self._space.neighbours(parent)
            given = 0
            for index in rng.permutation(len(neighbours)):
                if len(found) == self._num_candidates:
                    return list(found.values())
                if given == self._per_parent:
                    break
                key = self._space.key(neighbours[index])
                if key not in taken and key not in found:
                    found[key] = neighbours[index]
                    given += 1
        return list(found.values())

    def _score(
        self, trained: Trained, candidates: Candidates[Bits], rng: np.random.Generator
    ) -> tuple[Scores, dict[str, Any]]:
        started = time.perf_counter()
        features_BD = self._encode(self._as_listed(trained, candidates))
        seed = int(rng.integers(2**63))
        seeds = [derive_seed(seed, "member", i) for i in range(self._config.ensemble)]
        ensemble = MlpEnsemble(features_BD.shape[1], self._config, seeds)
        loss = ensemble.fit(features_BD, trained.accuracy)
        fit_s = time.perf_counter() - started
        predicted_MB = ensemble.predict(candidates.encoded)
        draws = rng.normal(predicted_MB.mean(0), predicted_MB.std(0))
        score_s = time.perf_counter() - started - fit_s
        return draws, {"loss": loss, "fit_s": fit_s, "score_s": score_s}
