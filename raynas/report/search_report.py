"""The report of a search: what it cost, what it found, and why."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from raynas.report.architecture import architecture_blocks
from raynas.report.drawing import MOST_POINTS
from raynas.report.page import Facts, More, Plot, Prose, Section, Table
from raynas.report.plots import COST_LABELS, draw_front
from raynas.report.search_data import SearchRun
from raynas.report.search_plots import (
    budget_figure,
    drawn_ids,
    predictor_figure,
    proxies_figure,
    pyramid_figure,
)
from raynas.report.svg import figure_svg
from raynas.report.words import count, duration, listed, number, percent, points
from raynas.scheduling.candidate import Candidate

_TOP = 10


def search_summary(run: SearchRun) -> str:
    """Return what came of it, in a sentence."""
    best = _answer(run)
    return (
        f"{count(run.pool.reached(1), 'network')} trained for "
        f"{count(run.pool.spent_epochs, 'epoch')} in all; the best reaches "
        f"{percent(best.accuracy)} on the validation part after {count(best.epochs, 'epoch')}."
    )


def search_sections(run: SearchRun) -> list[Section]:
    """Return the sections of a search; what it has no data for is left out."""
    optional = [_predictor(run), _proxies(run), _front(run), _failures(run)]
    return [
        _asked(run),
        _best(run),
        _budget(run),
        _pyramid(run),
        *(section for section in optional if section is not None),
    ]


def _answer(run: SearchRun) -> Candidate:
    best = run.pool.best()
    assert best is not None, "read_search has seen to it"
    return best


def _asked(run: SearchRun) -> Section:
    config, pool = run.config, run.pool
    asked = Facts(
        [
            ("budget", str(config.budget)),
            ("space", config.space.name),
            ("data", config.data.name),
            ("policy", config.policy.name),
            ("proposer", config.proposer.name),
            ("epochs of each level", ", ".join(map(str, config.levels))),
            ("objectives", ", ".join(config.objectives)),
            ("proxies", ", ".join(run.proxies) or "none"),
        ]
    )
    spent = Facts(
        [
            ("epochs", number(pool.spent_epochs)),
            ("wall clock", duration(pool.elapsed_s)),
            ("training, all workers", duration(pool.time_s)),
            ("networks trained", number(pool.reached(1))),
            ("scored without training", number(len(pool.scored))),
            ("rounds of proposals", number(pool.rounds)),
            ("failed", number(pool.num_failed)),
        ]
    )
    return Section("asked", "Asked and spent", [asked, spent, _levels(run)])


def _levels(run: SearchRun) -> Table:
    rows = []
    for level, epochs in enumerate(run.config.levels, start=1):
        reached = run.architectures[f"accuracy_level_{level}"].dropna()
        resting = int((run.architectures["level"] == level).sum())
        rows.append(
            (
                str(level),
                number(epochs),
                number(run.pool.reached(level)),
                number(resting),
                percent(reached.max() if len(reached) else None),
                percent(reached.median() if len(reached) else None),
            )
        )
    header = ("level", "epochs", "reached it", "went no further", "best there", "median there")
    return Table(header, rows, caption="Validation accuracy at each level.")


def _best(run: SearchRun) -> Section:
    best = _answer(run)
    row = run.row(best.id)
    facts = Facts(
        [
            ("validation accuracy", percent(best.accuracy)),
            ("after epochs", number(best.epochs)),
            ("parameters", number(row["num_params"])),
            ("FLOPs of one image", number(row["flops"])),
            ("number in the pool", str(best.id)),
        ]
    )
    space = run.config.space.model_dump()
    blocks = architecture_blocks(best.text, space, "best")
    return Section("best", "The best architecture", [facts, *blocks, _ranking(run)])


def _ranking(run: SearchRun) -> More:
    """Return the table of those that rose highest, in the order of the pool."""
    pool = run.pool
    trained = [one for one in pool if one.level]
    trained.sort(key=lambda one: (-one.level, one.rank_key(one.level)))
    rows = [
        (
            str(one.id),
            one.text,
            number(one.level),
            number(one.epochs),
            percent(one.accuracy),
            number(run.row(one.id)["num_params"]),
            number(run.row(one.id)["flops"]),
        )
        for one in trained[:_TOP]
    ]
    header = ("no.", "architecture", "level", "epochs", "accuracy", "parameters", "FLOPs")
    return More(
        f"The first {len(rows)} of {len(trained)}", [Table(header, rows, texts=(0, 1), marked=0)]
    )


def _budget(run: SearchRun) -> Section:
    sentence = budget_sentence(run)
    svg = figure_svg(budget_figure(run), "budget", "Accuracy against epochs spent", sentence)
    return Section("budget", "What the budget bought", [Plot([svg], sentence)])


def budget_sentence(run: SearchRun) -> str:
    """Say what half the budget would have given, and when the answer was found."""
    results, best = run.results, _answer(run)
    total = int(results["spent"].iloc[-1])
    half = results[results["spent"] <= max(total // 2, int(results["spent"].iloc[0]))].iloc[-1]
    since = results.loc[results["best_id"] != best.id, "spent"]
    found = 0 if since.empty else int(since.iloc[-1])
    first = int(results.loc[results["spent"] > found, "spent"].iloc[0])
    return (
        f"Had it ended after {count(int(half['spent']), 'epoch')}, its answer would have had "
        f"{percent(half['best_accuracy'])} at level {int(half['best_level'])}; the final one, "
        f"no. {best.id} with {percent(best.accuracy)} at level {best.level}, stands since epoch "
        f"{first:,} of {total:,}.{_thinned(len(results))}"
    )


def _thinned(how_many: int) -> str:
    few = how_many <= MOST_POINTS
    return "" if few else f" (Dots are {MOST_POINTS:,} of {how_many:,} reports, evenly spread.)"


def _pyramid(run: SearchRun) -> Section:
    sentence = pyramid_sentence(run)
    svg = figure_svg(pyramid_figure(run), "pyramid", "Who trained when", sentence)
    return Section("pyramid", "Who trained how far, and when", [Plot([svg], sentence)])


def pyramid_sentence(run: SearchRun) -> str:
    """Say how many rose, and who was paused and resumed when others had joined."""
    reached = run.pool.population()
    rose = listed([f"{n:,} reached level {level}" for level, n in enumerate(reached, start=1)])
    late = [stretch for stretch in run.stretches if stretch.joined and stretch.rested]
    shown = len(drawn_ids(run))
    trained = len({stretch.id for stretch in run.stretches})
    which = "" if shown == trained else f" (Drawn: the {shown} of {trained} that rose highest.)"
    if not late:
        return f"{rose}; nobody was paused and resumed after others had joined.{which}"
    longest = max(late, key=lambda stretch: (stretch.rested, -stretch.id))
    resumed = len({stretch.id for stretch in late})
    return (
        f"{rose}; {resumed:,} of them {'was' if resumed == 1 else 'were'} paused and resumed after "
        f"newcomers had joined, the longest, no. {longest.id}, after "
        f"{count(longest.rested, 'epoch')} of others and "
        f"{count(longest.joined, 'newcomer')}.{which}"
    )


def _predictor(run: SearchRun) -> Section | None:
    fits = run.fits
    if "kendall_tau" not in fits or fits["kendall_tau"].dropna().empty:
        return None
    sentence = predictor_sentence(fits)
    svg = figure_svg(predictor_figure(run), "predictor", "The predictor, refit by refit", sentence)
    return Section("predictor", "How well the predictor ranked", [Plot([svg], sentence)])


def predictor_sentence(fits: pd.DataFrame) -> str:
    """Say how the ranking of held-out architectures went on, and who weighs most at the end."""
    known = fits.dropna(subset=["kendall_tau"])
    first, last = known.iloc[0], known.iloc[-1]
    words = (
        f"Over {count(len(known), 'refit')} Kendall's tau, on architectures held out of a fit, "
        f"went from {first['kendall_tau']:.2f} ({number(first['num_trained'])} trained) to "
        f"{last['kendall_tau']:.2f} ({number(last['num_trained'])} trained), with a mean of "
        f"{known['kendall_tau'].mean():.2f}"
    )
    weights = known.filter(like="weight_").iloc[-1].astype(float)
    if weights.empty or not weights.max() > 0:
        return f"{words}."
    judge = str(weights.idxmax()).removeprefix("weight_")
    return f"{words}; at the end {judge} weighs most ({weights.max():.2f})."


def _proxies(run: SearchRun) -> Section | None:
    if not run.proxies or run.architectures[f"proxy_{run.proxies[0]}"].isna().all():
        return None
    table = proxy_table(run)
    sentence = proxy_sentence(run, table)
    svg = figure_svg(proxies_figure(run), "proxies", "Zero-cost proxies against accuracy", sentence)
    shown = Table(
        ("proxy", *(f"level {level}" for level in table)),
        [(name, *(_rho(rho) for rho in table.loc[name])) for name in run.proxies],
        caption="Spearman correlation of proxy and accuracy among those that reached a level.",
    )
    return Section("proxies", "Zero-cost proxies", [Plot([svg], sentence), shown])


def proxy_table(run: SearchRun) -> pd.DataFrame:
    """Return Spearman's rho of each proxy (row) with accuracy at each level (column).

    NaN where fewer than three reached a level, or all agree.
    """
    rows: dict[str, dict[int, float]] = {name: {} for name in run.proxies}
    for level in range(1, run.pool.num_levels + 1):
        accuracy = run.architectures[f"accuracy_level_{level}"]
        for name in run.proxies:
            both = pd.DataFrame({"a": accuracy, "p": run.architectures[f"proxy_{name}"]}).dropna()
            enough = len(both) > 2 and (both.nunique() > 1).all()
            rows[name][level] = both["a"].rank().corr(both["p"].rank()) if enough else float("nan")
    return pd.DataFrame(rows).T


def proxy_sentence(run: SearchRun, table: pd.DataFrame) -> str:
    """Say how well the proxies had ranked what was then trained."""
    at = table[1].dropna()
    scored = (
        f"{count(len(run.pool.scored), 'further architecture')} "
        f"{'was' if len(run.pool.scored) == 1 else 'were'} scored and never trained"
    )
    if at.empty:
        return f"Too few networks were trained to say how well the proxies ranked them; {scored}."
    best = at.sort_values(ascending=False)
    told = listed([f"{name} {rho:.2f}" for name, rho in best.items()])
    return (
        f"Among the {count(run.pool.reached(1), 'network')} that were trained, Spearman's rho with "
        f"accuracy at level 1 is {told}; {scored}."
    )


def _rho(value: Any) -> str:
    return f"{value:.2f}" if value == value else "-"


def _front(run: SearchRun) -> Section | None:
    if not run.costs or not run.front:
        return None
    sentence = front_sentence(run)
    figure = draw_front(run.architectures, run.front, run.costs)
    svg = figure_svg(figure, "front", "What accuracy costs", sentence)
    rows = [run.row(candidate) for candidate in run.front]
    table = Table(
        ("no.", "architecture", "accuracy", *(COST_LABELS.get(c, c) for c in run.costs)),
        [
            (str(row["id"]), row["architecture"], percent(row["accuracy"]), *_costs(row, run.costs))
            for row in rows
        ],
        texts=(0, 1),
    )
    return Section("front", "The front", [Plot([svg], sentence), More("As a table", [table])])


def _costs(row: Mapping[str, Any], costs: list[str]) -> list[str]:
    timed = (name.startswith("latency") for name in costs)
    return [f"{row[c]:.3g}" if t else number(row[c]) for c, t in zip(costs, timed, strict=True)]


def front_sentence(run: SearchRun) -> str:
    """Say what the ends of the front are."""
    rows = [run.row(candidate) for candidate in run.front]
    top, cost = rows[0], run.costs[0]
    cheap = min(rows, key=lambda row: float(row[cost]))
    if len(rows) == 1:
        return f"The front is one architecture, with {percent(top['accuracy'])}."
    less = 1 - cheap[cost] / top[cost]
    return (
        f"{count(len(rows), 'architecture')} of level {int(top['level'])} are on the front: from "
        f"{percent(top['accuracy'])} to "
        f"{percent(cheap['accuracy'])}, which is {points(top['accuracy'] - cheap['accuracy'])} "
        f"less for {percent(less, 0)} less of {COST_LABELS.get(cost, cost)}."
    )


def _failures(run: SearchRun) -> Section | None:
    failed = [one for one in run.pool if one.error]
    if not failed:
        return None
    rows = [(str(one.id), one.text, _last_line(one.error)) for one in failed[:_TOP]]
    table = Table(("no.", "architecture", "error"), rows, texts=(0, 1, 2))
    words = f"{count(len(failed), 'architecture')} failed while training and rose no further."
    return Section("failures", "What failed", [Prose(words), table])


def _last_line(error: str | None) -> str:
    lines = (error or "").strip().splitlines()
    return lines[-1] if lines else ""
