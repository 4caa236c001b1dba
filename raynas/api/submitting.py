"""`raynas submit`: have a cluster run a command, follow it, say where the results are."""

import os
import secrets
import shlex
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml

import raynas
from raynas.api.shipping import MAX_FILE_MB, Shipment, is_run, pack
from raynas.errors import ConfigError, StorageError, UsageError
from raynas.runs.folder import installed_version, new_folder
from raynas.storage import Location, StorePath, location

Code = Literal["source", "pip", "image"]
"""Whose raynas runs there: this one's files, the same version by pip, or what the image has."""

_CODES = ("source", "pip", "image")
_MAKE_A_RUN = ("search", "supernet", "retrain")


@dataclass(frozen=True, slots=True)
class Submission:
    """A job that was sent.

    Attributes:
        job_id: What `follow_job` and ``ray job stop`` know it by.
        address: The jobs API.
        folder: Absolute path of the run folder, as the cluster sees it (None: it makes none).
        shipped: How many files travelled.
        num_bytes: Their size before compression.
        left_out: Files of the working directory that were too large.
    """

    job_id: str
    address: str
    folder: Location | None
    shipped: int
    num_bytes: int
    left_out: tuple[Path, ...]


@dataclass(frozen=True, slots=True)
class JobEnd:
    """How a job ended.

    Attributes:
        job_id: The job.
        status: ``SUCCEEDED``, ``FAILED`` or ``STOPPED``.
        exit_code: Of the command (None: it never started, or was killed).
        message: What Ray says of it.
        folder: The run folder as the cluster sees it (None: none is known of).
        in_reach: Whether that folder is there on this machine too.
    """

    job_id: str
    status: str
    exit_code: int | None
    message: str
    folder: Location | None
    in_reach: bool


def submit(
    command: str | Sequence[str],
    *,
    address: str | None = None,
    working_dir: Path | str = ".",
    code: Code | None = None,
    pip: Sequence[str] = (),
    exclude: Sequence[str] = (),
    max_file_mb: float = MAX_FILE_MB,
    python: str = "python",
) -> Submission:
    """Have a cluster run a raynas command; returns once the cluster has it.

    The files of the working directory travel (see `raynas.api.shipping.pack`). Run folders do not:
    they lie on storage that the cluster and this machine both reach at the same path, so paths of
    run folders are made absolute, and a command that makes one is told where.

    Args:
        command: As on the command line: ``"search --config my.yaml --budget 2h"``.
        address: The cluster: ``http://HEAD:8265``, ``auto``; None: as Ray's own environment says.
        working_dir: The directory the command runs in a copy of.
        code: Whose raynas runs there; None: these files if raynas runs from a checkout, else the
            same version by pip. Pip installs only what the image lacks: its torch stays.
        pip: More requirements to install there.
        exclude: Shell patterns of files that stay here.
        max_file_mb: Largest file that travels, in MB.
        python: The interpreter on the head node.

    Raises:
        UsageError: the command is none of raynas, a file it needs does not travel, or no cluster
            answers.
    """
    root = Path(working_dir).resolve()
    words = shlex.split(command) if isinstance(command, str) else list(command)
    words, folder = complete(words, root)
    home = Path(raynas.__file__).resolve().parent
    chosen = code or ("source" if (home.parent / "pyproject.toml").is_file() else "pip")
    if chosen not in _CODES:
        raise ConfigError(f"code: {chosen!r} must be one of {', '.join(_CODES)}")
    files = pack(
        root, named=list(_named_files(words, root)), exclude=exclude, max_file_mb=max_file_mb
    )
    own = [pack(home, never_on_top=())] if chosen == "source" else []

    from raynas.engine.submit import Jobs

    jobs = Jobs(address)
    job_id = f"raynas-{words[0]}-{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(2)}"
    with tempfile.TemporaryDirectory(prefix="raynas-") as scratch:
        package = Path(scratch) / "working_dir.zip"
        files.write(package, own)
        jobs.submit(
            shlex.join([python, "-m", "raynas", *words]),
            runtime_env(package, pip_requirements(chosen, pip)),
            {"raynas": shlex.join(words), **({"folder": str(folder)} if folder else {})},
            job_id,
        )
    everything: list[Shipment] = [files, *own]
    return Submission(
        job_id,
        jobs.address,
        folder,
        sum(len(one.files) for one in everything),
        sum(one.num_bytes for one in everything),
        files.left_out,
    )


def follow_job(
    job_id: str, *, address: str | None = None, show: Callable[[str], None] = print
) -> JobEnd:
    """Follow a job, from the beginning of what it prints to its end; `KeyboardInterrupt` detaches.

    Args:
        job_id: The job.
        address: As for `submit`.
        show: Is handed what it prints, piece by piece.

    Raises:
        UsageError: there is no such job, or no cluster answers.
    """
    from raynas.engine.submit import Jobs

    state = Jobs(address).follow(job_id, show)
    folder = location(state.metadata["folder"]) if "folder" in state.metadata else None
    in_reach = folder is not None and _in_reach(folder)
    return JobEnd(job_id, state.status, state.exit_code, state.message, folder, in_reach)


