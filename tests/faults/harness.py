"""Searches whose epochs and processes are written down, to be disturbed; and what came of them."""

import collections
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from ray import cloudpickle

from raynas import api
from raynas.proposing.random import RandomProposer
from raynas.runs.folder import RunFolder
from raynas.runs.journal import read_journal
from raynas.scheduling.events import Reported
from raynas.scheduling.pool import Pool
from raynas.search_config import SearchConfig, load_search_config
from raynas.testing import FakeObjective, FakeTrial, ToySpace

PATIENCE_S = 300
BUDGET = 40
"""Epochs; a few rounds, and somebody reaches the top."""
MUCH = 120
"""Epochs, where much is to happen on the way."""

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers cannot import it


# -- a search whose every process says who it is ---------------------------------------------------


def say(log, *words):
    with Path(log).open("a") as file:
        file.write(" ".join(map(str, words)) + "\n")


def lines(path):
    return path.read_text().splitlines() if path.exists() else []


class EveryEpoch(FakeTrial):
    """Trains every epoch up to the one it is asked for, as networks do."""

    def train(self, to_epoch):
        for epoch in range(self.epoch + 1, to_epoch):
            super().train(epoch)
        return super().train(to_epoch)


class Logged(FakeObjective):
    """Takes its time, and writes down every epoch it really trains, and who began which."""

    def __init__(self, log, epoch_s=0.05):
        super().__init__()
        self.log, self.sleep_s = Path(log), epoch_s

    def start(self, architecture, seed):
        return EveryEpoch(self, architecture.text)

    def metrics(self, text, epoch):
        say(self.log.with_suffix(".pids"), os.getpid(), text, epoch)
        time.sleep(self.sleep_s)
        say(self.log, text, epoch)
        return super().metrics(text, epoch)


class Proposing:
    """Another proposer, whose process says that it begins."""

    def __init__(self, inner, log):
        self._inner, self._log = inner, Path(log)

    def propose(self, pool, count, rng):
        say(self._log, os.getpid())
        time.sleep(0.3)
        return self._inner.propose(pool, count, rng)

    def __getattr__(self, name):
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self._inner, name)


class Scores:
    """Proxies of the toy space, whose process says that it begins."""

    def __init__(self, log):
        self._log = Path(log)

    def __call__(self, architectures):
        say(self._log, os.getpid())
        time.sleep(0.2)
        return [{"synflow": float(int(a.text[1:]) * 7919 % 1000)} for a in architectures]


def config(**changes):
    return load_search_config(
        overrides={
            "budget": str(BUDGET),
            "levels": [1, 2, 4],
            "workers": 2,
            "policy": {"name": "nosh", "per_round": 5},
            "level0": {"mode": "off"},
            **changes,
        }
    )


def parts(log, **changes):
    space = ToySpace()
    objective = Logged(log, float(os.environ.get("EPOCH_S", "0.05")))
    own = {"space": space, "proposer": RandomProposer(space), "objective": objective}
    return {**own, **changes}


def undisturbed(tmp_path, asked=None, **changes):
    """Return the pool of the same search in one process, where nothing happens."""
    own = {**parts(tmp_path / "simulated.log"), **changes}
    own["objective"] = FakeObjective()
    folder = tmp_path / "simulated"
    return api.search(config=asked or config(), **own, out=folder, engine="simulate").pool


# -- what came of it -------------------------------------------------------------------------------


@dataclass
class Damage:
    lost_epochs: int
    """Begun, and begun again later: cut off, or done and not kept."""
    lost_architectures: int
    differences: int

    def as_dict(self):
        return asdict(self)


def pool_of(folder):
    settings = SearchConfig.model_validate(RunFolder(folder).read_config())
    pool = Pool(settings.levels)
    for event, elapsed_s in read_journal(folder / "journal.jsonl")[0]:
        pool.record(event)
        pool.elapsed_s = elapsed_s
    return pool


def fingerprint(pool):
    return [(c.text, c.level, c.epochs, c.level_accuracy, c.status) for c in pool]


