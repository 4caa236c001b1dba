"""Whole runs on a real Ray and a real S3-compatible server."""

import collections
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
import torch

import raynas
from raynas import api
from raynas.errors import RunFolderError
from raynas.runs.folder import RunFolder
from raynas.runs.journal import read_journal
from raynas.runs.supernet_books import saved_steps
from raynas.runs.supernet_journal import read_supernet_journal
from raynas.scheduling.events import Reported
from raynas.scheduling.pool import Pool
from raynas.search_config import SearchConfig
from raynas.storage import location

pytestmark = pytest.mark.ray

HERE = Path(__file__).parent
PATIENCE_S = 300
STARTED = []


@pytest.fixture(autouse=True)
def _leave_nothing_behind():
    yield
    while STARTED:
        process = STARTED.pop()
        process.kill()
        process.wait()


def environment(cache):
    path = os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")])
    return {**os.environ, "PYTHONPATH": path, "XDG_CACHE_HOME": str(cache)}


def start(driver, *arguments, cache):
    process = subprocess.Popen(
        [sys.executable, str(HERE / driver), *map(str, arguments)],
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(cache),
    )
    STARTED.append(process)
    return process


def wait_for(condition, process):
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline, "the driver makes no progress"
        time.sleep(0.05)


def finish(process):
    _, errors = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, errors


