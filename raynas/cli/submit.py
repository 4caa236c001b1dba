"""``raynas submit``."""

import json
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from raynas.cli.common import DONE, FAILED, INTERRUPTED, exit_codes
from raynas.errors import UsageError, nearest
from raynas.storage import StorePath

if TYPE_CHECKING:
    from raynas.api.submitting import JobEnd, Submission


def submit(
    context: typer.Context,
    command: Annotated[
        list[str] | None,
        typer.Argument(help="What to run there: search --config my.yaml --budget 2h"),
    ] = None,
    address: Annotated[
        str | None,
        typer.Option(help="The cluster: http://HEAD:8265, auto (default: RAY_ADDRESS, or local)."),
    ] = None,
    working_dir: Annotated[
        Path, typer.Option(help="The directory whose files travel and the command runs in.")
    ] = Path(),
    code: Annotated[
        str | None,
        typer.Option(
            help="Whose raynas runs there: source (these files), pip (this version) or image "
            "(default: source from a checkout, else pip)."
        ),
    ] = None,
    pip: Annotated[
        list[str] | None, typer.Option(help="One more requirement to install (repeatable).")
    ] = None,
    exclude: Annotated[
        list[str] | None, typer.Option(help="Files that stay, e.g. 'data/*' (repeatable).")
    ] = None,
    max_file_mb: Annotated[float, typer.Option(help="Largest file that travels, in MB.")] = 20.0,
    python: Annotated[str, typer.Option(help="The interpreter on the head node.")] = "python",
    detach: Annotated[
        bool, typer.Option("--detach", help="Do not follow what the job prints.")
    ] = False,
    follow: Annotated[
        str | None, typer.Option(metavar="ID", help="Follow a job that was sent before.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object; what the job prints: stderr.")
    ] = False,
) -> None:
    """Run a command on a cluster: ship this directory, follow what is printed, say where it went.

    Ctrl-C lets go of the job without ending it.
    """
    with exit_codes():
        from raynas import api

        if follow is not None:
            if command:
                raise UsageError("--follow: the job has its command already; give none")
            _follow(follow, address, as_json)
        words = _checked(context, command or [])
        sent = api.submit(
            words,
            address=address,
            working_dir=working_dir,
            code=code,  # type: ignore[arg-type]  # any text; api.submit says what is allowed
            pip=tuple(pip or ()),
            exclude=tuple(exclude or ()),
            max_file_mb=max_file_mb,
            python=python,
        )
        if detach:
            print(json.dumps(_facts(sent), indent=2) if as_json else "\n".join(opening(sent)))
            print_way_back(sent.job_id, address, sys.stderr if as_json else sys.stdout)
            raise typer.Exit(DONE)
        print("\n".join(opening(sent)), file=sys.stderr if as_json else sys.stdout, flush=True)
        _follow(sent.job_id, address, as_json)


def _checked(context: typer.Context, words: list[str]) -> list[str]:
    """Return the command; mistakes in it are found here, not minutes later on the head node."""
    words = words[1:] if words[:1] == ["raynas"] else words
    if not words:
        raise UsageError("submit: give a command, e.g. `raynas submit -- search --budget 2h`")
    parent: Any = context.parent
    commands: dict[str, Any] = parent.command.commands
    if words[0] not in commands:
        raise UsageError(f"submit: no command {words[0]!r}{nearest(words[0], commands)}")
    if words[0] != "submit" and not hasattr(commands[words[0]], "commands"):
        commands[words[0]].make_context(words[0], list(words[1:]), parent=parent)
    return words


def _follow(job_id: str, address: str | None, as_json: bool) -> None:
    """Follow a job and leave with the exit code of its command."""
    from raynas import api

    stream = sys.stderr if as_json else sys.stdout
    try:
        end = api.follow_job(
            job_id, address=address, show=lambda text: print(text, end="", file=stream, flush=True)
        )
    except KeyboardInterrupt:
        print_way_back(job_id, address, sys.stderr)
        raise typer.Exit(INTERRUPTED) from None
    print(json.dumps(_facts(end), indent=2) if as_json else "\n".join(closing(end)))
    raise typer.Exit(exit_code(end))


def exit_code(end: "JobEnd") -> int:
    """Return the exit code of a command, or what stands for how its job ended."""
    if end.status == "SUCCEEDED":
        return DONE
    if end.status == "STOPPED":
        return INTERRUPTED
    return end.exit_code or FAILED


def print_way_back(job_id: str, address: str | None, stream: Any) -> None:
    """Say how to come back to a job."""
    where = f" --address {shlex.quote(address)}" if address else ""
    print(f"job {job_id} goes on", file=stream)
    print(f"come back with       raynas submit --follow {job_id}{where}", file=stream)
    print(f"end it with          ray job stop {job_id}{where}", file=stream)


def opening(sent: "Submission") -> list[str]:
    """Return what a person wants to know of a job that was sent."""
    lines = [f"job                  {sent.job_id} at {sent.address}"]
    lines.append(f"shipped              {sent.shipped} files, {sent.num_bytes / 1e6:.1f} MB")
    if sent.left_out:
        names = ", ".join(map(str, sent.left_out[:5])) + (", …" if sent.left_out[5:] else "")
        lines.append(f"too large to ship    {names}")
    if sent.folder is not None:
        lines.append(f"run folder           {sent.folder}")
    return lines


def closing(end: "JobEnd") -> list[str]:
    """Return how a job ended and, last, where its results are."""
    code = "" if end.exit_code is None else f" (exit code {end.exit_code})"
    lines = [f"job                  {end.status.lower()}{code}"]
    if end.status == "FAILED" and end.exit_code is None:
        lines.append(f"Ray says             {end.message}")
    if end.folder is None:
        return lines
    if end.in_reach:
        lines.append(f"results              {end.folder} (raynas status {end.folder})")
    else:
        lines.append(
            f"results              {end.folder} on the cluster: nothing is there on this machine; "
            "both see one folder only on shared storage"
        )
    return lines


def _facts(it: "Submission | JobEnd") -> dict[str, Any]:
    return {name: _plain(getattr(it, name)) for name in it.__slots__}


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [str(one) for one in value]
    return str(value) if isinstance(value, Path | StorePath) else value
