"""Files anywhere: below a local path, or below a URI that `pyarrow.fs` reaches.

`location` makes of what a user wrote a `Path` or a `StorePath`. A `StorePath` does, under the same
names, the few things that runs do with paths; it travels between processes as the URI it is.

What is written is there whole or not at all: object stores take an object when its last byte has
arrived, and on file systems a temporary file is moved into place.
"""

import datetime
import errno
import os
import re
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from shutil import rmtree
from typing import Any, TypeVar
from urllib.parse import quote, unquote, urlsplit, urlunsplit

from raynas.errors import StorageError, nearest
from raynas.store_errors import HINTS, MISSING_BUCKET, one_line, translated

SCHEMES = ("file", "s3", "gs", "gcs", "abfs", "abfss", "hdfs", "viewfs")
"""Schemes of URIs that `pyarrow.fs` knows, as far as they can be written to."""

_INTERNAL = ("mock",)
"""A file system of pyarrow's in memory, for tests."""

_URI = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):(/+)(.*)", re.DOTALL)
_TAKES_WHOLE_OBJECTS = ("s3", "gcs")
_PAUSES_S = (0.5, 2.0, 8.0)
"""Between tries, where it may be the network."""

_Got = TypeVar("_Got")


@dataclass(frozen=True, slots=True)
class Version:
    """What tells one content of a file from the next.

    Attributes:
        size: Bytes.
        mtime: When it was written, by the clock of the store, in seconds.
    """

    size: int
    mtime: float


