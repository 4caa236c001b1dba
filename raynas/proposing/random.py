"""Random search: architectures drawn uniformly, none twice."""

import numpy as np

from raynas.proposing.proposer import Proposer
from raynas.scheduling.snapshot import PoolSnapshot
from raynas.spaces.architecture import Architecture
from raynas.spaces.limited import allows, bulk
from raynas.spaces.space import EnumerableSpace, SearchSpace

_MANY = 4
"""One over the share of a space that is drawn by listing and shuffling it: collecting the last of
many takes ever more draws."""

_TRIES = 200
"""Draws per architecture wanted before a space counts as used up, or is listed whole."""


class RandomProposer(Proposer):
    """Draws from the space; an enumerable one is exhausted exactly."""

    def __init__(self, space: SearchSpace) -> None:
        self._space = space

    def propose(
        self, pool: PoolSnapshot, count: int, rng: np.random.Generator
    ) -> list[Architecture]:
        """Return `count` new architectures; see `Proposer.propose`."""
        return draw_new(self._space, pool.keys(), count, rng)


def draw_new(
    space: SearchSpace, taken: set[str], count: int, rng: np.random.Generator
) -> list[Architecture]:
    """Draw `count` architectures with distinct keys outside `taken`; fewer if there are no more.

    A space that can be listed gives its last ones too, also where it has limits; of others, only
    what `_TRIES` draws per architecture find.
    """
    found: dict[str, Architecture] = {}
    whole = bulk(space)
    listed_at_once = isinstance(whole, EnumerableSpace) and _MANY * count >= len(whole)
    for _ in range(0 if listed_at_once else _TRIES * count):
        architecture = space.sample(rng)
        key = space.key(architecture)
        if key not in taken:
            found.setdefault(key, architecture)
        if len(found) == count:
            break
    if len(found) < count and isinstance(whole, EnumerableSpace):
        listed = list(whole)
        for index in rng.permutation(len(listed)):
            if len(found) == count:
                break
            key = space.key(listed[index])
            if key not in taken and key not in found and allows(space, listed[index]):
                found[key] = listed[index]
    return list(found.values())
