"""All runs of a comparison, side by side in processes; what is done is kept and not done again.

Each finished run is one line of ``runs.jsonl`` in the folder of the comparison, written by this
process alone. A comparison that was stopped goes on where it was if it is asked for again.
"""

import json
import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path

from raynas.comparing.method import Method
from raynas.comparing.run import RunRecord, Step, run_method
from raynas.tabular.names import load_table
from raynas.tabular.table import AccuracyTable

Key = tuple[str, int, int]
"""Method, budget, seed."""


@dataclass(frozen=True, slots=True)
class Job:
    """One run to do."""

    method: Method
    budget: int
    seed: int

    @property
    def key(self) -> Key:
        """What tells it from the others."""
        return self.method.name, self.budget, self.seed


class Log:
    """The runs done so far, on disk.

    Args:
        path: A file of one JSON object a line; a torn last line is dropped.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> dict[Key, RunRecord]:
        """Return what is there, by key."""
        found: dict[Key, RunRecord] = {}
        if not self._path.exists():
            return found
        lines = self._path.read_bytes().splitlines(keepends=True)
        if lines and not lines[-1].endswith(b"\n"):
            with self._path.open("r+b") as file:
                file.truncate(sum(map(len, lines[:-1])))
            lines.pop()
        for line in lines:
            values = json.loads(line)
            steps = [Step(**step) for step in values.pop("steps")]
            record = RunRecord(**values, steps=steps)
            found[record.method, record.budget, record.seed] = record
        return found

    def append(self, record: RunRecord) -> None:
        """Add a run."""
        with self._path.open("a") as file:
            file.write(json.dumps(asdict(record)) + "\n")


def run_all(
    table_name: str,
    table: AccuracyTable,
    jobs: Sequence[Job],
    log: Log,
    *,
    processes: int | None = None,
    trust_code: bool = False,
    listener: Callable[[int, int], None] = lambda done, total: None,
) -> list[RunRecord]:
    """Do every job that is not in the log, and return the records of all, in the jobs' order.

    Args:
        table_name: What worker processes load it by.
        table: The same table, for a single process.
        jobs: What to run.
        log: Where finished runs are.
        processes: Runs side by side (None: one a core; 1: in this process).
        trust_code: As for `load_table`.
        listener: Told how many are done, and of how many.
    """
    done = log.read()
    left = [job for job in jobs if job.key not in done]
    listener(len(jobs) - len(left), len(jobs))
    count = min(processes or os.cpu_count() or 1, max(1, len(left)))
    records = (
        _here(table, left) if count == 1 else _in_processes(table_name, left, count, trust_code)
    )
    for record in records:
        log.append(record)
        done[record.method, record.budget, record.seed] = record
        listener(sum(job.key in done for job in jobs), len(jobs))
    return [done[job.key] for job in jobs]


def _here(table: AccuracyTable, jobs: Sequence[Job]) -> Iterator[RunRecord]:
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as in a process of its own: rankers are too small to share
    try:
        for job in jobs:
            yield run_method(table, job.method, job.budget, job.seed)
    finally:
        torch.set_num_threads(threads)


def _in_processes(
    table_name: str, jobs: Sequence[Job], count: int, trust_code: bool
) -> Iterator[RunRecord]:
    # Not forked: torch's threads do not survive it.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(
        count, mp_context=context, initializer=_prepare, initargs=(table_name, trust_code)
    )
    try:
        futures: list[Future[RunRecord]] = [pool.submit(_run, job) for job in jobs]
        for future in as_completed(futures):
            yield future.result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


_table: AccuracyTable | None = None


def _prepare(table_name: str, trust_code: bool) -> None:
    """Read the table once in a worker process; one thread each, as there is a process a core."""
    global _table
    import torch

    torch.set_num_threads(1)
    _table = load_table(table_name, trust_code=trust_code)


def _run(job: Job) -> RunRecord:
    assert _table is not None
    return run_method(_table, job.method, job.budget, job.seed)
