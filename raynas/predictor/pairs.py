"""Training pairs from a pool: who beats whom, by which rule, and how much it counts.

RANK-NOSH (thesis ch. 4) labels a pair of architectures by the level reached and, within a level,
by the validation accuracy there. Promotion is limited by quotas, so a newcomer that is better at
the first level than one promoted early is labelled worse by that rule; `common_epoch` compares
both at the highest level they share instead, and `agree` trusts what both rules say.

Shapes: A architectures, P pairs, L levels, Q proxies, T trained, Z of level 0.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from raynas.config import Section
from raynas.scheduling.snapshot import PoolRecord, PoolSnapshot, ScoredRecord

Ints = NDArray[np.int64]


class PairConfig(Section):
    """How a pool becomes pairs.

    Attributes:
        rule: ``"level"`` (as published): the higher level wins, then the higher accuracy there.
            ``"common_epoch"``: the higher accuracy at the highest level both reached.
            ``"agree"``: as `level`, with `disagree_weight` where `common_epoch` says otherwise.
        disagree_weight: Weight of such a pair; 0 drops it.
        fidelity: How much more a comparison after long training counts than one after short: a
            pair is weighted by the share of the full length both had, to this power; 0 for alike.
        failed_lose: Whether a failed candidate loses to every trained one (else it is left out).
        level0: Whether architectures known by proxies alone take part: ``"off"``,
            ``"init_only"`` (in the first refit only, when little is trained) or ``"full"``.
        level0_weight: Weight of a pair with one of level 0 in it; proxies are noisy labels.
        level0_margin: Within level 0 a pair counts if the proxies for one side outnumber those
            for the other by at least this share of them; 1 asks for all.
        level0_ratio: Architectures of level 0 used, at most this many per trained one, drawn anew
            at each refit. Pairs with one in it never outnumber the others.
        max_pairs: Pairs of trained candidates used, at most; drawn if there are more.
    """

    rule: Literal["level", "common_epoch", "agree"] = "level"
    disagree_weight: float = Field(0.3, ge=0, le=1)
    fidelity: float = Field(1.0, ge=0)
    failed_lose: bool = True
    level0: Literal["off", "init_only", "full"] = "off"
    level0_weight: float = Field(0.25, gt=0, le=1)
    level0_margin: float = Field(1.0, gt=0, le=1)
    level0_ratio: float = Field(1.0, ge=0)
    max_pairs: int = Field(50_000, ge=1)


class PairKind(IntEnum):
    """Where a pair's label comes from."""

    SAME_LEVEL = 0
    CROSS_LEVEL = 1
    FAILED = 2
    """The loser's training failed."""
    LEVEL0 = 3
    """The loser, or both, are known by proxies alone."""


@dataclass(frozen=True, slots=True, eq=False)
class PairSet:
    """Labelled pairs of A architectures. The first `num_trained` of those are trained.

    Attributes:
        texts: Canonical texts of the architectures.
        levels: `A` int64, highest level reached (0: failed early, or of level 0).
        accuracy: `A` float64, validation accuracy at that level; NaN if not trained, or failed.
        num_trained: Trained architectures, failed ones not included.
        winner: `P` int64 positions in `texts`.
        loser: `P` int64 positions in `texts`.
        weight: `P` float64, in (0, 1].
        kind: `P` int8, see `PairKind`.
        disagreement: Share of pairs of trained architectures that `level` and `common_epoch`
            label in opposite ways. Above about 0.15, `common_epoch` is the better rule.
    """

    texts: tuple[str, ...]
    levels: Ints
    accuracy: NDArray[np.float64]
    num_trained: int
    winner: Ints
    loser: Ints
    weight: NDArray[np.float64]
    kind: NDArray[np.int8]
    disagreement: float

    def __len__(self) -> int:
        return len(self.winner)

    def select(self, chosen_P: NDArray[np.bool_]) -> "PairSet":
        """Return the pairs where `chosen_P` holds, of the same architectures."""
        return PairSet(
            self.texts,
            self.levels,
            self.accuracy,
            self.num_trained,
            self.winner[chosen_P],
            self.loser[chosen_P],
            self.weight[chosen_P],
            self.kind[chosen_P],
            self.disagreement,
        )


