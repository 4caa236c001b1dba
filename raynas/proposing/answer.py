"""A proposer as the answer to a search's requests: a pure function of what it is sent.

The proposer's state comes in with the request and goes out with the proposals, so an actor that
holds one may die and be started again between any two calls.

Here limits are kept, whoever proposes: what is over one is dropped and made up for.
"""

from typing import Any

import numpy as np

from raynas.proposing.learning import one_per_key
from raynas.proposing.proposer import Proposer
from raynas.proposing.random import draw_new
from raynas.scheduling.events import Metrics
from raynas.scheduling.search import Proposals, Request
from raynas.scheduling.snapshot import PoolSnapshot
from raynas.spaces.architecture import Architecture
from raynas.spaces.limited import LimitedSpace

_ASK_FOR = (4, 16)
"""Times as many as are wanted, when a proposer's answer was over the limits."""


class Answer:
    """Answers requests with a proposer.

    Args:
        name: What the pool records as the newcomers' source.
        proposer: Ours or a user's.
        space: What keeps within the search's limits, if it has any.
    """

    def __init__(self, name: str, proposer: Proposer, space: LimitedSpace | None = None) -> None:
        self.name = name
        self.proposer = proposer
        self.space = space

    def __call__(
        self, request: Request, snapshot: PoolSnapshot, state: dict[str, Any]
    ) -> Proposals:
        """Propose; every draw derives from the request's seed."""
        if state:
            self.proposer.load_state_dict(state)
        rng = np.random.default_rng(request.seed)
        architectures = self.proposer.propose(snapshot, request.count, rng)
        costs: dict[str, Metrics] = {}
        if self.space is not None:
            architectures = self._within(self.space, snapshot, architectures, request.count, rng)
            costs = {a.text: self.space.costs_of(a) for a in architectures}
        return Proposals(
            self.name,
            architectures,
            self.proposer.state_dict(),
            fit=getattr(self.proposer, "fit_record", None),
            weighed=getattr(self.proposer, "weighed_proxies", False),
            costs=costs,
        )

    def _within(
        self,
        space: LimitedSpace,
        snapshot: PoolSnapshot,
        proposed: list[Architecture],
        count: int,
        rng: np.random.Generator,
    ) -> list[Architecture]:
        """Return `count` of different keys within the limits; fewer only if there are no more.

        A proposer made for the limited space proposes no others. One that knows nothing of limits
        is asked again for more; what is still short is drawn at random.
        """
        taken = snapshot.keys()
        kept: dict[str, Architecture] = {}
        for times in (*_ASK_FOR, None):
            for architecture in proposed:
                key = space.key(architecture)
                new = key not in taken and key not in kept
                if len(kept) < count and new and space.allows(architecture):
                    kept[key] = architecture
            if len(kept) == count or times is None or all(map(space.allows, proposed)):
                break
            proposed = self.proposer.propose(snapshot, times * count, rng)
        if len(kept) < count:
            kept |= one_per_key(space, draw_new(space, taken | kept.keys(), count - len(kept), rng))
        return list(kept.values())
