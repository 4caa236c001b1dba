"""The part of a search space that a table has measured: nothing else can be proposed from it."""

from collections import deque
from collections.abc import Iterator
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from raynas.errors import InvalidArchitectureError
from raynas.spaces.architecture import Architecture
from raynas.spaces.space import EnumerableSpace, Graph, SearchSpace, TaskShape
from raynas.tabular.table import AccuracyTable

if TYPE_CHECKING:
    from torch import nn

_REACH = 3
"""Choices away that neighbours are looked for in a sparse table."""


class TableSpace:
    """A space cut down to the architectures of a table; can always be listed.

    Neighbours are the measured architectures one choice away; where the table is so sparse that
    there is none, those two choices away, then three.

    Args:
        table: Which architectures there are, and the space they come from.
    """

    def __init__(self, table: AccuracyTable) -> None:
        self.base: SearchSpace = table.space
        self.name = self.base.name
        self.num_labels = self.base.num_labels
        self._texts = table.texts
        self._near: dict[str, list[Architecture]] = {}

    def __getattr__(self, name: str) -> Any:
        # What only some spaces have (path_encoding, choices) is the base's.
        if name.startswith("_") or name == "base":
            raise AttributeError(name)
        return getattr(self.base, name)

    def __repr__(self) -> str:
        return f"TableSpace({self.base!r}, {len(self)} architectures)"

    def __len__(self) -> int:
        return len(self._texts)

    def __iter__(self) -> Iterator[Architecture]:
        return iter(self._listed)

    @cached_property
    def _listed(self) -> tuple[Architecture, ...]:
        return tuple(Architecture(self.name, text) for text in self._texts)

    @cached_property
    def _by_key(self) -> dict[str, Architecture]:
        by_key: dict[str, Architecture] = {}
        for architecture in self._listed:
            by_key.setdefault(self.base.key(architecture), architecture)
        return by_key

    def sample(self, rng: np.random.Generator) -> Architecture:
        """Draw a row uniformly."""
        return self._listed[int(rng.integers(len(self)))]

    def mutate(self, architecture: Architecture, rng: np.random.Generator) -> Architecture:
        """Draw a neighbour uniformly (any architecture of the table, where there is none)."""
        near = self.neighbours(architecture)
        return near[int(rng.integers(len(near)))] if near else self.sample(rng)

    def neighbours(self, architecture: Architecture) -> list[Architecture]:
        """Return the nearest measured architectures, in the base space's order."""
        if architecture.text not in self._near:
            self._near[architecture.text] = self._search_near(architecture)
        return self._near[architecture.text]

    def _search_near(self, architecture: Architecture) -> list[Architecture]:
        own = self.base.key(architecture)
        seen, ring = {own}, deque([architecture])
        for _ in range(_REACH):
            found: dict[str, Architecture] = {}
            outer: deque[Architecture] = deque()
            for centre in ring:
                for near in self.base.neighbours(centre):
                    key = self.base.key(near)
                    if key not in seen:
                        seen.add(key)
                        outer.append(near)
                        if key in self._by_key:
                            found[key] = self._by_key[key]
            if found:
                return list(found.values())
            ring = outer
        return []

    def parse(self, text: str) -> Architecture:
        """Read an architecture of the table."""
        architecture = self.base.parse(text)
        if architecture.text not in self._rows:
            raise InvalidArchitectureError(f"{architecture.text} is not in the table")
        return architecture

    @cached_property
    def _rows(self) -> frozenset[str]:
        return frozenset(self._texts)

    def key(self, architecture: Architecture) -> str:
        """Return the base space's key."""
        return self.base.key(architecture)

    def graph(self, architecture: Architecture) -> Graph:
        """Return the base space's graph."""
        return self.base.graph(architecture)

    def path_encoding(self, architecture: Architecture) -> NDArray[np.int8]:
        """Return the base space's path encoding."""
        encoding: NDArray[np.int8] = self.base.path_encoding(architecture)  # type: ignore[attr-defined]
        return encoding

    def build(self, architecture: Architecture, task: TaskShape) -> "nn.Module":
        """Build the base space's network."""
        return self.base.build(architecture, task)


@lru_cache(maxsize=4)
def searchable(table: AccuracyTable) -> SearchSpace:
    """Return the space to search in: the table's own where it is measured whole, else the cut.

    The same object for the same table, so that what is worked out about it is kept between runs.
    """
    space = table.space
    whole = isinstance(space, EnumerableSpace) and len(space) == len(table)
    return space if whole else TableSpace(table)
