"""When what is decided: the published schedule of perturbation-based selection (§3.3).

Each event decides one edge (later: one node) of every kind of cell, and some epochs of training
follow it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from raynas.supernets.decisions import Decisions

Stage = Literal["op", "topology"]


@dataclass(frozen=True, slots=True)
class Event:
    """Something is decided, then the supernet trains on.

    Attributes:
        stage: Whether an edge's op is decided, or which edges a node keeps.
        epochs: Epochs of training that follow.
    """

    stage: Stage
    epochs: int


def schedule(num_edges: int, num_nodes: int, tune_epochs: int) -> tuple[Event, ...]:
    """Return the events that decide so many edges, then so many nodes, of each kind of cell.

    As published, `tune_epochs` (5) pass between two events and 1 after the last: 17 events in 81
    epochs for the cells of DARTS. Where no node has edges to spare, the last but one event is
    followed by one epoch less: 6 events, at epochs 0, 5, 10, 15, 20 and 24 of 25, in NAS-Bench-201.
    """
    stages: list[Stage] = ["op"] * num_edges
    stages += ["topology"] * num_nodes
    epochs = [tune_epochs] * len(stages)
    if stages and tune_epochs:
        epochs[-1] = 1
        if not num_nodes and len(epochs) > 1:
            epochs[-2] = tune_epochs - 1
    return tuple(Event(stage, count) for stage, count in zip(stages, epochs, strict=True))


def schedule_for(decisions: Decisions, tune_epochs: int) -> tuple[Event, ...]:
    """Return the events that decide all that is still open."""
    kinds = range(len(decisions.kinds))
    return schedule(
        max(len(decisions.undecided_edges(kind)) for kind in kinds),
        max(len(decisions.undecided_nodes(kind)) for kind in kinds),
        tune_epochs,
    )


class Timetable:
    """How far a schedule has been carried out.

    Args:
        events: What there is to do.
        decisions: What is decided so far.

    Attributes:
        events: Likewise.
    """

    def __init__(self, events: Sequence[Event], decisions: Decisions) -> None:
        self.events = tuple(events)
        self._decisions = decisions
        self._event = 0  # the one being carried out
        self._next_kind = 0  # to be decided in it
        self._epochs = 0  # trained since
        self._settle()

    @property
    def over(self) -> bool:
        """Whether everything is done."""
        return self._event == len(self.events)

    @property
    def stage(self) -> Stage:
        """What is being decided."""
        return self.events[self._event].stage

    @property
    def epochs_left(self) -> int:
        """Epochs that have yet to be trained."""
        return sum(event.epochs for event in self.events[self._event :]) - self._epochs

    def open_kinds(self) -> list[int]:
        """Return the kinds of cells that have yet to decide; none: it is time to train."""
        if self.over:
            return []
        kinds = range(self._next_kind, len(self._decisions.kinds))
        return [kind for kind in kinds if self._undecided(kind)]

    def decided(self, kind: int) -> None:
        """Take note that a kind of cell has decided."""
        self._next_kind = kind + 1
        self._settle()

    def trained(self) -> None:
        """Take note of one epoch of training."""
        self._epochs += 1
        self._settle()

    def _settle(self) -> None:
        """Go on to the next event once nothing is left to do in this one."""
        while not self.over and not self.open_kinds():
            if self._epochs < self.events[self._event].epochs:
                return
            self._event, self._next_kind, self._epochs = self._event + 1, 0, 0

    def _undecided(self, kind: int) -> bool:
        if self.stage == "op":
            return bool(self._decisions.undecided_edges(kind))
        return bool(self._decisions.undecided_nodes(kind))

    def state_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return {
            "events": [[event.stage, event.epochs] for event in self.events],
            "position": [self._event, self._next_kind, self._epochs],
        }

    @classmethod
    def restored(cls, state: dict[str, Any], decisions: Decisions) -> "Timetable":
        """Return the timetable of `state_dict`, on decisions that are restored already."""
        table = cls([], decisions)
        table.events = tuple(Event(stage, epochs) for stage, epochs in state["events"])
        table._event, table._next_kind, table._epochs = state["position"]
        return table
