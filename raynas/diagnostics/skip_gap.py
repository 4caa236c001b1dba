"""The better the supernet, the more α favours skips: the gap beside the accuracy, epoch by epoch.

Wang et al., "Rethinking Architecture Selection in Differentiable NAS", ICLR 2021, figure 3; thesis
figure 2.3. The gap is θ of the skip less the mean θ of the ops with parameters, the mean over edges
that have both.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pandas as pd

from raynas.diagnostics.diagnostic import Base, Finding, Record, Value
from raynas.diagnostics.drawing import legend, rule, whole_numbers
from raynas.diagnostics.subject import SupernetSubject, read_view
from raynas.diagnostics.wording import figure, known, percent
from raynas.errors import ConfigError
from raynas.predictor.metrics import spearman
from raynas.report.palette import ACCENT, MUTED, SERIES, new_figure
from raynas.supernets.metrics import SKIP, WITHOUT_PARAMETERS

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class SkipGap(Base[SupernetSubject]):
    """The skip gap of every epoch of the search, against validation accuracy."""

    title = "Does α favour skips more, the better the supernet gets?"

    def check(self, subject: SupernetSubject) -> None:
        """Refuse a space in which no edge has both a skip and an op with parameters."""
        check_skips(subject, "skip_gap")

    def conclude(self, subject: SupernetSubject, results: Sequence[Value]) -> Finding:
        """Make a row an epoch and kind of cell, and one of all kinds together."""
        alpha = read_view(subject.folder, "alpha.parquet")
        rows = gap_rows(alpha, read_view(subject.folder, "history.parquet"))
        return Finding(rows, sentences(rows))

    def draw(self, rows: Sequence[Record]) -> "Figure":
        """Draw accuracy and gaps over the epochs, above each other."""
        drawing = new_figure(6, 4.4)
        above, below = drawing.subplots(2, 1, sharex=True)
        every = [row for row in rows if row["kind"] == "all"]
        epochs = [row["epoch"] for row in every]
        above.plot(epochs, [100 * row["accuracy"] for row in every], "o-", color=ACCENT, ms=3)
        above.set(ylabel="accuracy, %")
        above.set_title("validation accuracy of the supernet")
        kinds = [kind for kind in dict.fromkeys(row["kind"] for row in rows) if kind != "all"]
        for number, kind in enumerate(kinds):
            of = [row for row in rows if row["kind"] == kind]
            colour = SERIES[(0, 2, 3)[number % 3]]
            below.plot(epochs, [row["gap"] for row in of], "o-", color=colour, ms=3, label=kind)
        below.axhline(0, color=MUTED, lw=0.8)
        below.set(xlabel="epoch of the search", ylabel="θ skip − θ parametric")
        below.set_title("skip gap, mean over edges", loc="right")
        legend(below, ncols=len(kinds))
        for axes in (above, below):
            rule(axes)
        whole_numbers(below)
        return drawing


def check_skips(subject: SupernetSubject, name: str) -> None:
    """Raise `ConfigError` if no edge has both a skip and an op with parameters."""
    every = (ops for kind in subject.kinds for ops in kind.ops)
    if not any(SKIP in ops and set(ops) - WITHOUT_PARAMETERS for ops in every):
        raise ConfigError(
            f"{name}: no edge of {subject.job.space.name} has both {SKIP} and an op with parameters"
        )


def gap_rows(alpha: pd.DataFrame, history: pd.DataFrame) -> list[Record]:
    """Return the gap and the accuracy of each epoch of the search.

    Args:
        alpha: `alpha.parquet`.
        history: `history.parquet`.
    """
    search = alpha[alpha["phase"] == "search"]
    where = ["step", "epoch", "kind", "edge"]
    skip = search[search["op"] == SKIP].set_index(where)["theta"]
    parametric = search[~search["op"].isin(list(WITHOUT_PARAMETERS))]
    others = parametric.groupby(where)["theta"].mean()
    gaps = (skip - others).dropna()  # an edge that lacks either has none
    by_kind = gaps.groupby(level=["step", "epoch", "kind"]).mean().reset_index(name="gap")
    every = gaps.groupby(level=["step", "epoch"]).mean().reset_index(name="gap")
    every["kind"] = "all"
    joined = pd.concat([by_kind, every]).merge(history[["step", "accuracy"]], on="step")
    joined = joined.sort_values(["step", "kind"])[["epoch", "kind", "gap", "accuracy"]]
    return [
        {
            "epoch": int(epoch),
            "kind": str(kind),
            "gap": float(gap),
            "accuracy": float(accuracy),
        }
        for epoch, kind, gap, accuracy in joined.itertuples(index=False)
    ]


def correlation(rows: Sequence[Record], kind: str = "all") -> float | None:
    """Return Spearman's coefficient of gap and accuracy over the epochs; None if undefined."""
    of = [row for row in rows if row["kind"] == kind]
    return known(spearman([row["gap"] for row in of], [row["accuracy"] for row in of]))


def sentences(rows: Sequence[Record]) -> list[str]:
    """Say how gap and accuracy went, and whether together."""
    every = [row for row in rows if row["kind"] == "all"]
    first, last, rho = every[0], every[-1], correlation(rows)
    told = (
        f"From epoch {first['epoch']} to {last['epoch']} the skip gap went from "
        f"{figure(first['gap'], 3)} to {figure(last['gap'], 3)} and the accuracy from "
        f"{percent(first['accuracy'])} to {percent(last['accuracy'])}; Spearman of the two "
        f"{figure(rho)}."
    )
    if rho is None:
        return [told]
    meaning = (
        "As the theory has it, the better the supernet, the more α favours skips."
        if rho > 0.5
        else "α does not come to favour skips as the supernet gets better."
        if rho < 0.2
        else "The two go together only in part."
    )
    return [told, meaning]