def command(*arguments, cwd):
    done = subprocess.run(
        [sys.executable, "-m", "raynas", *map(str, arguments)],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        env=environment(cwd / "cache"),
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def pool_of(run):
    folder = RunFolder(run)
    pool = Pool(SearchConfig.model_validate(folder.read_config()).levels)
    entries = read_journal(folder.journal)[0]
    for event, _ in entries:
        pool.record(event)
    reports = [(e.id, e.epoch) for e, _ in entries if isinstance(e, Reported)]
    return pool, reports


def fingerprint(pool):
    return [(c.text, c.level, c.epochs, c.level_accuracy, c.status) for c in pool]


def simulated(tmp_path):
    import search_driver

    parts = search_driver.parts(tmp_path / "simulated.log")
    out = tmp_path / "simulated"
    return api.search(config=search_driver.config(), **parts, out=out, engine="simulate").pool


@pytest.mark.slow
def test_a_search_whose_driver_is_killed_goes_on_on_another_machine(s3, tmp_path, monkeypatch):
    """What was not pushed is told by the checkpoints; the resume has Tune's files in the store."""
    uri, log = s3("runs/a"), tmp_path / "log"
    process = start("search_driver.py", "search", uri, log, cache=tmp_path / "one")
    wait_for(lambda: log.exists() and len(log.read_text().splitlines()) >= 14, process)
    assert api.status(uri)["state"] == "running"
    with pytest.raises(RunFolderError, match=f"is in use by process {process.pid} on "):
        RunFolder(uri).lock()
    process.send_signal(signal.SIGKILL)
    process.wait(timeout=30)
    trained = len(log.read_text().splitlines())
    state = api.status(uri)
    assert state["state"] == "interrupted"
    assert state["spent_epochs"] <= trained
    process = start("search_driver.py", "resume", uri, log, "there", cache=tmp_path / "two")
    finish(process)

    assert api.status(uri)["state"] == "done"
    pool, reports = pool_of(uri)
    monkeypatch.syspath_prepend(str(HERE))
    assert fingerprint(pool) == fingerprint(simulated(tmp_path))
    assert len(reports) == len(set(reports)) == pool.spent_epochs
    epochs = collections.Counter(log.read_text().splitlines())
    assert len(epochs) == pool.spent_epochs
    assert sum(epochs.values()) - len(epochs) <= 2  # only what was in flight on two workers
    place = location(uri)
    assert "tune" not in place.children()
    assert len(list(place.files())) == 6
    assert not list((tmp_path / "two/raynas/runs").iterdir())


def test_sigterm_leaves_all_in_the_store(s3, tmp_path):
    uri, log = s3("runs/a"), tmp_path / "log"
    process = start("search_driver.py", "search", uri, log, cache=tmp_path / "one")
    wait_for(lambda: log.exists() and len(log.read_text().splitlines()) >= 8, process)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 3, errors
    state = api.status(uri)
    assert state["state"] == "interrupted"
    pool, _ = pool_of(uri)
    assert pool.num_running == 0
    told = {path.name for path, _ in location(uri).files()}
    assert {"journal.jsonl", "config.yaml", "run.json", "results.parquet", "best.json"} <= told
    assert pool.spent_epochs >= 8 - 2


@pytest.mark.slow
def test_search_retrain_export_and_load(s3, tmp_path):
    """As a user does it, one command after the other, with nothing but URIs."""
    uri, full = s3("runs/mine"), s3("runs/full")
    small = ["data.train_size=100", "data.valid_size=50", "training.batch_size=50"]
    sets = [word for one in small for word in ("--set", one)]
    searching = ["levels=[1,2]", "space.channels=2", "policy.initial=3", "level0.mode=off"]
    searching = [word for one in searching for word in ("--set", one)]
    said = command(
        *("search", "--budget", 5, "--out", uri, "--workers", 2, *sets, *searching), cwd=tmp_path
    )
    assert f"run folder           {uri}" in said
    with_best = location(uri) / "best.json"
    best = json.loads(with_best.read_text())
    network = raynas.load(uri)
    assert isinstance(network, torch.nn.Module)
    weights = raynas.load(str(with_best)).state_dict()
    assert all(torch.equal(value, weights[name]) for name, value in network.state_dict().items())

    asked = ("--top", 1, "--seeds", 1, "--epochs", 2, "--workers", 1, *sets)
    command("retrain", uri, *asked, "--out", full, cwd=tmp_path)
    state = api.status(full)
    assert (state["kind"], state["state"], state["epochs"]) == ("retrain", "done", 2)
    assert state["architectures"][0]["label"] == "mine"
    assert (
        json.loads((location(full) / "best.json").read_text())["architecture"]
        == best["architecture"]
    )
    again = raynas.retrain(resume=full)  # done: nothing to do
    assert again.finished
    assert str(again.folder) == full

    written = api.export(full, "source")
    assert [file.parent for file in written.files] == [location(full) / "export"] * 3
    api.export(full, "pt2")
    names = {path.name for path, _ in (location(full) / "export").files()}
    assert names == {"card.md", "network.pt2", "network.py", "network.safetensors"}
    assert "network.py" in (location(full) / "export/card.md").read_text()
    local = api.export(full, "source", out=tmp_path / "here")
    assert all(Path(file).exists() for file in local.files)

    assert str(api.write_report(uri)) == str(location(uri) / "report.html")
    assert b"<html" in (location(uri) / "report.html").read_bytes()
    diagnosis = raynas.diagnose(uri, "saved", engine="local")
    assert diagnosis.folder == location(uri) / "diagnostics"
    assert (diagnosis.folder / "saved.parquet").exists()
    command("status", uri, cwd=tmp_path)
    leftovers = {name for run in (uri, full) for name in location(run).children()}
    assert not {"tune", "train"} & leftovers


SUPERNET = {
    "space": {"name": "nasbench201", "channels": 2, "cells_per_stage": 1},
    "data": {"name": "digits", "train_size": 40, "valid_size": 20},
    "selection": {"name": "perturbation", "tune_epochs": 1, "batch_size": 10},
    "training": {"epochs": 2, "batch_size": 20, "alpha_lr": 0.01},
    "checkpoints": {"keep_last": 2, "keep_every": 0},
}


def decided(log):
    return [(decision["edge"], decision["chosen"]) for decision, _ in log.decisions]


def test_a_supernet_run_in_a_store_is_the_same_run(s3, tmp_path):
    uri = s3("runs/super")
    there = api.search_supernet(config=SUPERNET, out=uri, engine="local")
    here = api.search_supernet(config=SUPERNET, out=tmp_path / "run", engine="local")
    assert there.finished
    assert there.architecture == here.architecture
    assert decided(there.log) == decided(here.log)
    local = saved_steps(tmp_path / "run/checkpoints")
    assert saved_steps(location(uri) / "checkpoints") == local
    names = {p.name for p in (tmp_path / "run").iterdir()} - {
        ".lock",
        ".writer.lock",
        "checkpoints",
    }
    assert {path.name for path, _ in location(uri).files()} == names
    assert api.status(uri)["architecture"] == there.architecture.text
    assert api.resume(uri, engine="local").architecture == there.architecture
    reading_off = {**SUPERNET, "selection": "magnitude"}
    off = [
        api.search_supernet(
            config={**reading_off, "init_from": str(start)}, out=tmp_path / out, engine="local"
        )
        for start, out in ((uri, "off1"), (tmp_path / "run", "off2"))
    ]
    assert off[0].architecture == off[1].architecture
    one = raynas.diagnose(uri, "tuning,curvature", engine="local", batches=1)
    other = raynas.diagnose(tmp_path / "run", "tuning,curvature", engine="local", batches=1)
    for name in ("tuning", "curvature"):
        path = tmp_path / f"{name}.parquet"
        path.write_bytes((one.folder / f"{name}.parquet").read_bytes())
        theirs = pd.read_parquet(other.folder / f"{name}.parquet")
        drop = [column for column in theirs if column == "run"]
        pd.testing.assert_frame_equal(
            pd.read_parquet(path).drop(columns=drop), theirs.drop(columns=drop)
        )


def journal_of(uri):
    return read_supernet_journal(location(uri) / "journal.jsonl")[0]


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_a_supernet_run_whose_driver_is_killed_goes_on_on_another_machine(s3, tmp_path, workers):
    uri = s3("runs/super")
    process = start("supernet_driver.py", "start", uri, workers, cache=tmp_path / "one")
    wait_for(lambda: len(journal_of(uri).epochs) >= 2, process)
    process.send_signal(signal.SIGKILL)
    process.wait(timeout=30)
    finish(start("supernet_driver.py", "resume", uri, workers, cache=tmp_path / "two"))
    whole = s3("runs/whole")
    finish(start("supernet_driver.py", "start", whole, workers, cache=tmp_path / "two"))
    one, other = journal_of(uri), journal_of(whole)
    assert one.architecture == other.architecture
    assert decided(one) == decided(other)
    assert [e["metrics"]["accuracy"] for e in one.epochs] == [
        e["metrics"]["accuracy"] for e in other.epochs
    ]
    assert len(one.sessions) == 2
    inside = {path.name for path, _ in (location(uri) / "checkpoints").files(below=True)}
    assert inside == {"supernet.pt"}
