"""The report of a search: its sentences say what its tables hold."""

import dataclasses
import json
import shutil

import numpy as np
import pandas as pd
import pytest
import yaml
from scipy.stats import spearmanr

from raynas import api
from raynas.report import search_plots
from raynas.report.drawing import steps
from raynas.report.search_data import read_search
from raynas.report.search_plots import budget_figure, drawn_ids, pyramid_figure
from raynas.report.search_report import (
    budget_sentence,
    front_sentence,
    predictor_sentence,
    proxy_sentence,
    proxy_table,
    pyramid_sentence,
    search_summary,
)
from raynas.report.svg import figure_svg
from raynas.report.words import percent
from raynas.runs.folder import RunFolder
from raynas.scheduling.candidate import Status
from raynas.testing import FakeObjective, ToySpace

from .conftest import run_search, sections
from .test_pages import HOSTILE, Outline


@pytest.fixture(scope="module")
def run(searched):
    return read_search(RunFolder(searched))


def view(folder, name):
    return pd.read_parquet(folder / f"{name}.parquet")


def test_the_replayed_tables_are_the_views(run, searched):
    pd.testing.assert_frame_equal(run.architectures, view(searched, "architectures"))
    results = view(searched, "results")
    assert run.results["accuracy"].tolist() == results["accuracy"].tolist()
    assert run.results["id"].tolist() == results["id"].tolist()
    assert run.fits["kendall_tau"].equals(view(searched, "ranker")["kendall_tau"])


def test_the_answer_at_any_time_is_the_pools(run):
    last = run.results.iloc[-1]
    best = run.pool.best()
    assert (last["best_id"], last["best_accuracy"]) == (best.id, best.accuracy)
    assert last["best_level"] == best.level
    assert run.results["best_level"].is_monotonic_increasing


def test_the_summary(run, searched):
    best = json.loads((searched / "best.json").read_text())
    trained = (view(searched, "architectures")["level"] > 0).sum()
    assert search_summary(run) == (
        f"{trained} networks trained for {len(view(searched, 'results'))} epochs in all; the best "
        f"reaches {percent(best['accuracy'])} on the validation part after {best['epochs']} epochs."
    )


