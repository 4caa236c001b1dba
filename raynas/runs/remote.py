"""A run in a store, seen from one machine.

A driver works in a folder of its own (staging), whose files a `Mirror` pushes; a lease keeps other
drivers out. A reader fetches copies of the files it asks for. Checkpoints are in neither: workers
read and write them in the store, from wherever they are.

Staging is thrown away at the end. After a kill it stays, and the next driver on this machine takes
from it what of the journal had not been pushed. On another machine that tail is lost and nothing
else: the checkpoints tell it again.
"""

import hashlib
import json
import os
import shutil
import signal
import tempfile
import threading
import weakref
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from raynas.errors import RunFolderError, StorageError
from raynas.plain import parse_json
from raynas.runs.lease import Holder, Lease, holder
from raynas.runs.mirror import Mirror, fetch
from raynas.storage import Location, StorePath

JOURNAL, CONFIG, MANIFEST = "journal.jsonl", "config.yaml", "run.json"
_LEASE = ".lease"


class RemoteRun:
    """A run in a store.

    Args:
        place: Where.
        journal_elsewhere: Whether a worker writes the journal, into the store.
    """

    def __init__(self, place: StorePath, *, journal_elsewhere: bool = False) -> None:
        self._place = place
        self._left_out = (JOURNAL,) if journal_elsewhere else ()
        self._lease: Lease | None = None
        self._mirror: Mirror | None = None
        self._staging: Path | None = None
        self._copies: Path | None = None

    @property
    def files(self) -> Path:
        """A local folder with the small files: the driver's own, or copies that go with this."""
        if self._staging is not None:
            return self._staging
        folder = self._snapshot()
        fetch(self._place, folder)
        return folder

    def file(self, name: str) -> Path:
        """Return where one of the small files is here; it may not be there."""
        if self._staging is not None:
            return self._staging / name
        path = self._snapshot() / name
        with suppress(FileNotFoundError):
            path.write_bytes((self._place / name).read_bytes())
        return path

    def begin(self, *, fresh: bool) -> None:
        """Take the lease and make the staging folder.

        Args:
            fresh: Whether the run is a new one.

        Raises:
            RunFolderError: another driver holds the run.
            StorageError: the store cannot be read or written.
        """
        lease = Lease(self._place / _LEASE, str(self._place), on_loss=_interrupter())
        lease.take()
        try:
            staging = _staging_of(self._place)
            mirror = Mirror(staging, self._place, self._left_out)
            if fresh:
                shutil.rmtree(staging, ignore_errors=True)
                staging.mkdir(parents=True)
            else:
                tail = _fetch_into(self._place, staging)
                mirror.know()
                if tail is not None:
                    (staging / JOURNAL).write_bytes(tail)
        except OSError as error:
            lease.release()
            if isinstance(error, StorageError):
                raise
            raise RunFolderError(
                f"{_cache()}: cannot be written ({error.strerror}), and a run in a store works "
                "there: set XDG_CACHE_HOME"
            ) from None
        except BaseException:
            lease.release()
            raise
        mirror.start()
        self._lease, self._mirror, self._staging = lease, mirror, staging

    def push(self, *names: str) -> None:
        """Push files now, and wait for it.

        Raises:
            RunFolderError: another driver has taken over.
            StorageError: the store does not take them.
        """
        assert self._lease is not None
        assert self._mirror is not None
        self._lease.check()
        self._mirror.push(*names)

    def end(self) -> None:
        """Push all there is, and let others in.

        Raises:
            RunFolderError: another driver has taken over; nothing was pushed.
            StorageError: the store does not take it; the staging folder stays.
        """
        if self._lease is None or self._mirror is None or self._staging is None:
            return
        staging, lease = self._staging, self._lease
        self._staging = None
        try:
            self._mirror.stop(push=lease.lost is None)
            lease.check()
            shutil.rmtree(staging, ignore_errors=True)
        except StorageError as error:
            raise StorageError(
                f"{error}; what is missing there is kept in {staging}, where `raynas resume` on "
                "this machine finds it"
            ) from None
        finally:
            lease.release()
            self._lease = self._mirror = None

    def holder(self) -> Holder | None:
        """Return who drives the run now."""
        return holder(self._place / _LEASE)

    def check(self) -> None:
        """Raise `StorageError` if it is plain that nothing can be kept there."""
        self._place.check()

    def is_empty(self) -> bool:
        """Return whether nothing but claims is there."""
        return all(name.startswith(".") for name in self._place.children())

    def _snapshot(self) -> Path:
        if self._copies is None:
            self._copies = Path(tempfile.mkdtemp(prefix="raynas-"))
            weakref.finalize(self, shutil.rmtree, self._copies, ignore_errors=True)
        folder = self._copies / self._place.name
        folder.mkdir(exist_ok=True)
        return folder


