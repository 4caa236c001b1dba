"""`raynas diagnose`: one line and exit code 2 for whatever a user can get wrong."""

import json

import pytest
import torch
from typer.testing import CliRunner

from raynas import api
from raynas.cli.main import app
from raynas.runs.folder import RunFolder

TOY = {
    "space": {"name": "nasbench201", "channels": 2, "cells_per_stage": 1},
    "data": {"name": "digits", "train_size": 40, "valid_size": 20},
    "training": {"epochs": 1, "batch_size": 20},
    "selection": "magnitude",
}


@pytest.fixture(scope="module")
def supernet(tmp_path_factory):
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("runs") / "supernet"
    api.search_supernet(config=TOY, out=folder, engine="local")
    return folder


@pytest.fixture(scope="module")
def search(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "search"
    data = {"space": TOY["space"], "data": TOY["data"], "levels": [1, 2], "budget": "6"}
    policy = {"name": "nosh", "per_round": 2, "initial": 3}
    api.search(
        config={**data, "policy": policy, "level0": {"mode": "off"}}, engine="simulate", out=folder
    )
    return folder


def diagnose(*args):
    return CliRunner().invoke(app, ["diagnose", *map(str, args)])


def refused(result, *words):
    assert result.exit_code == 2, result.output
    lines = result.output.strip().splitlines()
    assert len(lines) == 1, result.output
    assert lines[0].startswith("raynas: ")
    for word in words:
        assert word in lines[0], lines[0]


def test_an_unknown_diagnostic_has_a_nearest(supernet, search):
    refused(diagnose(supernet, "--what", "curvatur"), "'curvatur'", "did you mean 'curvature'?")
    refused(diagnose(supernet, "--what", "skip_gap,shufle"), "did you mean 'shuffle'?", "allowed")
    refused(diagnose(search, "--what", "level"), "did you mean 'levels'?")
    refused(diagnose(supernet, "--what", ""), "unknown diagnostic ''")


def test_a_diagnostic_of_the_other_kind_of_run(supernet, search):
    refused(diagnose(search, "--what", "strength"), "'strength' is for supernet runs", "predictor")
    refused(diagnose(supernet, "--what", "skip_gap,saved"), "'saved' is for searches", "shuffle")
    refused(diagnose(search, "--against", search), "against: is for supernet runs")


def test_no_run_at_all(tmp_path):
    refused(diagnose(tmp_path / "nowhere"), "no such run folder")
    refused(diagnose(tmp_path), "holds no run")


def test_a_run_of_neither_kind(tmp_path):
    RunFolder(tmp_path / "r", "retrain").create({}, {})
    refused(diagnose(tmp_path / "r"), "is a retrain run", "supernet runs and searches")


def test_a_run_that_has_not_come_far_enough(supernet, search, tmp_path):
    for source, what in ((supernet, "no checkpoint of its search"), (search, "finished a level")):
        folder = tmp_path / source.name
        folder.mkdir()
        for name in ("config.yaml", "run.json"):
            (folder / name).write_bytes((source / name).read_bytes())
        refused(diagnose(folder), what, "nothing to diagnose")
        assert not (folder / "diagnostics").exists()


def test_a_run_begun_from_another(supernet, tmp_path):
    folder = tmp_path / "second"
    api.search_supernet(config={**TOY, "init_from": str(supernet)}, out=folder, engine="local")
    refused(diagnose(folder), f"diagnose {supernet}")


def test_values_out_of_range(supernet):
    refused(diagnose(supernet, "--edges", "some"), "edges: 'some' must be a number, or all")
    refused(diagnose(supernet, "--edges", "0"), "edges")
    refused(diagnose(supernet, "--draws", "1"), "draws", "2")
    refused(diagnose(supernet, "--oracle-epochs", "0"), "oracle_epochs")


def test_a_place_that_is_none(supernet, search):
    for run in (supernet, search):
        refused(diagnose(run, "--gpus", "-1"), "gpus: -1 must be at least 0")
        refused(diagnose(run, "--gpus", "nan"), "gpus: nan must be at least 0")
        refused(diagnose(run, "--workers", "0"), "workers: 0 must be at least 1")
        refused(diagnose(run, "--local", "--workers", "2"), "workers: is for Ray, but --local")
        refused(diagnose(run, "--local", "--gpus", "0.5"), "gpus: is for Ray, but --local")


def test_what_says_nothing_of_this_run(supernet):
    refused(diagnose(supernet, "--what", "trace", "--local"), "trace: is for", "drnas")
    refused(diagnose(supernet, "--what", "tuning", "--local"), "no epoch between decisions")
    refused(diagnose(supernet, "--against", supernet / "nowhere"), "no such run folder")
    assert not (supernet / "diagnostics").exists()


def test_code_of_somebody_else_is_not_imported(supernet, tmp_path):
    folder = tmp_path / "foreign"
    folder.mkdir()
    (folder / "run.json").write_bytes((supernet / "run.json").read_bytes())
    config = (supernet / "config.yaml").read_text()
    (folder / "config.yaml").write_text(config.replace("name: darts", "name: evil:Method"))
    refused(diagnose(folder), "evil:Method", "--trust-code")


def test_what_it_prints(search):
    result = diagnose(search, "--what", "saved")
    assert result.exit_code == 0, result.output
    assert "saved: What did pausing save?" in result.output
    assert "diagnostics" in result.output.splitlines()[-1]
    result = diagnose(search, "--what", "saved,levels", "--json")
    found = json.loads(result.stdout)
    assert [entry["name"] for entry in found["diagnostics"]] == ["saved", "levels"]
