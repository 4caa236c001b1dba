"""From a config to the objects of a search. Everything a user can get wrong is found here,
before anything is written or started.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from functools import partial
from typing import Any

from raynas.config import construct
from raynas.costing import cost_names, find_costs
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
from raynas.search_config import SearchConfig
from raynas.seeds import derive_seed
from raynas.spaces import SPACES
from raynas.spaces.architecture import Architecture
from raynas.spaces.costs import Costs
from raynas.spaces.limited import limited
from raynas.spaces.space import SearchSpace
from raynas.training.objective import TrainingObjective

Policy = SchedulingPolicy | Callable[[tuple[int, ...], Budget], SchedulingPolicy]
"""A policy, or a function from (levels, budget) to one."""

CostFunction = Callable[[Architecture], float]
"""What an architecture costs to run."""

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
        costs: Functions from an architecture to what it costs, by the word a config has for it
            (``params``, ``flops``, ``latency``).
    """

    space: SearchSpace | None = None
    policy: Policy | None = None
    proposer: MakeProposer | None = None
    objective: Objective | None = None
    score: Score | None = None
    costs: Mapping[str, CostFunction] | None = None

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
    costs: Costs | None = None
    """What a network may cost, and which costs are objectives; None: nothing was asked."""

    @property
    def limits(self) -> Mapping[str, float]:
        """Highest value of each limited cost, by name."""
        return self.costs.limits if self.costs is not None else {}


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
    _check_objectives(config, policy)
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
    costs = find_costs(config, parts.costs or {}, space, objective)
    within = limited(space, costs) if costs is not None else None
    proposer = _proposer(config, parts, within or space, score)
    mode = config.level0.mode if score is not None else "off"
    order = _order(config) if mode != "off" else None
    level0 = Level0(
        mode,
        config.level0.fraction,
        order,
        config.level0.initial,
        config.level0.top_share,
        costs.minimised if costs is not None else (),
    )
    name = config.proposer.name if parts.proposer is None else "own"
    answer = Answer(name, proposer, within)
    return Setup(config, space, policy, budget, answer, objective, level0, score, facts, costs)


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
    minimised = cost_names(config)
    policy: SchedulingPolicy = construct(
        "policy",
        target,
        config.policy.options,
        epochs_per_level=levels,
        budget=budget,
        **({"costs": minimised} if minimised else {}),
    )
    return policy


def _check_objectives(config: SearchConfig, policy: SchedulingPolicy) -> None:
    if len(config.objectives) > 1 and not getattr(policy, "heeds_costs", False):
        raise ConfigError(
            f"objectives: {', '.join(config.objectives)}: {type(policy).__name__} promotes by "
            "accuracy alone (policies for several objectives: nosh, full)"
        )


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
