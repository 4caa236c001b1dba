"""What worker 0 of a supernet run writes: a record a step, then a checkpoint of the step.

In that order, so a step whose checkpoint is there is in the journal. A step that was cut off
between the two is done again, and its record replaced. One worker writes at a time, whoever started
it: a worker of a driver that was killed may live a little longer than the driver.
"""

import fcntl
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, Protocol

from raynas.errors import CheckpointError, RunFolderError, WorkerError
from raynas.runs.journal import RecordFile
from raynas.runs.lease import Lease
from raynas.runs.remote import StoreRecords
from raynas.runs.supernet_journal import Record, SupernetLog, read_supernet_journal
from raynas.storage import Location, StorePath, remove_tree
from raynas.training.checkpoint import load_checkpoint, save_checkpoint

CHECKPOINT = "supernet.pt"
_WAIT_FOR_WRITER_S = 120.0
_ASK_EVERY_S = 0.2
_SIGN_EVERY_S = 5.0
_GONE_AFTER_S = 30.0


class Keep(Protocol):
    """Which checkpoints stay (`raynas.supernet_config.CheckpointsConfig`)."""

    @property
    def keep_last(self) -> int:
        """The latest so many."""
        ...

    @property
    def keep_every(self) -> int:
        """Every so many epochs of the search; 0: none of them."""
        ...


class SupernetBooks:
    """The journal and the checkpoints of one session, in the hands of worker 0.

    Args:
        folder: The run folder, local or in a store.
        keep: Which checkpoints stay.
        from_step: Steps that the workers have restored.
        facts: What else the journal shall say of the session.
        notices: What there is to say that is no error.
        check: Raises if another worker has become the writer.
    """

    def __init__(
        self,
        folder: Location,
        keep: Keep,
        *,
        from_step: int,
        facts: Record,
        notices: list[str],
        check: Callable[[], object] = lambda: None,
    ) -> None:
        self._check = check
        self._checkpoints = folder / "checkpoints"
        self._keep = keep
        path = folder / "journal.jsonl"
        self._log, size = read_supernet_journal(path)
        self._file: RecordFile | StoreRecords = (
            RecordFile(path, size) if isinstance(path, Path) else StoreRecords(path, size)
        )
        self._started = time.monotonic()
        self._write({"event": "session", "from_step": from_step, **facts, "notices": notices})
        self._before_s = self._log.elapsed_s

    def keep(self, record: Record, state: dict[str, Any]) -> Location:
        """Write down a step, then what it led to.

        Args:
            record: What the step did.
            state: What the program saves after it.

        Returns:
            The folder of the checkpoint.
        """
        elapsed_s = self._before_s + time.monotonic() - self._started
        self._write({**record, "elapsed_s": round(elapsed_s, 3)})
        folder = self._checkpoints / step_name(record["step"])
        if isinstance(folder, Path):
            folder.mkdir(parents=True, exist_ok=True)
        save_checkpoint(folder / CHECKPOINT, state, sync=True)
        self._tidy()
        return folder

    def fail(self, error: str) -> None:
        """Write down that training came to an end that no repetition changes."""
        steps = saved_steps(self._checkpoints)
        last = f"checkpoints/{step_name(steps[-1])}" if steps else None
        self._write({"event": "failed", "error": error, "checkpoint": last})

    def close(self) -> None:
        """Close the journal."""
        self._file.close()

    def _write(self, record: Record) -> None:
        self._check()
        self._file.write(record)
        self._log.hear(record)

    def _tidy(self) -> None:
        staying = self._staying()
        for step in saved_steps(self._checkpoints):
            if step not in staying:
                remove_tree(self._checkpoints / step_name(step))

    def _staying(self) -> set[int]:
        done = [record["step"] for record in self._log.steps]
        search = [record for record in self._log.epochs if record["phase"] == "search"]
        staying = set(done[-self._keep.keep_last :])
        staying |= set(last_of_search(self._log)[:1])
        every = self._keep.keep_every
        return staying | {r["step"] for r in search if every and r["epoch"] % every == 0}


@contextmanager
def sole_writer(folder: Location) -> Iterator[Callable[[], object]]:
    """Be the only worker that writes into a run folder.

    Yields:
        What raises `RunFolderError` once another worker has become the writer: only in a store,
        whose leases may be lost.

    Raises:
        WorkerError: another one still does, after minutes.
    """
    if isinstance(folder, StorePath):
        lease = Lease(folder / ".writer", str(folder), every_s=_SIGN_EVERY_S, stale_s=_GONE_AFTER_S)
        try:
            lease.take(_WAIT_FOR_WRITER_S)
        except RunFolderError as error:
            raise WorkerError(str(error)) from None
        try:
            yield lease.check
        finally:
            lease.release()
        return
    deadline = time.monotonic() + _WAIT_FOR_WRITER_S
    with (folder / ".writer.lock").open("ab") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError:
                if time.monotonic() > deadline:
                    raise WorkerError(f"{folder}: another worker is writing into it") from None
                time.sleep(_ASK_EVERY_S)
        yield lambda: None


def step_name(step: int) -> str:
    """Return the name of the folder that holds a step's checkpoint."""
    return f"step-{step:06d}"


def saved_steps(checkpoints: Location) -> list[int]:
    """Return the steps that have a checkpoint, ascending."""
    found: Iterable[Location]
    if isinstance(checkpoints, Path):
        found = checkpoints.glob(f"step-*/{CHECKPOINT}")
    else:
        there = (path for path, _ in checkpoints.files(below=True))
        found = (p for p in there if fnmatch(f"{p.parent.name}/{p.name}", f"step-*/{CHECKPOINT}"))
    return sorted(int(path.parent.name.removeprefix("step-")) for path in found)


def last_of_search(log: SupernetLog) -> list[int]:
    """Return the steps of the search, the latest first."""
    return [record["step"] for record in reversed(log.steps) if record["phase"] == "search"]


def newest_checkpoint(checkpoints: Location) -> tuple[int, dict[str, Any] | None, list[str]]:
    """Read the newest checkpoint that can be read.

    Returns:
        Its step, what it holds, and what there is to say of those that were passed over. Step 0
        and None if there is no checkpoint.

    Raises:
        CheckpointError: there are some, and none can be read.
    """
    notices = []
    for step in reversed(saved_steps(checkpoints)):
        try:
            state = load_checkpoint(checkpoints / step_name(step) / CHECKPOINT)
        except CheckpointError as error:
            notices.append(f"checkpoints/{step_name(step)}: {error}; went on from an earlier one")
            continue
        return step, state, notices
    if notices:
        raise CheckpointError(f"no checkpoint of {checkpoints.parent} can be read ({notices[0]})")
    return 0, None, []
