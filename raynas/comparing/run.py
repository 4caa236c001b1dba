"""One search on a table: what the incumbent was worth at every number of epochs spent."""

import time
from dataclasses import dataclass, field

from raynas.comparing.method import Method
from raynas.scheduling.candidate import Candidate
from raynas.scheduling.events import Event, Reported, Started
from raynas.scheduling.pool import Pool
from raynas.scheduling.search import Search
from raynas.scheduling.simulate import simulate
from raynas.setup import set_up
from raynas.tabular.table import AccuracyTable


@dataclass(frozen=True, slots=True)
class Step:
    """The incumbent changed.

    Attributes:
        epochs: Epochs spent by then, a promotion paying the difference ("as if resumed").
        epochs_in_full: Likewise, every training charged from its first epoch: what it costs where
            the table's fidelities are separate runs.
        architecture: The incumbent's text.
        accuracy: What it was chosen by: accuracy at its level.
        report: What it is judged by.
    """

    epochs: int
    epochs_in_full: int
    architecture: str
    accuracy: float
    report: float


@dataclass(slots=True)
class RunRecord:
    """One run of one method.

    Attributes:
        method: Its name.
        budget: Epochs it could spend.
        seed: Its seed.
        steps: Every change of the incumbent, in order.
        epochs: Epochs spent.
        epochs_in_full: See `Step`.
        num_trained: Architectures trained.
        num_results: Reports of an accuracy.
        wall_s: Seconds the simulation took.
    """

    method: str
    budget: int
    seed: int
    steps: list[Step] = field(default_factory=list)
    epochs: int = 0
    epochs_in_full: int = 0
    num_trained: int = 0
    num_results: int = 0
    wall_s: float = 0.0

    def at(self, epochs: int, *, in_full: bool = False) -> Step | None:
        """Return the incumbent once `epochs` were spent; None before there is one."""
        found = None
        for step in self.steps:
            if (step.epochs_in_full if in_full else step.epochs) > epochs:
                break
            found = step
        return found


class _Recorder:
    """Hears the events of a search and notes when the incumbent changes."""

    def __init__(self, table: AccuracyTable, pool: Pool, record: RunRecord) -> None:
        self._table = table
        self._pool = pool
        self._record = record
        self._incumbent: tuple[int, int] | None = None

    def __call__(self, event: Event, elapsed_s: float) -> None:
        record, separate = self._record, self._table.separate_runs
        if isinstance(event, Started) and not separate:
            record.epochs_in_full += self._pool[event.id].origin  # trained once more
        if not isinstance(event, Reported):
            return
        paid = self._pool.spent_epochs - record.epochs
        record.epochs += paid
        record.num_results += 1
        record.epochs_in_full += event.epoch if separate else paid
        if self._incumbent is None or self._challenges(self._pool[event.id]):
            self._note_incumbent()

    def _note_incumbent(self) -> None:
        best = self._pool.best()
        if best is None or self._incumbent == (best.id, best.level):
            return
        self._incumbent = (best.id, best.level)
        record = self._record
        report = float(self._table.report[self._table.rows[best.text]])
        record.steps.append(
            Step(record.epochs, record.epochs_in_full, best.text, best.accuracy, report)
        )

    def _challenges(self, candidate: Candidate) -> bool:
        assert self._incumbent is not None
        incumbent = self._pool[self._incumbent[0]]
        if candidate.level != incumbent.level:
            return candidate.level > incumbent.level
        level = candidate.level
        return level > 0 and candidate.rank_key(level) <= incumbent.rank_key(level)


def run_method(table: AccuracyTable, method: Method, budget: int, seed: int) -> RunRecord:
    """Run a method once, in this process, without any training.

    Args:
        table: Measured networks.
        method: How to search.
        budget: Epochs, a promotion paying the difference.
        seed: Every draw derives from it.

    Raises:
        UsageError: an option of the method is wrong, or the budget too small for it.
    """
    started = time.perf_counter()
    config = method.at(budget, seed)
    setup = set_up(config, method.parts(table), workers=1)
    pool = Pool(config.levels)
    record = RunRecord(method.name, budget, seed)
    search = Search(
        setup.space,
        setup.policy,
        pool,
        seed=seed,
        level0=setup.level0,
        emit=_Recorder(table, pool, record),
        report_epochs=list(config.levels),
        limits=setup.limits,
    )
    simulate(search, setup.objective, setup.answer, score=setup.score)
    record.num_trained = sum(1 for candidate in pool if candidate.epochs)
    record.wall_s = time.perf_counter() - started
    return record
