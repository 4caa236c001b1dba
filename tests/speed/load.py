"""What a step of a search costs as its pool grows; its memory; how long a resume takes.

    .venv/bin/python tests/speed/load.py [--sizes 100 1000 10000] [--resume 3000]

No engine and no training: a search is driven to each size by made-up accuracies, then the next
steps are timed, part by part (µs of CPU, means). A step is a report, the decision that follows and
the jobs it frees. `snapshot` is the copy of the pool a proposer learns from, once a round: it is as
long as the pool. Prints figures; asserts nothing about time.
"""

import argparse
import itertools
import tempfile
import time
import tracemalloc
from collections import defaultdict
from contextlib import contextmanager
from pathlib import Path

from raynas.runs.journal import Journal, read_journal
from raynas.scheduling.asha import AshaPolicy
from raynas.scheduling.budget import Budget
from raynas.scheduling.halving import SuccessiveHalvingPolicy
from raynas.scheduling.nosh import NoshPolicy
from raynas.scheduling.pasha import PashaPolicy
from raynas.scheduling.pool import Pool
from raynas.scheduling.search import Proposals, Search, replay
from raynas.seeds import derive_rng
from raynas.spaces.architecture import Architecture
from raynas.testing import ToySpace

LEVELS = (1, 2, 4, 8)
WORKERS = 4
STEPS = 300
BUDGET = Budget(10**6)

POLICIES = {
    "nosh sync": lambda size: NoshPolicy(LEVELS, BUDGET),
    "nosh async": lambda size: NoshPolicy(LEVELS, BUDGET, mode="async"),
    "nosh async, by front": lambda size: NoshPolicy(
        LEVELS, BUDGET, mode="async", costs=("latency_ms",)
    ),
    "asha": lambda size: AshaPolicy(LEVELS, BUDGET),
    "pasha": lambda size: PashaPolicy((1, 4, 8, 16), BUDGET),
    "pasha, given epsilon": lambda size: PashaPolicy(LEVELS, BUDGET, epsilon=1 - 1e-9),
    "halving, one cohort": lambda size: SuccessiveHalvingPolicy(LEVELS, BUDGET, cohort=size + 500),
}


def unsteady(rng, candidate, epoch):
    """Accuracies under which PASHA's ladder stays at two levels, where it looks longest each time.

    Curves criss-cross all the way (so ε is estimated from a great many pairs), but levels 1 and 2
    rank alike, nearly.
    """
    of_its_own = derive_rng(candidate.id, "quality").random()
    return of_its_own * (1 - 0.01 * rng.random()) if epoch in (1, 4) else rng.random()


ACCURACY = {"pasha": unsteady}


class Driver:
    """Drives a search without an engine; times its parts.

    Args:
        search: What to drive.
        accuracy: Makes one up (default: at random).
    """

    def __init__(self, search: Search, accuracy=None) -> None:
        self.search = search
        self._accuracy = accuracy or (lambda rng, candidate, epoch: rng.random())
        self.spent_s: dict[str, float] = defaultdict(float)
        self.calls: dict[str, int] = defaultdict(int)
        self._fresh = itertools.count(len(search.pool))
        self._rng = derive_rng(0, "load")

    @contextmanager
    def _timed(self, part):
        started = time.thread_time()  # of this thread: others may keep the machine busy
        yield
        self.spent_s[part] += time.thread_time() - started
        self.calls[part] += 1

    def step(self):
        """Hand out jobs, or answer a request, or report one epoch; False at the end."""
        search = self.search
        with self._timed("next_jobs"):
            jobs = search.next_jobs(WORKERS - search.pool.num_running)
        for job in jobs:
            with self._timed("start"):
                search.start(job)
        if search.pool.num_running < WORKERS:
            with self._timed("request"):
                request = search.request()
            if request is not None:
                with self._timed("snapshot"):
                    search.snapshot()
                proposals = self._proposals(request.count)
                with self._timed("admit"):
                    search.admit(request, proposals)
                return True
        running = search.pool.running
        if not running:
            return False
        candidate = running[int(self._rng.integers(len(running)))]
        epoch = search.next_report(candidate)
        accuracy, loss = self._accuracy(self._rng, candidate, epoch), self._rng.random()
        with self._timed("report"):
            search.report(candidate.id, epoch, {"accuracy": accuracy, "loss": loss}, 1.0)
        with self._timed("best"):
            search.pool.best()
        return True

    def _proposals(self, count):
        found = [Architecture("toy", f"a{next(self._fresh)}") for _ in range(count)]
        costs = {a.text: {"latency_ms": float(self._rng.random())} for a in found}
        return Proposals("made up", found, costs=costs)


