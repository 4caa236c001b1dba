"""What proposers that predict accuracies share: whom they learn from, what they may propose.

Accuracies at different levels have no common scale, and these methods know one number an
architecture. So they learn from one level at a time: see `trained_at_one_level`.
"""

import math
import time
from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from raynas.errors import ConfigError
from raynas.proposing.proposer import Proposer
from raynas.proposing.random import draw_new
from raynas.scheduling.snapshot import PoolSnapshot
from raynas.spaces.architecture import Architecture
from raynas.spaces.limited import allows, bulk
from raynas.spaces.space import EnumerableSpace, SearchSpace

Encoded = TypeVar("Encoded")
Scores = NDArray[np.float64]

MUTATED = 20
"""How many of the best trained give mutations where the space cannot be listed."""


@dataclass(frozen=True, slots=True, eq=False)
class Trained:
    """Architectures to learn from.

    Attributes:
        architectures: In order of admission.
        accuracy: Validation accuracy of each at `level`, a fraction; not all equal.
        level: The level the accuracies are of.
    """

    architectures: tuple[Architecture, ...]
    accuracy: NDArray[np.float64]
    level: int

    def __len__(self) -> int:
        return len(self.architectures)

    def best_first(self) -> list[Architecture]:
        """Return the architectures by accuracy; of equal ones, the older first."""
        return [self.architectures[i] for i in np.argsort(-self.accuracy, kind="stable")]


def trained_at_one_level(pool: PoolSnapshot, space: str, min_trained: int) -> Trained | None:
    """Return who reached the highest level that enough have reached, with accuracies there.

    Enough are `min_trained` of them and a third of all that have been trained at all: where every
    architecture is trained in full that is the top level, also while some are under way; where
    promotion leaves half at each level it is the second, since a regressor ranks better from
    many early accuracies than from the final ones of the few best. The failed are left out.

    Args:
        pool: The pool.
        space: Name of the space its candidates are of.
        min_trained: Fewest to learn from.

    Returns:
        None where no level has enough, or all accuracies there are equal: nothing to learn.
    """
    trained = [record for record in pool.candidates if record.level > 0 and not record.failed]
    enough = max(min_trained, math.ceil(len(trained) / 3))
    for level in range(len(pool.epochs_per_level), 0, -1):
        reached = [record for record in trained if record.level >= level]
        if len(reached) < enough:
            continue
        accuracy = np.array([record.level_accuracy[level - 1] for record in reached])
        if np.ptp(accuracy) == 0:
            return None
        return Trained(tuple(Architecture(space, r.text) for r in reached), accuracy, level)
    return None


@dataclass(frozen=True, slots=True, eq=False)
class Candidates(Generic[Encoded]):
    """What may be proposed: one architecture per key, in the order found, ready to be scored."""

    by_key: Mapping[str, Architecture]
    encoded: Encoded