def test_the_budget_sentence(run):
    results = run.results
    half = results[results["spent"] <= len(results) // 2].iloc[-1]
    best = run.pool.best()
    sentence = budget_sentence(run)
    assert f"Had it ended after {len(results) // 2} epochs" in sentence
    assert percent(half["best_accuracy"]) in sentence
    assert f"no. {best.id} with {percent(best.accuracy)} at level {best.level}" in sentence
    reports = results[(results["id"] == best.id) & (results["level"] == best.level)]
    since = reports["spent"].max()
    assert f"since epoch {since} of {len(results)}." in sentence


def test_stretches_cover_every_epoch_once(run):
    epochs = dict(enumerate(run.config.levels, start=1))
    by_id = {}
    for stretch in run.stretches:
        before = by_id.get(stretch.id)
        trained = epochs[stretch.level] - (epochs[before.level] if before else 0)
        mine = run.results[
            (run.results["id"] == stretch.id)
            & (run.results["spent"] > stretch.start)
            & (run.results["spent"] <= stretch.stop)
        ]
        assert len(mine) == trained
        if before:
            assert stretch.rested == stretch.start - before.stop
        by_id[stretch.id] = stretch
    assert {i: s.level for i, s in by_id.items()} == {c.id: c.level for c in run.pool if c.level}


def test_who_was_paused_and_resumed_is_told_and_drawn(run):
    late = [s for s in run.stretches if s.joined and s.rested]
    assert late, "the fixture has somebody who was"
    longest = max(late, key=lambda s: s.rested)
    sentence = pyramid_sentence(run)
    assert f"{len({s.id for s in late})} of them" in sentence
    assert f"after {longest.rested} epochs of others" in sentence
    rows = pyramid_figure(run).axes[0]
    arrows = [
        line for line in rows.get_lines() if line.get_marker() == ">" and len(line.get_xdata())
    ]
    assert sorted(line.get_xdata()[0] for line in arrows) == sorted(s.start for s in late)


def test_newcomers_that_joined_meanwhile_are_counted(run):
    stretch = max((s for s in run.stretches if s.joined), key=lambda s: s.joined)
    rested_from = stretch.start - stretch.rested
    first_reports = run.results.groupby("id")["spent"].min()
    began = first_reports[(first_reports > rested_from) & (first_reports <= stretch.start)]
    assert 0 < stretch.joined <= len(run.pool)
    assert len(began) <= stretch.joined + run.config.policy.options["per_round"]


def test_levels_in_the_pyramid_are_the_pools(run):
    assert run.reached.iloc[-1].tolist() == run.pool.population()
    told = pyramid_sentence(run)
    for level, count in enumerate(run.pool.population(), start=1):
        assert f"{count} reached level {level}" in told


def test_the_predictor_sentence(run, searched):
    fits = view(searched, "ranker").dropna(subset=["kendall_tau"])
    sentence = predictor_sentence(run.fits)
    first, last = fits.iloc[0], fits.iloc[-1]
    assert f"from {first['kendall_tau']:.2f} ({first['num_trained']:.0f} trained)" in sentence
    assert f"to {last['kendall_tau']:.2f} ({last['num_trained']:.0f} trained)" in sentence
    assert f"a mean of {fits['kendall_tau'].mean():.2f}" in sentence


def test_proxies_are_correlated_as_scipy_does(run, searched):
    rows = view(searched, "architectures")
    table = proxy_table(run)
    for name in ("synflow", "params"):
        for level in (1, 2):
            both = rows[[f"proxy_{name}", f"accuracy_level_{level}"]].dropna()
            expected = spearmanr(*both.to_numpy().T).statistic
            assert table.loc[name, level] == pytest.approx(expected)
    sentence = proxy_sentence(run, table)
    assert f"synflow {table.loc['synflow', 1]:.2f}" in sentence
    scored = len(view(searched, "level0"))
    assert f"{scored} further architectures were scored and never trained" in sentence


def test_the_front_is_that_of_best_json(fronted):
    run = read_search(RunFolder(fronted))
    best = json.loads((fronted / "best.json").read_text())
    assert run.front == [row["id"] for row in best["front"]]
    rows = view(fronted, "architectures").set_index("id").loc[run.front]
    cheap = rows.loc[rows["num_params"].idxmin()]
    sentence = front_sentence(run)
    assert f"{len(rows)} architectures of level" in sentence
    assert percent(cheap["accuracy"]) in sentence
    assert "parameters" in sentence


def test_an_unfinished_search_says_so_and_shows_what_there_is(searched, tmp_path):
    folder = tmp_path / "cut"
    shutil.copytree(searched, folder)
    lines = (folder / "journal.jsonl").read_bytes().splitlines(keepends=True)
    (folder / "journal.jsonl").write_bytes(b"".join(lines[: len(lines) // 2]) + b'{"t": 1, "ev')
    manifest = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps({**manifest, "finished": False}))
    page = api.write_report(folder).read_text()
    assert "It was interrupted before its end" in page
    assert 'class="state interrupted"' in page
    assert {"asked", "best", "budget", "pyramid"} <= set(sections(page))


def test_a_running_search_says_so(searched, tmp_path):
    folder = tmp_path / "held"
    shutil.copytree(searched, folder)
    held = RunFolder(folder)
    held.lock()
    try:
        assert "It is still running" in api.write_report(folder, tmp_path / "r.html").read_text()
    finally:
        held.unlock()


def test_texts_of_a_run_folder_are_escaped(tmp_path):
    class Failing(FakeObjective):
        def start(self, architecture, seed):
            if int(architecture.text[1:]) % 3 == 0:
                raise ValueError(HOSTILE)
            return super().start(architecture, seed)

    folder = tmp_path / f"run{HOSTILE.replace('/', '')}"
    run_search(folder, space=ToySpace(), objective=Failing(), config={"space": "nasbench201"})
    manifest = json.loads((folder / "run.json").read_text())
    manifest |= {"data": {"name": HOSTILE, "fingerprint": HOSTILE}, "command": [HOSTILE]}
    manifest["versions"] |= {HOSTILE: HOSTILE}
    (folder / "run.json").write_text(json.dumps(manifest))
    config = yaml.safe_load((folder / "config.yaml").read_text())
    config["space"] = {"name": f"module:{HOSTILE}"}
    config["policy"]["name"] = HOSTILE
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    page = api.write_report(folder, tmp_path / "r.html").read_text()
    outline = Outline(page)
    assert not outline.tags & {"script", "img"}
    assert outline.handlers == []
    assert page.count("&lt;script&gt;") > 8
    assert "failures" in sections(page)
    assert "No drawing" in page


def test_failures_are_told(tmp_path):
    texts = {f"a{number}" for number in range(0, 1000, 2)}
    run_search(tmp_path / "r", space=ToySpace(), objective=FakeObjective(failing=texts))
    run = read_search(RunFolder(tmp_path / "r"))
    failed = sum(one.status is Status.FAILED for one in run.pool)
    assert failed > 0
    page = api.write_report(tmp_path / "r").read_text()
    assert f"{failed} architecture" in page
    assert "was made to fail" in page


def test_a_long_search_is_drawn_by_a_part_of_its_dots(run):
    times = 2000
    results = pd.concat([run.results] * times, ignore_index=True)
    results["spent"] = range(1, len(results) + 1)
    reached = pd.concat([run.reached] * times, ignore_index=True)
    long = dataclasses.replace(run, results=results, reached=reached)
    dots = [line for line in budget_figure(long).axes[0].get_lines() if line.get_marker() == "o"]
    drawn = sorted(x for line in dots for x in line.get_xdata())
    assert len(drawn) == 2500
    assert (drawn[0], drawn[-1]) == (1, len(results))
    assert f"2,500 of {len(results):,} reports" in budget_sentence(long)
    assert len(figure_svg(budget_figure(long), "a", "b", "c")) < 1_000_000


def test_steps_are_where_a_line_turns(run):
    rows = steps(run.results, "best_accuracy")
    assert rows["best_accuracy"].iloc[-1] == run.results["best_accuracy"].iloc[-1]
    changes = (run.results["best_accuracy"].diff() != 0).sum()
    assert changes <= len(rows) <= changes + 1


def test_of_a_large_search_those_that_rose_highest_are_drawn(run, monkeypatch):
    monkeypatch.setattr(search_plots, "_MOST_ROWS", 10)
    ids = drawn_ids(run)
    assert len(ids) == 10 < run.pool.reached(1)
    lowest = min(run.pool[i].level for i in ids)
    left_out = [c for c in run.pool if c.level and c.id not in ids]
    assert max(c.level for c in left_out) <= lowest
    assert f"(Drawn: the 10 of {run.pool.reached(1)} that rose highest.)" in pyramid_sentence(run)
    assert np.isfinite(pyramid_figure(run).get_size_inches()).all()
