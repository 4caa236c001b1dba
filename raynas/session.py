"""One session of a search: from nothing, or from a journal, to its end or an interruption."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from raynas.config import SearchConfig
from raynas.errors import ConfigError
from raynas.runs.folder import RunFolder
from raynas.runs.journal import Entry, Journal
from raynas.runs.views import Views
from raynas.scheduling.budget import Budget
from raynas.scheduling.candidate import Candidate
from raynas.scheduling.events import Event
from raynas.scheduling.pool import Pool
from raynas.scheduling.search import Search, replay
from raynas.setup import Parts, Setup, set_up
from raynas.spaces.architecture import Architecture

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
    """

    architecture: Architecture | None
    accuracy: float | None
    finished: bool
    pool: Pool
    folder: Path | None = None
    notices: list[str] = field(default_factory=list)

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
        }


class Session:
    """One session of a search: from nothing, or from a journal, to its end or an interruption."""

    def __init__(
        self,
        config: SearchConfig,
        parts: Parts,
        folder: RunFolder,
        history: list[Entry],
        journal_size: int,
        listener: Listener | None,
    ) -> None:
        self._config = config
        self._parts = parts
        self._folder = folder
        self._history = history
        self._journal_size = journal_size
        self._listener = listener

    def run(
        self, engine: str, address: str | None, scheduler: "TrialScheduler | None"
    ) -> SearchResult:
        """Run it on `engine` until the search is finished or interrupted."""
        if engine == "simulate":
            return self._run(lambda setup, search: _simulate(setup, search), self._config.workers)
        if engine != "ray":
            raise ConfigError(f"engine: {engine!r} must be 'ray' or 'simulate'")
        from raynas.engine.search_run import RunOptions, run_search
        from raynas.engine.session import Resources, capacity, connected, has_gpus

        self._set_up(1)  # complain before Ray is started
        asked = self._config.resources
        resources = Resources(asked.cpus, asked.gpus or 0.0)

        def drive(setup: Setup, search: Search) -> list[str]:
            return run_search(
                search,
                setup.objective,
                setup.answer,
                RunOptions(self._folder.path, self._config.workers, resources),
                score=setup.score,
                report_epochs=getattr(setup.objective, "report_epochs", None),
                scheduler=scheduler,
                notify=lambda: self._notify(search, setup),
            )

        with connected(address, self._config.workers, resources):
            if asked.gpus is None:
                resources = Resources(asked.cpus, float(has_gpus()))
                resolved = asked.model_copy(update={"gpus": resources.gpus})
                self._config = self._config.model_copy(update={"resources": resolved})
            workers = self._config.workers or max(1, capacity(resources))
            return self._run(drive, workers)

    def _set_up(self, workers: int) -> Setup:
        return set_up(self._config, self._parts, workers=workers)

    def _run(
        self,
        drive: Callable[[Setup, Search], list[str]],
        workers: int | None,
    ) -> SearchResult:
        setup = self._set_up(workers or 1)
        if self._history or self._folder.config.exists():
            self._folder.lock()
        else:
            kinds = ("space", "policy", "proposer", "objective")
            own = [kind for kind in kinds if given(self._parts, kind)]
            facts = {"seed": self._config.seed, "data": setup.facts, "own_parts": own}
            self._folder.create(self._config.model_dump(mode="json"), facts)
        try:
            with Journal(self._folder.journal, self._journal_size) as journal:
                return self._search(drive, setup, journal)
        finally:
            self._folder.unlock()

    def _search(
        self, drive: Callable[[Setup, Search], list[str]], setup: Setup, journal: Journal
    ) -> SearchResult:
        pool = Pool(setup.config.levels)
        self._views = Views(self._folder, pool, lambda best: _how_to_rebuild(setup, best))

        def emit(event: Event, elapsed_s: float) -> None:
            journal.append(event, elapsed_s)
            self._views.hear(event, elapsed_s)

        search = Search(
            setup.space,
            setup.policy,
            pool,
            seed=setup.config.seed,
            level0=setup.level0,
            emit=emit,
            report_epochs=getattr(setup.objective, "report_epochs", None),
        )
        self._replay(search)
        notices: list[str] = []
        try:
            notices = drive(setup, search)
        finally:
            self._views.refresh(force=True)
        finished = search.finished
        self._folder.note(finished=finished)
        best = pool.best()
        return SearchResult(
            architecture=setup.space.parse(best.text) if best else None,
            accuracy=best.accuracy if best else None,
            finished=finished,
            pool=pool,
            folder=self._folder.path,
            notices=notices,
        )

    def _replay(self, search: Search) -> None:
        replay(search, [event for event, _ in self._history])
        if self._history:
            search.pool.elapsed_s = self._history[-1][1]
        self._views.replay(self._history)
        search.resume()

    def _notify(self, search: Search, setup: Setup) -> None:
        self._views.refresh()
        if self._listener is not None:
            self._listener(search, setup.budget)


def _simulate(setup: Setup, search: Search) -> list[str]:
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
        "rebuild": f"raynas.load({str(Path('best.json'))!r})",
    }


def given(parts: Parts, name: str) -> bool:
    """Return whether the user brought an object of that kind."""
    return getattr(parts, name) is not None