class LearningProposer(Proposer, Generic[Encoded]):
    """Fits a model to accuracies, scores what may be proposed, proposes the best of it.

    A space that can be listed is scored whole, and encoded once; of others, a random sample and
    mutations of the best trained. Limits that are dear to judge (`raynas.spaces.limited`) are
    judged from the best down, after the scoring. As in the ranking proposer, the first text of a
    key stands for all architectures of that key in a listed space.

    Subclasses say how architectures are encoded and what their scores are; `_candidates` and
    `_choose` may be replaced too.

    Args:
        space: Where architectures come from.
        min_trained: Trained architectures below which it proposes at random, at least 2.
        max_listed: Size up to which a space that can be listed is scored whole.
        sample_size: Architectures drawn and scored where it is not.

    Raises:
        ConfigError: an option out of range.
    """

    def __init__(
        self, space: SearchSpace, *, min_trained: int, max_listed: int, sample_size: int
    ) -> None:
        at_least("min_trained", min_trained, 2)
        at_least("sample_size", sample_size, 1)
        self._space = space
        self._min_trained = min_trained
        self._max_listed = max_listed
        self._sample_size = sample_size
        self._whole: Candidates[Encoded] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_whole": None}  # made again where it is needed

    def propose(
        self, pool: PoolSnapshot, count: int, rng: np.random.Generator
    ) -> list[Architecture]:
        """Return `count` new architectures; see `Proposer.propose`."""
        self.fit_record = None
        space, taken = self._space, pool.keys()
        trained = trained_at_one_level(pool, space.name, self._min_trained)
        if trained is None:
            return draw_new(space, taken, count, rng)
        started = time.perf_counter()
        candidates = self._candidates(pool, trained, rng)
        listed_s = time.perf_counter() - started
        scores, facts = self._score(trained, candidates, rng)
        self.fit_record = {
            "num_trained": len(trained),
            "level": trained.level,
            "list_s": listed_s,
            "num_scored": len(scores),
            **facts,
        }
        open_ = [i for i, key in enumerate(candidates.by_key) if key not in taken]
        order = [open_[i] for i in np.argsort(-scores[open_], kind="stable")]
        found = list(candidates.by_key.items())
        chosen: dict[str, Architecture] = {}
        while len(chosen) < count and order:
            picked = self._choose(order, pool, count - len(chosen), rng)
            chosen |= {found[i][0]: found[i][1] for i in picked if allows(space, found[i][1])}
            looked_at = set(picked)
            order = [i for i in order if i not in looked_at]
        if len(chosen) < count:  # the candidates ran out, the space perhaps not
            more = draw_new(space, taken | chosen.keys(), count - len(chosen), rng)
            chosen |= {space.key(architecture): architecture for architecture in more}
        return list(chosen.values())

    @abstractmethod
    def _encode(self, architectures: Sequence[Architecture]) -> Encoded:
        """Make architectures ready for the model."""

    @abstractmethod
    def _score(
        self, trained: Trained, candidates: Candidates[Encoded], rng: np.random.Generator
    ) -> tuple[Scores, dict[str, Any]]:
        """Return a score of each candidate, higher is better, and facts for `fit_record`."""

    def _choose(
        self, order: list[int], pool: PoolSnapshot, count: int, rng: np.random.Generator
    ) -> list[int]:
        """Return which candidates to propose; `order` lists the new ones, the best first."""
        return order[:count]

    def _candidates(
        self, pool: PoolSnapshot, trained: Trained, rng: np.random.Generator
    ) -> Candidates[Encoded]:
        """Return the space, or a sample of it and mutations of the best trained."""
        listed = self._listed()
        if listed is not None:
            if self._whole is None:
                self._whole = self._prepared(listed)
            return self._whole
        whole = bulk(self._space)
        found = draw_new(whole, pool.keys(), self._sample_size, rng)
        for architecture in trained.best_first()[:MUTATED]:
            found += whole.neighbours(architecture)
        return self._prepared(found)

    def _listed(self) -> EnumerableSpace | None:
        """Return the space if it is to be listed."""
        whole = bulk(self._space)
        if isinstance(whole, EnumerableSpace) and len(whole) <= self._max_listed:
            return whole
        return None

    def _prepared(self, architectures: Iterable[Architecture]) -> Candidates[Encoded]:
        by_key = one_per_key(self._space, architectures)
        return Candidates(by_key, self._encode(list(by_key.values())))

    def _as_listed(self, trained: Trained, candidates: Candidates[Encoded]) -> list[Architecture]:
        """Return the trained architectures, each as the candidate of its key if there is one."""
        return [candidates.by_key.get(self._space.key(a), a) for a in trained.architectures]


def one_per_key(
    space: SearchSpace, architectures: Iterable[Architecture]
) -> dict[str, Architecture]:
    """Return the first architecture of each key, by key."""
    by_key: dict[str, Architecture] = {}
    for architecture in architectures:
        by_key.setdefault(space.key(architecture), architecture)
    return by_key


def at_least(name: str, value: int, lowest: int) -> None:
    """Raise a `ConfigError` if the proposer's option `name` is below `lowest`."""
    if value < lowest:
        raise ConfigError(f"proposer.{name}: {value} must be at least {lowest}")
