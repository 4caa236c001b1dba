"""A space cut down to the architectures whose costs keep within limits.

Whoever draws from it, mutates in it or lists it meets no other. Where costs are known at once (a
table) the cut is listed; where each takes building or measuring a network, architectures are judged
one by one as they are met, and what lists or draws thousands takes the space without limits
(`bulk`), ranks it, and judges from the top down (`allows`).
"""

import math
from collections.abc import Hashable, Iterator
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from raynas.errors import ConfigError, SpaceError
from raynas.seeds import derive_rng
from raynas.spaces.architecture import Architecture
from raynas.spaces.costs import COUNTS, LATENCIES, Costs
from raynas.spaces.space import EnumerableSpace, Graph, SearchSpace, TaskShape

if TYPE_CHECKING:
    from torch import nn

SAMPLED = 1000
"""Architectures looked at before limits count as impossible."""

_MAX_LISTED = 500_000
_DRAWS = 100
"""Draws of `LimitedSpace.sample` before it walks from one that is known to be allowed."""
_STEPS = 20
_KEYS = {name: f"max_{word}" for word, name in COUNTS.items()} | dict.fromkeys(
    LATENCIES.values(), "max_latency_ms"
)


class LimitedSpace:
    """A space of which only what keeps within limits is drawn; it is not listed.

    Args:
        base: The space without limits.
        costs: What is limited, and how far.
        known: One that is allowed, for `sample` to fall back on.
    """

    def __init__(self, base: SearchSpace, costs: Costs, known: Architecture | None = None) -> None:
        self.base = base
        self.costs = costs
        self.name = base.name
        self.num_labels = base.num_labels
        self.known = known
        self._memo: dict[str, dict[str, float]] = {}

    def __getattr__(self, name: str) -> Any:
        # What only some spaces have (path_encoding, choices) is the base's.
        if name.startswith("_") or name == "base":
            raise AttributeError(name)
        return getattr(self.base, name)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_memo": {}}

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.base!r}, {self.costs.required})"

    # -- what costs decide ---------------------------------------------------------------------

    def cost(self, architecture: Architecture, name: str) -> float:
        """Return one cost, worked out once; NaN if it is not known.

        Raises:
            ConfigError: the source gives a negative cost.
        """
        known = self._memo.setdefault(architecture.text, {})
        if name not in known:
            value = self.costs.sources[name](architecture)
            if value < 0:
                raise ConfigError(f"constraints: {name} of {architecture} is {value:g}, below 0")
            known[name] = value
        return known[name]

    def costs_of(self, architecture: Architecture) -> dict[str, float]:
        """Return every cost by name."""
        return {name: self.cost(architecture, name) for name in self.costs.sources}

    def allows(self, architecture: Architecture) -> bool:
        """Return whether its costs are known and within the limits; asks the least dear first."""
        highest = self.costs.required
        return all(self.cost(architecture, name) <= highest[name] for name in highest)

    # -- the space -----------------------------------------------------------------------------

    def sample(self, rng: np.random.Generator) -> Architecture:
        """Draw one that is allowed: uniformly, by rejection.

        Where fewer than one in `_DRAWS` are, a random walk within the limits from one that is known
        takes the place of a uniform draw.

        Raises:
            SpaceError: none is found, and none is known.
        """
        for _ in range(_DRAWS):
            architecture = self.base.sample(rng)
            if self.allows(architecture):
                return architecture
        if self.known is None:
            raise SpaceError(f"{self.name}: none of {_DRAWS} draws is within the limits")
        at = self.known
        for _ in range(_STEPS):
            step = self.base.mutate(at, rng)
            at = step if self.allows(step) else at
        return at

    def mutate(self, architecture: Architecture, rng: np.random.Generator) -> Architecture:
        """Draw a neighbour that is allowed (any architecture, where there is none)."""
        for _ in range(_STEPS):
            found = self.base.mutate(architecture, rng)
            if self.allows(found):
                return found
        near = self.neighbours(architecture)
        return near[int(rng.integers(len(near)))] if near else self.sample(rng)

    def neighbours(self, architecture: Architecture) -> list[Architecture]:
        """Return those one choice away that are allowed, in the base's order."""
        return [near for near in self.base.neighbours(architecture) if self.allows(near)]

    def parse(self, text: str) -> Architecture:
        """Read an architecture of the base, allowed or not."""
        return self.base.parse(text)

    def key(self, architecture: Architecture) -> str:
        """Return the base's key."""
        return self.base.key(architecture)

    def graph(self, architecture: Architecture) -> Graph:
        """Return the base's graph."""
        return self.base.graph(architecture)

    def build(self, architecture: Architecture, task: TaskShape) -> "nn.Module":
        """Build the base's network."""
        return self.base.build(architecture, task)


