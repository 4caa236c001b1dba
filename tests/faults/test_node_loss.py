"""Nodes of a real cluster (of processes) go, and others come, in the middle of a search."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from faults.harness import BUDGET, MUCH, config, damage, undisturbed

pytestmark = [pytest.mark.ray, pytest.mark.faults]

PROGRAM = Path(__file__).with_name("cluster_driver.py")


@pytest.mark.parametrize(
    ("losses", "budget", "epoch_s"),
    [(1, BUDGET, 0.05), pytest.param(6, MUCH, 0.3, marks=pytest.mark.slow)],
)
def test_only_the_epochs_in_flight_are_trained_again(
    tmp_path, monkeypatch, record_fault, losses, budget, epoch_s
):
    """One goes and one comes, again and again: more often than a worker may die."""
    monkeypatch.setenv("EPOCH_S", str(epoch_s))
    folder = tmp_path / "run"
    done = subprocess.run(
        [sys.executable, str(PROGRAM), str(folder), str(losses), str(budget)],
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert json.loads(done.stdout.splitlines()[-1])["finished"]
    asked = config(budget=str(budget))
    found = damage(folder, undisturbed(tmp_path, asked), tmp_path / "run.log")
    record_fault("node removed, another added", injected=losses, **found.as_dict())
    assert found.lost_epochs <= losses  # of the one network on each node that went
    assert found.lost_architectures == found.differences == 0
