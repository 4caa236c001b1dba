"""One session of a search, with made-up training: what it reads, and when."""

import json
from pathlib import Path

import pytest

from raynas import api
from raynas.errors import UsageError
from raynas.runs.folder import RunFolder
from raynas.scheduling.objective import Objective
from raynas.testing import FakeObjective, FakeTrial, ToySpace

OPTIONS = {
    "budget": 40,
    "levels": [1, 2, 4],
    "engine": "simulate",
    "config": {"policy": {"name": "nosh", "per_round": 5}, "proposer": "random"},
}


class BadTrial(FakeTrial):
    def train(self, to_epoch):
        raise ValueError("no such layer")


class Prepared(FakeObjective):
    """Counts what the engine asked for; one architecture in three raises what it likes."""

    prepared = 0

    def prepare(self):
        self.prepared += 1

    def start(self, architecture, seed):
        assert self.prepared == 1
        bad = int(architecture.text[1:]) % 3 == 0
        return (BadTrial if bad else FakeTrial)(self, architecture.text)


def run(folder: Path, objective: Objective):
    return api.search(space=ToySpace(), objective=objective, out=folder, **OPTIONS)


def test_simulation_prepares_once_and_survives_whatever_training_raises(tmp_path):
    objective = Prepared()
    result = run(tmp_path / "a", objective)
    failed = [c for c in result.pool if c.error]
    assert failed
    assert all("no such layer" in c.error for c in failed)
    assert result.pool.best() is not None


def test_a_resume_reads_the_journal_under_the_lock(tmp_path, monkeypatch):
    folder = tmp_path / "a"
    run(folder, FakeObjective())
    journal = folder / "journal.jsonl"
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join(lines[:-1]))
    lock = RunFolder.lock

    def somebody_finished_first(self):
        journal.write_bytes(b"".join(lines))
        lock(self)

    monkeypatch.setattr(RunFolder, "lock", somebody_finished_first)
    api.resume(folder, engine="simulate", space=ToySpace(), objective=FakeObjective())
    assert journal.read_bytes().startswith(b"".join(lines))


def test_own_parts_are_remembered_in_the_manifest(tmp_path):
    run(tmp_path / "a", FakeObjective())
    manifest = json.loads((tmp_path / "a" / "run.json").read_text())
    assert manifest["own_parts"] == ["space", "objective"]


def test_data_must_be_a_name(tmp_path):
    with pytest.raises(UsageError, match="data"):
        api.search(data=Path("x.npz"), out=tmp_path / "a", budget=10, engine="simulate")
    assert not (tmp_path / "a").exists()
