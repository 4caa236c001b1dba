"""What of a directory travels to a cluster: a zip of its files, the same bytes for the same files.

Made here rather than by Ray, so that it is known before anything is sent what travels and what does
not: data left at home is an error of one line here, not a traceback on a head node minutes later.
"""

import fnmatch
import os
import subprocess
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from raynas.errors import UsageError
from raynas.storage import Location

MAX_FILE_MB = 20.0
"""Largest file that travels, in MB (10^6 bytes), if nothing else is said."""

MAX_TOTAL_MB = 200.0
"""Most that travels in all, in MB before compression; Ray itself takes about 500."""

_NEVER = ("__pycache__", "node_modules", "venv", "*.egg-info", "*.pyc")
_NEVER_ON_TOP = ("runs", "build", "dist")
_LONG_AGO = (1980, 1, 1, 0, 0, 0)  # a zip of unchanged files must be the same package to Ray


@dataclass(frozen=True, slots=True)
class Shipment:
    """What of a directory travels.

    Attributes:
        root: The directory.
        files: Paths relative to it, sorted.
        left_out: Files that are too large, relative to it, sorted.
        num_bytes: Size of `files` in all.
    """

    root: Path
    files: tuple[Path, ...]
    left_out: tuple[Path, ...] = ()
    num_bytes: int = field(default=0)

    def write(self, path: Path, extra: Sequence["Shipment"] = ()) -> None:
        """Write the zip; `extra` shipments go below folders named like their roots.

        A file of the first one goes before one of an extra's at the same place.
        """
        placed = {str(name): self.root / name for name in self.files}
        for other in extra:
            for inside in other.files:
                placed.setdefault(str(Path(other.root.name) / inside), other.root / inside)
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name in sorted(placed):
                info = zipfile.ZipInfo(Path(name).as_posix(), _LONG_AGO)
                info.external_attr = (placed[name].stat().st_mode & 0o777) << 16
                info.compress_type = zipfile.ZIP_DEFLATED
                archive.writestr(info, placed[name].read_bytes())


def pack(
    root: Path,
    *,
    named: Iterable[Path] = (),
    exclude: Sequence[str] = (),
    max_file_mb: float = MAX_FILE_MB,
    never_on_top: Sequence[str] = _NEVER_ON_TOP,
) -> Shipment:
    """Return what of `root` travels.

    In a git work tree that is what git does not ignore, elsewhere every file; but nothing hidden
    (``.git``, ``.venv``, ``.env``), no caches, no run folder, and nothing that is too large.
    Symbolic links to files travel as the file; links to folders are not followed.

    Args:
        root: The directory.
        named: Files or folders below it that the run needs: they travel also if git ignores them.
        exclude: Shell patterns of more that stays: of a path relative to `root`, or of any part.
        max_file_mb: Largest file that travels, in MB.
        never_on_top: Folders directly in `root` that stay.

    Raises:
        UsageError: a named file is too large or excluded, or it is too much in all.
    """
    root = root.resolve()
    if not root.is_dir():
        raise UsageError(f"working dir: {root} is no folder")
    wanted = {path.relative_to(root) for one in named for path in _files_of(one.resolve())}
    found = {path for path in _listed(root) if not _stays(root, path, never_on_top)} | wanted
    found = {path for path in found if not _matches(path, exclude)}
    limit = max_file_mb * 1e6
    sizes = {path: (root / path).stat().st_size for path in found}
    left_out = {path for path, size in sizes.items() if size > limit}
    for path in sorted(wanted):
        if path not in found or path in left_out:
            why = f"{sizes[path] / 1e6:.0f} MB, more than {max_file_mb:g}" if path in found else ""
            raise UsageError(
                f"{path} stays here ({why or 'excluded'}), but the run needs it: put it on storage "
                "that the cluster reaches and give its absolute path"
            )
    files = sorted(found - left_out)
    total = sum(sizes[path] for path in files)
    if total > MAX_TOTAL_MB * 1e6:
        largest = ", ".join(_sized(p, sizes[p]) for p in sorted(files, key=lambda p: -sizes[p])[:3])
        raise UsageError(
            f"working dir: {root} holds {total / 1e6:.0f} MB, more than {MAX_TOTAL_MB:g} "
            f"(largest: {largest}): leave some out with --exclude, or go to another folder"
        )
    return Shipment(root, tuple(files), tuple(sorted(left_out)), total)


def is_run(folder: Location) -> bool:
    """Return whether a folder holds a run."""
    return (folder / "run.json").is_file() and (folder / "config.yaml").is_file()


def _sized(path: Path, size: int) -> str:
    return f"{path} {size / 1e6:.1f} MB"


def _files_of(path: Path) -> Iterator[Path]:
    if path.is_file():
        yield path
        return
    for folder, _, names in os.walk(path):
        yield from (Path(folder) / name for name in names if (Path(folder) / name).is_file())


def _listed(root: Path) -> list[Path]:
    """Return the files of a directory, by git's word where there is one."""
    command = ["git", "-C", str(root), "ls-files", "-z", "-co", "--exclude-standard"]
    try:
        answer = subprocess.run(command, capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError):  # no git, or no work tree
        return [path.relative_to(root) for path in _files_of(root)]
    paths = {Path(os.fsdecode(name)) for name in answer.stdout.split(b"\0") if name}
    return [path for path in paths if (root / path).is_file()]  # a deleted one is listed too


def _stays(root: Path, path: Path, never_on_top: Sequence[str]) -> bool:
    parts = path.parts
    return (
        any(part.startswith(".") for part in parts)
        or any(fnmatch.fnmatch(part, never) for part in parts for never in _NEVER)
        or (len(parts) > 1 and parts[0] in never_on_top)
        or any(is_run(root / parent) for parent in path.parents if parent.parts)
    )


def _matches(path: Path, patterns: Sequence[str]) -> bool:
    return any(
        fnmatch.fnmatch(text, pattern)
        for pattern in (pattern.rstrip("/") for pattern in patterns)
        for text in (*path.parts, path.as_posix(), *(p.as_posix() for p in path.parents))
    )
