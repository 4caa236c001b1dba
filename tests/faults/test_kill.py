"""The driver killed, interrupted or told to go: nothing lost, nothing doubled, the same pool."""

import os
import signal
import time

import pytest
from faults.harness import (
    BUDGET,
    MUCH,
    config,
    damage,
    drive,
    ends_with,
    journal_lines,
    kill,
    pool_of,
    undisturbed,
    wait_for,
)

from raynas import api

pytestmark = [pytest.mark.ray, pytest.mark.faults]

WORKERS = 2


def test_a_run_survives_a_kill_and_then_a_notice(tmp_path, record_fault):
    """The quick form of all that follows."""
    folder = tmp_path / "run"
    process = drive("search", folder)
    wait_for(lambda: journal_lines(folder) >= 6, process)
    kill(process)
    assert api.status(folder)["state"] == "interrupted"
    process = drive("resume", folder)
    wait_for(lambda: journal_lines(folder) >= 40, process)
    os.kill(process.pid, signal.SIGTERM)
    ends_with(process, 3)
    assert pool_of(folder).num_running == 0
    ends_with(drive("resume", folder), 0)
    assert api.status(folder)["state"] == "done"

    found = damage(folder, undisturbed(tmp_path), tmp_path / "run.log")
    record_fault("driver SIGKILLed, then SIGTERM", injected=2, **found.as_dict())
    assert pool_of(folder).spent_epochs <= BUDGET
    assert found.lost_epochs <= 2 * WORKERS
    assert found.lost_architectures == found.differences == 0


@pytest.mark.slow
def test_a_run_survives_its_driver_being_killed(tmp_path, record_fault):
    folder = tmp_path / "run"
    process = drive("search", folder)
    kills = (6, 50)
    for num_lines in kills:
        wait_for(lambda at_least=num_lines: journal_lines(folder) >= at_least, process)
        kill(process)
        assert api.status(folder)["state"] == "interrupted"
        process = drive("resume", folder)
    ends_with(process, 0)
    assert api.status(folder)["state"] == "done"

    found = damage(folder, undisturbed(tmp_path), tmp_path / "run.log")
    record_fault("driver SIGKILLed", injected=len(kills), **found.as_dict())
    assert pool_of(folder).spent_epochs <= BUDGET
    assert found.lost_epochs <= WORKERS * len(kills)  # only what was in flight
    assert found.lost_architectures == found.differences == 0


@pytest.mark.slow
def test_a_run_survives_twenty_kills_at_random_moments(
    tmp_path, moments, record_fault, monkeypatch
):
    """Most once it trains, some while it starts: long before, or just when, it takes over."""
    monkeypatch.setenv("EPOCH_S", "0.4")
    folder, kills = tmp_path / "run", 20
    process = drive("search", folder, MUCH)
    wait_for(lambda: journal_lines(folder) >= 1, process)
    for _ in range(kills):
        if moments.random() < 0.3:
            time.sleep(moments.uniform(0, 8))
        else:
            before = journal_lines(folder)
            wait_for(lambda than=before: journal_lines(folder) > than, process)
            time.sleep(moments.uniform(0, 1))
        assert process.poll() is None, "it ended before it was killed often enough"
        kill(process)
        process = drive("resume", folder)
    ends_with(process, 0)

    asked = config(budget=str(MUCH))
    found = damage(folder, undisturbed(tmp_path, asked), tmp_path / "run.log")
    record_fault("driver SIGKILLed", injected=kills, **found.as_dict())
    assert pool_of(folder).spent_epochs <= MUCH
    assert found.lost_epochs <= WORKERS * kills
    assert found.lost_architectures == found.differences == 0


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_notice_or_ctrl_c_leaves_a_run_that_resumes(tmp_path, record_fault, number):
    folder = tmp_path / "run"
    process = drive("search", folder)
    wait_for(lambda: journal_lines(folder) >= 20, process)
    os.kill(process.pid, number)
    ends_with(process, 3)
    assert api.status(folder)["state"] == "interrupted"
    assert pool_of(folder).num_running == 0
    ends_with(drive("resume", folder), 0)

    found = damage(folder, undisturbed(tmp_path), tmp_path / "run.log")
    record_fault(f"{number.name}: search", injected=1, **found.as_dict())
    assert found.lost_epochs <= WORKERS
    assert found.lost_architectures == found.differences == 0
