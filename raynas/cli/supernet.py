"""``raynas supernet``."""

import json
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from raynas.cli.common import (
    DONE,
    INTERRUPTED,
    duration,
    exit_codes,
    one_config,
    percent,
    warn_if_passing,
)
from raynas.cli.search import Address, Config, Json
from raynas.cli.supernet_progress import make_supernet_progress

if TYPE_CHECKING:
    from raynas.supernet_session import SupernetResult


def supernet(
    config: Annotated[Path | None, typer.Argument(help="A YAML config.")] = None,
    config_: Config = None,
    space: Annotated[
        str | None,
        typer.Option(help="darts, s1 to s4, nasbench201, cell, or module:Class of your own."),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(help="digits, npz:PATH, imagefolder:PATH or torchvision:NAME."),
    ] = None,
    method: Annotated[
        str | None, typer.Option(help="How weights and mixing weights are trained: darts, …")
    ] = None,
    select: Annotated[
        str | None, typer.Option(help="perturbation, magnitude, or module:Class of your own.")
    ] = None,
    epochs: Annotated[int | None, typer.Option(help="Length of the search.")] = None,
    seed: Annotated[int | None, typer.Option(help="Every draw of the run derives from it.")] = None,
    out: Annotated[
        str | None,
        typer.Option(help="Run folder or URI, s3://… (default: a new one below runs/)."),
    ] = None,
    workers: Annotated[
        int | None, typer.Option(help="Training workers, each on its share of every batch.")
    ] = None,
    preset: Annotated[str | None, typer.Option(help="A named set of defaults.")] = None,
    address: Address = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="Any other key: --set training.lr=0.05 (repeatable)."),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="If --out holds this very run, carry it on.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Train a weight-sharing supernet, then select an architecture from it.

    Perturbation keeps the ops that the supernet misses most when they are left out.
    """
    with exit_codes():
        from raynas import api

        warn_if_passing(out)
        with make_supernet_progress(as_json) as progress:
            result = api.search_supernet(
                config=one_config(config, config_),
                preset=preset,
                space=space,
                data=data,
                method=method,
                selection=select,
                epochs=epochs,
                seed=seed,
                workers=workers,
                assignments=tuple(set_ or ()),
                out=out,
                resume=resume,
                address=address,
                listener=progress,
            )
        finish(result, as_json)


def finish(result: "SupernetResult", as_json: bool) -> NoReturn:
    """Say how a run ended, and leave with the exit code that goes with it."""
    print(json.dumps(result.summary(), indent=2) if as_json else "\n".join(words(result)))
    for notice in result.notices:
        print(f"raynas: {notice}", file=sys.stderr)
    raise typer.Exit(DONE if result.finished else INTERRUPTED)


def words(result: "SupernetResult") -> list[str]:
    """Return what a person wants to know at the end."""
    facts: dict[str, Any] = result.summary()
    lines = []
    if result.architecture is not None:
        lines.append(f"architecture         {result.architecture.text}")
    if result.literal is not None:
        lines.append(f"genotype             {result.literal}")
    lines += [
        f"supernet             {percent(facts['supernet_accuracy'])} on the validation part",
        f"trained              {facts['search_epochs']} epochs of search, "
        f"{facts['tuning_epochs']} of tuning, {duration(facts['elapsed_s'])}",
        f"decisions            {facts['decisions']}",
        f"run folder           {result.folder}",
    ]
    if not result.finished:
        lines.append(
            f"interrupted: carry on with `raynas resume {shlex.quote(str(result.folder))}`"
        )
    return lines