def new_search(policy, emit=lambda event, elapsed_s: None):
    pool = Pool(policy.epochs_per_level)
    return Search(ToySpace(10**7), policy, pool, seed=0, emit=emit)


def at_rest(pool):
    return sum(pool.num_resting(level) for level in range(1, pool.num_levels))


def measure_steps(name, size):
    """Print what the next steps cost once `size` candidates are at rest (or all have been)."""
    driver = Driver(new_search(POLICIES[name](size)), ACCURACY.get(name))
    started = time.perf_counter()
    while at_rest(driver.search.pool) < size and driver.step():
        pass
    grown_s = time.perf_counter() - started
    driver.spent_s.clear()
    driver.calls.clear()
    steps = sum(driver.step() for _ in range(STEPS))
    parts = ("next_jobs", "start", "report", "request", "admit", "best", "snapshot")
    each = "".join(
        f"{1e6 * driver.spent_s[p] / driver.calls[p]:>11.1f}" if driver.calls[p] else f"{'-':>11}"
        for p in parts
    )
    whole = 1e6 * sum(v for k, v in driver.spent_s.items() if k != "snapshot") / max(steps, 1)
    print(f"{name:<22}{size:>7}{whole:>11.1f}{each}{grown_s:>10.1f}", flush=True)


def measure_memory(size):
    """Print the bytes a search holds per candidate."""
    search = new_search(POLICIES["nosh sync"](size))
    driver = Driver(search)
    tracemalloc.start()
    while at_rest(search.pool) < size and driver.step():
        pass
    held, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    count = len(search.pool)
    print(
        f"memory {count:>7} candidates: {held / 1e6:7.1f} MB held, {held / count:6.0f} bytes each; "
        f"peak {peak / 1e6:.1f} MB",
        flush=True,
    )


def measure_resume(size):
    """Print how long a journal of `size` trials takes to read and replay."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "journal.jsonl"
        with Journal(path) as journal:
            # Written without waiting for the disk each time: it is reading that is measured.
            journal.write = lambda record: journal._file.write(_line(record))
            search = new_search(POLICIES["nosh sync"](size), journal.append)
            driver = Driver(search)
            while len(search.pool) < size and driver.step():
                pass
        lines = path.read_bytes().count(b"\n")
        started = time.perf_counter()
        history, _ = read_journal(path)
        read_s = time.perf_counter() - started
        again = new_search(POLICIES["nosh sync"](size))
        started = time.perf_counter()
        replay(again, [event for event, _ in history])
        again.resume()
        replay_s = time.perf_counter() - started
    assert [c.metrics for c in again.pool] == [c.metrics for c in search.pool]
    print(
        f"resume {len(again.pool):>7} trials, {lines} lines: read {read_s:.2f} s, "
        f"replayed {replay_s:.2f} s",
        flush=True,
    )


def _line(record):
    import json

    return json.dumps(record, separators=(",", ":")).encode() + b"\n"


def main():
    """Measure each policy at each size, then memory and a resume."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[100, 1000, 10_000])
    parser.add_argument("--policies", nargs="+", default=list(POLICIES), choices=list(POLICIES))
    parser.add_argument("--resume", type=int, default=3000)
    arguments = parser.parse_args()
    parts = ("step", "next_jobs", "start", "report", "request", "admit", "best", "snapshot")
    print(f"{'policy':<22}{'at rest':>7}" + "".join(f"{p:>11}" for p in parts) + f"{'grown s':>10}")
    for name in arguments.policies:
        for size in arguments.sizes:
            measure_steps(name, size)
    for size in arguments.sizes:
        measure_memory(size)
    measure_resume(arguments.resume)


if __name__ == "__main__":
    main()
