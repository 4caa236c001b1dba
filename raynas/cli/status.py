"""``raynas status``."""

import json
from pathlib import Path
from typing import Annotated

import typer

from raynas.cli.common import duration, exit_codes, percent


def status(
    run: Annotated[Path, typer.Argument(help="A run folder.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Show where a search is: running, interrupted or done, what it has spent and found."""
    with exit_codes():
        from raynas import api

        facts = api.status(run)
        if as_json:
            print(json.dumps(facts, indent=2))
            return
        print(f"{facts['state']}: {facts['spent']}, {duration(facts['elapsed_s'])} elapsed")
        print(
            f"reached each level   {' > '.join(map(str, facts['reached']))} "
            f"(levels of {', '.join(map(str, facts['levels']))} epochs)"
        )
        print(f"rounds               {facts['rounds']}, {facts['num_failed']} failed")
        if facts["architecture"] is not None:
            print(f"best so far          {percent(facts['accuracy'])}  {facts['architecture']}")
        if facts["fit"]:
            tau = facts["fit"].get("kendall_tau")
            if tau is not None:
                print(f"predictor            Kendall tau {tau:.2f}")
        if facts["state"] == "interrupted":
            print(f"carry on with        raynas resume {run}")
