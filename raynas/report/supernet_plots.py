"""The figures of a supernet run: learning, mixing weights, decisions."""

from typing import TYPE_CHECKING

import pandas as pd

from raynas.report import palette
from raynas.report.drawing import WIDTH, colours, legend_above, tidy
from raynas.report.supernet_data import SupernetRun
from raynas.report.svg import plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_DECISIONS = 80
"""Decisions after these are in the table alone."""

_CHOSEN, _OTHER = palette.ACCENT, palette.SERIES[0]


def learning_figure(run: SupernetRun) -> "Figure":
    """Draw losses and accuracies of every epoch; the selection phase lies on grey."""
    figure = palette.new_figure(WIDTH, 2.7)
    accuracy, loss = figure.subplots(1, 2)
    drawn = {
        accuracy: (("accuracy", "validation"), ("train_accuracy", "training")),
        loss: (("loss", "validation"), ("train_loss", "training"), ("alpha_loss", "for alpha")),
    }
    for axes, columns in drawn.items():
        for place, (name, label) in enumerate(columns):
            if name in run.history and run.history[name].notna().any():
                scale = 100 if axes is accuracy else 1
                values = scale * run.history[name].astype(float)
                colour = palette.SERIES[place]
                axes.plot(run.history["epoch"], values, color=colour, lw=1.6, label=label)
        axes.set_xlabel("epoch")
        mark_selection(axes, run)
        tidy(axes)
        legend_above(axes, 3)
    accuracy.set_ylabel("accuracy, %")
    loss.set_ylabel("loss")
    return figure


def mark_selection(axes: "Axes", run: SupernetRun) -> None:
    """Lay grey behind the epochs of the selection phase."""
    first, last = run.num_search, int(run.history["epoch"].max())
    if last > first:
        axes.axvspan(first + 0.5, last + 0.5, color=palette.GRID, alpha=0.6, lw=0)


def theta_figure(run: SupernetRun, kind: str) -> "Figure":
    """Draw the mixing weights of every edge of a kind of cell over epochs.

    A row of panels for each node, a column for each state it reads; a dot ends the lines where the
    edge was decided.
    """
    theta = run.theta[run.theta["kind"] == kind]
    nodes = sorted(set(theta["target"]))
    sources = sorted(set(theta["source"]))
    figure = palette.new_figure(WIDTH, 0.5 + 1.15 * len(nodes))
    panels = figure.subplots(len(nodes), len(sources), sharex=True, sharey=True, squeeze=False)
    ops = colours(map(str, theta["op"]))
    for row, node in zip(panels, nodes, strict=True):
        for axes, source in zip(row, sources, strict=True):
            edge = theta[(theta["target"] == node) & (theta["source"] == source)]
            if edge.empty:
                axes.set_visible(False)
                continue
            _draw_edge(axes, run, until_decided(edge), ops)
            kept = bool(edge[edge["step"] == edge["step"].max()]["kept"].all())
            colour = palette.INK if kept else palette.MUTED
            axes.set_title(f"{source} → {node}" + ("" if kept else ", dropped"), fontsize=9, pad=3)
            axes.title.set_color(colour)
    for row in panels:
        row[0].set_ylabel("θ", fontsize=9)
    handles = [_line(colour) for colour in ops.values()]
    names = [plain(op) for op in ops]
    figure.legend(handles, names, loc="outside upper left", fontsize=9, frameon=False, ncols=4)
    figure.supxlabel("epoch", fontsize=9)
    return figure


