"""What the Ray engine costs per trial when trials do nothing, beside stock Ray Tune.

    .venv/bin/python tests/speed/engine_overhead.py [--sizes 100 300 1000]

Ours: NOSH, levels 2/6/12, r = 0.5, journal and checkpoints on disk (5.5 results an architecture);
in sync mode, whose rounds are barriers, and in async mode, which like ASHA lets no worker wait.
Stock: random search under `ASHAScheduler` (grace 2, factor 2, 12 epochs), `reuse_actors`, loggers
off, the same number of results. Both on the same two-worker Ray, in turn. Prints seconds, ms per
trial and results a second, and the ratio; asserts nothing about time.
"""

import argparse
import resource
import tempfile
import time
from pathlib import Path

from raynas.engine.search_run import RunOptions, run_search
from raynas.engine.session import Resources, connected
from raynas.runs.journal import Journal
from raynas.scheduling.budget import Budget, nosh_cost
from raynas.scheduling.nosh import NoshPolicy
from raynas.scheduling.pool import Pool
from raynas.scheduling.search import Search
from raynas.testing import FakeObjective, ToySpace, propose_at_random

LEVELS = (2, 6, 12)


def ours(size: int, mode: str = "sync") -> tuple[int, int]:
    """Run a NOSH search of `size` architectures; return trials and results."""
    space = ToySpace(50 * size)
    budget = Budget(nosh_cost(LEVELS, 0.5, size))
    policy = NoshPolicy(LEVELS, budget, per_round=10, max_pool=size, mode=mode)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        (path / "checkpoints").mkdir()
        with Journal(path / "journal.jsonl") as journal:
            search = Search(space, policy, Pool(LEVELS), seed=0, emit=journal.append)
            options = RunOptions(path, workers=2)
            run_search(search, FakeObjective(), propose_at_random(space), options)
        assert search.finished
        assert len(search.pool) == size
    return size, search.pool.spent_epochs


def stock(num_results: int) -> tuple[int, int]:
    """Run ASHA with random search until it has heard `num_results`; return trials and results."""
    from ray import tune
    from ray.tune.schedulers import ASHAScheduler

    class Nothing(tune.Trainable):
        def setup(self, config):
            self.epoch = 0

        def reset_config(self, new_config):
            self.epoch = 0
            return True

        def step(self):
            self.epoch += 1
            return {"accuracy": self.config["x"] * self.epoch}

        def save_checkpoint(self, checkpoint_dir):
            return {"epoch": self.epoch}

        def load_checkpoint(self, checkpoint):
            self.epoch = checkpoint["epoch"]

    class Enough(tune.Stopper):
        heard = 0

        def __call__(self, trial_id, result):
            self.heard += 1
            return result["training_iteration"] >= LEVELS[-1]

        def stop_all(self):
            return self.heard >= num_results

    enough = Enough()
    with tempfile.TemporaryDirectory() as folder:
        results = tune.Tuner(
            Nothing,
            param_space={"x": tune.uniform(0, 1)},
            tune_config=tune.TuneConfig(
                metric="accuracy",
                mode="max",
                scheduler=ASHAScheduler(
                    max_t=LEVELS[-1], grace_period=LEVELS[0], reduction_factor=2
                ),
                num_samples=num_results,
                reuse_actors=True,
            ),
            run_config=tune.RunConfig(storage_path=folder, verbose=0, stop=enough),
        ).fit()
        trials = sum(1 for r in results if r.metrics and r.metrics.get("training_iteration"))
    return trials, enough.heard


def measure(run, *args):
    """Return trials, results, wall seconds and the driver's own CPU seconds."""
    before = resource.getrusage(resource.RUSAGE_SELF)
    started = time.perf_counter()
    trials, results = run(*args)
    wall_s = time.perf_counter() - started
    after = resource.getrusage(resource.RUSAGE_SELF)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return trials, results, wall_s, cpu_s


def show(name, trials, results, wall_s, cpu_s):
    print(
        f"{name:<8} {trials:>6} trials {results:>6} results {wall_s:8.1f} s "
        f"{1000 * wall_s / trials:8.1f} ms/trial {results / wall_s:8.1f} results/s "
        f"{1000 * cpu_s / trials:7.1f} ms driver CPU/trial",
        flush=True,
    )


def main() -> None:
    """Measure each size once, ours and stock in turn."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[100, 300, 1000])
    parser.add_argument("--no-stock", action="store_true")
    arguments = parser.parse_args()
    with connected(None, workers=2, resources=Resources()):
        ours(20)  # warm up worker processes
        for size in arguments.sizes:
            show("sync", *measure(ours, size))
            mine = measure(ours, size, "async")
            show("async", *mine)
            if not arguments.no_stock:
                theirs = measure(stock, mine[1])
                show("stock", *theirs)
                mine_per_s, theirs_per_s = mine[1] / mine[2], theirs[1] / theirs[2]
                print(f"ratio    async / stock results per second: {mine_per_s / theirs_per_s:.2f}")


if __name__ == "__main__":
    main()
