"""The commands of ``raynas``."""

import typer

from raynas.cli import (
    compare,
    diagnose,
    export,
    report,
    resume,
    retrain,
    search,
    status,
    submit,
    supernet,
    table,
)

app = typer.Typer(
    name="raynas",
    help="Neural architecture search on Ray: find the best network a training budget can buy.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
app.command("search")(search.search)
app.command("supernet")(supernet.supernet)
app.command("resume")(resume.resume)
app.command("status")(status.status)
app.command("retrain")(retrain.retrain)
app.command("export")(export.export)
app.command("diagnose")(diagnose.diagnose)
app.command("report")(report.report)
app.command("compare")(compare.compare)
# Options of `submit` end where the command begins: what follows is for that one.
app.command("submit", context_settings={"allow_interspersed_args": False})(submit.submit)
app.add_typer(table.app, name="table")


def main() -> None:
    """Run the command line."""
    app()
