"""What is compared: a proposer and a policy under one name, ``proposer:policy``.

Level 0 is the bottom of NOSH's pyramid: a method has one only under the policy ``nosh``, and only
on a table with proxy columns. What a method's options are is set like any config key, after the
method's name: ``ranking:nosh.level0.mode=off``. ``name=ranking:nosh`` gives a variant a name.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from raynas.errors import ConfigError, UsageError, nearest
from raynas.proposing import PROPOSERS
from raynas.registry import lookup
from raynas.scheduling import POLICIES
from raynas.search_config import SearchConfig, load_search_config
from raynas.setup import Parts, set_up
from raynas.tabular.objective import TableObjective, TableScorer
from raynas.tabular.space import searchable
from raynas.tabular.table import AccuracyTable

_METHOD = re.compile(r"(?:(?P<name>[\w.+-]+)=)?(?P<proposer>[^:=]+):(?P<policy>[^:=]+)")


@dataclass(frozen=True, slots=True)
class Method:
    """One way to search.

    Attributes:
        name: What the results call it.
        config: All of it but budget and seed.
    """

    name: str
    config: SearchConfig

    def at(self, budget_epochs: int, seed: int) -> SearchConfig:
        """Return the config of one run."""
        return self.config.model_copy(update={"budget": str(budget_epochs), "seed": seed})

    def check(self, table: AccuracyTable, budget_epochs: int) -> None:
        """Make everything a run needs, and throw it away.

        Raises:
            UsageError: an option is wrong, or the budget too small for the policy.
        """
        try:
            set_up(self.at(budget_epochs, 0), self.parts(table), workers=1)
        except UsageError as error:
            raise ConfigError(f"{self.name}: {error}") from None

    def parts(self, table: AccuracyTable) -> Parts:
        """Return what stands in for training: the table.

        A method with a level 0 sees its proxies only; others, all there are.
        """
        level0 = self.config.level0
        names = level0.proxies if level0.mode != "off" else None
        return Parts(
            space=searchable(table),
            objective=TableObjective(table),
            score=TableScorer(table, names) if table.proxies else None,
        )


def parse_methods(
    text: str | Sequence[str], table: AccuracyTable, assignments: Sequence[str] = ()
) -> list[Method]:
    """Read ``ranking:nosh,random:full,mine=ranking:nosh``.

    Args:
        text: Methods, separated by commas.
        table: What they will run on: gives the levels and the proxies.
        assignments: ``key.sub=value`` for all methods, or ``METHOD.key.sub=value`` for one.

    Raises:
        ConfigError: no such proposer or policy, a name twice, an unknown key.
    """
    parts = text.split(",") if isinstance(text, str) else list(text)
    written = [part.strip() for part in parts if part.strip()]
    if not written:
        raise ConfigError("methods: name at least one, e.g. ranking:nosh,random:full")
    found: dict[str, tuple[str, str]] = {}
    for one in written:
        name, proposer, policy = _parse(one)
        if name in found:
            raise ConfigError(f"methods: {name!r} is listed twice")
        found[name] = (proposer, policy)
    own, common = _split(assignments, found)
    return [
        Method(name, _config(table, *pair, (*common, *own.get(name, ()))))
        for name, pair in found.items()
    ]


def _parse(text: str) -> tuple[str, str, str]:
    match = _METHOD.fullmatch(text)
    if match is None:
        raise ConfigError(
            f"methods: cannot read {text!r} (write proposer:policy, e.g. random:asha)"
        )
    proposer, policy = match["proposer"].strip(), match["policy"].strip()
    _check("proposer", proposer, PROPOSERS, text)
    _check("policy", policy, POLICIES, text)
    return match["name"] or f"{proposer}:{policy}", proposer, policy


def _check(kind: str, name: str, table: Mapping[str, Any], method: str) -> None:
    if name not in table:
        raise ConfigError(
            f"methods: {method!r}: unknown {kind} {name!r}{nearest(name, table)} "
            f"(allowed: {', '.join(sorted(table))})"
        )
    lookup(kind, name, table)


def _split(
    assignments: Sequence[str], names: Mapping[str, Any]
) -> tuple[dict[str, list[str]], list[str]]:
    """Sort assignments into those of one method (without its name) and those of all."""
    own: dict[str, list[str]] = {}
    common = []
    for assignment in assignments:
        name = next((n for n in names if assignment.startswith(f"{n}.")), None)
        if name is not None:
            own.setdefault(name, []).append(assignment.removeprefix(f"{name}."))
        elif ":" in assignment.partition("=")[0]:
            raise ConfigError(
                f"--set {assignment!r}: no such method (there are: {', '.join(names)})"
            )
        else:
            common.append(assignment)
    return own, common


def _config(
    table: AccuracyTable, proposer: str, policy: str, assignments: Sequence[str]
) -> SearchConfig:
    # A policy without a pyramid has no use for the lower levels, nor pays for looking at them.
    levels = _ladder(table) if policy != "full" else table.epochs[-1:]
    level0 = _level0(table) if policy == "nosh" and table.proxies else {"mode": "off"}
    defaults = {"levels": levels, "proposer": proposer, "policy": policy, "level0": level0}
    config = load_search_config(defaults, assignments=tuple(assignments))
    for epochs in config.levels:
        table.column(epochs)
    if config.level0.mode != "off":
        for name in config.level0.proxies:
            if name not in table.proxies:
                known = ", ".join(sorted(table.proxies)) or "none"
                raise ConfigError(
                    f"level0.proxies: {table.name} has no proxy {name!r}"
                    f"{nearest(name, table.proxies)} (has: {known})"
                )
    return config


def _ladder(table: AccuracyTable) -> tuple[int, ...]:
    """Return the levels of a pyramid on a table: its runs, or a curve halved again and again."""
    if table.separate_runs:
        return table.epochs
    levels, length = {table.epochs[-1]}, table.epochs[-1] // 2
    while length >= table.epochs[0]:
        levels.add(max(e for e in table.epochs if e <= length))
        length //= 2
    return tuple(sorted(levels))


def _level0(table: AccuracyTable) -> dict[str, Any]:
    """Return a level 0 of the whole table, which costs nothing, by the default proxies it has."""
    usual = [name for name in SearchConfig().level0.proxies if name in table.proxies]
    return {"initial": len(table), "proxies": usual or list(table.proxies)}
