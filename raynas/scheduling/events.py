"""What can happen to a pool: frozen values, each with one JSON form.

The pool changes by these events and in no other way, so a journal of them *is* the run: replayed,
it gives the same pool back.
"""

from dataclasses import asdict, dataclass, field
from typing import Any

from raynas.errors import RunFolderError
from raynas.plain import check_fields

Metrics = dict[str, float]


@dataclass(frozen=True, slots=True)
class Newcomer:
    """An architecture a proposal brought.

    Attributes:
        text: Canonical text.
        key: Identity used to de-duplicate.
        proxies: Zero-cost scores, higher is better.
        costs: See `Candidate.costs`; journals of searches without constraints hold none.
    """

    text: str
    key: str
    proxies: Metrics = field(default_factory=dict)
    costs: Metrics = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Proposed:
    """A proposal was used up. One event, so that a round is in the journal whole or not at all.

    Attributes:
        round: Number of the round, from 0.
        source: Name of the proposer.
        admitted: Enter the pool and are owed training to level 1; ids follow in this order.
        scored: Enter level 0: only their proxies are known.
        exhausted: Nothing is left to propose.
        proposer_state: What the proposer remembers, for a resume.
        policy_state: What the policy remembers beyond the pool, for a resume.
        fit: Facts of the predictor's refit, if there was one.
    """

    round: int
    source: str
    admitted: list[Newcomer]
    scored: list[Newcomer] = field(default_factory=list)
    exhausted: bool = False
    proposer_state: dict[str, Any] = field(default_factory=dict)
    policy_state: dict[str, Any] = field(default_factory=dict)
    fit: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Started:
    """A job was committed: the candidate is owed training up to `to_epoch`."""

    id: int
    to_epoch: int


@dataclass(frozen=True, slots=True)
class Reported:
    """A candidate finished an epoch. Reaching the job's `to_epoch` ends the job."""

    id: int
    epoch: int
    metrics: Metrics
    time_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Interrupted:
    """A running candidate stopped short of its job (kill, lost worker, deadline).

    With `owed` the job stays committed and is handed out again; without, it is given up and the
    candidate rests where it is (a user's own Tune scheduler stopped it).
    """

    id: int
    owed: bool = True


@dataclass(frozen=True, slots=True)
class Failed:
    """Training raised or diverged: the architecture's own fault, recorded with the reason."""

    id: int
    error: str


Event = Proposed | Started | Reported | Interrupted | Failed

_BY_NAME: dict[str, type] = {
    cls.__name__.lower(): cls for cls in (Proposed, Started, Reported, Interrupted, Failed)
}


_KINDS = {
    **dict.fromkeys(("id", "round", "epoch", "to_epoch"), "whole number"),
    **dict.fromkeys(("source", "error", "text", "key"), "text"),
    **dict.fromkeys(("metrics", "proxies", "costs"), "numbers by name"),
    **dict.fromkeys(("admitted", "scored"), "list"),
    **dict.fromkeys(("proposer_state", "policy_state"), "mapping"),
    **dict.fromkeys(("exhausted", "owed"), "true or false"),
    "fit": "mapping or nothing",
    "time_s": "number",
}
"""What each field of an event must be."""


def event_to_json(event: Event) -> dict[str, Any]:
    """Return the event as a JSON object: ``{"event": name, **fields}``."""
    return {"event": type(event).__name__.lower(), **asdict(event)}


def event_from_json(value: dict[str, Any]) -> Event:
    """Read an event back; raises `RunFolderError` on an unknown name or field."""
    fields = dict(value)
    name = fields.pop("event", None)
    cls = _BY_NAME.get(str(name))
    if cls is None:
        raise RunFolderError(f"journal holds an unknown event {name!r}")
    try:
        check_fields(fields, _KINDS)
        if cls is Proposed:
            for part in ("admitted", "scored"):
                fields[part] = [_newcomer(newcomer) for newcomer in fields[part]]
        if cls is Reported:
            fields["metrics"] = {k: float(v) for k, v in fields["metrics"].items()}
        event: Event = cls(**fields)
    except (TypeError, KeyError, AttributeError, ValueError) as error:
        raise RunFolderError(f"journal holds a malformed {name!r} event: {error}") from None
    return event


def _newcomer(fields: dict[str, Any]) -> Newcomer:
    check_fields(fields, _KINDS)
    return Newcomer(**fields)
