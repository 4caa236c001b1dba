"""What the commands share: exit codes, and errors as one line."""

import json
import os
import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn, Protocol

import typer

from raynas.errors import ConfigError, RaynasError, UsageError
from raynas.interrupts import sigterm_as_ctrl_c
from raynas.storage import Location, StorePath, location

DONE, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 3


@contextmanager
def exit_codes() -> Iterator[None]:
    """Turn raynas' errors into a message on stderr and an exit code; SIGTERM is a Ctrl-C."""
    try:
        with sigterm_as_ctrl_c():
            yield
    except UsageError as error:
        print(f"raynas: {error}", file=sys.stderr)
        raise typer.Exit(USAGE) from None
    except RaynasError as error:
        print(f"raynas: the run stopped: {error}", file=sys.stderr)
        raise typer.Exit(FAILED) from None
    except KeyboardInterrupt:
        print("raynas: interrupted", file=sys.stderr)
        raise typer.Exit(INTERRUPTED) from None


def one_config(argument: Path | None, option: Path | None) -> Path | None:
    """Return the config that was given, as an argument or with ``--config``.

    Raises:
        ConfigError: it was given twice.
    """
    if argument is not None and option is not None:
        raise ConfigError(f"config: given twice, {argument} and --config {option}; give one")
    return argument or option


def warn_if_passing(out: str | None) -> None:
    """Say so if the run folder will lie in a Ray job's copy of a working directory.

    Ray deletes those copies with the session, or when it needs the room.
    """
    where = location(out or os.environ.get("RAYNAS_RUNS") or "runs")
    if isinstance(where, StorePath):
        return
    where = where.absolute()
    if "runtime_resources" in where.parts:
        print(
            f"raynas: {where} goes when the Ray session does: give --out, or RAYNAS_RUNS, a path "
            "on storage that all nodes reach",
            file=sys.stderr,
        )


class Ending(Protocol):
    """What a search or a supernet run came to."""

    @property
    def finished(self) -> bool:
        """Whether there is nothing left to do."""
        ...

    @property
    def notices(self) -> Sequence[str]:
        """What the user should know of how it went."""
        ...

    def summary(self) -> dict[str, Any]:
        """Return what it came to, as JSON values."""
        ...


def finish(result: Ending, lines: Sequence[str], as_json: bool) -> NoReturn:
    """Say how a run ended, and leave with the exit code that goes with it."""
    print(json.dumps(result.summary(), indent=2) if as_json else "\n".join(lines))
    for notice in result.notices:
        print(f"raynas: {notice}", file=sys.stderr)
    raise typer.Exit(DONE if result.finished else INTERRUPTED)


def carry_on(folder: Location) -> str:
    """Return the line that says how an interrupted run is carried on."""
    return f"interrupted: carry on with `raynas resume {shlex.quote(str(folder))}`"


def percent(accuracy: float | None) -> str:
    """Return an accuracy as people read it."""
    return "-" if accuracy is None or accuracy != accuracy else f"{100 * accuracy:.2f} %"


def duration(seconds: float) -> str:
    """Return seconds as ``1h02m``, ``3m07s`` or ``12s``."""
    whole = round(seconds)
    if whole >= 3600:
        return f"{whole // 3600}h{whole % 3600 // 60:02d}m"
    return f"{whole // 60}m{whole % 60:02d}s" if whole >= 60 else f"{whole}s"


def spread(mean: float | None, std: float | None) -> str:
    """Return a mean and deviation over seeds as people read them, e.g. ``97.24 ± 0.08 %``."""
    if mean is None:
        return "-"
    if std is None:
        return percent(mean)
    return f"{100 * mean:.2f} ± {100 * std:.2f} %"
