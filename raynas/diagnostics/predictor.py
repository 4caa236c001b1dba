"""How well the ranking predictor orders architectures, fit by fit."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pandas as pd

from raynas.diagnostics.diagnostic import Base, Finding, Record, Value
from raynas.diagnostics.drawing import legend, rule, whole_numbers
from raynas.diagnostics.subject import SearchSubject
from raynas.diagnostics.wording import counted, figure, known, mean, percent
from raynas.errors import ConfigError
from raynas.report.palette import ACCENT, MUTED, SERIES, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_COLUMNS = ("kendall_tau", "spearman", "pair_accuracy", "num_trained", "num_held_out")


class Predictor(Base[SearchSubject]):
    """Rank quality of every fit, on architectures that the fit had not seen."""

    title = "Does the predictor know what is good?"

    def check(self, subject: SearchSubject) -> None:
        """Refuse a search whose proposer fits no ranking predictor."""
        path = subject.folder / "ranker.parquet"
        if not path.exists() or "kendall_tau" not in pd.read_parquet(path).columns:
            raise ConfigError(
                f"predictor: {subject.folder} has fitted no ranking predictor (the ranking "
                "proposer does, once enough architectures are trained)"
            )

    def conclude(self, subject: SearchSubject, results: Sequence[Value]) -> Finding:
        """Make a row a fit."""
        rows = predictor_rows(subject.table("ranker.parquet"))
        return Finding(rows, sentences(rows))

    def draw(self, rows: Sequence[Record]) -> "Figure":
        """Draw rank correlation and share of pairs in the right order over what was trained."""
        drawing = new_figure(6, 3.4)
        axes = drawing.subplots()
        trained = [row["num_trained"] for row in rows]
        for key, label, colour, line in (
            ("kendall_tau", "Kendall's τ", ACCENT, "o-"),
            ("spearman", "Spearman's ρ", SERIES[0], "s-"),
            ("pair_accuracy", "pairs in the right order", MUTED, "^--"),
        ):
            values = [float("nan") if row[key] is None else row[key] for row in rows]
            axes.plot(trained, values, line, color=colour, ms=4, lw=1.3, label=label)
        axes.axhline(0, color=MUTED, lw=0.8)
        axes.set(xlabel="architectures trained when it was fitted", ylim=(-1.05, 1.05))
        legend(axes, ncols=3)
        rule(axes)
        whole_numbers(axes)
        return drawing


def predictor_rows(fits: pd.DataFrame) -> list[Record]:
    """Return a row a fit, in order.

    Args:
        fits: `ranker.parquet`.
    """
    rows: list[Record] = []
    for fit in fits.sort_values("round").to_dict("records"):
        numbers = {c: known(float(fit[c])) for c in _COLUMNS if fit.get(c) is not None}
        rows.append({"round": int(fit["round"]), **dict.fromkeys(_COLUMNS), **numbers})
    return rows


def sentences(rows: Sequence[Record]) -> list[str]:
    """Say how good the predictor is now, and how it came there."""
    last, half = rows[-1], len(rows) // 2
    trained = int(last["num_trained"] or 0)
    told = [
        f"The last of {counted(len(rows), 'fit')}, on {counted(trained, 'architecture')}, orders "
        f"held-out ones with Kendall's τ {figure(last['kendall_tau'])}"
        + (
            f" ({percent(last['pair_accuracy'], 0)} of pairs right)."
            if last["pair_accuracy"] is not None
            else "."
        )
    ]
    if half:
        early, late = (
            mean([row["kendall_tau"] for row in part]) for part in (rows[:half], rows[half:])
        )
        told.append(
            f"Mean τ was {figure(early)} over the first {counted(half, 'fit')} and {figure(late)} "
            f"over the other {len(rows) - half}."
        )
    return told
