"""The report of a supernet run: its sentences say what its tables hold."""

import json
import re
import shutil

import pandas as pd
import pytest

from raynas import api
from raynas.errors import RunFolderError
from raynas.report.supernet_data import SEARCH, read_supernet
from raynas.report.supernet_plots import (
    decision_name,
    decisions_figure,
    theta_figure,
    until_decided,
)
from raynas.report.supernet_report import (
    against_theta,
    decisions_sentence,
    learning_sentence,
    mixing_sentence,
    strongest_ops,
    supernet_summary,
    theta_sentence,
)
from raynas.report.words import percent
from raynas.runs.folder import RunFolder

from .conftest import sections
from .test_pages import HOSTILE, Outline


@pytest.fixture(scope="module")
def run(supernet):
    return read_supernet(RunFolder(supernet, "supernet"))


def view(folder, name):
    return pd.read_parquet(folder / f"{name}.parquet")


def copied(supernet, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(supernet, folder)
    return folder


def test_the_summary_and_learning(run, supernet):
    history = view(supernet, "history")
    decisions = view(supernet, "decisions")["decision"].nunique()
    searched = history[history["phase"] == SEARCH]
    summary = supernet_summary(run)
    assert f"{len(searched)} epochs of search" in summary
    assert f"and {len(history) - len(searched)} of selection" in summary
    assert f"{decisions} decisions taken" in summary
    assert percent(history["accuracy"].iloc[-1]) in summary
    sentence = learning_sentence(run)
    assert f"{percent(searched['accuracy'].iloc[-1])} after epoch {len(searched)}" in sentence
    best = history.loc[history["accuracy"].idxmax()]
    assert f"its best was {percent(best['accuracy'])} after epoch {best['epoch']}" in sentence


def test_the_largest_theta_of_every_edge(run, supernet):
    theta = view(supernet, "alpha")
    searched = theta[(theta["phase"] == SEARCH)]
    searched = searched[searched["epoch"] == searched["epoch"].max()]
    expected = {}
    for row in searched.to_dict("records"):
        best = expected.get(row["edge"])
        if best is None or row["theta"] > best["theta"]:
            expected[row["edge"]] = row
    found = strongest_ops(searched)
    assert found == {("cell", edge): row["op"] for edge, row in expected.items()}
    sentence = theta_sentence(run, "cell")
    assert "of the 6 edges" in sentence
    counts = [int(n) for n in re.findall(r" on (\d+)", sentence)]
    assert sum(counts) == 6


def test_lines_of_theta_end_where_the_edge_is_decided(run):
    figure = theta_figure(run, "cell")
    shown = [axes for axes in figure.axes if axes.get_visible()]
    assert [axes.get_title() for axes in shown] == ["0 → 1", "0 → 2", "1 → 2"] + [
        f"{source} → 3" for source in range(3)
    ]
    for edge, axes in zip((0, 1, 2, 3, 4, 5), shown, strict=True):
        theta = run.theta[run.theta["edge"] == edge]
        rows = until_decided(theta)
        lines = [line for line in axes.get_lines() if line.get_marker() == "None"]
        assert len(lines) == 5
        assert {len(line.get_xdata()) for line in lines} == {rows["epoch"].nunique()}
        dots = [line for line in axes.get_lines() if line.get_marker() == "o"]
        assert sum(len(dot.get_xdata()) for dot in dots) == int(rows["decided"].sum()) == 1


def test_mixing(run, supernet):
    history = view(supernet, "history")
    searched = history[history["phase"] == SEARCH]
    sentence = mixing_sentence(run)
    first, last = searched["theta_entropy_cell"].iloc[[0, -1]]
    assert f"from {first:.2f} to {last:.2f}" in sentence
    assert f"{searched['skip_gap_cell'].iloc[-1]:+.3f}" in sentence


def test_every_decision_is_drawn_with_the_chosen_one_marked(run, supernet):
    decisions = view(supernet, "decisions")
    axes = decisions_figure(run).axes[0]
    names = [label.get_text() for label in axes.get_yticklabels()]
    groups = [rows for _, rows in decisions.groupby("decision")]
    assert names == [decision_name(rows) for rows in groups]
    marked = [line for line in axes.get_lines() if line.get_marker() == "D"][: len(groups)]
    for place, (rows, line) in enumerate(zip(groups, marked, strict=True)):
        chosen = rows[rows["chosen"]]["accuracy"]
        assert list(line.get_xdata()) == pytest.approx((100 * chosen).tolist())
        assert list(line.get_ydata()) == [place]


def test_decisions_against_theta(run, supernet):
    decisions, theta = view(supernet, "decisions"), view(supernet, "alpha")
    expected = 0
    for row in decisions[decisions["chosen"]].to_dict("records"):
        before = theta[(theta["step"] < row["step"]) & (theta["edge"] == row["edge"])]
        latest = before[before["step"] == before["step"].max()]
        expected += latest.loc[latest["theta"].idxmax(), "op"] != row["name"]
    assert against_theta(run) == (expected, 6)
    sentence = decisions_sentence(run)
    assert f"{expected} of 6 edges got another op" in sentence
    skips = (decisions[decisions["chosen"]]["name"] == "skip_connect").sum()
    assert f"{skips} of 6 edges got skip_connect" in sentence
    median = decisions.drop_duplicates("decision")["margin"].median()
    assert f"median margin of {100 * median:.2f} points" in sentence


def test_an_interrupted_run_shows_what_there_is(supernet, tmp_path):
    folder = copied(supernet, tmp_path)
    lines = (folder / "journal.jsonl").read_bytes().splitlines(keepends=True)
    (folder / "journal.jsonl").write_bytes(b"".join(lines[:2]))
    for name in ("best.json", "decisions.parquet"):
        (folder / name).unlink()
    manifest = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps({**manifest, "finished": False}))
    page = api.write_report(folder).read_text()
    assert "It was interrupted before its end" in page
    assert "nothing is selected yet" in page
    assert sections(page) == ["asked", "learning", "theta", "mixing", "provenance"]


