"""Which architectures next: what a proposer must answer (Protocol)."""

from typing import Any, Protocol

import numpy as np

from raynas.scheduling.snapshot import PoolSnapshot
from raynas.spaces.architecture import Architecture


class Proposer(Protocol):
    """Proposes architectures from what the pool has learnt.

    Subclass it to inherit the members that do nothing.

    Attributes:
        fit_record: Facts of the latest refit (numbers and strings), written to `ranker.parquet`;
            None if nothing was fitted.
        weighed_proxies: Whether the latest proposal's order has taken in the proxies that were
            known: level 0 then chooses by those only among what had none.
    """

    fit_record: dict[str, Any] | None = None
    weighed_proxies: bool = False

    def propose(
        self, pool: PoolSnapshot, count: int, rng: np.random.Generator
    ) -> list[Architecture]:
        """Return `count` architectures whose keys are neither in the pool nor equal to each other.

        Fewer only if the space holds no more. Every draw comes from `rng`.
        """
        ...

    def state_dict(self) -> dict[str, Any]:
        """Return what it must remember between two calls, as JSON values."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        return
