"""The report of a supernet run: what was asked, how θ went, and why each op was chosen."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from raynas.report.architecture import architecture_blocks
from raynas.report.page import Block, Facts, More, Plot, Prose, Section, Table
from raynas.report.supernet_data import SEARCH, SELECT, SupernetRun
from raynas.report.supernet_plots import (
    MOST_DECISIONS,
    compared,
    decision_name,
    decisions_figure,
    entropy_figure,
    first_rounds,
    learning_figure,
    theta_figure,
)
from raynas.report.svg import figure_svg
from raynas.report.words import count, duration, listed, number, percent, points

_SKIP = "skip_connect"
_CELLS = {"normal": "Normal cell", "reduce": "Reduction cell", "cell": "Cell"}
_PHASES = {SEARCH: "the search", SELECT: "the selection"}


def supernet_summary(run: SupernetRun) -> str:
    """Return what came of it, in a sentence."""
    phases = run.history["phase"].value_counts()
    decisions = run.log.decisions
    spent = (
        f"A supernet trained for {count(run.num_search, 'epoch')} of search"
        f" and {int(phases.get(SELECT, 0))} of selection"
    )
    found = "an architecture is selected" if run.log.architecture else "nothing is selected yet"
    accuracy = percent(run.last.get("accuracy"))
    failed = f" It failed: {run.log.failure['error']}." if run.log.failure else ""
    return (
        f"{spent}; {count(len(decisions), 'decision')} taken, {found}; the supernet has {accuracy} "
        f"on the validation part after its latest epoch.{failed}"
    )


def supernet_sections(run: SupernetRun) -> list[Section]:
    """Return the sections of a supernet run; what it has no data for is left out."""
    return [
        _asked(run),
        *_best(run),
        _learning(run),
        *_theta(run),
        *_mixing(run),
        *_decisions(run),
    ]


def _asked(run: SupernetRun) -> Section:
    config, log = run.config, run.log
    asked = [
        ("space", config.space.name),
        ("data", config.data.name),
        ("method", config.method.name),
        ("selection", config.selection.name),
        (
            "epochs asked for",
            _number(run.manifest.get("search_epochs", config.training.get("epochs"))),
        ),
    ]
    spent = [
        ("epochs of search", number(run.num_search)),
        ("epochs of selection", number(int((run.history["phase"] == SELECT).sum()))),
        ("decisions", number(len(log.decisions))),
        ("wall clock", duration(log.elapsed_s)),
        ("times started", number(len(log.sessions))),
    ]
    notices = [Prose(notice) for notice in log.notices]
    return Section(
        "asked",
        "Asked and spent",
        [Facts([(name, value) for name, value in asked if value]), Facts(spent), *notices],
    )


def _number(value: Any) -> str:
    return number(value) if isinstance(value, int | float) else ""


def _best(run: SupernetRun) -> list[Section]:
    if run.log.architecture is None:
        return []
    space = run.config.space.model_dump()
    literal = run.best.get("genotype")
    blocks = architecture_blocks(
        run.log.architecture, space, "best", literal=literal if isinstance(literal, str) else None
    )
    return [Section("best", "The selected architecture", blocks)]


def _learning(run: SupernetRun) -> Section:
    sentence = learning_sentence(run)
    svg = figure_svg(learning_figure(run), "learning", "Accuracy and loss over epochs", sentence)
    return Section("learning", "How the supernet learnt", [Plot([svg], sentence)])


def learning_sentence(run: SupernetRun) -> str:
    """Say what the supernet could at the end of each phase, and at its best."""
    history = run.history
    best = history.iloc[int(history["accuracy"].astype(float).argmax())]
    parts = []
    for phase in dict.fromkeys(map(str, history["phase"])):
        last = history[history["phase"] == phase].iloc[-1]
        epoch = int(last["epoch"])
        parts.append(
            f"{percent(last['accuracy'])} after epoch {epoch}, the last of {_PHASES[phase]}"
        )
    return (
        f"On the validation part the supernet reached {listed(parts)}; its best was "
        f"{percent(best['accuracy'])} after epoch {int(best['epoch'])}."
    )


def _theta(run: SupernetRun) -> list[Section]:
    if run.theta.empty:
        words = "alpha.parquet is missing, so there are no mixing weights to draw."
        return [Section("theta", "Mixing weights", [Prose(words, warning=True)])]
    blocks: list[Block] = []
    for place, kind in enumerate(run.kinds):
        sentence = theta_sentence(run, kind)
        title = f"θ of every edge of the {kind} cell"
        svg = figure_svg(theta_figure(run, kind), f"theta-{place}", title, sentence)
        blocks.append(Plot([svg], sentence))
    return [Section("theta", "Mixing weights θ of every edge", blocks)]


def strongest_ops(theta: pd.DataFrame) -> dict[tuple[str, int], str]:
    """Return the op with the largest θ of each edge (kind, number); of equal ones the first."""
    rows = theta.loc[theta.groupby(["kind", "edge"], sort=False)["theta"].idxmax()]
    return {
        (str(kind), int(edge)): str(op)
        for kind, edge, op in zip(rows["kind"], rows["edge"], rows["op"], strict=True)
    }


def theta_sentence(run: SupernetRun, kind: str) -> str:
    """Say which ops θ favoured when the search phase ended."""
    searched = run.searched
    source = run.theta[run.theta["step"] == run.theta["step"].max()] if searched.empty else searched
    of = source[source["kind"] == kind]
    picks = list(strongest_ops(of).values())
    often = sorted(dict.fromkeys(picks), key=lambda op: -picks.count(op))
    told = listed([f"{op} on {picks.count(op)}" for op in often])
    return (
        f"{_CELLS.get(kind, kind)}: after epoch {int(of['epoch'].max())} of the search the largest "
        f"θ of the {count(len(picks), 'edge')} belonged to {told}."
    )


def _mixing(run: SupernetRun) -> list[Section]:
    if not any(name.startswith("theta_entropy_") for name in map(str, run.history)):
        return []
    sentence = mixing_sentence(run)
    svg = figure_svg(entropy_figure(run), "mixing", "Entropy of θ and the skip gap", sentence)
    return [
        Section("mixing", "How decided θ is, and how it favours skips", [Plot([svg], sentence)])
    ]


def mixing_sentence(run: SupernetRun) -> str:
    """Say how entropy and skip gap went over the search phase."""
    searched = run.history.iloc[: max(run.num_search, 1)]
    first, last = searched.iloc[0], searched.iloc[-1]
    parts = []
    for name in map(str, run.history):
        if name.startswith("theta_entropy_"):
            kind = name.removeprefix("theta_entropy_")
            words = (
                f"in {kind} cells the entropy of θ went from {first[name]:.2f} to {last[name]:.2f}"
            )
            gap = f"skip_gap_{kind}"
            known = gap in searched and pd.notna(last[gap])
            parts.append(words + (f" and the skip gap ended at {last[gap]:+.3f}" if known else ""))
    return (
        f"Over the search phase, {listed(parts)} (the gap is θ of skip_connect less the mean θ of "
        "the ops that have weights)."
    )


def _decisions(run: SupernetRun) -> list[Section]:
    if run.decisions.empty:
        return []
    sentence = decisions_sentence(run)
    svg = figure_svg(decisions_figure(run), "decisions", "What each decision compared", sentence)
    blocks: list[Block] = [
        Plot([svg], sentence),
        More("Every candidate of every decision", [_table(run)]),
    ]
    return [Section("decisions", "Every decision", blocks)]


def against_theta(run: SupernetRun) -> tuple[int, int]:
    """Return how many edges got another op than θ favoured then, of how many that can be told."""
    if run.theta.empty:
        return 0, 0
    rows = first_rounds(run.decisions)
    chosen = rows[rows["chosen"].astype(bool) & rows["edge"].notna()]
    differs = told = 0
    for row in chosen.to_dict("records"):
        before = run.theta[(run.theta["step"] < row["step"]) & (run.theta["kind"] == row["kind"])]
        if before.empty:
            continue
        latest = before[before["step"] == before["step"].max()]
        favoured = strongest_ops(latest)[str(row["kind"]), int(row["edge"])]
        told += 1
        differs += favoured != row["name"]
    return differs, told


def decisions_sentence(run: SupernetRun) -> str:
    """Say how clear the decisions were, and where they went against θ."""
    decisions = run.decisions.drop_duplicates("decision")
    words = f"{count(len(decisions), 'decision')}"
    margins = decisions["margin"].dropna().astype(float)
    if len(margins):
        accuracy = compared(run.decisions) == "accuracy"
        median = points(margins.median()) if accuracy else f"{margins.median():.3f}"
        ties = int((margins <= 0).sum())
        words += f" with a median margin of {median}, {ties} of them a tie"
    differs, told = against_theta(run)
    if told:
        words += f"; {differs} of {count(told, 'edge')} got another op than the one of largest θ"
    skips = first_rounds(run.decisions)
    got = skips[skips["chosen"].astype(bool) & skips["edge"].notna()]["name"]
    few = len(decisions) <= MOST_DECISIONS
    drawn = "" if few else f" (Drawn: the first {MOST_DECISIONS}.)"
    return f"{words}; {int((got == _SKIP).sum())} of {count(len(got), 'edge')} got {_SKIP}.{drawn}"


def _table(run: SupernetRun) -> Table:
    groups: Mapping[int, pd.DataFrame] = {
        int(str(key)): rows for key, rows in run.decisions.groupby("decision")
    }
    rows = [
        (
            str(key),
            decision_name(of),
            str(row["name"]),
            percent(_float(row.get("accuracy"))),
            _short(row.get("loss")),
            _short(row.get("strength")),
            "yes" if row["chosen"] else "",
        )
        for key, of in groups.items()
        for row in of.to_dict("records")
    ]
    header = ("no.", "of", "option", "accuracy without", "loss without", "θ", "chosen")
    return Table(header, rows, texts=(0, 1, 2, 6))


def _float(value: Any) -> float | None:
    return None if value is None or pd.isna(value) else float(value)


def _short(value: Any) -> str:
    known = _float(value)
    return "-" if known is None else f"{known:.4f}"