class ListedSpace(LimitedSpace):
    """A limited space whose costs are known at once, so that it can be listed.

    Texts of one key compute the same function. Where costs are objectives the cheapest of them
    stands for all, and nothing else is drawn or listed.
    """

    base: EnumerableSpace

    def __getstate__(self) -> dict[str, Any]:
        listed = ("_allowed", "_cheapest", "_listed")
        return {k: v for k, v in super().__getstate__().items() if k not in listed}

    def __len__(self) -> int:
        return len(self._listed)

    def __iter__(self) -> Iterator[Architecture]:
        return iter(self._listed)

    @cached_property
    def _allowed(self) -> tuple[Architecture, ...]:
        return tuple(a for a in self.base if self.allows(a))

    @cached_property
    def _cheapest(self) -> dict[str, Architecture]:
        cheapest: dict[str, tuple[tuple[float, ...], Architecture]] = {}
        for architecture in self._allowed:
            price = tuple(self.cost(architecture, name) for name in self.costs.minimised)
            key = self.key(architecture)
            if key not in cheapest or price < cheapest[key][0]:
                cheapest[key] = price, architecture
        return {key: architecture for key, (_, architecture) in cheapest.items()}

    @cached_property
    def _listed(self) -> tuple[Architecture, ...]:
        return tuple(self._cheapest.values()) if self.costs.minimised else self._allowed

    def _stands_for(self, architecture: Architecture) -> Architecture:
        return self._cheapest[self.key(architecture)] if self.costs.minimised else architecture

    def sample(self, rng: np.random.Generator) -> Architecture:
        """Draw a text that is allowed, uniformly, and return what stands for it."""
        return self._stands_for(self._allowed[int(rng.integers(len(self._allowed)))])

    def mutate(self, architecture: Architecture, rng: np.random.Generator) -> Architecture:
        """Draw a neighbour (any architecture, where there is none)."""
        near = self.neighbours(architecture)
        return near[int(rng.integers(len(near)))] if near else self.sample(rng)

    def neighbours(self, architecture: Architecture) -> list[Architecture]:
        """Return what stands for those one choice away, none twice, in the base's order."""
        near = map(self._stands_for, super().neighbours(architecture))
        return [found for found in dict.fromkeys(near) if found != architecture]


def bulk(space: SearchSpace) -> SearchSpace:
    """Return the space to list or to draw thousands from: without limits, where judging is dear.

    What comes from it must be asked for with `allows` before it is proposed.
    """
    if isinstance(space, LimitedSpace) and not isinstance(space, ListedSpace):
        return space.base
    return space


def allows(space: SearchSpace, architecture: Architecture) -> bool:
    """Return whether an architecture of `bulk(space)` is in `space`."""
    return not isinstance(space, LimitedSpace) or space.allows(architecture)


def limited(base: SearchSpace, costs: Costs) -> LimitedSpace:
    """Return the part of a space that keeps within limits.

    Raises:
        ConfigError: nothing does, as far as can be seen: says how many of 1,000 sampled
            architectures pass each limit, and the smallest cost seen.
    """
    try:
        hash((base, costs))
    except TypeError:
        return _limited.__wrapped__(base, costs)
    return _limited(cast(Hashable, base), costs)


@lru_cache(maxsize=4)  # what a process works out about a space serves its next run too
def _limited(base: Hashable, costs: Costs) -> LimitedSpace:
    assert isinstance(base, SearchSpace)
    if isinstance(base, EnumerableSpace) and len(base) <= _MAX_LISTED and costs.instant:
        listed = ListedSpace(base, costs)
        if not len(listed):
            raise ConfigError(_impossible(listed, _few(base)))
        return listed
    space = LimitedSpace(base, costs)
    looked_at = _few(base)
    known = next((a for a in looked_at if space.allows(a)), None)
    if known is None:
        raise ConfigError(_impossible(space, looked_at))
    space.known = known
    return space


def _few(base: SearchSpace) -> list[Architecture]:
    """Return `SAMPLED` architectures, always the same, or all of a smaller space."""
    if isinstance(base, EnumerableSpace) and len(base) <= SAMPLED:
        return list(base)
    rng = derive_rng(0, "limits", base.name)
    return [base.sample(rng) for _ in range(SAMPLED)]


def _impossible(space: LimitedSpace, looked_at: list[Architecture]) -> str:
    parts = []
    for name, highest in space.costs.required.items():
        values = np.array([space.cost(architecture, name) for architecture in looked_at])
        known = values[~np.isnan(values)]
        smallest = f"smallest {name} {known.min():,.10g}" if known.size else f"no {name} known"
        what = f"{_KEYS[name]} {highest:,.10g}: " if math.isfinite(highest) else ""
        passing = int((known <= highest).sum())
        parts.append(f"{what}{passing} of {len(looked_at):,} pass, {smallest}")
    return (
        f"constraints: no architecture sampled from {space.name} keeps within the limits "
        f"({'; '.join(parts)})"
    )
