"""Newcomers from a proposer actor and proxy actors, without ever blocking Tune's loop.

The proposer (ranking predictor) lives in one actor; zero-cost proxies are computed by a few
long-lived ones (starting a worker costs seconds, scoring milliseconds). Both are pure functions of
what they are sent, so Ray may restart them and repeat the call. They hold no CPU of their own: in
sync mode they work while the trials' CPUs rest.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import ray

from raynas.errors import WorkerError
from raynas.scheduling.events import Metrics
from raynas.scheduling.search import Proposals, Request, Search
from raynas.scheduling.simulate import Propose, Score
from raynas.scheduling.snapshot import PoolSnapshot
from raynas.spaces.architecture import Architecture

_LOST_IN_A_ROW = 3
"""How often actors may be lost for good, with nothing answered in between, and be made anew."""

_ACTOR_OPTIONS = {"num_cpus": 0, "max_restarts": 3, "max_task_retries": 3}


class ProposerActor:
    """Holds a proposer and whatever it caches between calls."""

    def __init__(self, propose: Propose) -> None:
        self._propose = propose

    def propose(self, request: Request, snapshot: PoolSnapshot, state: dict[str, Any]) -> Proposals:
        """Answer one request."""
        return self._propose(request, snapshot, state)


class ProxyActor:
    """Holds the proxies' data and scores architectures."""

    def __init__(self, score: Score) -> None:
        self._score = score

    def score(self, architectures: Sequence[Architecture]) -> list[Mapping[str, float]]:
        """Return the proxies of each architecture."""
        return list(self._score(architectures))


@dataclass(slots=True)
class _Answer:
    """A request on its way: first proposals, then their proxies."""

    request: Request
    proposing: Any
    proposals: Proposals | None = None
    scoring: dict[Any, list[Architecture]] = field(default_factory=dict)
    proxies: dict[str, Metrics] = field(default_factory=dict)


class Newcomers:
    """Answers a search's requests for newcomers with Ray actors.

    Args:
        search: Whose requests.
        propose: Answers a request (sent to the proposer actor once).
        score: Zero-cost proxies, or None if level 0 is off.
        num_scorers: Proxy actors to start when the first proxies are due.
    """

    def __init__(
        self, search: Search, propose: Propose, score: Score | None, num_scorers: int
    ) -> None:
        self._search = search
        self._score = score
        self._num_scorers = max(1, num_scorers)
        self._propose = propose
        self._proposer: Any = _start(ProposerActor, propose)
        self._scorers: list[Any] = []
        self._lost = 0
        self._answer: _Answer | None = None

    @property
    def busy(self) -> bool:
        """Whether an answer is on its way."""
        return self._answer is not None

    def poll(self, *, wait_s: float = 0.0) -> None:
        """Ask if newcomers are wanted; take in what has arrived, waiting at most `wait_s`.

        Raises:
            WorkerError: the proposer or a proxy raised, or their actor cannot live.
        """
        if self._answer is None:
            request = self._search.request()
            if request is None:
                return
            call = self._proposer.propose.remote(
                request, self._search.snapshot(), self._search.proposer_state
            )
            self._answer = _Answer(request, call)
        try:
            self._advance(self._answer, wait_s)
        except (ray.exceptions.RayTaskError, ray.exceptions.RayActorError) as error:
            self._answer = None
            self._search.withdraw_request()
            if not self._may_start_again(error):
                raise WorkerError(f"proposing newcomers failed:\n{error}") from error

    def _may_start_again(self, error: Exception) -> bool:
        """Make the actors anew, if they were lost once too often for Ray but not for us."""
        if not isinstance(error, ray.exceptions.RayActorError) or error.actor_init_failed:
            return False
        self._lost += 1
        if self._lost > _LOST_IN_A_ROW:
            return False
        self.close()
        self._proposer = _start(ProposerActor, self._propose)
        return True

    def poll_until(self, enough: Callable[[], bool]) -> None:
        """Poll until `enough()` or nothing is on its way and nobody is wanted."""
        while not enough():
            self.poll(wait_s=1.0)
            if not self.busy and not enough() and self._search.finished:
                return

    def _advance(self, answer: _Answer, wait_s: float) -> None:
        deadline = time.monotonic() + wait_s
        if answer.proposals is None:
            ready, _ = ray.wait([answer.proposing], timeout=wait_s)
            if not ready:
                return
            answer.proposals = ray.get(answer.proposing)
            if answer.request.score:
                self._send_to_scorers(answer, answer.proposals)
        while answer.scoring:
            left_s = max(0.0, deadline - time.monotonic())
            ready, _ = ray.wait(list(answer.scoring), timeout=left_s)
            if not ready:
                return
            for call in ready:
                architectures = answer.scoring.pop(call)
                for architecture, proxies in zip(architectures, ray.get(call), strict=True):
                    answer.proxies[architecture.text] = dict(proxies)
        self._answer = None
        self._lost = 0
        self._search.admit(answer.request, answer.proposals, answer.proxies)

    def _send_to_scorers(self, answer: _Answer, proposals: Proposals) -> None:
        unknown = self._search.unscored(proposals)
        if unknown and not self._scorers:
            if self._score is None:
                raise WorkerError("level 0 is on but there is nothing to score proxies with")
            self._scorers = [_start(ProxyActor, self._score) for _ in range(self._num_scorers)]
        # Several small pieces per actor keep them equally busy; a lost one repeats only its own.
        size = max(1, min(16, -(-len(unknown) // (4 * self._num_scorers))))
        pieces = [unknown[i : i + size] for i in range(0, len(unknown), size)]
        for index, piece in enumerate(pieces):
            scorer = self._scorers[index % len(self._scorers)]
            answer.scoring[scorer.score.remote(piece)] = piece

    def close(self) -> None:
        """End the actors."""
        for actor in [self._proposer, *self._scorers]:
            ray.kill(actor)
        self._scorers = []


def _start(cls: type, *args: Any) -> Any:
    remote: Any = ray.remote  # its overloads know no options given as a mapping
    return remote(**_ACTOR_OPTIONS)(cls).remote(*args)
