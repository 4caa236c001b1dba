"""``raynas report``."""

import json
from typing import Annotated

import typer

from raynas.cli.common import exit_codes
from raynas.cli.options import Json


def report(
    run: Annotated[
        str,
        typer.Argument(help="A run folder, or its URI, finished or not; or that of a comparison."),
    ],
    out: Annotated[
        str | None,
        typer.Option(help="File, or folder for it (default: report.html in the run folder)."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Write everything about a run on one HTML page, to read offline, print or send on."""
    with exit_codes():
        from raynas import api

        written = api.write_report(run, out)
        print(json.dumps({"report": str(written)}) if as_json else f"written  {written}")