@contextmanager
def pushed(place: Location, *, with_old: bool = False) -> Iterator[Path]:
    """Yield a local folder whose files are put into a place if all goes well.

    Args:
        place: A folder; a local one is yielded itself.
        with_old: Whether the files that are there already are in the folder too.
    """
    if isinstance(place, Path):
        yield place
        return
    with tempfile.TemporaryDirectory(prefix="raynas-") as name:
        folder = Path(name)
        mirror = Mirror(folder, place)
        if with_old:
            fetch(place, folder)
            mirror.know()
        yield folder
        mirror.push()


@contextmanager
def mirrored(folder: Path, place: Location) -> Iterator[None]:
    """Push what is written into a local folder to a place in a store, as long as this lasts."""
    if isinstance(place, Path):
        yield
        return
    mirror = Mirror(folder, place)
    mirror.know()
    mirror.start()
    try:
        yield
    finally:
        mirror.stop()


class StoreRecords:
    """The writing end of an append-only file of JSON objects that is an object in a store.

    Args:
        path: The object.
        size: Bytes to keep of it (what was found whole).
    """

    def __init__(self, path: StorePath, size: int = 0) -> None:
        self._path = path
        self._content = path.read_bytes()[:size] if size else b""

    def write(self, record: Mapping[str, Any]) -> None:
        """Write one line and wait until it is in the store."""
        self._content += json.dumps(record, separators=(",", ":")).encode() + b"\n"
        self._path.write_bytes(self._content)

    def close(self) -> None:
        """Do nothing: all is written."""


def _fetch_into(place: StorePath, staging: Path) -> bytes | None:
    """Fetch a run into the staging folder; returns the journal that is further on, if one is."""
    fetched = staging.with_name(f"{staging.name}.new")
    shutil.rmtree(fetched, ignore_errors=True)
    fetched.mkdir(parents=True)
    fetch(place, fetched)
    further = _further_journal(staging, fetched)
    shutil.rmtree(staging, ignore_errors=True)
    fetched.rename(staging)
    return further


def _further_journal(left: Path, fetched: Path) -> bytes | None:
    """Return the journal that a killed driver left, if it is the fetched one and more."""
    try:
        ids = [parse_json((folder / MANIFEST).read_bytes())["id"] for folder in (left, fetched)]
        ours = (left / JOURNAL).read_bytes()
        theirs = (fetched / JOURNAL).read_bytes() if (fetched / JOURNAL).exists() else b""
    except (OSError, ValueError, KeyError, TypeError):
        return None
    further = ids[0] == ids[1] and len(ours) > len(theirs) and ours.startswith(theirs)
    return ours if further else None


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "raynas"


def _staging_of(place: StorePath) -> Path:
    digest = hashlib.blake2b(str(place).encode(), digest_size=8).hexdigest()
    return _cache() / "runs" / f"{place.name}-{digest}"


def _interrupter() -> Any:
    """Return what ends the run as a Ctrl-C does; only the main thread can be told."""
    if threading.current_thread() is not threading.main_thread():
        return lambda reason: None
    return lambda reason: os.kill(os.getpid(), signal.SIGINT)