def test_without_alpha_it_says_so(supernet, tmp_path):
    folder = copied(supernet, tmp_path)
    (folder / "alpha.parquet").unlink()
    assert "alpha.parquet is missing" in api.write_report(folder).read_text()


def test_another_alpha_is_one_line(supernet, tmp_path):
    folder = copied(supernet, tmp_path)
    pd.DataFrame({"a": [1]}).to_parquet(folder / "alpha.parquet")
    with pytest.raises(RunFolderError, match="has no 'step'"):
        api.write_report(folder)
    (folder / "alpha.parquet").write_bytes(b"no parquet")
    with pytest.raises(RunFolderError, match="cannot be read"):
        api.write_report(folder)


def test_a_failure_is_told_and_escaped(supernet, tmp_path):
    folder = copied(supernet, tmp_path)
    with (folder / "journal.jsonl").open("a") as file:
        file.write(json.dumps({"event": "failed", "error": HOSTILE}) + "\n")
    page = api.write_report(folder).read_text()
    assert "It failed:" in page
    assert not Outline(page).tags & {"script", "img"}


def test_selection_by_magnitude_is_drawn_by_theta(tmp_path):
    config = {
        "space": {"name": "nasbench201", "channels": 2, "cells_per_stage": 1},
        "data": {"name": "digits", "train_size": 60, "valid_size": 20},
        "method": "darts",
        "selection": "magnitude",
        "training": {"epochs": 1, "batch_size": 15},
    }
    api.search_supernet(config=config, out=tmp_path / "r", engine="local")
    run = read_supernet(RunFolder(tmp_path / "r", "supernet"))
    assert decisions_figure(run).axes[0].get_xlabel() == "its mixing weight, θ"
    assert against_theta(run)[0] == 0
    assert "decisions" in sections(api.write_report(tmp_path / "r").read_text())