def complete(words: Sequence[str], root: Path) -> tuple[list[str], Location | None]:
    """Return a command as the cluster is to run it, and its run folder.

    Args:
        words: The command line; a leading ``raynas`` is taken off.
        root: The working directory.

    Raises:
        UsageError: there is no command, or one that cannot be sent.
    """
    words = list(words[1:] if words[:1] == ["raynas"] else words)
    if not words or words[0].startswith("-"):
        raise UsageError("submit: give a command, e.g. `raynas submit -- search --budget 2h`")
    if words[0] == "submit":
        raise UsageError("submit: a job cannot submit itself; give the command it is to run")
    words = [_absolute_run(word, root) for word in words]
    out = option(words, "--out")
    if out is not None:
        folder = _absolute(location(out), root)
        return _with_out(words, folder), folder
    if words[0] == "resume" or (words[0] == "retrain" and option(words, "--resume")):
        given = option(words, "--resume") or next(
            (word for word in words[1:] if not word.startswith("-")), None
        )
        return words, location(given) if given else None
    if words[0] in _MAKE_A_RUN:
        folder = _absolute(new_folder(words[0]), root)
        return [*words, "--out", str(folder)], folder
    return words, None


def _in_reach(folder: Location) -> bool:
    try:
        return is_run(folder)
    except StorageError:  # this machine need not be let in
        return False


def _absolute(place: Location, root: Path) -> Location:
    if isinstance(place, StorePath):
        return place
    return (root / os.path.expanduser(place)).absolute()  # unlike Path's, leaves a ~name of nobody


def option(words: Sequence[str], name: str) -> str | None:
    """Return the value of an option of a command line, ``--name value`` or ``--name=value``."""
    for word, following in zip(words, [*words[1:], None], strict=True):
        if word == name:
            return following
        if word.startswith(f"{name}="):
            return word.partition("=")[2]
    return None


def runtime_env(package: Path, requirements: Sequence[str]) -> dict[str, Any]:
    """Return what the job runs in, as Ray's jobs API takes it."""
    made: dict[str, Any] = {"working_dir": str(package)}
    if requirements:
        # Installed on top of the image's packages: what satisfies a requirement stays as it is.
        made["pip"] = {
            "packages": list(requirements),
            "pip_check": False,
            "pip_install_options": ["--no-cache-dir", "--upgrade-strategy", "only-if-needed"],
        }
    return made


def pip_requirements(code: str, more: Sequence[str]) -> list[str]:
    """Return what pip is asked for.

    Raises:
        ConfigError: this raynas has no version that pip could be asked for.
    """
    if code != "pip":
        return list(more)
    version = installed_version("raynas")
    if version is None:
        raise ConfigError("code: 'pip', but this raynas is not installed: use 'source' or 'image'")
    return [f"raynas=={version}", *more]


def _with_out(words: Sequence[str], folder: Location) -> list[str]:
    """Return a command line with its ``--out`` replaced."""
    kept: list[str] = []
    skip = False
    for word in words:
        if skip or word.startswith("--out="):
            skip = False
        elif word == "--out":
            skip = True
        else:
            kept.append(word)
    return [*kept, "--out", str(folder)]


def _absolute_run(word: str, root: Path) -> str:
    """Return a word of a command line, made absolute if it is a run folder or a file of one."""
    name, equals, value = word.partition("=") if word.startswith("--") else ("", "", word)
    path = root / value
    if not value or Path(value).is_absolute() or not path.exists():
        return word
    if is_run(path) or (path.is_file() and is_run(path.parent)):
        return f"{name}{equals}{path.resolve()}"
    return word


def _named_files(words: Sequence[str], root: Path) -> Iterator[Path]:
    """Yield the files below `root` that a command line, or a config it names, names."""
    for word in words:
        for path in _paths(word, root):
            yield path
            if path.suffix in (".yaml", ".yml") and path.is_file():
                for text in _texts(_yaml(path)):
                    yield from _paths(text, root)


def _paths(text: str, root: Path) -> Iterator[Path]:
    """Yield what a text such as ``a.yaml``, ``npz:a.npz`` or ``--set=data.path=a`` names."""
    ends = {text, text.rpartition("=")[2]}
    for end in sorted(ends | {end.partition(":")[2] for end in ends}):
        path = root / end
        if not end or Path(end).is_absolute() or not path.exists():
            continue
        resolved = path.resolve()
        if resolved != root and resolved.is_relative_to(root):
            yield resolved


def _yaml(path: Path) -> Any:
    try:
        return yaml.safe_load(path.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for one in value.values():
            yield from _texts(one)
    elif isinstance(value, Sequence):
        for one in value:
            yield from _texts(one)