@dataclass(frozen=True, slots=True)
class StorePath:
    """A place in a store: what `Path` is to the local disk.

    Attributes:
        root: A URI, as `location` has checked it.
        names: The way down from there.
    """

    root: str
    names: tuple[str, ...] = ()

    def __str__(self) -> str:
        parts = urlsplit(self.root)
        path = "/".join([parts.path.rstrip("/"), *map(quote, self.names)])
        return urlunsplit(parts._replace(path=path))

    def __truediv__(self, name: str) -> "StorePath":
        inner = tuple(part for part in str(name).split("/") if part)
        return StorePath(self.root, (*self.names, *inner))

    @property
    def name(self) -> str:
        """The last part."""
        return self.names[-1] if self.names else self._root_names[-1]

    @property
    def stem(self) -> str:
        """The name without its ending."""
        return Path(self.name).stem

    @property
    def suffix(self) -> str:
        """The ending of the name, with its dot."""
        return Path(self.name).suffix

    def with_name(self, name: str) -> "StorePath":
        """Return the place of another name beside it."""
        return self.parent / name

    @property
    def parent(self) -> "StorePath":
        """What it lies in."""
        if self.names:
            return StorePath(self.root, self.names[:-1])
        parts = urlsplit(self.root)
        above = parts.path.rstrip("/").rpartition("/")[0]
        return StorePath(urlunsplit(parts._replace(path=above)))

    @property
    def _root_names(self) -> list[str]:
        parts = urlsplit(self.root)
        return [parts.netloc, *filter(None, unquote(parts.path).split("/"))]

    def resolve(self) -> "StorePath":
        """Return itself: it is the same everywhere."""
        return self

    @property
    def filesystem(self) -> Any:
        """The `pyarrow.fs.FileSystem` that reaches it."""
        return _connect(self.root)[0]

    @property
    def key(self) -> str:
        """Where it is, as `filesystem` spells it."""
        return "/".join([_connect(self.root)[1].rstrip("/"), *self.names]).lstrip("/")

    def check(self) -> None:
        """Find at once, without trying again, what keeps anything from being kept here.

        Raises:
            StorageError: no such bucket, nobody answers, no permission to look.
        """
        bucket = self.key.partition("/")[0]
        kept_in_buckets = self.filesystem.type_name in _TAKES_WHOLE_OBJECTS
        info = self._try("look at", lambda fs: fs.get_file_info(bucket if kept_in_buckets else ""))
        if kept_in_buckets and info.type.name == "NotFound":
            raise StorageError(f"{self}: there is no bucket {bucket!r}; make it first")

    def version(self) -> Version | None:
        """Return what tells its content from the next; None if it is not there."""
        info = self._patiently("look at", lambda fs: fs.get_file_info(self.key))
        return _version(info) if info.type.name == "File" else None

    def exists(self) -> bool:
        """Return whether a file or a folder is there."""
        info = self._patiently("look at", lambda fs: fs.get_file_info(self.key))
        return bool(info.type.name != "NotFound")

    def is_dir(self) -> bool:
        """Return whether it is a folder."""
        info = self._patiently("look at", lambda fs: fs.get_file_info(self.key))
        return bool(info.type.name == "Directory")

    def is_file(self) -> bool:
        """Return whether it is a file."""
        return self.version() is not None

    def read_bytes(self) -> bytes:
        """Return the whole content.

        Raises:
            FileNotFoundError: it is not there.
            StorageError: it cannot be read.
        """

        def read(fs: Any) -> bytes:
            with fs.open_input_file(self.key) as file:
                return bytes(file.read())

        return self._patiently("read", read)

    def read_text(self) -> str:
        """Return the whole content as text."""
        return self.read_bytes().decode()

    def write_bytes(self, content: bytes) -> None:
        """Write it whole: a reader sees the old content or the new, also if this process dies.

        Raises:
            StorageError: it cannot be written.
        """
        self._patiently("write", lambda fs: self._write(fs, content))

    def copy_to(self, target: "StorePath") -> None:
        """Copy it within its store, whole.

        Raises:
            FileNotFoundError: it is not there.
            StorageError: it cannot be copied.
        """
        self._patiently("copy", lambda fs: target._bring(fs, lambda key: _copy(fs, self.key, key)))

    def _write(self, fs: Any, content: bytes) -> None:
        self._bring(fs, lambda key: _pour(fs, key, content))

    def _bring(self, fs: Any, make: Callable[[str], None]) -> None:
        """Have an object made, whole or not at all."""
        if fs.type_name in _TAKES_WHOLE_OBJECTS:
            make(self.key)
            return
        folder, _, name = self.key.rpartition("/")
        temporary = f"{folder}/.{name}.{uuid.uuid4().hex}.tmp"
        fs.create_dir(folder, recursive=True)
        try:
            make(temporary)
            fs.move(temporary, self.key)
        except BaseException:
            if fs.get_file_info(temporary).type.name == "File":
                fs.delete_file(temporary)
            raise

    def unlink(self, *, missing_ok: bool = False) -> None:
        """Delete the file."""
        try:
            self._patiently("delete", lambda fs: fs.delete_file(self.key))
        except FileNotFoundError:
            if not missing_ok:
                raise

    def remove_tree(self) -> None:
        """Delete the folder with all that is in it; there may be none."""
        if self.is_dir():
            self._patiently("delete", lambda fs: fs.delete_dir(self.key))

    def files(self, *, below: bool = False) -> Iterator[tuple["StorePath", Version]]:
        """Yield the files in this folder.

        Args:
            below: Also those in its folders.
        """
        for info in self._list(below):
            if info.type.name == "File" and not info.base_name.endswith(".tmp"):
                names = info.path[len(self.key) :].strip("/")
                yield self / names, _version(info)

    def children(self) -> list[str]:
        """Return the names of the files and folders in this folder."""
        return [info.base_name for info in self._list(below=False)]

    def _list(self, below: bool) -> list[Any]:
        from pyarrow.fs import FileSelector

        selector = FileSelector(self.key, recursive=below, allow_not_found=True)
        return list(self._patiently("list", lambda fs: fs.get_file_info(selector)))

    def _patiently(self, verb: str, work: Callable[[Any], _Got]) -> _Got:
        for pause_s in _PAUSES_S:
            try:
                return self._try(verb, work)
            except StorageError as error:
                if not error.may_pass:
                    raise
            time.sleep(pause_s)
        return self._try(verb, work)

    def _try(self, verb: str, work: Callable[[Any], _Got]) -> _Got:
        try:
            return work(self.filesystem)
        except FileNotFoundError as error:
            if any(sign in str(error) for sign in MISSING_BUCKET):
                raise translated(error, verb, str(self)) from None
            raise FileNotFoundError(errno.ENOENT, "no such file", str(self)) from None
        except StorageError:
            raise
        except OSError as error:
            raise translated(error, verb, str(self)) from None


Location = Path | StorePath
"""A place for files, local or not."""


