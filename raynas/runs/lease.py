"""A lease: what keeps other drivers out of a run in a store that has no locks.

Whoever wants the run writes a claim of its own, then looks who else has one. Stores list what was
written before (S3, Google and Azure all do), so of two that come at once at least one sees the
other and steps back; nothing like compare-and-swap is needed. A holder writes its claim anew every
few seconds. One that has not done so for `stale_s` is gone and is taken over; ages are measured by
the clock of the store. On the machine where it ran, a holder whose process has ended is gone at
once.

A holder that was taken over (its machine slept, or lost the network) hears of it when it next
writes: its claim is gone, or another's says that it was taken over.
"""

import json
import os
import random
import socket
import threading
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from raynas.errors import RunFolderError, StorageError
from raynas.plain import parse_json
from raynas.storage import StorePath

_STEP_BACK_S = (0.2, 1.0)
_TRIES = 8
_ASK_EVERY_S = 1.0


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds a lease, or wants to.

    Attributes:
        owner: Its name; a new one for every lease.
        held: Whether it has made sure that it is alone.
        host: Its machine.
        pid: Its process there.
        machine: What tells the machine, since it was started, from others of its name.
        started: What tells the process from later ones of its number.
        stale_s: Seconds without a sign of life after which it is gone.
        over: Owners that it took over from.
    """

    owner: str
    held: bool
    host: str
    pid: int
    machine: str
    started: str
    stale_s: float
    over: tuple[str, ...] = ()

    @property
    def ended(self) -> bool:
        """Whether it is known, here and now, that its process has ended."""
        here = _machine()
        return bool(here) and here == self.machine and _started(self.pid) != self.started


class Lease:
    """The right to write into a run.

    Args:
        folder: Where claims are; nothing else may be in it.
        what: What is held, for messages.
        every_s: Seconds from one sign of life to the next.
        stale_s: Seconds without one after which a holder is gone.
        on_loss: Called from another thread if it is lost, with the reason.
    """

    def __init__(
        self,
        folder: StorePath,
        what: str,
        *,
        every_s: float = 10.0,
        stale_s: float = 60.0,
        on_loss: Callable[[str], object] = lambda reason: None,
    ) -> None:
        self._folder = folder
        self._what = what
        self._every_s = every_s
        self._on_loss = on_loss
        owner, pid = uuid.uuid4().hex, os.getpid()
        self._me = Holder(
            owner, False, socket.gethostname(), pid, _machine(), _started(pid), stale_s
        )
        self._end = threading.Event()
        self._thread: threading.Thread | None = None
        self.lost: str | None = None

    def take(self, wait_s: float = 0.0) -> None:
        """Take the lease.

        Args:
            wait_s: How long to wait for another holder to let go or to be gone.

        Raises:
            RunFolderError: another one holds it.
        """
        deadline = time.monotonic() + wait_s
        tries = 0
        while True:
            in_the_way = self._claim()
            if in_the_way is None:
                break
            tries += 1
            another, age_s = in_the_way
            patient = time.monotonic() < deadline
            if (another.held and not patient) or (tries >= _TRIES and not patient):
                raise RunFolderError(_in_use(self._what, another, age_s))
            time.sleep(_ASK_EVERY_S if another.held else random.uniform(*_STEP_BACK_S))
        self._thread = threading.Thread(target=self._keep, name="raynas-lease", daemon=True)
        self._thread.start()

    def release(self) -> None:
        """Let others in."""
        self._end.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
            self._withdraw()

    def check(self) -> None:
        """Raise `RunFolderError` if the lease was lost."""
        if self.lost is not None:
            raise RunFolderError(f"{self._what}: {self.lost}")

    def _claim(self) -> tuple[Holder, float] | None:
        """Take the lease if nobody has it; returns who is in the way, and the age of its sign."""
        self._write()
        try:
            others = self._others()
            alive = [(other, age_s) for other, age_s in others if not _gone(other, age_s)]
            if not alive:
                gone = tuple(other.owner for other, _ in others)
                for owner in gone:
                    self._path(owner).unlink(missing_ok=True)
                self._me = replace(self._me, held=True, over=gone)
                self._write()
                # Had we slept since we looked, another one may hold it by now.
                alive = [(o, age) for o, age in self._others() if o.held and o.owner not in gone]
        except BaseException:
            self._withdraw()
            raise
        if not alive:
            return None
        self._withdraw()
        self._me = replace(self._me, held=False, over=())
        return max(alive, key=lambda one: one[0].held)

    def _others(self) -> list[tuple[Holder, float]]:
        """Return the other claims and the seconds since each was written, by the store's clock."""
        listed = list(self._folder.files())
        now = max((version.mtime for path, version in listed if self._is_mine(path)), default=0.0)
        found = []
        for path, version in listed:
            if not self._is_mine(path):
                holder = _read(path)
                if holder is not None:
                    found.append((holder, now - version.mtime))
        return found

    def _keep(self) -> None:
        """Give signs of life until the end."""
        seen = time.monotonic()
        while not self._end.wait(self._every_s):
            try:
                lost = self._renew()
                seen = time.monotonic()
            except OSError as error:  # as long as nobody takes it over, it is still ours
                if time.monotonic() - seen < self._me.stale_s:
                    continue
                lost = f"its store cannot be reached ({error})"
            if lost is not None:
                self.lost = lost
                self._on_loss(lost)
                return

    def _renew(self) -> str | None:
        """Give a sign of life; returns what shows that another one has taken over."""
        listed = [path for path, _ in self._folder.files()]
        for path in listed:
            other = None if self._is_mine(path) else _read(path)
            if other is None or not other.held:
                continue
            if other.owner not in self._me.over:
                return f"was taken over by {_who(other)}"
            path.unlink(missing_ok=True)  # of one that we took over from, and that woke up
        if not any(self._is_mine(path) for path in listed):
            return "was taken over by another driver"
        self._write()
        return None

    def _is_mine(self, path: StorePath) -> bool:
        return path.name == f"{self._me.owner}.json"

    def _path(self, owner: str) -> StorePath:
        return self._folder / f"{owner}.json"

    def _write(self) -> None:
        self._path(self._me.owner).write_bytes(json.dumps(asdict(self._me)).encode())

    def _withdraw(self) -> None:
        with suppress(StorageError):  # it goes stale by itself
            self._path(self._me.owner).unlink(missing_ok=True)


