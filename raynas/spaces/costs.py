"""What an architecture costs to run, known before it is trained, and how much is too much.

A cost is a number with a name: ``num_params``, ``flops`` (multiply-accumulates of one image),
``latency_ms`` (one image) and ``latency_ms_b32`` (32 images). Lower is better. Where it comes from
(counted, measured, looked up, a function of the user's) is its source's business.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from raynas.spaces.architecture import Architecture

COUNTS = {"params": "num_params", "flops": "flops"}
"""Costs that are counted on a network, by the word a config has for them."""

LATENCIES = {1: "latency_ms", 32: "latency_ms_b32"}
"""Names of latencies, by the number of images in a batch."""


class CostSource(Protocol):
    """Says what one cost of an architecture is.

    Attributes:
        instant: Whether asking it for every architecture of a listed space takes next to no time.
    """

    @property
    def instant(self) -> bool:
        """See above."""
        ...

    def __call__(self, architecture: Architecture) -> float:
        """Return the cost; NaN if it is not known."""
        ...

    def describe(self) -> Any:
        """Return where the figures come from, as JSON values, for a run's manifest."""
        ...


@dataclass(frozen=True, eq=False)
class Costs:
    """The costs a search heeds.

    Attributes:
        sources: By name of the cost, the least dear first.
        limits: Highest value allowed, by name.
        minimised: Names of those that are objectives beside accuracy.
    """

    sources: Mapping[str, CostSource]
    limits: Mapping[str, float] = field(default_factory=dict)
    minimised: tuple[str, ...] = ()

    def _identity(self) -> tuple[object, ...]:
        return tuple(self.sources.items()), tuple(self.limits.items()), self.minimised

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Costs) and self._identity() == other._identity()

    def __hash__(self) -> int:
        return hash(self._identity())

    @property
    def instant(self) -> bool:
        """Whether every architecture of a listed space can be judged at once."""
        return all(self.sources[name].instant for name in self.required)

    @property
    def required(self) -> dict[str, float]:
        """Highest value of each cost that decides whether an architecture may be used.

        Where a cost is an objective without a limit any value will do, but it must be known.
        """
        highest = {name: self.limits.get(name, math.inf) for name in self.sources}
        return {n: v for n, v in highest.items() if n in self.limits or n in self.minimised}

    def describe(self) -> dict[str, Any]:
        """Return the manifest's account of every source."""
        return {name: source.describe() for name, source in self.sources.items()}


@dataclass(frozen=True, slots=True)
class FunctionCost:
    """A cost that a function of the user's gives.

    Attributes:
        function: From an architecture to the cost.
        name: How the user calls it.
    """

    function: Any
    name: str
    instant: bool = False

    def __call__(self, architecture: Architecture) -> float:
        """Return what the function says."""
        return float(self.function(architecture))

    def describe(self) -> str:
        """Return the function's name."""
        return f"function {self.name}"
