"""REINFORCE: an independent softmax for each choice, moved by policy gradient.

Williams, 1992; the baseline of NAS-Bench-201 (Dong and Yang, ICLR 2020): Adam, and as reward the
accuracy above its running mean. Where the published loop draws an architecture again it looks its
accuracy up again; here only new ones are trained, and each teaches once.

A reward must be on one scale, so it is read at one level: the highest that more than half of the
trained have reached. Where all are trained in full that is the last one; under a policy that
promotes half or fewer it is the first, and everybody teaches, not only the promoted.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from raynas.errors import ConfigError, InvalidArchitectureError
from raynas.proposing.proposer import Proposer
from raynas.proposing.random import draw_new
from raynas.scheduling.snapshot import PoolRecord, PoolSnapshot
from raynas.spaces.architecture import Architecture
from raynas.spaces.limited import allows
from raynas.spaces.space import SearchSpace

Floats = NDArray[np.float64]

_DRAWS = 50
"""Draws from the policy per architecture wanted before random ones take their place."""
_BETA_1, _BETA_2, _EPSILON = 0.9, 0.999, 1e-8


class HasChoices(Protocol):
    """A space whose architectures are a fixed number of choices."""

    def choices(self) -> tuple[tuple[str, ...], ...]:
        """Return the options of each choice."""
        ...

    def from_choices(self, indices: Sequence[int]) -> Architecture:
        """Return the architecture that takes option ``indices[i]`` of choice i."""
        ...

    def to_choices(self, architecture: Architecture) -> tuple[int, ...]:
        """Return which option it takes of each choice; the inverse of `from_choices`."""
        ...


class ReinforceProposer(Proposer):
    """Draws architectures from a policy that learns from each candidate once.

    A failed candidate earns what the worst at that level does.

    Shapes: P choices of at most O options; options that a choice lacks have probability 0.

    Args:
        space: Where architectures come from; it must have `choices` (see `HasChoices`).
        lr: Step size of Adam. The published 0.01 is meant for thousands of draws; a few hundred
            evaluations hardly move it, and 0.1 serves them better.
        momentum: Of the running mean of rewards, in [0, 1).

    Raises:
        ConfigError: an option out of range, or a space without choices.
    """

    def __init__(self, space: SearchSpace, *, lr: float = 0.01, momentum: float = 0.9) -> None:
        if lr <= 0:
            raise ConfigError(f"proposer.lr: {lr:g} must be above 0")
        if not 0 <= momentum < 1:
            raise ConfigError(f"proposer.momentum: {momentum:g} must lie in [0, 1)")
        if not all(hasattr(space, n) for n in ("choices", "from_choices", "to_choices")):
            raise ConfigError(
                f"proposer: reinforce needs a space of fixed choices; {space.name} has none "
                "(nasbench201 has)"
            )
        self._space = space
        self._choices = cast(HasChoices, space)
        sizes = [len(options) for options in self._choices.choices()]
        self._open_PO = np.arange(max(sizes)) < np.array(sizes)[:, None]
        self._lr = lr
        self._momentum = momentum
        self._logits_PO = np.zeros(self._open_PO.shape)
        self._first_PO = np.zeros(self._open_PO.shape)
        self._second_PO = np.zeros(self._open_PO.shape)
        self._steps = 0
        self._baseline = [0.0, 0.0]  # weighted sum of rewards, and of the weights
        self._level = 0
        self._learnt: set[int] = set()

    def propose(
        self, pool: PoolSnapshot, count: int, rng: np.random.Generator
    ) -> list[Architecture]:
        """Return `count` new architectures; see `Proposer.propose`."""
        self._learn(pool)
        taken = pool.keys()
        found: dict[str, Architecture] = {}
        for architecture in self._draws(count, rng):
            if len(found) == count:
                break
            key = self._space.key(architecture)
            if key not in taken:
                found.setdefault(key, architecture)
        if len(found) == count:
            return list(found.values())
        more = draw_new(self._space, taken | found.keys(), count - len(found), rng)
        return [*found.values(), *more]

    @property
    def probabilities(self) -> Floats:
        """`P x O` probability of each option of each choice."""
        masked = np.where(self._open_PO, self._logits_PO, -np.inf)
        weights = np.exp(masked - masked.max(axis=1, keepdims=True))
        shares: Floats = weights / weights.sum(axis=1, keepdims=True)
        return shares

    def state_dict(self) -> dict[str, Any]:
        """Return the policy, the optimiser, the baseline and who has taught already."""
        return {
            "logits": self._logits_PO.tolist(),
            "first": self._first_PO.tolist(),
            "second": self._second_PO.tolist(),
            "steps": self._steps,
            "baseline": list(self._baseline),
            "level": self._level,
            "learnt": sorted(self._learnt),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self._logits_PO = np.array(state["logits"], dtype=np.float64)
        self._first_PO = np.array(state["first"], dtype=np.float64)
        self._second_PO = np.array(state["second"], dtype=np.float64)
        self._steps = int(state["steps"])
        self._baseline = [float(x) for x in state["baseline"]]
        self._level = int(state["level"])
        self._learnt = set(state["learnt"])

    def _draws(self, count: int, rng: np.random.Generator) -> Iterator[Architecture]:
        """Yield architectures drawn from the policy that the space holds, not all distinct."""
        upto_PO = self.probabilities.cumsum(axis=1)
        last_P = self._open_PO.sum(axis=1) - 1
        for _ in range(_DRAWS):
            uniform_BP1 = rng.random((count, len(upto_PO), 1))
            # Rounding may leave the last sum just below 1.
            drawn_BP = np.minimum((uniform_BP1 >= upto_PO).sum(axis=2), last_P)
            for row in drawn_BP.tolist():
                architecture = self._choices.from_choices(row)
                if self._holds(architecture):
                    yield architecture

    def _holds(self, architecture: Architecture) -> bool:
        """Return whether the space, perhaps a part of the one with the choices, has it."""
        try:
            self._space.parse(architecture.text)
        except InvalidArchitectureError:
            return False
        return allows(self._space, architecture)

    def _learn(self, pool: PoolSnapshot) -> None:
        """Take a step for each candidate that has a reward and has not taught yet."""
        level = common_level(pool)
        if level == 0:
            return
        if level != self._level:  # another scale of rewards
            self._level, self._baseline = level, [0.0, 0.0]
        rewards = rewards_at(pool, level)
        for record in pool.candidates:
            if record.id in rewards and record.id not in self._learnt:
                self._learnt.add(record.id)
                self._step(record, rewards[record.id])

    def _step(self, record: PoolRecord, reward: float) -> None:
        """Move the policy towards (or from) a candidate by its advantage: one step of Adam."""
        total, weight = (self._momentum * x for x in self._baseline)
        self._baseline = [total + (1 - self._momentum) * reward, weight + 1 - self._momentum]
        advantage = reward - self._baseline[0] / self._baseline[1]
        architecture = Architecture(self._space.name, record.text)
        gradient_PO = -self.probabilities
        gradient_PO[np.arange(len(gradient_PO)), self._choices.to_choices(architecture)] += 1
        gradient_PO *= advantage
        self._steps += 1
        self._first_PO += (1 - _BETA_1) * (gradient_PO - self._first_PO)
        self._second_PO += (1 - _BETA_2) * (gradient_PO**2 - self._second_PO)
        first_PO = self._first_PO / (1 - _BETA_1**self._steps)
        second_PO = self._second_PO / (1 - _BETA_2**self._steps)
        self._logits_PO += self._lr * first_PO / (np.sqrt(second_PO) + _EPSILON)


def common_level(pool: PoolSnapshot) -> int:
    """Return the highest level that more than half of the trained have reached, 0 if nobody has."""
    levels = sorted(r.level for r in pool.candidates if r.level > 0 and not r.failed)
    return levels[(len(levels) - 1) // 2] if levels else 0


def rewards_at(pool: PoolSnapshot, level: int) -> dict[int, float]:
    """Return the accuracy at `level` of everyone who reached it, by id.

    Those who failed count as the worst of the others.
    """
    reached = [r for r in pool.candidates if r.level >= level and not r.failed]
    rewards = {r.id: r.level_accuracy[level - 1] for r in reached}
    if rewards:
        worst = min(rewards.values())
        rewards |= {r.id: worst for r in pool.candidates if r.failed}
    return rewards
