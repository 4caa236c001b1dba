"""``raynas compare``."""

import json
import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from raynas.cli.common import duration, exit_codes
from raynas.errors import ConfigError, UsageError

METHODS = "ranking:nosh,ranking:full,random:full,evolution:full,random:asha"
_SAY_EVERY_S = 5.0


def compare(
    table: Annotated[
        str,
        typer.Option(
            help="nb201:PATH:cifar10, nb101:PATH, a .parquet of raynas' format, or fashion16."
        ),
    ] = "fashion16",
    methods: Annotated[
        str, typer.Option(help="proposer:policy, separated by commas; name=proposer:policy too.")
    ] = METHODS,
    budget: Annotated[
        str, typer.Option(help="Epochs, separated by commas; each is a run of its own.")
    ] = "100,200,400",
    seeds: Annotated[int, typer.Option(help="Runs of each method at each budget.")] = 20,
    target: Annotated[
        float | None, typer.Option(help="Percent to reach (default: what each method ends at).")
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="An option of all methods, or METHOD.key=value of one."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder (default: a new one below runs/).")
    ] = None,
    processes: Annotated[
        int | None, typer.Option(help="Runs side by side (default: cores).")
    ] = None,
    trust_code: Annotated[
        bool, typer.Option(help="Import a space outside raynas that the table names.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print a JSON list: one object a method and budget.")
    ] = False,
) -> None:
    """Compare methods on a table of measured networks: search quality against epochs spent.

    Nothing is trained. An interrupted comparison goes on if asked for again with the same --out.
    """
    with exit_codes():
        from raynas import api

        started = time.monotonic()
        comparison = api.compare(
            table,
            methods=methods,
            budgets=_numbers(budget),
            seeds=seeds,
            target=None if target is None else target / 100,
            assignments=tuple(set_ or ()),
            out=out,
            processes=processes,
            trust_code=trust_code,
            listener=_Progress(),
        )
        if as_json:
            print(json.dumps(comparison.rows(), indent=2))
            return
        print(comparison.text())
        try:
            comparison.draw(comparison.folder / "regret.svg")
        except UsageError as error:  # the figures do not hang on the picture
            print(f"raynas: no picture: {error}", file=sys.stderr)
        print(f"folder: {comparison.folder} ({duration(time.monotonic() - started)})")


def _numbers(text: str) -> list[int]:
    numbers = []
    for part in text.split(","):
        try:
            numbers.append(int(part))
        except ValueError:
            raise ConfigError(
                f"budget: {part.strip()!r} is no number of epochs (write 2000,5550,10000)"
            ) from None
    return numbers


class _Progress:
    """A line on stderr every few seconds, with the time left at the rate so far."""

    def __init__(self) -> None:
        self._started = time.monotonic()
        self._said_at = self._started
        self._had: int | None = None

    def __call__(self, done: int, total: int) -> None:
        now = time.monotonic()
        if self._had is None:
            self._had = done
            if done:
                print(f"{done} of {total} runs were done before", file=sys.stderr)
        if now - self._said_at < _SAY_EVERY_S or done == self._had:
            return
        self._said_at = now
        left_s = (now - self._started) / (done - self._had) * (total - done)
        print(f"{done} of {total} runs, about {duration(left_s)} left", file=sys.stderr)
