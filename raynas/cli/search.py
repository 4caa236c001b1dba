"""``raynas search``."""

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
from raynas.cli.options import Address, Assignments, Config, Json, Out, Preset, Seed, Workers

if TYPE_CHECKING:
    from raynas.cli.progress import Progress
    from raynas.session import SearchResult


def search(
    config: Annotated[Path | None, typer.Argument(help="A YAML config.")] = None,
    config_: Config = None,
    space: Annotated[
        str | None, typer.Option(help="nasbench201, or module:Class of your own.")
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(help="digits, npz:PATH, imagefolder:PATH or torchvision:NAME."),
    ] = None,
    budget: Annotated[
        str | None,
        typer.Option(help="What the run may spend: 300 (epochs), 90m, 6h or 12gpuh."),
    ] = None,
    seed: Seed = None,
    out: Out = None,
    workers: Workers = None,
    max_params: Annotated[
        str | None, typer.Option(help="Most parameters a network may have: 200k, 1.5M.")
    ] = None,
    max_flops: Annotated[
        str | None, typer.Option(help="Most multiply-accumulates an image may take: 600M.")
    ] = None,
    max_latency_ms: Annotated[
        str | None, typer.Option(help="Longest forward pass, timed on this machine's CPU.")
    ] = None,
    objectives: Annotated[
        str | None, typer.Option(help="accuracy,latency (or params, flops): a front of networks.")
    ] = None,
    preset: Preset = None,
    address: Address = None,
    set_: Assignments = None,
    as_json: Json = False,
) -> None:
    """Search for an architecture: train candidates under the NOSH pyramid until the budget ends.

    Losers are paused, never discarded; a ranking predictor proposes the next candidates.
    """
    with exit_codes():
        from raynas import api

        limits = {
            "max_params": max_params,
            "max_flops": max_flops,
            "max_latency_ms": max_latency_ms,
        }
        warn_if_passing(out)
        progress = make_progress(as_json)
        with progress:
            result = api.search(
                config=one_config(config, config_),
                preset=preset,
                space=space,
                data=data,
                budget=budget,
                seed=seed,
                workers=workers,
                constraints={name: value for name, value in limits.items() if value is not None},
                objectives=objectives,
                assignments=tuple(set_ or ()),
                out=out,
                address=address,
                listener=progress,
            )
        finish(result, words(result), as_json)


def make_progress(as_json: bool) -> "Progress":
    """Return what shows a search while it runs, on this kind of output."""
    from rich.console import Console

    from raynas.cli.progress import Lines, LiveTable, Silent

    if as_json:
        return Silent()
    console = Console()
    return LiveTable(console) if console.is_terminal else Lines()


def words(result: "SearchResult") -> list[str]:
    """Return what a person wants to know at the end."""
    facts: dict[str, Any] = result.summary()
    lines = []
    if result.architecture is not None:
        lines += [
            f"best architecture    {result.architecture.text}",
            f"validation accuracy  {percent(result.accuracy)} after {facts['epochs']} epochs",
        ]
    lines += [
        f"trained              {facts['num_trained']} networks, {facts['spent_epochs']} epochs, "
        f"{duration(facts['elapsed_s'])}",
        f"reached each level   {' > '.join(map(str, facts['reached']))}"
        + (f", {facts['num_failed']} failed" if facts["num_failed"] else ""),
    ]
    if result.front is not None:
        lines.append(f"front                {len(result.front)} architectures, in best.json")
    if result.folder is not None:
        lines.append(f"run folder           {result.folder}")
        if not result.finished:
            lines.append(carry_on(result.folder))
    return lines
