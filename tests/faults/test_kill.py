"""The driver SIGKILLed again and again: nothing lost, nothing doubled, the same pool at the end."""

import collections
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from raynas import api
from raynas.config import SearchConfig
from raynas.runs.folder import RunFolder
from raynas.runs.journal import read_journal
from raynas.scheduling.events import Reported
from raynas.scheduling.pool import Pool

pytestmark = pytest.mark.ray

DRIVER = Path(__file__).with_name("driver.py")
WORKERS = 2


def start(verb, folder):
    return subprocess.Popen(
        [sys.executable, str(DRIVER), verb, str(folder)],
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for_journal(folder, num_lines, process):
    journal = folder / "journal.jsonl"
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        if journal.exists() and journal.read_bytes().count(b"\n") >= num_lines:
            return
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.01)
    raise AssertionError("the driver makes no progress")


def kill(process):
    process.send_signal(signal.SIGKILL)
    process.wait(timeout=30)


def pool_of(folder):
    config = SearchConfig.model_validate(RunFolder(folder).read_config())
    pool = Pool(config.levels)
    for event, elapsed_s in read_journal(folder / "journal.jsonl")[0]:
        pool.record(event)
        pool.elapsed_s = elapsed_s
    return pool


def fingerprint(pool):
    return [(c.text, c.level, c.epochs, c.level_accuracy, c.status) for c in pool]


def simulated(tmp_path):
    sys.path.insert(0, str(DRIVER.parent))
    try:
        import driver
    finally:
        sys.path.pop(0)
    log = tmp_path / "simulated.log"
    result = api.search(
        config=driver.config(), **driver.parts(log), out=tmp_path / "sim", engine="simulate"
    )
    return result.pool


def test_a_run_survives_its_driver_being_killed(tmp_path):
    folder = tmp_path / "run"
    process = start("search", folder)
    kills = (6, 35, 70)
    for num_lines in kills:
        wait_for_journal(folder, num_lines, process)
        kill(process)
        assert api.status(folder)["state"] == "interrupted"
        process = start("resume", folder)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    assert api.status(folder)["state"] == "done"

    pool = pool_of(folder)
    assert fingerprint(pool) == fingerprint(simulated(tmp_path))
    assert pool.spent_epochs <= 60
    reports = [
        (event.id, event.epoch)
        for event, _ in read_journal(folder / "journal.jsonl")[0]
        if isinstance(event, Reported)
    ]
    assert len(reports) == len(set(reports)) == pool.spent_epochs
    trained = collections.Counter((tmp_path / "run.log").read_text().splitlines())
    doubled = sum(count - 1 for count in trained.values())
    assert len(trained) == pool.spent_epochs
    assert doubled <= WORKERS * len(kills)  # only what was in flight


def test_ctrl_c_leaves_a_run_that_resumes(tmp_path):
    folder = tmp_path / "run"
    process = start("search", folder)
    wait_for_journal(folder, 20, process)
    os.kill(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 3, errors
    state = api.status(folder)
    assert state["state"] == "interrupted"
    before = pool_of(folder)
    assert before.num_running == 0
    process = start("resume", folder)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    after = pool_of(folder)
    assert fingerprint(after) == fingerprint(simulated(tmp_path))
