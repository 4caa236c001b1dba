"""Options that several commands share, each written once."""

from pathlib import Path
from typing import Annotated

import typer

Config = Annotated[Path | None, typer.Option("--config", help="The same as CONFIG.")]
Preset = Annotated[str | None, typer.Option(help="A named set of defaults.")]
Seed = Annotated[int | None, typer.Option(help="Every draw of the run derives from it.")]
Out = Annotated[
    str | None, typer.Option(help="Run folder or URI, s3://… (default: a new one below runs/).")
]
Workers = Annotated[
    int | None, typer.Option(help="Networks trained side by side (default: as many as fit).")
]
Address = Annotated[
    str | None,
    typer.Option(help="A running Ray cluster ('auto' finds it); default: RAY_ADDRESS, or local."),
]
Assignments = Annotated[
    list[str] | None,
    typer.Option("--set", help="Any other key: --set training.lr=0.05 (repeatable)."),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")]
