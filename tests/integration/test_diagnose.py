"""Diagnoses on a real Ray: the numbers of one process, and failures that say what they are."""

import json
import os
import shutil
from functools import partial

import pandas as pd
import pytest
import torch
from toys import supernet_config
from typer.testing import CliRunner

from raynas import api
from raynas.cli.main import app
from raynas.engine.session import Resources
from raynas.engine.work_items import run_items
from raynas.errors import TrialError, WorkerError

pytestmark = pytest.mark.ray

TOY = supernet_config(method="drnas", selection="magnitude", training={"alpha_lr": 0.1})

NAMES = "estimation,strength,strength_map,shuffle,curvature,trace,trajectory"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("diagnosed") / "run"
    api.search_supernet(config=TOY, out=folder, engine="local")
    return folder


def test_ray_gives_the_numbers_of_one_process(local_ray, run, tmp_path):
    here, there = (shutil.copytree(run, tmp_path / name / "run") for name in ("here", "there"))
    options = {"edges": 1, "oracle_epochs": 1, "draws": 3, "reference_epochs": 1}
    options |= {"batches": 1, "probes": 2}
    one = api.diagnose(here, NAMES, engine="local", **options)
    other = api.diagnose(there, NAMES, engine="ray", **options)
    assert {e["name"] for e in one.entries} == {e["name"] for e in other.entries}
    assert len(one.entries) == 7
    by_name = {entry["name"]: entry for entry in other.entries}
    for entry in one.entries:
        assert entry == by_name[entry["name"]]
        tables = (pd.read_parquet(f / "diagnostics" / entry["table"]) for f in (here, there))
        pd.testing.assert_frame_equal(*tables, check_exact=True)
        plots = [(f / "diagnostics" / entry["plot"]).read_bytes() for f in (here, there)]
        assert plots[0] == plots[1]


def test_the_command(local_ray, run, tmp_path):
    folder = shutil.copytree(run, tmp_path / "run")
    result = CliRunner().invoke(
        app, ["diagnose", str(folder), "--what", "strength_map,skip_gap", "--json"]
    )
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert {entry["name"] for entry in found["diagnostics"]} == {"strength_map", "skip_gap"}


def halve(number):
    if number == 3:
        raise TrialError("three cannot be halved")
    if number == 5:
        raise ValueError("nor can five")
    return number / 2


def test_items_come_back_with_their_numbers(local_ray):
    found = dict(run_items(halve, [4, 8, 2, 6], Resources(), workers=2))
    assert found == {0: 2.0, 1: 4.0, 2: 1.0, 3: 3.0}
    assert list(run_items(halve, [], Resources())) == []


def test_failures_are_told_as_they_are(local_ray):
    with pytest.raises(TrialError, match="three cannot be halved"):
        list(run_items(halve, [2, 3], Resources()))
    with pytest.raises(WorkerError, match="nor can five"):
        list(run_items(halve, [5], Resources()))


def die_once(mark, number):
    if not mark.exists():
        mark.touch()
        os._exit(1)
    return number


def test_an_item_whose_worker_dies_is_done_again(local_ray, tmp_path):
    work = partial(die_once, tmp_path / "died")
    assert list(run_items(work, [7], Resources())) == [(0, 7)]
    assert (tmp_path / "died").exists()