def damage(folder, reference, log, *, cut_off=0):
    """Hold the books of a finished run against each other, and it against the undisturbed one.

    Args:
        folder: Of the run.
        reference: The pool that it should have come to.
        log: What its workers said.
        cut_off: Most jobs that the end may have found between two epochs: none but of a budget of
            time, of which no one knows before that the next epoch does not fit.
    """
    pool = pool_of(folder)
    entries, size = read_journal(folder / "journal.jsonl")
    assert size == (folder / "journal.jsonl").stat().st_size  # no torn line is left
    reports = [(e.id, e.epoch) for e, _ in entries if isinstance(e, Reported)]
    assert len(reports) == len(set(reports)) == pool.spent_epochs  # none twice, none unheard
    assert pool.spent_epochs == sum(c.epochs for c in pool)
    assert [c.error for c in pool if c.error is not None] == []  # nobody is blamed
    assert pool.num_running == 0
    assert len(pool.owed) <= cut_off
    assert pool.committed_epochs == sum(c.target - c.epochs for c in pool.owed)
    elapsed = [elapsed_s for _, elapsed_s in entries]
    assert elapsed == sorted(elapsed)
    begun = [line.partition(" ")[2] for line in lines(log.with_suffix(".pids"))]
    assert len(set(lines(log))) == len(set(begun)) == pool.spent_epochs
    found, expected = fingerprint(pool), fingerprint(reference)
    return Damage(
        lost_epochs=len(begun) - len(set(begun)),
        lost_architectures=len({c.text for c in reference} - {c.text for c in pool}),
        differences=sum(a != b for a, b in zip(found, expected, strict=False))
        + abs(len(found) - len(expected)),
    )


# -- those who do it -------------------------------------------------------------------------------


@contextmanager
def killer(saying, kills, moments, *, within_s, at_most=None, worked=None):
    """Kill whoever has begun something, at a random moment after; yields the list of victims.

    Args:
        saying: The file where processes say that they begin: a pid, and maybe what.
        kills: How often.
        moments: Where random moments come from.
        within_s: The longest to wait between a beginning and its end.
        at_most: How often the same may be hit that is begun (its first word after the pid).
        worked: Returns how much is done; there must be more of it between two kills, since a run
            in which nothing is done between deaths is rightly stopped.
    """
    victims, hit, stop = [], collections.Counter(), threading.Event()

    def run():
        seen, done = 0, -1
        while len(victims) < kills and not stop.is_set():
            told = lines(saying)
            if len(told) <= seen or (worked is not None and worked() <= done):
                time.sleep(0.005)
                continue
            seen = len(told)
            pid, *what = told[-1].split()
            if at_most is not None and hit[what[0]] >= at_most:
                continue
            time.sleep(moments.uniform(0, within_s))
            try:
                os.kill(int(pid), signal.SIGKILL)
            except ProcessLookupError:
                continue
            hit[what[0] if what else ""] += 1
            victims.append(int(pid))
            seen = len(lines(saying))  # whoever comes next must get to work first
            done = 0 if worked is None else worked() + 1  # one report may have been on its way

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield victims
    finally:
        stop.set()
        thread.join()


DRIVER = Path(__file__).with_name("driver.py")


def drive(verb, folder, *words):
    """Start a search, or take it up again, in a process of its own."""
    return subprocess.Popen(
        [sys.executable, str(DRIVER), verb, str(folder), *map(str, words)],
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def kill(process):
    process.send_signal(signal.SIGKILL)
    process.wait(timeout=30)


def ends_with(process, code):
    """Wait for the end of a process, and hold it to an exit code."""
    _, errors = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == code, errors
    return errors


def wait_for(condition, process, patience_s=PATIENCE_S):
    """Wait until something is so, while a process lives."""
    deadline = time.monotonic() + patience_s
    while time.monotonic() < deadline:
        if condition():
            return
        assert process.poll() is None, process.stderr.read() if process.stderr else "it ended"
        time.sleep(0.01)
    raise AssertionError("the driver makes no progress")


def journal_lines(folder):
    path = folder / "journal.jsonl"
    return path.read_bytes().count(b"\n") if path.exists() else 0


def num_reported(folder):
    path = folder / "journal.jsonl"
    return path.read_bytes().count(b'"event":"reported"') if path.exists() else 0