def location(where: "str | os.PathLike[str] | StorePath") -> Location:
    """Return the place that a user means by a path or a URI.

    ``file:`` URIs are local paths: a shared mount has the locks and the renames of one. A `Path`
    that was made of a URI has lost a slash, and is understood all the same.

    Raises:
        StorageError: an unknown scheme, no URI, or one with a password in it.
    """
    if isinstance(where, StorePath):
        return where
    text = os.fspath(where)
    match = _URI.fullmatch(text)
    if match is None:
        scheme, colon, rest = text.partition(":")
        if colon and scheme in SCHEMES:
            raise StorageError(
                f"{text}: a URI has two slashes, {scheme}://{rest} "
                f"(or give a local folder's absolute path)"
            )
        return Path(text)
    scheme, slashes, rest = match[1].lower(), match[2], match[3]
    known = scheme in SCHEMES or scheme in _INTERNAL
    if not known and len(slashes) < 2:
        return Path(text)  # a folder with a colon in its name
    if not known:
        raise StorageError(
            f"{text}: unknown scheme {scheme!r}{nearest(scheme, SCHEMES)} "
            f"(allowed: {', '.join(SCHEMES)}, or a local path)"
        )
    if len(slashes) < 2:
        slashes = "///" if scheme in ("file", *_INTERNAL) else "//"
    return _checked(f"{scheme}:{slashes}{rest}")


def _checked(uri: str) -> Location:
    parts = urlsplit(uri)
    if parts.scheme == "file":
        if parts.netloc not in ("", "localhost"):
            raise StorageError(f"{uri}: names a host; a local path is file:///PATH")
        return Path(unquote(parts.path))
    user, at, _ = parts.netloc.rpartition("@")
    if ":" in user or (at and parts.scheme == "s3"):
        shown = urlunsplit(parts._replace(netloc="…@" + parts.netloc.rpartition("@")[2]))
        raise StorageError(
            f"{shown}: credentials in a URI end up in manifests and process lists; "
            + HINTS.get(parts.scheme, "leave them to the environment")
        )
    if not parts.netloc and parts.scheme not in (*_INTERNAL, "hdfs", "viewfs"):
        raise StorageError(f"{uri}: names no bucket ({parts.scheme}://BUCKET/PATH)")
    names = [name for name in parts.path.split("/") if name]
    if any(unquote(name) in (".", "..") for name in names):
        raise StorageError(f"{uri}: has '.' or '..' in it; a store has no such folders")
    path = "/" + "/".join(names)
    return StorePath(urlunsplit(parts._replace(path=path.rstrip("/"), fragment="")))


def remove_tree(place: Location) -> None:
    """Delete a folder with all that is in it, if it is there."""
    if isinstance(place, StorePath):
        place.remove_tree()
    else:
        rmtree(place, ignore_errors=True)


@lru_cache(maxsize=64)
def _connect(uri: str) -> tuple[Any, str]:
    """Return the file system of a URI, and where in it the URI points."""
    from pyarrow import ArrowException
    from pyarrow.fs import FileSystem

    parts = urlsplit(uri)
    asked = uri
    if parts.scheme == "s3" and "allow_delayed_open" not in parts.query:
        # One request for a small object instead of the three of an upload in parts.
        query = "&".join(filter(None, [parts.query, "allow_delayed_open=true"]))
        asked = urlunsplit(parts._replace(query=query))
    try:
        found: tuple[Any, str] = FileSystem.from_uri(asked)
    except OSError as error:
        raise translated(error, "look at", uri) from None
    except (ArrowException, ValueError, ImportError) as error:
        raise StorageError(f"{uri}: {one_line(error)}") from None
    return found


def _pour(fs: Any, key: str, content: bytes) -> None:
    """Write an object in one call: closing one that was handed over in part would complete it."""
    stream = fs.open_output_stream(key)
    stream.write(content)
    stream.close()


def _copy(fs: Any, source: str, target: str) -> None:
    if fs.get_file_info(source).type.name == "NotFound":
        raise FileNotFoundError(errno.ENOENT, "no such file", source)
    fs.copy_file(source, target)


def _version(info: Any) -> Version:
    written = info.mtime
    stamp = written.timestamp() if isinstance(written, datetime.datetime) else 0.0
    return Version(int(info.size), stamp)
