"""A node of a real cluster (of processes) is killed in the middle of a search."""

import collections
import json
import subprocess
import sys
from pathlib import Path

import pytest

from raynas import api
from raynas.runs.journal import read_journal
from raynas.scheduling.events import Reported

sys.path.insert(0, str(Path(__file__).parent))
from driver import config, parts

pytestmark = [pytest.mark.ray, pytest.mark.slow]


def test_only_the_epochs_in_flight_are_trained_again(tmp_path):
    folder = tmp_path / "run"
    program = Path(__file__).parent / "cluster_driver.py"
    done = subprocess.run(
        [sys.executable, str(program), str(folder)], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-3000:]
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["finished"]

    undisturbed = api.search(
        config=config(), **parts(tmp_path / "b.log"), out=tmp_path / "b", engine="simulate"
    )
    assert told["pool"] == [[c.text, c.level, c.epochs, c.level_accuracy] for c in undisturbed.pool]
    entries, _ = read_journal(folder / "journal.jsonl")
    heard = [(e.id, e.epoch) for e, _ in entries if isinstance(e, Reported)]
    assert len(heard) == len(set(heard))  # none is counted twice
    trained = collections.Counter((tmp_path / "run.log").read_text().splitlines())
    again = sum(count - 1 for count in trained.values())
    assert again <= 1  # of the one network on the node that went
