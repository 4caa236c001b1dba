"""A proposer as the answer to a search's requests: a pure function of what it is sent.

The proposer's state comes in with the request and goes out with the proposals, so an actor that
holds one may die and be started again between any two calls.
"""

from typing import Any

import numpy as np

from raynas.proposing.proposer import Proposer
from raynas.scheduling.search import Proposals, Request
from raynas.scheduling.snapshot import PoolSnapshot


class Answer:
    """Answers requests with a proposer.

    Args:
        name: What the pool records as the newcomers' source.
        proposer: Ours or a user's.
    """

    def __init__(self, name: str, proposer: Proposer) -> None:
        self.name = name
        self.proposer = proposer

    def __call__(
        self, request: Request, snapshot: PoolSnapshot, state: dict[str, Any]
    ) -> Proposals:
        """Propose; every draw derives from the request's seed."""
        if state:
            self.proposer.load_state_dict(state)
        rng = np.random.default_rng(request.seed)
        architectures = self.proposer.propose(snapshot, request.count, rng)
        return Proposals(
            self.name,
            architectures,
            self.proposer.state_dict(),
            fit=getattr(self.proposer, "fit_record", None),
            weighed=getattr(self.proposer, "weighed_proxies", False),
        )