@dataclass(frozen=True, slots=True, eq=False)
class _Part:
    """Some pairs, before they are put together."""

    winner: Ints
    loser: Ints
    weight: NDArray[np.float64]
    kind: NDArray[np.int8]

    @classmethod
    def of(cls, winner: Ints, loser: Ints, weight: float, kind: PairKind) -> "_Part":
        size = len(winner)
        return cls(winner, loser, np.full(size, weight), np.full(size, kind, dtype=np.int8))

    def thinned(self, limit: int, rng: np.random.Generator) -> "_Part":
        """Return at most `limit` of the pairs, drawn evenly, in their order."""
        if len(self.winner) <= limit:
            return self
        chosen = np.sort(rng.choice(len(self.winner), limit, replace=False, shuffle=False))
        return _Part(
            self.winner[chosen], self.loser[chosen], self.weight[chosen], self.kind[chosen]
        )


def make_pairs(snapshot: PoolSnapshot, config: PairConfig, rng: np.random.Generator) -> PairSet:
    """Label the pairs of a pool.

    Equal labels make no pair. Candidates admitted but not yet trained are of level 0 as far as
    their proxies go, but do not lose to the trained: that they wait says nothing against them.

    Args:
        snapshot: The pool.
        config: How to label.
        rng: Draws which pairs are used where there are more than the limits allow.
    """
    trained = [c for c in snapshot.candidates if c.level > 0 and not c.failed]
    failed = [c for c in snapshot.candidates if c.failed and config.failed_lose]
    waiting: Sequence[PoolRecord] = ()
    scored: Sequence[ScoredRecord] = ()
    if config.level0 == "full" or (config.level0 == "init_only" and snapshot.round <= 1):
        waiting = [c for c in snapshot.candidates if c.level == 0 and not c.failed and c.proxies]
        scored = _draw(snapshot.scored, int(config.level0_ratio * len(trained)), rng)
    unseen: list[PoolRecord | ScoredRecord] = [*waiting, *scored]
    levels_T = np.array([c.level for c in trained], dtype=np.int64)
    shares_L = np.array(snapshot.epochs_per_level) / snapshot.epochs_per_level[-1]
    measured, disagreement = _measured(trained, levels_T, shares_L, config, rng)
    T, F, W, S = len(trained), len(failed), len(waiting), len(scored)
    parts = [measured, _grid(T, T, F, 1.0, PairKind.FAILED).thinned(config.max_pairs, rng)]
    level0 = _join(
        [
            _grid(T, T + F + W, S, config.level0_weight, PairKind.LEVEL0),
            _by_proxies([r.proxies for r in unseen], T + F, config, rng),
        ]
    )
    parts.append(level0.thinned(len(measured.winner), rng))
    pairs = _join(parts)
    everyone: tuple[PoolRecord | ScoredRecord, ...] = (*trained, *failed, *unseen)
    return PairSet(
        texts=tuple(record.text for record in everyone),
        levels=np.concatenate([levels_T, np.zeros(F + W + S, dtype=np.int64)]),
        accuracy=np.array([c.level_accuracy[-1] for c in trained] + [np.nan] * (F + W + S)),
        num_trained=T,
        winner=pairs.winner,
        loser=pairs.loser,
        weight=pairs.weight,
        kind=pairs.kind,
        disagreement=disagreement,
    )


def compare(
    accuracy_AL: NDArray[np.float64], levels_A: Ints, first_P: Ints, second_P: Ints
) -> tuple[NDArray[np.int8], NDArray[np.int8]]:
    """Return the verdicts of `level` and of `common_epoch`: 1 first, -1 second, 0 equal.

    Args:
        accuracy_AL: Accuracy at each level, level 1 first; anything beyond the level reached.
        levels_A: Highest level reached, at least 1.
        first_P: Positions of one side of each pair.
        second_P: Positions of the other.
    """
    level_1, level_2 = levels_A[first_P], levels_A[second_P]
    common = np.minimum(level_1, level_2) - 1
    by_common = _sign(accuracy_AL[first_P, common], accuracy_AL[second_P, common])
    by_level = _sign(level_1, level_2)
    return np.where(by_level == 0, by_common, by_level), by_common


