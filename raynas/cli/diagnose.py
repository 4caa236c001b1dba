"""``raynas diagnose``."""

import json
import sys
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from raynas.cli.common import exit_codes
from raynas.cli.options import Address, Json
from raynas.errors import ConfigError

if TYPE_CHECKING:
    from raynas.diagnostics.session import Diagnosis

_LINE_EVERY_S = 5.0


def diagnose(
    run: Annotated[str, typer.Argument(help="The folder, or URI, of a supernet run or a search.")],
    what: Annotated[
        str,
        typer.Option(
            help="all, or names with commas: strength, strength_map, shuffle, skip_gap, "
            "estimation, curvature, trace, trajectory, tuning; of a search predictor, levels, "
            "saved."
        ),
    ] = "all",
    edges: Annotated[
        str | None, typer.Option(help="Edges that strength looks at: a number (3), or all.")
    ] = None,
    oracle_epochs: Annotated[
        int | None,
        typer.Option(help="Most epochs of training on for an oracle (10; none for strength_map)."),
    ] = None,
    draws: Annotated[int | None, typer.Option(help="Random swaps of shuffle (10).")] = None,
    reference_epochs: Annotated[
        int | None,
        typer.Option(help="Epochs of shuffle's two reference networks (15; 0 leaves them out)."),
    ] = None,
    batches: Annotated[
        int | None,
        typer.Option(help="Batches that curvature, trace and estimation average over (3)."),
    ] = None,
    probes: Annotated[int | None, typer.Option(help="Random vectors of trace (32).")] = None,
    tune_epochs: Annotated[
        int | None, typer.Option(help="Epochs of tuning in trajectory (1).")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Every draw derives from it.")] = None,
    against: Annotated[
        str | None, typer.Option(help="Another supernet run that tuning compares with.")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(help="Measurements side by side (default: as many as fit).")
    ] = None,
    gpus: Annotated[
        float | None,
        typer.Option(help="GPUs that each holds, 0.25 shares one (default: one if there are any)."),
    ] = None,
    local: Annotated[
        bool, typer.Option("--local", help="Measure in this process, without Ray.")
    ] = False,
    address: Address = None,
    trust_code: Annotated[
        bool, typer.Option(help="Import the code outside raynas that the run names.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Say when a supernet's mixing weights mislead, or whether a search spent its epochs well.

    Tables, plots and a summary go to RUN/diagnostics; what is measured is kept there.
    """
    with exit_codes():
        from raynas import api

        diagnosis = api.diagnose(
            run,
            what,
            edges=None if edges is None else _edges(edges),
            oracle_epochs=oracle_epochs,
            draws=draws,
            reference_epochs=reference_epochs,
            batches=batches,
            probes=probes,
            tune_epochs=tune_epochs,
            seed=seed,
            against=against,
            workers=workers,
            gpus=gpus,
            engine="local" if local else "ray",
            address=address,
            trust_code=trust_code,
            listener=None if as_json else Lines(),
        )
        if as_json:
            print(json.dumps(as_values(diagnosis), indent=2))
        else:
            print("\n".join(words(diagnosis)))


def _edges(text: str) -> Any:
    if text == "all":
        return text
    try:
        return int(text)
    except ValueError:
        raise ConfigError(f"edges: {text!r} must be a number, or all") from None


class Lines:
    """Prints a line every few seconds, and one for each diagnostic that is done."""

    def __init__(self) -> None:
        self._said_at = -_LINE_EVERY_S

    def __call__(self, name: str, done: int, total: int, label: str) -> None:
        """Print a line if one is due."""
        now, over = time.monotonic(), label == "done"
        if over or now - self._said_at >= _LINE_EVERY_S:
            self._said_at = now
            counts = f"{done} of {total} " if total else ""
            print(f"{name}: {counts}{label}", file=sys.stderr, flush=True)


def as_values(diagnosis: "Diagnosis") -> dict[str, Any]:
    """Return what a diagnosis came to as JSON values."""
    return {
        "folder": str(diagnosis.folder),
        "diagnostics": diagnosis.entries,
        "skipped": diagnosis.skipped,
    }


def words(diagnosis: "Diagnosis") -> list[str]:
    """Return what a person wants to know at the end."""
    lines = []
    for entry in diagnosis.entries:
        lines += [f"{entry['name']}: {entry['title']}"]
        lines += [f"  {sentence}" for sentence in entry["sentences"]]
    lines += [f"skipped              {reason}" for reason in diagnosis.skipped.values()]
    lines.append(f"tables and plots     {diagnosis.folder}")
    return lines
