"""The figures of a search: budget, pyramid, predictor, proxies."""

from typing import TYPE_CHECKING

import pandas as pd

from raynas.report import palette
from raynas.report.drawing import (
    WIDTH,
    colours,
    legend,
    legend_above,
    legend_of_all,
    level_colour,
    steps,
    thinned,
    tidy,
)
from raynas.report.search_data import SearchRun, Stretch
from raynas.report.svg import plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MOST_ROWS = 160
"""More architectures than this are not drawn in the picture of who trained when."""

FIT_METRICS = {"kendall_tau": "Kendall tau", "spearman": "Spearman", "pair_accuracy": "pairs right"}
"""How well a predictor ranks: columns of `ranker.parquet`, and what to call them."""


def budget_figure(run: SearchRun) -> "Figure":
    """Draw the accuracy of whoever was best against epochs spent, and of everybody else."""
    figure = palette.new_figure(WIDTH, 3.1)
    axes = figure.subplots()
    dots = thinned(run.results)
    for level in sorted(set(dots["level"])):
        reports = dots[dots["level"] == level]
        axes.plot(
            reports["spent"],
            100 * reports["accuracy"],
            "o",
            ms=3,
            color=level_colour(level),
            label=f"at level {level}" if level else "below level 1",
        )
    answer = steps(run.results, "best_accuracy")
    axes.plot(
        answer["spent"],
        100 * answer["best_accuracy"],
        drawstyle="steps-post",
        color=palette.ACCENT,
        lw=2,
        label="the answer by then",
    )
    axes.set(xlabel="epochs spent by the whole search", ylabel="validation accuracy, %")
    tidy(axes)
    legend_of_all(figure, axes, 5)
    return figure


def drawn_ids(run: SearchRun) -> list[int]:
    """Return who is drawn in the picture of who trained when: all, or who rose highest."""
    trained = sorted({stretch.id for stretch in run.stretches})
    if len(trained) <= _MOST_ROWS:
        return trained
    highest = sorted(trained, key=lambda i: (-run.pool[i].level, i))
    return sorted(highest[:_MOST_ROWS])


def pyramid_figure(run: SearchRun) -> "Figure":
    """Draw who trained when, a row an architecture, and how many had reached each level."""
    ids = drawn_ids(run)
    height = min(1.2 + 0.085 * len(ids), 6.5)
    figure = palette.new_figure(WIDTH, height + 1.9)
    rows, counts = figure.subplots(2, 1, sharex=True, height_ratios=(height, 1.7))
    _draw_rows(rows, run, ids)
    reached = run.reached.assign(spent=run.results["spent"])
    for level in range(1, run.pool.num_levels + 1):
        rises = steps(reached, level)
        counts.plot(
            rises["spent"],
            rises[level],
            drawstyle="steps-post",
            color=level_colour(level),
            lw=1.8,
            label=f"level {level}",
        )
    counts.set(xlabel="epochs spent by the whole search", ylabel="had reached it")
    counts.set_ylim(bottom=0)
    tidy(counts)
    legend(counts, "upper left")
    return figure


def _draw_rows(axes: "Axes", run: SearchRun, ids: list[int]) -> None:
    place = {candidate: row for row, candidate in enumerate(ids)}
    rests: dict[int, Stretch] = {}
    for stretch in run.stretches:
        row = place.get(stretch.id)
        if row is None:
            continue
        before = rests.get(stretch.id)
        if before is not None and stretch.rested:
            late = stretch.joined > 0
            colour, width = (palette.ACCENT, 1.2) if late else (palette.MUTED, 0.7)
            axes.plot([before.stop, stretch.start], [row, row], color=colour, lw=width)
            if late:
                axes.plot([stretch.start], [row], ">", color=palette.ACCENT, ms=3.5)
        rests[stretch.id] = stretch
        ends = [stretch.start, stretch.stop]
        colour = level_colour(stretch.level)
        axes.plot(ends, [row, row], color=colour, lw=3, solid_capstyle="butt", zorder=3)
    for level in range(1, run.pool.num_levels + 1):
        axes.plot([], [], color=level_colour(level), lw=3, label=f"trains to level {level}")
    axes.plot([], [], ">-", color=palette.ACCENT, lw=1.2, ms=3.5, label="paused, resumed later")
    axes.set_ylim(len(ids) - 0.3, -0.7)
    axes.set_ylabel("architectures, first above")
    axes.set_yticks([])
    tidy(axes, grid="x")
    legend(axes, "lower left")


def predictor_figure(run: SearchRun) -> "Figure":
    """Draw how well the predictor ranked newcomers, refit by refit, and what each judge weighs."""
    fits = run.fits
    weights = [name for name in map(str, fits) if name.startswith("weight_")]
    figure = palette.new_figure(WIDTH, 2.8)
    quality, *others = figure.subplots(1, 2 if weights else 1, squeeze=False)[0]
    named = {name: words for name, words in FIT_METRICS.items() if name in fits}
    for (name, words), colour in zip(named.items(), palette.SERIES, strict=False):
        quality.plot(fits["spent"], fits[name], "o-", ms=3, lw=1.4, color=colour, label=words)
    quality.axhline(0, color=palette.MUTED, lw=0.8)
    quality.set(xlabel="epochs spent", ylabel="ranking of those held out")
    tidy(quality)
    legend_above(quality, 3)
    for axes in others:
        for name, colour in colours(weights).items():
            words = plain(name.removeprefix("weight_"))
            axes.plot(fits["spent"], fits[name], "o-", ms=3, lw=1.4, color=colour, label=words)
        axes.set(xlabel="epochs spent", ylabel="weight of each judge")
        axes.set_ylim(bottom=min(0.0, float(fits[weights].min().min())))
        tidy(axes)
        legend_above(axes, 2)
    return figure


def proxies_figure(run: SearchRun) -> "Figure":
    """Draw the accuracy of every trained architecture against each zero-cost proxy."""
    trained = thinned(run.architectures[run.architectures["level"] > 0])
    names = run.proxies
    columns = min(len(names), 3)
    height = 2.6 * -(-len(names) // columns)
    figure = palette.new_figure(WIDTH, height)
    panels = figure.subplots(-(-len(names) // columns), columns, sharey=True, squeeze=False).flat
    for axes, name in zip(panels, names, strict=False):
        _draw_proxy(axes, trained, name)
    for axes in list(panels)[len(names) :]:
        axes.set_visible(False)
    first = figure.axes[0]
    first.set_ylabel("accuracy at its level, %")
    legend_of_all(figure, first)
    return figure


def _draw_proxy(axes: "Axes", trained: pd.DataFrame, name: str) -> None:
    for level in sorted(set(trained["level"])):
        members = trained[trained["level"] == level]
        values, accuracy = members[f"proxy_{name}"], 100 * members["accuracy"]
        axes.plot(values, accuracy, "o", ms=3.5, color=level_colour(level), label=f"level {level}")
    axes.set_xlabel(plain(name))
    axes.locator_params(axis="x", nbins=3)
    tidy(axes)