def _measured(
    trained: Sequence[PoolRecord],
    levels: Ints,
    shares_L: NDArray[np.float64],
    config: PairConfig,
    rng: np.random.Generator,
) -> tuple[_Part, float]:
    """Return the pairs of trained candidates and how often the two rules disagree on them."""
    accuracy_TL = np.full((len(trained), int(levels.max(initial=1))), np.nan)
    for row, record in enumerate(trained):
        accuracy_TL[row, : record.level] = record.level_accuracy
    first, second = _unordered(len(trained), config.max_pairs, rng)
    by_level, by_common = compare(accuracy_TL, levels, first, second)
    opposite = by_level * by_common < 0
    decided = by_level * by_common != 0
    sign = by_common if config.rule == "common_epoch" else by_level
    weight = shares_L[np.minimum(levels[first], levels[second]) - 1] ** config.fidelity
    if config.rule == "agree":
        weight[by_level != by_common] *= config.disagree_weight
    kind = np.where(
        levels[first] == levels[second], PairKind.SAME_LEVEL, PairKind.CROSS_LEVEL
    ).astype(np.int8)
    kept = (sign != 0) & (weight > 0)
    winner = np.where(sign > 0, first, second)
    loser = np.where(sign > 0, second, first)
    part = _Part(winner[kept], loser[kept], weight[kept], kind[kept])
    return part, float(opposite.sum() / max(int(decided.sum()), 1))


def _by_proxies(
    proxies: Sequence[Mapping[str, float]],
    start: int,
    config: PairConfig,
    rng: np.random.Generator,
) -> _Part:
    """Return the pairs within level 0 on which enough proxies agree; positions from `start`."""
    names = sorted({name for row in proxies for name in row})
    values_ZQ = np.array([[row.get(name, np.nan) for name in names] for row in proxies])
    values_ZQ = np.where(np.isnan(values_ZQ), -np.inf, values_ZQ).reshape(len(proxies), len(names))
    first, second = _unordered(len(proxies), config.max_pairs, rng)
    votes_P = _sign(values_ZQ[first], values_ZQ[second]).sum(axis=1, dtype=np.int64)
    kept = (votes_P != 0) & (np.abs(votes_P) >= config.level0_margin * len(names))
    winner = np.where(votes_P > 0, first, second)[kept] + start
    loser = np.where(votes_P > 0, second, first)[kept] + start
    return _Part.of(winner, loser, config.level0_weight, PairKind.LEVEL0)


def _sign(first: NDArray[Any], second: NDArray[Any]) -> NDArray[np.int8]:
    sign: NDArray[np.int8] = (first > second).astype(np.int8) - (first < second)
    return sign  # unlike a difference, right for infinities too


def _unordered(count: int, limit: int, rng: np.random.Generator) -> tuple[Ints, Ints]:
    """Return all pairs i < j below `count`, or `limit` of them drawn without repetition."""
    total = count * (count - 1) // 2
    if total <= limit:
        number = np.arange(total)
    else:
        number = np.sort(rng.choice(total, limit, replace=False, shuffle=False))
    # Pair number k of j's column is j(j-1)/2 + i.
    second = ((1 + np.sqrt(1 + 8 * number.astype(np.float64))) / 2).astype(np.int64)
    second -= second * (second - 1) // 2 > number
    return number - second * (second - 1) // 2, second


def _grid(winners: int, start: int, losers: int, weight: float, kind: PairKind) -> _Part:
    """Return pairs of each of the first `winners` with each of `losers` from `start` on."""
    winner = np.repeat(np.arange(winners), losers)
    loser = np.tile(np.arange(start, start + losers), winners)
    return _Part.of(winner, loser, weight, kind)


def _draw(
    records: Sequence[ScoredRecord], limit: int, rng: np.random.Generator
) -> Sequence[ScoredRecord]:
    if len(records) <= limit:
        return records
    chosen = np.sort(rng.choice(len(records), limit, replace=False, shuffle=False))
    return [records[i] for i in chosen]


def _join(parts: Sequence[_Part]) -> _Part:
    return _Part(
        np.concatenate([part.winner for part in parts]),
        np.concatenate([part.loser for part in parts]),
        np.concatenate([part.weight for part in parts]),
        np.concatenate([part.kind for part in parts]),
    )
