"""Step by step through a supernet program, on one worker or several in lock-step.

Worker 0 asks for scores, tells the others, and keeps the books. Whoever runs the workers only has
to run `run_program` on each of them, as often as they die.
"""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from raynas.errors import DiskFullError, TrialError, WorkerError
from raynas.runs.supernet_books import (
    CHECKPOINT,
    Keep,
    SupernetBooks,
    newest_checkpoint,
    sole_writer,
    step_name,
)
from raynas.runs.supernet_journal import Record, read_supernet_journal
from raynas.selection.program import SupernetProgram
from raynas.selection.scoring import Request
from raynas.storage import Location
from raynas.supernets.candidates import BatchScores
from raynas.supernets.workers import Workers
from raynas.training.checkpoint import load_checkpoint


class Scoring(Protocol):
    """Scores candidates, and knows who did."""

    def __call__(self, request: Request) -> BatchScores:
        """Score the options of a request, in its order."""
        ...

    def begin(self) -> None:
        """Hear that a new step begins: the supernet may be another."""
        ...

    def took_part(self) -> list[str]:
        """Return who has scored anything in this step."""
        ...


class Nobody:
    """Scores nothing: for workers that are never asked."""

    def __call__(self, request: Request) -> BatchScores:
        """Raise `WorkerError`."""
        raise WorkerError("candidates are to be scored, but there is nobody to score them")

    def begin(self) -> None:
        """Do nothing."""

    def took_part(self) -> list[str]:
        """Return nobody."""
        return []


@dataclass(frozen=True, slots=True)
class Ending:
    """How a session ended.

    Attributes:
        failure: What no repetition changes; None if the program is finished.
        disk_full: What could not be written for want of room, if that is how it ended.
    """

    failure: str | None = None
    disk_full: str | None = None


@dataclass(frozen=True, slots=True)
class Place:
    """Where a session writes.

    Attributes:
        folder: The run folder, local or in a store.
        keep: Which checkpoints stay.
        session: A name for all starts of workers by one driver.
        facts: What the journal shall say of the workers.
    """

    folder: Location
    keep: Keep
    session: str
    facts: Record = field(default_factory=dict)


Report = Callable[[Record, Location | None], object]
"""Hears of a step on every worker: what it did, and on worker 0 the folder of its checkpoint."""


def run_program(
    program: SupernetProgram,
    workers: Workers,
    scoring: Scoring,
    place: Place,
    report: Report = lambda record, checkpoint: None,
) -> Ending:
    """Go on from the newest checkpoint to the end.

    Args:
        program: New; of the same run on every worker.
        workers: Those who run it.
        scoring: Of worker 0; the others may bring anything.
        place: Where to.
        report: Called after every step.

    Raises:
        CheckpointError: checkpoints are there, but none that can be read, or of another run.
        TrialError: training failed; if another start would only repeat it, it returns it instead.
        DiskFullError: no room for what is written; where there is one worker, it returns it.
        WorkerError: another worker is writing into the folder.
    """
    try:
        return _run_to_an_end(program, workers, scoring, place, report)
    except DiskFullError as error:
        if workers.size > 1:  # the others may wait for us
            raise
        return Ending(disk_full=str(error))


def _run_to_an_end(
    program: SupernetProgram, workers: Workers, scoring: Scoring, place: Place, report: Report
) -> Ending:
    with sole_writer(place.folder) if workers.rank == 0 else nullcontext() as check:
        known = workers.broadcast(_known_failure(place) if workers.rank == 0 else None)
        if known is not None:
            return Ending(known)
        step, notices = _restore(program, workers, place.folder)
        books = None
        if workers.rank == 0:
            facts = {"session": place.session, "workers": workers.size, **place.facts}
            books = SupernetBooks(
                place.folder,
                place.keep,
                from_step=step,
                facts=facts,
                notices=notices,
                check=check or (lambda: None),
            )
        try:
            _run(program, workers, scoring, books, report)
        except TrialError as error:
            if books is not None:
                books.fail(str(error))
            if workers.size > 1:  # the others may wait for us: all start again, and hear of it
                raise
            return Ending(str(error))
        finally:
            if books is not None:
                books.close()
    return Ending()


def _run(
    program: SupernetProgram,
    workers: Workers,
    scoring: Scoring,
    books: SupernetBooks | None,
    report: Report,
) -> None:
    shared = _Shared(workers, scoring)
    while not program.finished:
        scoring.begin()
        record = program.step(shared)
        checkpoint = None
        if books is not None:
            for decision in record["decisions"]:
                decision["workers"] = scoring.took_part() if decision["candidates"] else []
            if record["event"] == "epoch":
                record["mixing"] = mixing(program)
            if program.finished:
                record["architecture"] = program.result.text
            checkpoint = books.keep(record, program.save())
        report(record, checkpoint)


def _known_failure(place: Place) -> str | None:
    """Return the failure that an earlier start of this session ran into."""
    log, _ = read_supernet_journal(place.folder / "journal.jsonl")
    if log.failure is None or log.sessions[-1].get("session") != place.session:
        return None
    return str(log.failure["error"])


def _restore(program: SupernetProgram, workers: Workers, folder: Location) -> tuple[int, list[str]]:
    """Load the checkpoint that worker 0 finds newest; return its step, and what to say."""
    checkpoints = folder / "checkpoints"
    step, state, notices = newest_checkpoint(checkpoints) if workers.rank == 0 else (0, None, [])
    step = int(workers.broadcast(step))
    if workers.rank != 0 and step:
        state = load_checkpoint(checkpoints / step_name(step) / CHECKPOINT)
    if state is not None:
        program.load(state)
    return step, notices


class _Shared:
    """Worker 0 asks for scores and tells the others."""

    def __init__(self, workers: Workers, scoring: Scoring) -> None:
        self._workers = workers
        self._scoring = scoring

    def __call__(self, request: Request) -> BatchScores:
        if self._workers.size == 1:
            return self._scoring(request)
        said = None
        if self._workers.rank == 0:
            found = self._scoring(request)
            said = [found.correct.tolist(), found.loss.tolist(), found.count.tolist()]
        correct, loss, count = self._workers.broadcast(said)
        shape = (len(request.options), len(count))
        return BatchScores(
            np.array(correct, dtype=np.int64).reshape(shape),
            np.array(loss, dtype=np.float64).reshape(shape),
            np.array(count, dtype=np.int64),
        )


def mixing(program: SupernetProgram) -> list[Record]:
    """Return α, θ and what is decided, of each kind of cell, as JSON values."""
    training: Any = program.training
    decisions, alphas = training.decisions, training.method.alphas
    return [
        {
            "kind": kind.name,
            "alpha": _plain(alphas[number]),
            "theta": _plain(theta),
            "decided": list(decisions.ops[number]),
            "kept": [not decisions.gone(number, edge) for edge in range(kind.num_edges)],
        }
        for number, (kind, theta) in enumerate(zip(decisions.kinds, training.theta(), strict=True))
    ]


def _plain(rows: Any) -> list[list[float]]:
    """Return a tensor as nested lists, to the seven digits that a float32 has."""
    values = rows.detach().double().cpu().numpy()
    return [[float(f"{value:.7g}") for value in row] for row in values]
