"""How an architecture is selected: options of the selections (`algorithms.md` §3.4)."""

from collections.abc import Sequence
from typing import Any, Literal

from pydantic import Field, model_validator

from raynas.config import Choice, Section, validate
from raynas.errors import ConfigError, nearest
from raynas.spaces.mixture import CellKind
from raynas.supernets.decisions import expressible

Criterion = Literal["accuracy", "loss"]
Norm = Literal["batch", "running", "recalibrated"]
Order = Literal["random", "forward", "entropy", "sgas"]

REFERENCE: dict[str, Any] = {
    "order": "random",
    "criterion": "accuracy",
    "norm": "batch",
    "fixed_batches": False,
    "augment": True,
    "topology": "perturbation",
    "cumulative": False,
    "exclude": [],
}
"""What ``mode: reference`` means, where it differs from the defaults or must not be left to them:
the authors' own code (Wang et al., "Rethinking Architecture Selection", ICLR 2021)."""

_PERTURBATION_ONLY = (
    "mode",
    "criterion",
    "norm",
    "batch_size",
    "num_batches",
    "fixed_batches",
    "augment",
    "topology",
    "cumulative",
    "racing",
)


class RacingConfig(Section):
    """Giving up on candidates before all validation batches are seen.

    Attributes:
        z: A candidate is out once it lies behind the best by more than `z` standard errors of
            their paired difference.
        min_batches: Batches that every candidate is scored on.
        stride: Batches between two looks.
    """

    z: float = Field(3.0, gt=0)
    min_batches: int = Field(4, ge=2)
    stride: int = Field(1, ge=1)


class SelectionConfig(Section):
    """How an architecture is selected.

    Attributes:
        name: ``perturbation``, ``magnitude``, or ``module:Class`` of a user's own.
        mode: ``recommended``: every candidate is scored on the same validation batches;
            ``reference``: as the authors' code does it (`REFERENCE` gives the other defaults).
        progressive: Decide edge by edge and tune in between. Perturbation always does; magnitude
            reads everything off at once unless told so ("PT-Mag").
        order: Which edge is next: ``random``; ``forward``; ``entropy`` (the most certain mixing
            weights first); ``sgas`` (criterion 1 of SGAS). Nodes go forward unless ``random``.
        tune_epochs: Epochs of training between two decisions.
        tune_lr: Learning rate of the weights meanwhile.
        tune_schedule: Whether that rate stays or falls along a cosine to 0.
        joint_cells: Decide an edge of each kind of cell at once; else the second kind sees what
            was decided of the first.
        exclude: Ops that cannot win; None: those that no architecture can have.
        criterion: What tells how much an op is missed.
        norm: Statistics of the batch norms while scoring: of each batch; running ones; running ones
            taken anew over the validation images before each decision, nothing masked.
        batch_size: Images of a validation batch.
        num_batches: How many validation batches are used; None: all.
        fixed_batches: Whether all candidates see the same batches; else each a new order.
        augment: Whether validation images are augmented as in training.
        topology: Whether edges are kept by perturbation too, or by magnitude.
        cumulative: Whether an edge that a node will not keep is gone while the next is sought.
        racing: Give up on candidates early; None: score each on everything.
    """

    name: str = "perturbation"
    mode: Literal["recommended", "reference"] = "recommended"
    progressive: bool = True
    order: Order = "random"
    tune_epochs: int = Field(5, ge=0)
    tune_lr: float = Field(0.0025, gt=0)
    tune_schedule: Literal["constant", "cosine"] = "constant"
    joint_cells: bool = False
    exclude: tuple[str, ...] | None = None
    criterion: Criterion = "accuracy"
    norm: Norm = "batch"
    batch_size: int = Field(64, ge=1)
    num_batches: int | None = Field(None, ge=1)
    fixed_batches: bool = True
    augment: bool = False
    topology: Literal["perturbation", "magnitude"] = "perturbation"
    cumulative: bool = True
    racing: RacingConfig | None = None

    @model_validator(mode="before")
    @classmethod
    def _defaults_of(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        if value.get("name") == "magnitude":
            for key in _PERTURBATION_ONLY:
                if key in value:
                    raise ValueError(f"magnitude takes no {key!r} (perturbation does)")
            at_once = not value.get("progressive", False)
            return {"progressive": False, **({"order": "forward"} if at_once else {}), **value}
        if value.get("mode") == "reference":
            return {**REFERENCE, **value}
        return value

    @model_validator(mode="after")
    def _sensible(self) -> "SelectionConfig":
        if self.name == "perturbation" and not self.progressive:
            raise ValueError("perturbation is progressive (tune_epochs: 0 trains nothing between)")
        if self.racing is not None and not self.fixed_batches:
            raise ValueError("racing compares candidates batch by batch: it needs fixed_batches")
        return self


def selection_config(choice: Choice) -> SelectionConfig:
    """Return the checked options of a choice; raises `ConfigError` in one line."""
    try:
        return validate(SelectionConfig, {"name": choice.name, **choice.options}, "selection.")
    except ConfigError as error:
        # What is wrong with options together has no key of its own.
        raise ConfigError(str(error).replace("selection.config:", "selection:", 1)) from None


def check_excluded(config: SelectionConfig, kinds: Sequence[CellKind]) -> None:
    """Check that the ops that must not win exist, and leave something to every edge.

    Raises:
        ConfigError: they do not.
    """
    excluded = config.exclude or ()
    names = sorted({op for kind in kinds for ops in kind.ops for op in ops})
    for op in excluded:
        if op not in names:
            raise ConfigError(
                f"selection.exclude: no op {op!r}{nearest(op, names)} (allowed: {', '.join(names)})"
            )
    for kind in kinds:
        for edge, (source, target) in enumerate(kind.edges):
            able = [kind.ops[edge][op] for op in expressible(kind, edge)]
            if set(able) <= set(excluded):
                raise ConfigError(
                    f"selection.exclude: the edge from state {source} to state {target} of the "
                    f"{kind.name} cell can have no other op than {', '.join(able)}"
                )
