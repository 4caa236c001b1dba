"""The run folder: where a run's files are, who may write them, and how they are replaced.

::

    runs/a/
      config.yaml             the resolved config
      run.json                manifest: what ran it (versions, seed, command, data fingerprint)
      journal.jsonl           the truth: every event of the pool
      checkpoints/000012.pt   one per architecture: its latest epoch
      architectures.parquet   views of the journal (see `raynas.runs.views`)
      results.parquet  ranker.parquet  level0.parquet  best.json

It may lie in a store that a URI names (``s3://bucket/runs/a``; see `raynas.runs.remote`): then
`RunFolder.path` is a local folder with its small files, and `RunFolder.checkpoints` is in the
store.
"""

import fcntl
import json
import os
import platform
import shlex
import stat
import sys
import time
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import IO, Any

import yaml

from raynas.disk import check_room, writing
from raynas.errors import DiskFullError, RaynasError, RunFolderError
from raynas.plain import parse_json, parse_yaml
from raynas.runs.remote import CONFIG, JOURNAL, MANIFEST, RemoteRun
from raynas.storage import Location, StorePath, location

_LIBRARIES = ("raynas", "torch", "ray", "numpy", "scikit-learn", "pyarrow")


def replace_file(path: Location, content: bytes) -> None:
    """Write a file so that a reader sees the old or the new one, whole, at any time."""
    if isinstance(path, StorePath):
        path.write_bytes(content)
        return
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with writing(path), temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def new_folder(kind: str) -> Location:
    """Return a new place below ``$RAYNAS_RUNS`` (default ``runs/``), named by kind and time."""
    runs = location(os.environ.get("RAYNAS_RUNS") or "runs")
    stamp = time.strftime("%Y%m%d-%H%M%S")
    path = runs / f"{kind}-{stamp}"
    number = 2
    while path.exists():
        path = runs / f"{kind}-{stamp}-{number}"
        number += 1
    return path


def check_contained(folder: Location, names: Iterable[str] | None = None) -> None:
    """Raise `RunFolderError` if a run folder reaches beyond itself.

    A folder from somebody else may hold links, through which a resume would write elsewhere, or
    pipes, on which a reader waits for ever.

    Args:
        folder: The run folder; it may itself be reached through a link.
        names: What of it to look at (None: all).
    """
    if isinstance(folder, StorePath):
        return  # a store knows neither links nor pipes
    root = folder.resolve()
    found = [root] if names is None else [root / name for name in names]
    while found:
        path = found.pop()
        try:
            mode = path.lstat().st_mode
            if stat.S_ISDIR(mode):
                found += path.iterdir()
        except FileNotFoundError:  # a run that is going on tidies up
            continue
        except OSError as error:
            raise RunFolderError(f"{path}: cannot be read: {error.strerror}") from None
        if stat.S_ISLNK(mode):
            target = Path(os.path.realpath(path))
            if not target.is_relative_to(root):
                raise RunFolderError(
                    f"{path} is a link that leads out of the run folder, to {target}: "
                    "a run folder holds all of its files (copy it in)"
                )
        elif not (stat.S_ISDIR(mode) or stat.S_ISREG(mode)):
            raise RunFolderError(f"{path} is neither a file nor a folder")


KINDS = ("search", "supernet", "retrain")
"""What a folder can hold a run of."""


