"""The things raynas does, each as one function from a config (or objects) to a result.

Objects are passed; names exist only in configs. The command line calls nothing else.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from raynas.config import SearchConfig, load_search_config, validate
from raynas.errors import ConfigError, RunFolderError
from raynas.runs.folder import RunFolder
from raynas.runs.journal import Entry, Journal, read_journal
from raynas.runs.views import Views
from raynas.scheduling.budget import Budget
from raynas.scheduling.candidate import Candidate
from raynas.scheduling.events import Event
from raynas.scheduling.pool import Pool
from raynas.scheduling.search import Search, replay
from raynas.spaces.architecture import Architecture

if TYPE_CHECKING:
    from ray.tune.schedulers import TrialScheduler

    from raynas.setup import Parts, Setup

Listener = Callable[[Search, Budget], None]
"""Hears of every change while a search runs."""


def _deaf(search: Search, budget: Budget) -> None:
    return


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
            "reached": _reached(self.pool),
            "rounds": self.pool.rounds,
            "folder": str(self.folder) if self.folder else None,
        }


def search(
    *,
    config: Path | Mapping[str, Any] | SearchConfig | None = None,
    preset: str | None = None,
    overrides: Mapping[str, Any] | None = None,
    assignments: tuple[str, ...] = (),
    parts: "Parts | None" = None,
    scheduler: "TrialScheduler | None" = None,
    engine: Literal["ray", "simulate"] = "ray",
    out: Path | str | None = None,
    address: str | None = None,
    listener: Listener = _deaf,
) -> SearchResult:
    """Search for an architecture with RANK-NOSH (thesis ch. 4).

    Args:
        config: A YAML file, a mapping, or a `SearchConfig`; what it leaves out has defaults.
        preset: Defaults to start from.
        overrides: Keys that replace the config's, e.g. ``{"budget": "300", "data": "digits"}``.
        assignments: The same as text, ``"policy.per_round=5"``.
        parts: Objects of your own (space, policy, proposer, objective).
        scheduler: A Ray Tune scheduler of your own that decides in the policy's place; the policy
            should then be ``full``.
        engine: ``"ray"``, or ``"simulate"`` for one process and a simulated clock.
        out: Run folder; None makes a new one below ``runs/``.
        address: A running Ray cluster; None uses `RAY_ADDRESS`, or starts a local Ray.
        listener: Called whenever the pool changed.

    Raises:
        UsageError: something asked for cannot be done; nothing was written.
        WorkerError: no worker can work.
        TrialError: every newcomer of a round failed.
    """
    from raynas.setup import Parts

    if not isinstance(config, SearchConfig):
        config = load_search_config(
            config, preset=preset, overrides=overrides, assignments=assignments
        )
    folder = RunFolder(out if out is not None else _new_folder())
    folder.check_free()
    session = _Session(config, parts or Parts(), folder, [], 0, listener)
    return session.run(engine, address, scheduler)


def resume(
    run: Path | str,
    *,
    parts: "Parts | None" = None,
    scheduler: "TrialScheduler | None" = None,
    engine: Literal["ray", "simulate"] = "ray",
    workers: int | None = None,
    address: str | None = None,
    trust_code: bool = False,
    listener: Listener = _deaf,
) -> SearchResult:
    """Carry on an interrupted search to the same budget.

    Args:
        run: The run folder.
        parts: The objects that were passed to `search`, if any were.
        scheduler: Likewise.
        engine: Likewise.
        workers: Trials side by side from now on (None: as in the config).
        address: A running Ray cluster.
        trust_code: Import the code outside raynas that the folder's config names. Without it a
            run folder can name nothing but raynas' own.
        listener: Called whenever the pool changed.

    Raises:
        UsageError: the folder holds no run, a running one, or names code that is not trusted.
    """
    from raynas.setup import Parts

    folder = RunFolder(run)
    stored = folder.read_config()
    config = validate(SearchConfig, stored, where=f"{folder.config}: ")
    if not trust_code:
        _refuse_foreign_code(config, folder)
    if workers is not None:
        config = config.model_copy(update={"workers": workers})
    missing = [k for k in folder.read_manifest().get("own_parts", []) if not _given(parts, k)]
    if missing:
        raise RunFolderError(
            f"{folder.path} was searched with objects of your own ({', '.join(missing)}): "
            "resume it from Python with the same `parts`"
        )
    history, size = read_journal(folder.journal) if folder.journal.exists() else ([], 0)
    session = _Session(config, parts or Parts(), folder, history, size, listener)
    return session.run(engine, address, scheduler)


def status(run: Path | str) -> dict[str, Any]:
    """Return where a search is, as JSON values; reads the folder only.

    Raises:
        RunFolderError: the folder holds no run, or its journal cannot be read.
    """
    folder = RunFolder(run)
    config = validate(SearchConfig, folder.read_config(), where=f"{folder.config}: ")
    history = read_journal(folder.journal)[0] if folder.journal.exists() else []
    pool = Pool(config.levels)
    fit: dict[str, Any] | None = None
    for event, elapsed_s in history:
        pool.record(event)
        pool.elapsed_s = elapsed_s
        fit = getattr(event, "fit", None) or fit
    best = pool.best()
    finished = bool(folder.read_manifest().get("finished"))
    state = "running" if folder.is_locked() else "done" if finished else "interrupted"
    return {
        "state": state,
        "budget": config.budget,
        "spent": f"{pool.spent_epochs} epochs of a budget of {config.budget}",
        "spent_epochs": pool.spent_epochs,
        "elapsed_s": round(pool.elapsed_s, 3),
        "levels": list(config.levels),
        "reached": _reached(pool),
        "rounds": pool.rounds,
        "num_failed": pool.num_failed,
        "architecture": best.text if best else None,
        "accuracy": best.accuracy if best else None,
        "fit": fit,
    }


class _Session:
    """One session of a search: from nothing, or from a journal, to its end or an interruption."""

    def __init__(
        self,
        config: SearchConfig,
        parts: "Parts",
        folder: RunFolder,
        history: list[Entry],
        journal_size: int,
        listener: Listener,
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
        if engine == "simulate":
            return self._run(lambda setup, search: _simulate(setup, search), self._config.workers)
        if engine != "ray":
            raise ConfigError(f"engine: {engine!r} must be 'ray' or 'simulate'")
        from raynas.engine.search_run import RunOptions, run_search
        from raynas.engine.session import Resources, capacity, connected, has_gpus

        self._set_up(1)  # complain before Ray is started
        asked = self._config.resources
        resources = Resources(asked.cpus, asked.gpus or 0.0)

        def drive(setup: "Setup", search: Search) -> list[str]:
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

    def _set_up(self, workers: int) -> "Setup":
        from raynas.setup import set_up

        return set_up(self._config, self._parts, workers=workers)

    def _run(
        self,
        drive: Callable[["Setup", Search], list[str]],
        workers: int | None,
    ) -> SearchResult:
        setup = self._set_up(workers or 1)
        if self._history or self._folder.config.exists():
            self._folder.lock()
        else:
            kinds = ("space", "policy", "proposer", "objective")
            own = [kind for kind in kinds if _given(self._parts, kind)]
            facts = {"seed": self._config.seed, "data": setup.facts, "own_parts": own}
            self._folder.create(self._config.model_dump(mode="json"), facts)
        try:
            with Journal(self._folder.journal, self._journal_size) as journal:
                return self._search(drive, setup, journal)
        finally:
            self._folder.unlock()

    def _search(
        self, drive: Callable[["Setup", Search], list[str]], setup: "Setup", journal: Journal
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

    def _notify(self, search: Search, setup: "Setup") -> None:
        self._views.refresh()
        self._listener(search, setup.budget)


def _simulate(setup: "Setup", search: Search) -> list[str]:
    from raynas.scheduling.simulate import simulate

    simulate(
        search,
        setup.objective,
        setup.answer,
        score=setup.score,
        workers=setup.config.workers or 1,
    )
    return []


def _how_to_rebuild(setup: "Setup", best: Candidate) -> dict[str, Any]:
    config = setup.config
    return {
        "space": config.space.model_dump(),
        "task": setup.facts.get("task"),
        "seed": config.seed,
        "checkpoint": f"checkpoints/{best.id:06d}.pt",
        "rebuild": f"raynas.load({str(Path('best.json'))!r})",
    }


def _reached(pool: Pool) -> list[int]:
    return [pool.reached(level) for level in range(1, pool.num_levels + 1)]


def _given(parts: "Parts | None", name: str) -> bool:
    return parts is not None and getattr(parts, name) is not None


def _new_folder() -> Path:
    stamp = time.strftime("%Y%m%d-%H%M%S")
    path = Path("runs") / f"search-{stamp}"
    number = 2
    while path.exists():
        path = Path("runs") / f"search-{stamp}-{number}"
        number += 1
    return path


def _refuse_foreign_code(config: SearchConfig, folder: RunFolder) -> None:
    for kind in ("space", "policy", "proposer"):
        name = getattr(config, kind).name
        if ":" in name and not name.startswith("raynas."):
            raise ConfigError(
                f"{folder.config}: {kind} {name!r} is code outside raynas; "
                "pass --trust-code to import it"
            )
