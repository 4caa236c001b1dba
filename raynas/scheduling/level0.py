"""Level 0, the free bottom of the pyramid: proxies choose who of the proposed is trained at all."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from raynas.scheduling.events import Newcomer
from raynas.scheduling.pareto import best_first

ScoreOrder = Callable[[Sequence[Mapping[str, float]]], NDArray[np.float64]]
"""One score per architecture (higher is better) from the proxies of each."""


@dataclass(frozen=True, slots=True)
class Level0:
    """The free bottom level: proxies choose who of the proposed is trained at all (§6.4).

    Attributes:
        mode: ``"off"``; ``"init_only"`` (first round only); ``"full"`` (every round).
        fraction: Share of the proposed that is admitted: `wanted / fraction` are proposed.
        order: Turns proxies into one score per architecture.
        initial: Architectures scored before the first round (at least ``wanted / fraction``).
        top_share: Share of the first round that is simply the best of all scored. The others are
            the best of a random draw of which `fraction` is admitted: proxies err most at the top,
            and what is learnt from both shows by how much.
        costs: Names of costs that count beside the proxies: who is best goes by front, then by
            crowding distance, then by score.
    """

    mode: Literal["off", "init_only", "full"] = "off"
    fraction: float = 0.5
    order: ScoreOrder | None = None
    initial: int = 0
    top_share: float = 1.0
    costs: tuple[str, ...] = ()

    def active(self, round_number: int) -> bool:
        """Return whether proxies choose in this round."""
        return self.mode == "full" or (self.mode == "init_only" and round_number == 0)

    def num_proposed(self, wanted: int, round_number: int) -> int:
        """Return how many are to be proposed so that `wanted` are admitted."""
        if not self.active(round_number):
            return wanted
        count = math.ceil(wanted / self.fraction)
        return max(count, self.initial) if round_number == 0 else count

    def first(self, scored: Sequence[Newcomer], count: int, seed: int) -> list[Newcomer]:
        """Return the first round: some the best of all, some the best of a few."""
        order = self.best(scored, len(scored))
        num_top = min(len(order), math.ceil(self.top_share * count))
        top, rest = order[:num_top], order[num_top:]
        few = math.ceil((count - num_top) / self.fraction)
        drawn = np.random.default_rng(seed).permutation(len(rest))[:few]
        return top + [rest[i] for i in sorted(drawn)[: count - num_top]]

    def best(self, residents: Sequence[Newcomer], count: int) -> list[Newcomer]:
        """Return the best `count` residents, best first; ties keep their order."""
        assert self.order is not None
        if not residents:
            return []
        scores = self.order([resident.proxies for resident in residents])
        ranking = np.argsort(-scores, kind="stable")
        ranked = [residents[i] for i in ranking]
        if not self.costs:
            return ranked[:count]
        costs = np.array([[r.costs[name] for name in self.costs] for r in ranked])
        values = np.column_stack([scores[ranking], -costs])
        return [ranked[i] for i in best_first(values, count)]
