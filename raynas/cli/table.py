"""``raynas table``: build, import and look at tables of measured networks."""

from pathlib import Path
from typing import Annotated

import typer

from raynas.cli.common import exit_codes
from raynas.cli.options import Address, Assignments, Workers
from raynas.cli.search import make_progress

app = typer.Typer(help="Tables of measured networks: build, import, look at.", no_args_is_help=True)


@app.command("build")
def build(
    out: Annotated[str, typer.Option(help="Run folder or URI; table.parquet is written into it.")],
    space: Annotated[str, typer.Option(help="A space, as for search.")] = "nasbench201",
    data: Annotated[str, typer.Option(help="A data set, as for search.")] = "digits",
    count: Annotated[int, typer.Option(help="Architectures to train.")] = 100,
    epochs: Annotated[int, typer.Option(help="Length of each training.")] = 8,
    seed: Annotated[int, typer.Option(help="Decides the sample and every training.")] = 0,
    name: Annotated[str | None, typer.Option(help="The table's name.")] = None,
    workers: Workers = None,
    address: Address = None,
    set_: Assignments = None,
) -> None:
    """Train a random sample of a space in full, and keep every learning curve.

    Ask again with the same --out to go on where it was.
    """
    with exit_codes():
        from raynas import api

        with make_progress(as_json=False) as progress:
            path = api.build_table(
                space,
                data,
                count=count,
                epochs=epochs,
                out=out,
                name=name,
                seed=seed,
                assignments=tuple(set_ or ()),
                workers=workers,
                address=address,
                listener=progress,
            )
        print(api.describe_table(str(path)))


@app.command("import")
def import_(
    source: Annotated[Path, typer.Argument(help="The benchmark's own download.")],
    out: Annotated[Path, typer.Argument(help="Parquet file to write.")],
    benchmark: Annotated[str, typer.Option(help="nasbench201, natsbench or nasbench101.")],
    dataset: Annotated[
        str, typer.Option(help="cifar10, cifar100 or imagenet16 (not for nasbench101).")
    ] = "cifar10",
) -> None:
    """Read the download of NAS-Bench-201, NATS-Bench (topology) or NAS-Bench-101, safely."""
    with exit_codes():
        from raynas import api

        api.import_table(source, out, benchmark=benchmark, dataset=dataset)
        print(api.describe_table(str(out)))


@app.command("show")
def show(
    table: Annotated[str, typer.Argument(help="A table, as for compare.")],
    trust_code: Annotated[
        bool, typer.Option(help="Import a space outside raynas that the table names.")
    ] = False,
) -> None:
    """Say what a table holds."""
    with exit_codes():
        from raynas import api

        print(api.describe_table(table, trust_code=trust_code))
