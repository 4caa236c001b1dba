"""A whole diagnosis in one process: its files, going on after an interruption, and the summary."""

import json
import re
import shutil

import pandas as pd
import pytest

import raynas
from raynas import api
from raynas.diagnostics import SEARCH, SUPERNET, session
from raynas.errors import ConfigError
from raynas.registry import lookup
from raynas.report import palette

SHORT = {
    "edges": 1,
    "oracle_epochs": 1,
    "draws": 4,
    "reference_epochs": 1,
    "batches": 1,
    "probes": 2,
    "tune_epochs": 1,
    "engine": "local",
}

PALETTE = {
    colour.lower()
    for value in vars(palette).values()
    for colour in (value if isinstance(value, tuple) else (value,))
    if isinstance(colour, str) and re.fullmatch(r"#[0-9a-fA-F]{6}", colour)
}


def kept(run):
    return {path.name: path.read_text() for path in (run / "diagnostics/parts").iterdir()}


def check_files(run, entry):
    assert set(entry) == {"name", "title", "sentences", "table", "plot", "settings"}
    assert entry["sentences"]
    assert all(isinstance(s, str) and s.endswith(".") for s in entry["sentences"])
    assert not any("nan" in s or "None" in s for s in entry["sentences"])
    table = pd.read_parquet(run / "diagnostics" / entry["table"])
    assert len(table) > 0
    svg = (run / "diagnostics" / entry["plot"]).read_text()
    assert {colour.lower() for colour in re.findall(r"#[0-9a-fA-F]{6}\b", svg)} <= PALETTE
    assert "<text" in svg  # as text, not as paths
    assert not re.search(r"\bblack\b|rgb\(", svg)


def test_everything_there_is_to_say_of_a_supernet(run):
    said = []
    diagnosis = api.diagnose(run, **SHORT, listener=lambda *heard: said.append(heard))
    names = [entry["name"] for entry in diagnosis.entries]
    assert set(names) == set(SUPERNET) - {"trace"}
    assert "Darts draws none" in diagnosis.skipped["trace"]
    summary = json.loads((run / "diagnostics/summary.json").read_text())
    assert summary == diagnosis.entries
    for entry in summary:
        check_files(run, entry)
    assert {name for name, _, _, label in said if label == "done"} == set(names)

    # Once more: nothing is measured, and nothing changes.
    before = {p.name: p.read_bytes() for p in (run / "diagnostics").glob("*.*")}
    again = api.diagnose(run, **{**SHORT, "engine": "ray"})  # Ray is not even started
    assert sorted(e["name"] for e in again.entries) == sorted(names)
    after = {p.name: p.read_bytes() for p in (run / "diagnostics").glob("*.*")}
    assert {k: v for k, v in after.items() if k != "summary.json"} == {
        k: v for k, v in before.items() if k != "summary.json"
    }


def test_dirichlet_runs_have_a_trace(dirichlet_run, tmp_path):
    dirichlet_run = shutil.copytree(dirichlet_run, tmp_path / "dirichlet")
    diagnosis = api.diagnose(dirichlet_run, "trace,skip_gap", **SHORT)
    entry = diagnosis.entries[-1]
    assert entry["name"] == "trace"
    for one in diagnosis.entries:
        check_files(dirichlet_run, one)
    table = pd.read_parquet(dirichlet_run / "diagnostics/trace.parquet")
    assert len(table) == 6 * 3  # edges, checkpoints
    assert (table["bound"] - table["loss_at_mean"]).notna().all()


def test_an_interrupted_diagnosis_goes_on(run, monkeypatch):
    measured = []
    measure = session.measure

    def interrupted(subject, seed, part):
        measured.append(part.label)
        if len(measured) == 3:
            raise KeyboardInterrupt
        return measure(subject, seed, part)

    monkeypatch.setattr(session, "measure", interrupted)
    with pytest.raises(KeyboardInterrupt):
        api.diagnose(run, "strength_map", **{**SHORT, "oracle_epochs": None})
    assert len(kept(run)) == 2
    assert not (run / "diagnostics/summary.json").exists()
    labels, measured[:] = measured[:2], [None] * 10
    api.diagnose(run, "strength_map", **{**SHORT, "oracle_epochs": None})
    assert len(measured) == 10 + 4
    assert not set(labels) & set(measured[10:])


def test_a_kept_part_that_cannot_be_read_is_measured_again(run):
    api.diagnose(run, "estimation", **SHORT)
    before = kept(run)
    (name,) = before
    (run / "diagnostics/parts" / name).write_text(before[name][:50])
    api.diagnose(run, "estimation", **SHORT)
    assert kept(run) == before


def test_other_settings_are_measured_anew(run):
    api.diagnose(run, "shuffle", **{**SHORT, "reference_epochs": 0})
    first = kept(run)
    api.diagnose(run, "shuffle", **{**SHORT, "reference_epochs": 0, "draws": 5})
    assert kept(run).items() > first.items()
    api.diagnose(run, "shuffle", **{**SHORT, "reference_epochs": 0, "seed": 1})
    assert len(kept(run)) == 5


def test_the_summary_keeps_what_is_not_run_again(run):
    api.diagnose(run, "skip_gap,estimation", **SHORT)
    api.diagnose(run, "estimation", **{**SHORT, "batches": 2})
    api.diagnose(run, ["tuning"], **SHORT)
    summary = json.loads((run / "diagnostics/summary.json").read_text())
    assert [entry["name"] for entry in summary] == ["skip_gap", "estimation", "tuning"]
    assert summary[1]["settings"]["batches"] == 2


def test_a_broken_summary_is_made_anew(run):
    (run / "diagnostics").mkdir()
    (run / "diagnostics/summary.json").write_text('[{"name": "x"')
    api.diagnose(run, "skip_gap", **SHORT)
    summary = json.loads((run / "diagnostics/summary.json").read_text())
    assert [entry["name"] for entry in summary] == ["skip_gap"]


def test_what_says_nothing_of_a_run_is_an_error_if_asked_for(dirichlet_run):
    with pytest.raises(ConfigError, match="tuning: "):
        api.diagnose(dirichlet_run, "skip_gap,tuning", **SHORT)


@pytest.fixture(scope="module")
def search_run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("diagnosed") / "search"
    api.search(
        config={
            "space": {"name": "nasbench201", "channels": 2, "cells_per_stage": 1},
            "data": {"name": "digits", "train_size": 40, "valid_size": 20},
            "levels": [1, 2, 3],
            "policy": {"name": "nosh", "per_round": 3, "initial": 6},
            "level0": {"mode": "off"},
            "budget": "24",
        },
        engine="simulate",
        out=folder,
    )
    return folder


def test_everything_there_is_to_say_of_a_search(search_run):
    diagnosis = raynas.diagnose(search_run)  # all of it stands in tables: no engine is started
    assert [entry["name"] for entry in diagnosis.entries] == list(SEARCH)
    assert not diagnosis.skipped
    for entry in diagnosis.entries:
        check_files(search_run, entry)


def test_all_of_them_can_be_made():
    for table in (SUPERNET, SEARCH):
        for name in table:
            assert lookup("diagnostic", name, table).title.endswith("?")
