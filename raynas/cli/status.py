"""``raynas status``."""

import json
import shlex
from typing import Annotated, Any

import typer

from raynas.cli.common import duration, exit_codes, percent, spread
from raynas.errors import printable


def status(
    run: Annotated[str, typer.Argument(help="A run folder, or its URI.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Show where a run is: running, interrupted or done, what it has spent and found."""
    with exit_codes():
        from raynas import api

        facts = api.status(run)
        if as_json:
            print(json.dumps(facts, indent=2))
            return
        words = {"supernet": supernet_words, "retrain": retrain_words}
        lines = words.get(facts.get("kind", ""), search_words)(facts)
        print("\n".join(map(printable, lines)))  # the folder may be anybody's
        if facts["state"] == "interrupted":
            print(f"carry on with        raynas resume {shlex.quote(run)}")


def search_words(facts: dict[str, Any]) -> list[str]:
    """Return the lines about a search."""
    lines = [
        f"{facts['state']}: {facts['spent']}, {duration(facts['elapsed_s'])} elapsed",
        f"reached each level   {' > '.join(map(str, facts['reached']))} "
        f"(levels of {', '.join(map(str, facts['levels']))} epochs)",
        f"rounds               {facts['rounds']}, {facts['num_failed']} failed",
    ]
    if facts["architecture"] is not None:
        lines.append(f"best so far          {percent(facts['accuracy'])}  {facts['architecture']}")
    tau = (facts["fit"] or {}).get("kendall_tau")
    if isinstance(tau, float):
        lines.append(f"predictor            Kendall tau {tau:.2f}")
    return lines


def retrain_words(facts: dict[str, Any]) -> list[str]:
    """Return the lines about a retraining."""
    networks = f"{facts['finished_networks']} of {facts['num_networks']} networks"
    lines = [
        f"{facts['state']}: {networks}, {facts['epochs']} of {facts['num_epochs']} epochs, "
        f"{facts['num_failed']} failed, {duration(facts['elapsed_s'])} elapsed",
    ]
    for row in facts["architectures"]:
        if row["accuracy_mean"] is not None:
            lines.append(
                f"{row['label']:<20} {spread(row['accuracy_mean'], row['accuracy_std'])} "
                f"({row['part']}, last epoch, {row['seeds']} seeds)"
            )
    return lines


def supernet_words(facts: dict[str, Any]) -> list[str]:
    """Return the lines about a supernet run."""
    of_epochs = f"epoch {facts['epoch']} of {facts['num_epochs']}"
    lines = [
        f"{facts['state']}: {facts['phase']}, {of_epochs}, {duration(facts['elapsed_s'])} elapsed",
        f"what                 {facts['method']} on {facts['space']}, "
        f"selection by {facts['selection']}",
        f"decisions            {facts['decisions']}",
    ]
    metrics = facts["metrics"]
    if metrics is not None and isinstance(metrics.get("accuracy"), float):
        lines.append(f"supernet             {percent(metrics['accuracy'])} on the validation part")
    if facts["failure"] is not None:
        lines.append(f"failed               {facts['failure']}")
    if facts["architecture"] is not None:
        lines.append(f"architecture         {facts['architecture']}")
    return lines
