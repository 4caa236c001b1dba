"""Workers, proposers and proxy actors SIGKILLed at random moments, checkpoints cut, clocks set."""

import time

import pytest
from faults.harness import (
    BUDGET,
    MUCH,
    Logged,
    Proposing,
    Scores,
    config,
    damage,
    killer,
    num_reported,
    parts,
    undisturbed,
)

from raynas import api
from raynas.proposing.random import RandomProposer
from raynas.proposing.ranking import RankingProposer
from raynas.runs.journal import read_journal
from raynas.scheduling.events import Started
from raynas.testing import ToySpace
from raynas.training.checkpoint import earlier

pytestmark = [pytest.mark.ray, pytest.mark.faults]

FEW_AND_MANY = pytest.mark.parametrize(
    ("kills", "budget"),
    [(2, BUDGET), pytest.param(12, MUCH, marks=pytest.mark.slow)],
    ids=["few", "many"],
)


@FEW_AND_MANY
def test_trial_workers_are_killed(local_ray, tmp_path, moments, record_fault, kills, budget):
    log, folder = tmp_path / "run.log", tmp_path / "run"
    asked = config(budget=str(budget))
    how = {"within_s": 0.1, "at_most": 2, "worked": lambda: num_reported(folder)}
    with killer(log.with_suffix(".pids"), kills, moments, **how) as victims:
        own = parts(log, objective=Logged(log, epoch_s=0.1))
        result = api.search(config=asked, **own, out=folder)
    assert result.finished
    found = damage(folder, undisturbed(tmp_path, asked), log)
    record_fault("trial worker killed", injected=len(victims), **found.as_dict())
    assert len(victims) == kills
    assert found.lost_epochs <= kills
    assert found.lost_architectures == found.differences == 0


def proposer_of(kind, space):
    if kind == "random":
        return RandomProposer(space)
    return RankingProposer(space, predictor={"epochs": 3}, min_trained=5)


@pytest.mark.parametrize(
    ("kind", "kills", "budget"),
    [("random", 2, BUDGET), pytest.param("ranking", 12, MUCH, marks=pytest.mark.slow)],
)
def test_the_proposer_is_killed(local_ray, tmp_path, moments, record_fault, kind, kills, budget):
    """More often than Ray starts an actor again, in the long form."""
    log, saying = tmp_path / "run.log", tmp_path / "proposer.pids"
    space = ToySpace()
    inner = proposer_of(kind, space)
    own = parts(log, space=space, proposer=Proposing(inner, saying))
    asked = config(budget=str(budget))
    with killer(saying, kills, moments, within_s=0.3) as victims:
        result = api.search(config=asked, **own, out=tmp_path / "run")
    assert result.finished
    reference = undisturbed(tmp_path, asked, space=space, proposer=proposer_of(kind, space))
    found = damage(tmp_path / "run", reference, log)
    record_fault("ranker (proposer) killed", injected=len(victims), **found.as_dict())
    assert len(victims) == kills
    assert found.lost_epochs == found.lost_architectures == found.differences == 0


@FEW_AND_MANY
def test_proxy_actors_are_killed(local_ray, tmp_path, moments, record_fault, kills, budget):
    log, saying = tmp_path / "run.log", tmp_path / "proxies.pids"
    level0 = {"mode": "full", "proxies": ["synflow"], "initial": 20}
    asked = config(level0=level0, budget=str(budget))
    own = parts(log, score=Scores(saying))
    with killer(saying, kills, moments, within_s=0.2) as victims:
        result = api.search(config=asked, **own, out=tmp_path / "run")
    assert result.finished
    reference = undisturbed(tmp_path, asked, score=Scores(tmp_path / "simulated.pids"))
    found = damage(tmp_path / "run", reference, log)
    record_fault("proxy actor killed", injected=len(victims), **found.as_dict())
    assert len(victims) == kills
    assert found.lost_epochs == found.lost_architectures == found.differences == 0


def test_a_checkpoint_is_cut_by_hand(local_ray, tmp_path, record_fault):
    """The level before is fallen back to, and said so."""
    log, folder = tmp_path / "run.log", tmp_path / "run"
    reference = undisturbed(tmp_path)
    victim = next(c.id for c in reference if c.level == 3)
    path = folder / "checkpoints" / f"{victim:06d}.pt"
    cut = []

    def listener(search, budget):
        pool = search.pool
        if not cut and victim < len(pool) and pool[victim].level == 2 and not pool[victim].running:
            content = path.read_bytes()
            path.write_bytes(content[: len(content) // 2])
            cut.append(earlier(path).exists())

    result = api.search(config=config(), **parts(log), out=folder, listener=listener)
    assert cut == [True]
    assert result.finished
    assert len(result.notices) == 1
    assert path.name in result.notices[0]
    assert "trained again from epoch 1, the checkpoint before" in result.notices[0]
    found = damage(folder, reference, log)
    record_fault("checkpoint truncated by hand", injected=1, **found.as_dict())
    assert found.lost_epochs == 1
    assert found.lost_architectures == found.differences == 0


class JumpingClock:
    """The wall clock, set an hour ahead and back again every second."""

    def __init__(self, clock):
        self._clock, self._began = clock, time.monotonic()
        self.jumps = set()

    def __call__(self):
        second = int(2 * (time.monotonic() - self._began))
        self.jumps.add(second)
        return self._clock() + 3600 * (second % 3 - 1)


@pytest.fixture
def clock(monkeypatch):
    jumping = JumpingClock(time.time)
    with monkeypatch.context() as patched:
        patched.setattr(time, "time", jumping)
        yield jumping


def test_the_clock_jumps_under_a_budget_of_epochs(local_ray, tmp_path, clock, record_fault):
    log = tmp_path / "run.log"
    result = api.search(config=config(), **parts(log), out=tmp_path / "run")
    assert result.finished
    jumps = len(clock.jumps)
    found = damage(tmp_path / "run", undisturbed(tmp_path), log)
    record_fault("clock set an hour ahead and back", injected=jumps, **found.as_dict())
    assert jumps >= 2
    assert found.lost_epochs == found.lost_architectures == found.differences == 0


@pytest.mark.slow
def test_the_clock_jumps_under_a_budget_of_time(local_ray, tmp_path, clock, record_fault):
    """An hour ahead would end it at once, an hour back never; decisions depend on real speed."""
    log, budget_s = tmp_path / "run.log", 5
    asked = config(budget=f"{budget_s}s")
    result = api.search(config=asked, **parts(log), out=tmp_path / "run")
    assert result.finished
    jumps = len(clock.jumps)
    found = damage(tmp_path / "run", result.pool, log, cut_off=2)  # a job of each worker
    record_fault("clock set an hour ahead and back", injected=jumps, **found.as_dict())
    entries, _ = read_journal(tmp_path / "run" / "journal.jsonl")
    started_s = [elapsed_s for event, elapsed_s in entries if isinstance(event, Started)]
    assert 0 < max(started_s) < budget_s
    assert max(elapsed_s for _, elapsed_s in entries) > budget_s / 2  # it did not end at a jump
    assert found.lost_epochs == found.lost_architectures == found.differences == 0