def holder(folder: StorePath) -> Holder | None:
    """Return who holds a lease now, as far as one can see who only reads.

    Ages are measured by this machine's clock here, since reading tells no other.
    """
    for path, version in folder.files():
        found = _read(path)
        if found is not None and found.held and not _gone(found, time.time() - version.mtime):
            return found
    return None


def _gone(other: Holder, age_s: float) -> bool:
    # Stores tell whole seconds: a second more, so that nobody is called gone too early.
    return other.ended or age_s > other.stale_s + 1.0


def _read(path: StorePath) -> Holder | None:
    try:
        value: dict[str, Any] = parse_json(path.read_bytes())
        typed = {"pid": int(value["pid"]), "stale_s": float(value["stale_s"])}
        return Holder(**{**value, **typed, "over": tuple(value["over"])})
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, KeyError):
        raise StorageError(f"{path}: is no claim of a driver; delete it") from None


def _who(other: Holder) -> str:
    return f"process {other.pid} on {other.host}"


def _in_use(what: str, other: Holder, age_s: float) -> str:
    left_s = max(0.0, other.stale_s - age_s)
    return (
        f"{what} is in use by {_who(other)} (heard of {age_s:.0f} s ago; if that has died, the run "
        f"is free in {left_s:.0f} s)"
    )


@lru_cache(maxsize=1)
def _machine() -> str:
    """Return a name of this machine since it was started, and of its table of processes; or ""."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{socket.gethostname()} {boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""  # not Linux: only time tells who is gone


def _started(pid: int) -> str:
    """Return when a process of this machine started, in ticks; "" if there is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        return ""