class RunFolder:
    """A folder that holds one run.

    Args:
        path: The folder, or a URI. `create` makes it; `check_is_run` expects it.
        kind: What kind of run it holds or will hold (one of `KINDS`); None: any.

    Attributes:
        location: Where the run is, for those who work on it and for messages.
    """

    def __init__(
        self, path: str | os.PathLike[str] | StorePath, kind: str | None = "search"
    ) -> None:
        self.location = location(path)
        self.kind = kind
        self._lock: IO[bytes] | None = None
        self._remote: RemoteRun | None = None
        if isinstance(self.location, StorePath):
            # Worker 0 writes the journal of a supernet run, wherever it is.
            self._remote = RemoteRun(self.location, journal_elsewhere=kind == "supernet")

    def __str__(self) -> str:
        return str(self.location)

    @property
    def path(self) -> Path:
        """A local folder with the files: the run folder, or copies (gone with this object)."""
        if self._remote is not None:
            return self._remote.files
        assert isinstance(self.location, Path)
        return self.location

    def _file(self, name: str) -> Path:
        return self.path / name if self._remote is None else self._remote.file(name)

    @property
    def journal(self) -> Path:
        """The journal file."""
        return self._file(JOURNAL)

    @property
    def written_journal(self) -> Location:
        """The journal as the workers of a supernet run write it."""
        return self.location / JOURNAL

    @property
    def config(self) -> Path:
        """The resolved config."""
        return self._file(CONFIG)

    @property
    def manifest(self) -> Path:
        """The manifest."""
        return self._file(MANIFEST)

    @property
    def checkpoints(self) -> Location:
        """Folder of the per-architecture checkpoints."""
        return self.location / "checkpoints"

    @property
    def config_name(self) -> str:
        """What messages call the config."""
        return str(self.location / CONFIG)

    @property
    def resume_command(self) -> str:
        """What carries the run on."""
        return f"raynas resume {self if self._remote is None else shlex.quote(str(self))}"

    def check_free(self) -> None:
        """Raise `RunFolderError` if the folder holds another run or anything else."""
        if self._remote is not None:
            self._remote.check()
            if self._remote.is_empty():
                return
        if self.journal.exists() or self.config.exists():
            raise RunFolderError(
                f"{self} holds another run: choose another --out, "
                f"or carry it on with `{self.resume_command}`"
            )
        if self._remote is not None:
            raise RunFolderError(f"{self} is not empty: choose another --out")
        if self.path.exists() and not self.path.is_dir():
            raise RunFolderError(f"{self.path} is a file, not a folder")
        if self.path.is_dir() and any(self.path.iterdir()):
            raise RunFolderError(f"{self.path} is not empty: choose another --out")

    def create(self, config: dict[str, Any], facts: dict[str, Any]) -> None:
        """Make the folder, lock it and write config and manifest."""
        self.check_free()
        if self._remote is not None:
            self._remote.begin(fresh=True)
            facts = {"id": uuid.uuid4().hex, **facts}
        else:
            try:
                (self.path / "checkpoints").mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise RunFolderError(f"{self.path}: cannot create it: {error.strerror}") from None
            self.lock()
        manifest = {
            "kind": self.kind,
            "command": sys.argv,
            "python": platform.python_version(),
            "platform": platform.platform(),
            "versions": library_versions(),
            **facts,
        }
        replace_file(self.manifest, json.dumps(manifest, indent=2).encode() + b"\n")
        # Last: a folder with a config is a run that can be resumed.
        replace_file(self.config, yaml.safe_dump(config, sort_keys=False).encode())
        self.push()

    def check_is_run(self) -> None:
        """Raise `RunFolderError` unless the folder holds a run, and nothing from elsewhere."""
        there = self.path.is_dir() if self._remote is None else not self._remote.is_empty()
        if not there:
            raise RunFolderError(f"{self}: no such run folder")
        for file in (self.config, self.manifest):
            if not file.exists():
                raise RunFolderError(f"{self} holds no run ({file.name} is missing)")
        check_contained(self.location)
        stored = self._stored_kind()
        if self.kind not in (stored, None):
            raise RunFolderError(
                f"{self} is no {self.kind} but a {stored} run: "
                f"`{self.resume_command}` carries it on"
            )

    def _stored_kind(self) -> str:
        """Return the kind of run that is there; what does not say is a search."""
        try:
            kind = parse_json(self.manifest.read_text()).get("kind", "search")
        except (OSError, ValueError, AttributeError):
            return "search"
        return kind if kind in KINDS else "search"

    def read_config(self) -> dict[str, Any]:
        """Return the resolved config as it was written."""
        self.check_is_run()
        try:
            value = parse_yaml(self.config.read_text())
        except (OSError, ValueError) as error:
            raise RunFolderError(
                f"{self.config_name}: cannot be read: {_one_line(error)}"
            ) from None
        if not isinstance(value, dict):
            raise RunFolderError(f"{self.config_name}: not a config")
        return value

    def read_manifest(self) -> dict[str, Any]:
        """Return the manifest."""
        self.check_is_run()
        try:
            value = parse_json(self.manifest.read_text())
        except (OSError, ValueError) as error:
            raise RunFolderError(
                f"{self.location / MANIFEST}: cannot be read: {_one_line(error)}"
            ) from None
        if not isinstance(value, dict):
            raise RunFolderError(f"{self.location / MANIFEST}: not a manifest")
        return value

    def note(self, **facts: Any) -> None:
        """Add facts to the manifest."""
        manifest = {**self.read_manifest(), **facts}
        replace_file(self.manifest, json.dumps(manifest, indent=2).encode() + b"\n")

    def push(self, *names: str) -> None:
        """Have files (None given: all) where others find them; local ones are there already.

        Raises:
            RunFolderError: another driver has taken over.
            StorageError: the store does not take them.
        """
        if self._remote is not None:
            self._remote.push(*names)

    @contextmanager
    def in_need_of_room(self) -> Iterator[None]:
        """Say of a full disk how the run goes on when there is room again.

        Raises:
            DiskFullError: the disk of the folder is full, whatever a library made of that.
        """
        try:
            with writing(self.location):
                try:
                    yield
                except RaynasError:
                    raise
                except Exception:
                    check_room(self.location)
                    raise
        except DiskFullError as error:
            then = "start anew elsewhere"
            if self.config.exists():
                then = f"make room, then `{self.resume_command}` carries the run on"
            raise DiskFullError(f"{error}: {then}") from error

    def lock(self) -> None:
        """Keep other drivers out until this process ends or `unlock`."""
        if self._remote is not None:
            self._remote.begin(fresh=False)
            return
        file = (self.path / ".lock").open("ab")  # truncates nothing, whatever else it may name
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.close()
            raise RunFolderError(f"{self.path} is in use by a running search") from None
        self._lock = file

    def unlock(self) -> None:
        """Let other drivers in, once all is where it belongs."""
        if self._remote is not None:
            self._remote.end()
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def is_locked(self) -> bool:
        """Return whether some process is running this run now."""
        if self._remote is not None:
            return self._remote.holder() is not None
        try:
            with (self.path / ".lock").open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:
            return False
        return False


def library_versions() -> dict[str, str | None]:
    """Return the versions of the libraries that decide what a run computes."""
    return {name: installed_version(name) for name in _LIBRARIES}


def installed_version(name: str) -> str | None:
    """Return the version of an installed library, or None."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
