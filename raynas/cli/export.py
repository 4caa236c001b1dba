"""``raynas export``."""

import json
from typing import Annotated

import typer

from raynas.cli.common import exit_codes
from raynas.cli.options import Json


def export(
    where: Annotated[
        str,
        typer.Argument(help="A run folder (or URI) of a search or a retraining, or its best.json."),
    ],
    format: Annotated[
        str,
        typer.Option(help="pt2 (torch.export), onnx, or source (a Python file and safetensors)."),
    ] = "pt2",
    out: Annotated[
        str | None, typer.Option(help="Folder (default: export, in the run folder).")
    ] = None,
    trust_code: Annotated[
        bool, typer.Option(help="Import a space outside raynas that the run names.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Write the best network of a run for use without raynas, checked, with a model card."""
    with exit_codes():
        from raynas import api

        written = api.export(where, format, out=out, trust_code=trust_code)
        if as_json:
            print(json.dumps(written.as_json(), indent=2))
            return
        for file in written.files:
            print(f"written  {file}")
        print(f"checked  same logits as the network, to {written.max_difference:.1e}")
