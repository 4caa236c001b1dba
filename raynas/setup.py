"""From a config to the objects of a search. Everything a user can get wrong is found here,
before anything is written or started.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import partial
from typing import Any

from raynas.config import SearchConfig, construct
from raynas.errors import ConfigError
from raynas.proposing import PROPOSERS
from raynas.proposing.answer import Answer
from raynas.proposing.proposer import Proposer
from raynas.proxies.proxy import PROXIES
from raynas.proxies.score import ProxyScorer
from raynas.proxies.vote import aggregate
from raynas.registry import lookup
from raynas.scheduling import POLICIES
from raynas.scheduling.budget import Budget
from raynas.scheduling.objective import Objective
from raynas.scheduling.policy import SchedulingPolicy, check_levels
from raynas.scheduling.search import Level0
from raynas.scheduling.simulate import Score
from raynas.seeds import derive_seed
from raynas.spaces import SPACES
from raynas.spaces.space import SearchSpace
from raynas.training.objective import TrainingObjective

Policy = SchedulingPolicy | Callable[[tuple[int, ...], Budget], SchedulingPolicy]
"""A policy, or a function from (levels, budget) to one."""

MakeProposer = Proposer | Callable[[SearchSpace], Proposer]
"""A proposer, or a function from a space to one."""


@dataclass(frozen=True, slots=True)
class Parts:
    """A user's own objects; None where the config decides.

    Attributes:
        space: A search space.
        policy: A scheduling policy, or a function from (levels, budget) to one.
        proposer: A proposer, or a function from a space to one.
        objective: What training means.
        score: Zero-cost proxies of architectures (only if the objective is not ours).
    """

    space: SearchSpace | None = None
    policy: Policy | None = None
    proposer: MakeProposer | None = None
    objective: Objective | None = None
    score: Score | None = None

    def given(self) -> list[str]:
        """Return the kinds of objects the user brought."""
        return [kind.name for kind in fields(self) if getattr(self, kind.name) is not None]


@dataclass(frozen=True, slots=True)
class Setup:
    """The objects of one search, ready for an engine."""

    config: SearchConfig
    space: SearchSpace
    policy: SchedulingPolicy
    budget: Budget
    answer: Answer
    objective: Objective
    level0: Level0
    score: Score | None
    facts: dict[str, Any]
    """What the manifest says of the data."""


def set_up(config: SearchConfig, parts: Parts, *, workers: int) -> Setup:
    """Make every object a search needs.

    Args:
        config: The checked config.
        parts: A user's own objects.
        workers: Trials side by side, for time budgets.

    Raises:
        UsageError: whatever the user got wrong, in one line.
    """
    levels = check_levels(config.levels)
    gpus = config.resources.gpus
    # Not resolved yet: Ray is not connected. A budget in GPU hours is then judged later.
    held = 1.0 if gpus is None else gpus
    budget = Budget.parse(config.budget, workers=workers, gpus_per_trial=held)
    space = parts.space or _space(config)
    policy = _policy(config, parts, levels, budget)
    objective = parts.objective
    score = parts.score
    facts: dict[str, Any] = {}
    if objective is None:
        training = TrainingObjective.from_options(
            space,
            data=config.data.name,
            data_options=config.data.options,
            # A trial that holds no GPU must not use one that Ray gave to another.
            training_options={**({} if gpus else {"device": "cpu"}), **config.training},
            full_epochs=levels[-1],
        )
        facts = training.facts()
        objective = training
        if config.level0.mode != "off":
            score = _scorer(config, space, training)
    proposer = _proposer(config, parts, space, score)
    mode = config.level0.mode if score is not None else "off"
    order = _order(config) if mode != "off" else None
    level0 = Level0(
        mode, config.level0.fraction, order, config.level0.initial, config.level0.top_share
    )
    answer = Answer(config.proposer.name if parts.proposer is None else "own", proposer)
    return Setup(config, space, policy, budget, answer, objective, level0, score, facts)


def _space(config: SearchConfig) -> SearchSpace:
    target = lookup("space", config.space.name, SPACES)
    space = construct("space", target, config.space.options)
    if not isinstance(space, SearchSpace):
        raise ConfigError(f"space: {config.space.name!r} makes no SearchSpace")
    return space


def _policy(
    config: SearchConfig, parts: Parts, levels: tuple[int, ...], budget: Budget
) -> SchedulingPolicy:
    if parts.policy is not None:
        if callable(parts.policy):
            return parts.policy(levels, budget)
        return parts.policy
    target = lookup("policy", config.policy.name, POLICIES)
    policy: SchedulingPolicy = construct(
        "policy", target, config.policy.options, epochs_per_level=levels, budget=budget
    )
    return policy


def _proposer(
    config: SearchConfig, parts: Parts, space: SearchSpace, score: Score | None
) -> Proposer:
    if parts.proposer is not None:
        return parts.proposer(space) if callable(parts.proposer) else parts.proposer
    target = lookup("proposer", config.proposer.name, PROPOSERS)
    proposer: Proposer = construct("proposer", target, config.proposer.options, space, score=score)
    return proposer


def _scorer(config: SearchConfig, space: SearchSpace, training: TrainingObjective) -> Score:
    for name in config.level0.proxies:
        lookup("level0.proxies", name, PROXIES)
    scorer: Score = ProxyScorer(
        space=space,
        names=config.level0.proxies,
        task=training.task,
        batch=partial(training.proxy_batch, config.level0.batch_size),
        seed=derive_seed(config.seed, "proxies"),
    )
    return scorer


def _order(config: SearchConfig) -> Any:
    how, names = config.level0.aggregate, list(config.level0.proxies)
    return lambda scores: aggregate(scores, how=how, names=names)
