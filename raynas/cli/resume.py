"""``raynas resume``: runs of any kind."""

from typing import Annotated, Any

import typer

from raynas.cli import retrain, search, supernet
from raynas.cli.common import exit_codes, finish
from raynas.cli.options import Address, Json
from raynas.cli.supernet_progress import make_supernet_progress


def resume(
    run: Annotated[str, typer.Argument(help="The run folder, or URI, of an interrupted run.")],
    workers: Annotated[
        int | None,
        typer.Option(help="Networks, or training workers, side by side (default: as before)."),
    ] = None,
    address: Address = None,
    trust_code: Annotated[
        bool, typer.Option(help="Import the code outside raynas that the run's config names.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Carry on an interrupted run, of any kind; nothing that was done is done again."""
    with exit_codes():
        from raynas import api

        options: dict[str, Any] = {"workers": workers, "address": address, "trust_code": trust_code}
        kind = api.kind_of(run)
        if kind == "retrain":
            listener = None if as_json else retrain.Lines()
            retrain.finish(api.resume_retrain(run, **options, listener=listener), as_json)
        if kind == "supernet":
            with make_supernet_progress(as_json) as shown:
                found = api.resume_supernet(run, **options, listener=shown)
            finish(found, supernet.words(found), as_json)
        with search.make_progress(as_json) as progress:
            result = api.resume_search(run, **options, listener=progress)
        finish(result, search.words(result), as_json)