def until_decided(edge: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of an edge up to the epoch after which its op is decided."""
    decided = edge[edge["decided"]]
    return edge if decided.empty else edge[edge["step"] <= decided["step"].min()]


def _line(colour: str):  # type: ignore[no-untyped-def]  # matplotlib is imported on use alone
    from matplotlib.lines import Line2D

    return Line2D([], [], color=colour, lw=1.6)


def _draw_edge(axes: "Axes", run: SupernetRun, edge: pd.DataFrame, ops: dict[str, str]) -> None:
    mark_selection(axes, run)
    for op, colour in ops.items():
        of = edge[edge["op"] == op].sort_values("step")
        axes.plot(of["epoch"], of["theta"], color=colour, lw=1.3)
        chosen = of[of["decided"]]
        axes.plot(chosen["epoch"], chosen["theta"], "o", color=colour, ms=4)
    axes.locator_params(axis="y", nbins=3)
    tidy(axes)
    axes.tick_params(labelsize=8)


def entropy_figure(run: SupernetRun) -> "Figure":
    """Draw how undecided θ is, and how far it favours skips, over epochs."""
    figure = palette.new_figure(WIDTH, 2.5)
    panels = figure.subplots(1, 2)
    for axes, (name, label) in zip(panels, _MIXING.items(), strict=True):
        columns = [column for column in map(str, run.history) if column.startswith(f"{name}_")]
        for column, colour in colours(columns).items():
            words = plain(column.removeprefix(f"{name}_"))
            axes.plot(run.history["epoch"], run.history[column], color=colour, lw=1.6, label=words)
        axes.axhline(0, color=palette.MUTED, lw=0.8)
        axes.set(xlabel="epoch", ylabel=label)
        mark_selection(axes, run)
        tidy(axes)
        legend_above(axes)
    return figure


_MIXING = {"theta_entropy": "entropy of θ", "skip_gap": "skip gap of θ"}
"""Columns of `history.parquet`, a kind of cell each, and what they are."""


def decisions_figure(run: SupernetRun) -> "Figure":
    """Draw what was compared at each decision, a row each, first above."""
    rows = first_rounds(run.decisions)
    numbers = sorted(set(rows["decision"]))[:MOST_DECISIONS]
    figure = palette.new_figure(WIDTH, 0.9 + 0.2 * len(numbers))
    axes = figure.subplots()
    what = compared(rows)
    scale = 100 if what == "accuracy" else 1
    for place, number in enumerate(numbers):
        of = rows[rows["decision"] == number]
        values = scale * of[what].astype(float)
        axes.plot([values.min(), values.max()], [place, place], color=palette.GRID, lw=2, zorder=1)
        chosen = of["chosen"].astype(bool)
        axes.plot(values[~chosen], [place] * int((~chosen).sum()), "o", color=_OTHER, ms=4)
        axes.plot(values[chosen], [place] * int(chosen.sum()), "D", color=_CHOSEN, ms=5)
    axes.plot([], [], "D", color=_CHOSEN, ms=5, label="chosen")
    axes.plot([], [], "o", color=_OTHER, ms=4, label="not chosen")
    names = [plain(decision_name(rows[rows["decision"] == number])) for number in numbers]
    axes.set_yticks(range(len(numbers)), names)
    axes.set_ylim(len(numbers) - 0.4, -0.6)
    axes.set_xlabel(
        "validation accuracy without it, %" if what == "accuracy" else "its mixing weight, θ"
    )
    tidy(axes, grid="x")
    axes.tick_params(axis="y", labelsize=8, length=0)
    legend_above(axes)
    return figure


def first_rounds(decisions: pd.DataFrame) -> pd.DataFrame:
    """Return a row for every option of every decision: of a node's rounds, the first."""
    if "round" not in decisions:
        return decisions
    return decisions[decisions["round"].fillna(0) == 0]


def compared(rows: pd.DataFrame) -> str:
    """Return the column that was compared: ``accuracy``, or ``strength`` without candidates."""
    return "accuracy" if "accuracy" in rows and rows["accuracy"].notna().any() else "strength"


def decision_name(rows: pd.DataFrame) -> str:
    """Return what was decided, e.g. ``normal, edge 0 → 3`` or ``reduce, edges of node 4``."""
    first = rows.iloc[0]
    if pd.isna(first["edge"]):
        return f"{first['kind']}, edges of node {int(first['node'])}"
    return f"{first['kind']}, edge {int(first['source'])} → {int(first['target'])}"
