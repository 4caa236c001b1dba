"""What a diagnosis may cost, and what it looks at."""

from typing import Annotated, Literal

from pydantic import Field

from raynas.config import Section


class DiagnoseOptions(Section):
    """Options of all diagnostics; what none of those asked for reads is of no effect.

    Attributes:
        edges: How many edges, drawn at random, `strength` looks at; or ``all``.
        oracle_epochs: Most epochs of training on with an op alone on its edge. None: 10 for
            `strength`, and no oracle at all for `strength_map`.
        draws: Random swaps of `shuffle`.
        reference_epochs: Epochs that the plain and the residual network of `shuffle` are trained
            for; 0 leaves them out.
        batches: Fixed validation batches that `curvature`, `trace` and `estimation` average over.
        probes: Random vectors of `trace`, and draws of its mixing weights.
        tune_epochs: Epochs that `trajectory` trains what was selected before it measures it again.
        seed: Every draw derives from it.
    """

    edges: Annotated[int, Field(ge=1)] | Literal["all"] = 3
    oracle_epochs: int | None = Field(None, ge=1)
    draws: int = Field(10, ge=2)
    reference_epochs: int = Field(15, ge=0)
    batches: int = Field(3, ge=1)
    probes: int = Field(32, ge=2)
    tune_epochs: int = Field(1, ge=0)
    seed: int = Field(0, ge=0)
