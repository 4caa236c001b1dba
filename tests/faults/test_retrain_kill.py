"""A worker and then the driver SIGKILLed: at most the epochs in flight are trained again."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

import raynas

pytestmark = [pytest.mark.ray, pytest.mark.faults]

DRIVER = Path(__file__).with_name("retrain_driver.py")
TABLES = ("retrain.parquet", "history.parquet", "confusion.parquet")


@pytest.fixture
def environment(tmp_path, monkeypatch):
    """Where the networks write down what they train, and are told to die."""
    values = {
        "EPOCH_LOG": str(tmp_path / "epochs.log"),
        "KILL_ONCE": str(tmp_path / "kill"),
        "PYTHONPATH": os.pathsep.join([str(DRIVER.parent), os.environ.get("PYTHONPATH", "")]),
    }
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    monkeypatch.syspath_prepend(str(DRIVER.parent))
    return values


def start(verb, folder):
    return subprocess.Popen(
        [sys.executable, str(DRIVER), verb, str(folder)],
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for(condition, process):
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline:
        if condition():
            return
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.01)
    raise AssertionError("the driver makes no progress")


def lines(path):
    return path.read_bytes().count(b"\n") if path.exists() else 0


def tables(folder):
    frames = [pd.read_parquet(folder / name) for name in TABLES]
    return [frame.drop(columns="time_s", errors="ignore") for frame in frames]


def differences(folder, whole):
    """Hold the tables of a run against those of one that nothing happened to."""
    for one, other in zip(tables(folder), tables(whole), strict=True):
        pd.testing.assert_frame_equal(one, other)
    return 0


@pytest.mark.slow
def test_a_retraining_survives_its_workers_and_its_driver(tmp_path, environment, record_fault):
    import retrain_driver as driver

    folder, log, order = tmp_path / "run", tmp_path / "epochs.log", tmp_path / "kill"
    order.write_text("")
    process = start("retrain", folder)
    wait_for(lambda: not order.exists() and lines(folder / "journal.jsonl") >= 4, process)
    os.kill(process.pid, signal.SIGKILL)
    process.wait(timeout=60)
    # Finished without Ray, which makes no difference and needs no second start of it.
    assert raynas.retrain(resume=folder, trust_code=True, engine="inline").finished

    trained = lines(log)
    needed = len(driver.CELLS) * driver.SEEDS * driver.EPOCHS
    assert needed <= trained <= needed + 1 + driver.WORKERS  # a worker's, and the driver's
    whole = driver.ask(tmp_path / "whole", engine="inline")
    assert whole.finished
    record_fault(
        "retraining: worker and driver SIGKILLed",
        injected=2,
        lost_epochs=trained - needed,
        lost_architectures=0,
        differences=differences(folder, tmp_path / "whole"),
    )


@pytest.mark.slow
def test_a_notice_leaves_a_retraining_that_resumes(tmp_path, environment, record_fault):
    import retrain_driver as driver

    folder = tmp_path / "run"
    process = start("retrain", folder)
    wait_for(lambda: lines(folder / "journal.jsonl") >= 3, process)
    os.kill(process.pid, signal.SIGTERM)
    _, errors = process.communicate(timeout=240)
    assert process.returncode == 3, errors
    assert raynas.status(folder)["state"] == "interrupted"
    process = start("resume", folder)
    _, errors = process.communicate(timeout=240)
    assert process.returncode == 0, errors

    trained = lines(tmp_path / "epochs.log")
    needed = len(driver.CELLS) * driver.SEEDS * driver.EPOCHS
    assert needed <= trained <= needed + driver.WORKERS
    assert driver.ask(tmp_path / "whole", engine="inline").finished
    record_fault(
        "SIGTERM: retraining",
        injected=1,
        lost_epochs=trained - needed,
        lost_architectures=0,
        differences=differences(folder, tmp_path / "whole"),
    )
