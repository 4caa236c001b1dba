"""The small files of a run, kept alike in a local folder and in a store.

Files are pushed from a thread whenever they have changed, taking at most about a tenth of the time,
and once more at the end.
"""

import threading
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from raynas.errors import StorageError
from raynas.storage import StorePath

_PAUSE_FACTOR = 9.0
_LEAST_PAUSE_S = 1.0
_SIDE_BY_SIDE = 8
ELSEWHERE = ("checkpoints", "tune", "train")
"""Folders of a run that workers reach directly."""

_LAST = ("run.json", "config.yaml")
"""Pushed after the rest: a store that holds a config holds a run."""


class Mirror:
    """Pushes a local folder's files to a store.

    Args:
        folder: The local folder.
        place: Where its files go.
        leave_out: Names at its top that stay here.
    """

    def __init__(self, folder: Path, place: StorePath, leave_out: Iterable[str] = ()) -> None:
        self._folder = folder
        self._place = place
        self._leave_out = {*ELSEWHERE, *leave_out}
        self._pushed: dict[str, tuple[int, int]] = {}
        self._one_at_a_time = threading.Lock()
        self._end = threading.Event()
        self._thread: threading.Thread | None = None

    def know(self) -> None:
        """Take it that all is in the store as it is here."""
        self._pushed = {name: _stamp(path) for name, path in self._files()}

    def start(self) -> None:
        """Begin to push whatever changes."""
        self._thread = threading.Thread(target=self._run, name="raynas-mirror", daemon=True)
        self._thread.start()

    def stop(self, *, push: bool = True) -> None:
        """End; with `push`, once all is in the store.

        Raises:
            StorageError: the store does not take it.
        """
        self._end.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        if push:
            self.push()

    def push(self, *names: str) -> None:
        """Push what has changed since it was last pushed.

        Args:
            names: Only these files.

        Raises:
            StorageError: the store does not take it.
        """
        for name, path in self._files() if not names else [(n, self._folder / n) for n in names]:
            self._push(name, path)

    def _run(self) -> None:
        pause_s = _LEAST_PAUSE_S
        while not self._end.wait(pause_s):
            begun = time.monotonic()
            try:
                for name, path in self._files():
                    self._push(name, path)
                    if self._end.is_set():
                        return
            except StorageError:
                pass  # tried again; whoever pushes at the end is told
            pause_s = max(_LEAST_PAUSE_S, _PAUSE_FACTOR * (time.monotonic() - begun))

    def _push(self, name: str, path: Path) -> None:
        with self._one_at_a_time:
            try:
                stamp = _stamp(path)
                if self._pushed.get(name) == stamp:
                    return
                content = path.read_bytes()
            except FileNotFoundError:
                return
            (self._place / name).write_bytes(content)
            self._pushed[name] = stamp

    def _files(self) -> Iterator[tuple[str, Path]]:
        """Yield names and paths of what is mirrored, what comes last at the end."""
        found = {}
        for top in sorted(self._folder.iterdir()) if self._folder.is_dir() else []:
            if top.name in self._leave_out:  # Ray's files may be many: not even looked at
                continue
            for path in sorted(top.rglob("*")) if top.is_dir() else [top]:
                inner = path.relative_to(self._folder)
                hidden = any(part.startswith(".") for part in inner.parts)
                if not hidden and path.is_file():
                    found[inner.as_posix()] = path
        yield from ((name, path) for name, path in found.items() if name not in _LAST)
        yield from ((name, found[name]) for name in _LAST if name in found)


def fetch(place: StorePath, folder: Path) -> None:
    """Copy the small files of a run in a store into a local folder.

    Raises:
        StorageError: they cannot be read.
    """
    files = [path for path, _ in place.files()]
    files += [path for path, _ in (place / "diagnostics").files(below=True)]

    def copy(path: StorePath) -> None:
        names = path.names[len(place.names) :]
        if any(name.startswith(".") for name in names):
            return
        target = folder.joinpath(*names)
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            target.write_bytes(path.read_bytes())
        except FileNotFoundError:  # a run that goes on tidies up
            return

    with ThreadPoolExecutor(_SIDE_BY_SIDE) as pool:
        list(pool.map(copy, files))


def _stamp(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_size, found.st_mtime_ns
