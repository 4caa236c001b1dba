"""From a config to the costs a search heeds: limits, further objectives, where figures come from.

In this order: a function passed as an object; a file or a function that the config names; what the
objective knows itself (tables); counted or timed on networks built for the objective's task.
"""

from collections.abc import Callable, Mapping
from typing import Any

from raynas.errors import ConfigError, nearest
from raynas.networks.priced import Counted, Timed
from raynas.registry import load_object
from raynas.scheduling.objective import Objective
from raynas.search_config import OBJECTIVES, SearchConfig
from raynas.spaces.architecture import Architecture
from raynas.spaces.costs import COUNTS, LATENCIES, Costs, CostSource, FunctionCost
from raynas.spaces.space import SearchSpace, TaskShape
from raynas.tabular.costs import is_file, read_costs

WORDS = OBJECTIVES[1:]
"""Costs, by the word a config has for them."""


def cost_names(config: SearchConfig) -> tuple[str, ...]:
    """Return the names of the costs that are objectives beside accuracy."""
    return tuple(_name(config, word) for word in WORDS if word in config.objectives)


def foreign_sources(config: SearchConfig) -> list[str]:
    """Return the code outside raynas that the config's sources of costs name."""
    sources = (getattr(config.constraints, word) for word in WORDS)
    return [source for source in sources if source is not None and not is_file(source)]


def find_costs(
    config: SearchConfig,
    functions: Mapping[str, Callable[[Architecture], float]],
    space: SearchSpace,
    objective: Objective,
) -> Costs | None:
    """Return the costs that are limited or minimised; None if there are none.

    Args:
        config: Says which, and perhaps where from.
        functions: The user's own, by word (see `WORDS`).
        space: Builds networks, and says what a file's rows are.
        objective: May know costs (``costs``) or the task networks are built for (``task``).

    Raises:
        ConfigError: a cost that nothing here can say.
        DataError: something is wrong with a file.
    """
    for word in functions:
        if word not in WORDS:
            raise ConfigError(
                f"costs: unknown {word!r}{nearest(word, WORDS)} (allowed: {', '.join(WORDS)})"
            )
    limits = {}
    for word in WORDS:
        limit = getattr(config.constraints, f"max_{word}" + ("_ms" if word == "latency" else ""))
        if limit is not None:
            limits[_name(config, word)] = float(limit)
    minimised = cost_names(config)
    sources: dict[str, CostSource] = {}
    for word in WORDS:
        if _name(config, word) in (*limits, *minimised):
            sources |= _sources(config, word, functions.get(word), space, objective)
    if not sources:
        return None
    instant_first = sorted(sources.items(), key=lambda item: not item[1].instant)
    return Costs(dict(instant_first), limits, minimised)


def _name(config: SearchConfig, word: str) -> str:
    """Return the name of the cost that a word of the config stands for."""
    return COUNTS.get(word) or LATENCIES[config.constraints.latency_batch]


def _sources(
    config: SearchConfig,
    word: str,
    function: Callable[[Architecture], float] | None,
    space: SearchSpace,
    objective: Objective,
) -> dict[str, CostSource]:
    """Return where a cost comes from; where latencies are timed, two: one for each batch."""
    name, named = _name(config, word), getattr(config.constraints, word)
    if function is not None:
        return {name: FunctionCost(function, getattr(function, "__qualname__", repr(function)))}
    if named is not None:
        return {name: _named(f"constraints.{word}", named, name, space)}
    own: Mapping[str, CostSource] = getattr(objective, "costs", {})
    if name in own:
        return {name: own[name]}
    task: TaskShape | None = getattr(objective, "task", None)
    if task is None:
        raise ConfigError(
            f"constraints.{word}: the {word} of an architecture are not known here; say where they "
            f"come from: --set constraints.{word}=FILE[:COLUMN] or module:function"
        )
    if word in COUNTS:
        return {name: Counted(space, task, name)}
    timed = {LATENCIES[batch]: Timed(space, task, batch) for batch in LATENCIES}
    return {name: timed[name], **timed}


def _named(key: str, source: str, name: str, space: SearchSpace) -> CostSource:
    if is_file(source):
        return read_costs(source, name, space)
    if ":" not in source:
        raise ConfigError(
            f"{key}: {source!r} is neither a .parquet or .csv file (PATH or PATH:COLUMN) nor "
            "module:function"
        )
    function: Any = load_object(key, source)
    if not callable(function):
        raise ConfigError(f"{key}: {source!r} is no function")
    return FunctionCost(function, source)
