"""Machines that go: told apart from processes that die, since no architecture is to blame."""

from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

MOST_NODES_LOST = 10
"""How many nodes a piece of work may lose with nothing done in between: it may be the cause."""

_SIGNS = ("its node has died", "node is dead", "node was terminated", "preempted")


def lost_node(what_happened: object) -> bool:
    """Return whether an error of Ray, or its text, tells of a node that is gone."""
    if isinstance(what_happened, ray.exceptions.RayActorError) and what_happened.preempted:
        return True
    words = str(what_happened).lower()
    return any(sign in words for sign in _SIGNS)


def beside_the_driver() -> dict[str, Any]:
    """Return options that keep an actor or task on this node, with which the run is lost anyway."""
    here = ray.get_runtime_context().get_node_id()
    return {"scheduling_strategy": NodeAffinitySchedulingStrategy(here, soft=False)}
