"""``raynas supernet``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from raynas.cli.common import (
    carry_on,
    duration,
    exit_codes,
    finish,
    one_config,
    percent,
    warn_if_passing,
)
from raynas.cli.options import Address, Assignments, Config, Json, Out, Preset, Seed
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
    seed: Seed = None,
    out: Out = None,
    workers: Annotated[
        int | None, typer.Option(help="Training workers, each on its share of every batch.")
    ] = None,
    preset: Preset = None,
    address: Address = None,
    set_: Assignments = None,
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
        finish(result, words(result), as_json)


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
        lines.append(carry_on(result.folder))
    return lines
