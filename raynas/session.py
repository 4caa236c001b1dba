"""One session of a search: from nothing, or from a journal, to its end or an interruption."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from raynas.errors import ConfigError
from raynas.runs.folder import RunFolder
from raynas.runs.journal import Entry, Journal, read_journal, recorded
from raynas.runs.views import Views
from raynas.scheduling.budget import Budget
from raynas.scheduling.candidate import Candidate
from raynas.scheduling.events import Event, Proposed
from raynas.scheduling.front import front_rows
from raynas.scheduling.pool import Pool
from raynas.scheduling.search import Search, replay
from raynas.search_config import SearchConfig
from raynas.setup import Parts, Setup, set_up
from raynas.spaces.architecture import Architecture
from raynas.storage import Location

if TYPE_CHECKING:
    from ray.tune.schedulers import TrialScheduler

Listener = Callable[[Search, Budget], None]
"""Hears of every change while a search runs."""


@dataclass(frozen=True, slots=True)
class SearchResult:
    """What a search found.

    Attributes:
        architecture: The most accurate of the highest level reached (None: nothing was trained).
        accuracy: Its validation accuracy there, a fraction.
        finished: False if the search was interrupted and can be resumed.
        pool: Every architecture admitted, with all that is known of it.
        folder: The run folder (None if the search kept none).
        notices: What workers had to say that is no error.
        front: Where there are several objectives: who nobody of the highest level dominates, most
            accurate first, as in `best.json` (see `raynas.scheduling.front.front_rows`).
    """

    architecture: Architecture | None
    accuracy: float | None
    finished: bool
    pool: Pool
    folder: Location | None = None
    notices: list[str] = field(default_factory=list)
    front: list[dict[str, Any]] | None = None

    def summary(self) -> dict[str, Any]:
        """Return the result as JSON values."""
        best = self.pool.best()
        return {
            "architecture": self.architecture.text if self.architecture else None,
            "accuracy": self.accuracy,
            "epochs": best.epochs if best else None,
            "finished": self.finished,
            "num_trained": sum(candidate.epochs > 0 for candidate in self.pool),
            "num_failed": self.pool.num_failed,
            "spent_epochs": self.pool.spent_epochs,
            "elapsed_s": round(self.pool.elapsed_s, 3),
            "reached": self.pool.population(),
            "rounds": self.pool.rounds,
            "folder": str(self.folder) if self.folder else None,
            **({"front": self.front} if self.front is not None else {}),
        }


Drive = Callable[[Setup, Search, Callable[[], None]], list[str]]
"""Runs a search on an engine, calling the function whenever the pool changed; returns notices."""


class Session:
    """One session of a search: from nothing, or from a journal, to its end or an interruption."""

    def __init__(
        self,
        config: SearchConfig,
        parts: Parts,
        folder: RunFolder,
        listener: Listener | None,
        *,
        resumed: bool = False,
    ) -> None:
        self._config = config
        self._parts = parts
        self._folder = folder
        self._listener = listener
        self._resumed = resumed

    def run(
        self, engine: str, address: str | None, scheduler: "TrialScheduler | None"
    ) -> SearchResult:
        """Run it on `engine` until the search is finished or interrupted."""
        if engine == "simulate":
            return self._run(_simulate, self._config.workers)
        if engine != "ray":
            raise ConfigError(f"engine: {engine!r} must be 'ray' or 'simulate'")
        from raynas.engine.search_run import RunOptions, run_search
        from raynas.engine.session import Resources, capacity, connected, has_gpus

        self._set_up(1)  # complain before Ray is started
        if self._resumed and self._folder.read_manifest().get("finished"):
            result = self._run(lambda *_: [], self._config.workers)  # makes the views anew
            if result.finished:  # else its journal has lost lines since
                return result
        asked = self._config.resources
        resources = Resources(asked.cpus, asked.gpus or 0.0)

        def drive(setup: Setup, search: Search, notify: Callable[[], None]) -> list[str]:
            return run_search(
                search,
                setup.objective,
                setup.answer,
                RunOptions(
                    self._folder.location,
                    self._config.workers,
                    resources,
                    scratch=self._folder.path if local else None,
                ),
                score=setup.score,
                report_epochs=getattr(setup.objective, "report_epochs", None),
                scheduler=scheduler,
                notify=notify,
            )

        with connected(address, self._config.workers, resources) as local:
            if asked.gpus is None:
                resources = Resources(asked.cpus, float(has_gpus()))
                resolved = asked.model_copy(update={"gpus": resources.gpus})
                self._config = self._config.model_copy(update={"resources": resolved})
            workers = self._config.workers or max(1, capacity(resources))
            return self._run(drive, workers)

    def _set_up(self, workers: int) -> Setup:
        return set_up(self._config, self._parts, workers=workers)

    def _run(self, drive: Drive, workers: int | None) -> SearchResult:
        setup = self._set_up(workers or 1)
        with self._folder.in_need_of_room():
            if self._resumed:
                self._folder.lock()
            else:
                facts = {
                    "seed": self._config.seed,
                    "data": setup.facts,
                    "own_parts": self._parts.given(),
                }
                if setup.costs is not None:
                    facts["costs"] = setup.costs.describe()
                self._folder.create(self._config.model_dump(mode="json"), facts)
            try:
                # Read under the lock: whoever held it until now may just have written.
                path = self._folder.journal
                history, size = read_journal(path) if path.exists() else ([], 0)
                with Journal(path, size) as journal:
                    return self._search(drive, setup, journal, history)
            finally:
                self._folder.unlock()

    def _search(
        self, drive: Drive, setup: Setup, journal: Journal, history: list[Entry]
    ) -> SearchResult:
        pool = Pool(setup.config.levels)
        minimised = setup.costs.minimised if setup.costs is not None else ()

        def describe(best: Candidate) -> dict[str, Any]:
            rebuild = _how_to_rebuild(setup, best)
            if not minimised:
                return rebuild
            objectives = ["accuracy", *minimised]
            return {"objectives": objectives, "front": front_rows(pool, minimised), **rebuild}

        views = Views(self._folder, pool, describe)

        def emit(event: Event, elapsed_s: float) -> None:
            journal.append(event, elapsed_s)
            if isinstance(event, Proposed):
                # Checkpoints are called by the numbers that it gives: before any is written.
                self._folder.push("journal.jsonl")
            views.hear(event, elapsed_s)

        search = Search(
            setup.space,
            setup.policy,
            pool,
            seed=setup.config.seed,
            level0=setup.level0,
            emit=emit,
            report_epochs=getattr(setup.objective, "report_epochs", None),
            limits=setup.limits,
        )
        for _ in recorded(Pool(setup.config.levels), history, self._folder.journal):
            pass  # nothing but a journal that can be is replayed
        replay(search, [event for event, _ in history])
        pool.elapsed_s = history[-1][1] if history else 0.0
        views.replay(history)
        search.resume()

        def notify() -> None:
            views.refresh()
            if self._listener is not None:
                self._listener(search, setup.budget)

        try:
            notices = drive(setup, search, notify)
        finally:
            views.refresh(force=True)
        finished = search.finished
        self._folder.note(finished=finished)
        best = pool.best()
        return SearchResult(
            architecture=setup.space.parse(best.text) if best else None,
            accuracy=best.accuracy if best else None,
            finished=finished,
            pool=pool,
            folder=self._folder.location,
            notices=notices,
            front=front_rows(pool, minimised) if minimised else None,
        )


def _simulate(setup: Setup, search: Search, notify: Callable[[], None]) -> list[str]:
    from raynas.scheduling.simulate import simulate

    simulate(
        search,
        setup.objective,
        setup.answer,
        score=setup.score,
        workers=setup.config.workers or 1,
    )
    return []


def _how_to_rebuild(setup: Setup, best: Candidate) -> dict[str, Any]:
    config = setup.config
    return {
        "space": config.space.model_dump(),
        "task": setup.facts.get("task"),
        "seed": config.seed,
        "checkpoint": f"checkpoints/{best.id:06d}.pt",
        "rebuild": "raynas.load('best.json')",
    }
