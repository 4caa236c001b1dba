"""The Ray engine against the simulated one: the same decisions, architecture by architecture."""

import pytest

from raynas.engine.search_run import RunOptions, run_search
from raynas.errors import TrialError, WorkerError
from raynas.scheduling.budget import Budget
from raynas.scheduling.candidate import Status
from raynas.scheduling.events import Started
from raynas.scheduling.full import FullPolicy
from raynas.scheduling.nosh import NoshPolicy
from raynas.scheduling.pool import Pool
from raynas.scheduling.search import Search
from raynas.scheduling.simulate import simulate
from raynas.testing import FakeObjective, ToySpace, propose_at_random

pytestmark = pytest.mark.ray

LEVELS = (1, 2, 4)


def new_search(policy=None, seed=0, **options):
    policy = policy or NoshPolicy(LEVELS, Budget(60), per_round=5)
    return Search(ToySpace(), policy, Pool(LEVELS), seed=seed, **options)


def options(tmp_path):
    (tmp_path / "checkpoints").mkdir(exist_ok=True)
    return RunOptions(tmp_path, workers=2)


def fingerprint(pool):
    return [(c.text, c.level, c.epochs, c.level_accuracy, c.status, c.metrics) for c in pool]


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_ray_and_simulate_take_the_same_decisions(local_ray, tmp_path, seed):
    objective = FakeObjective(failing=[f"a{i}" for i in range(0, 1000, 9)])
    on_ray, simulated = new_search(seed=seed), new_search(seed=seed)
    propose = propose_at_random(on_ray.space)
    run_search(on_ray, objective, propose, options(tmp_path))
    simulate(simulated, objective, propose)
    assert on_ray.finished
    assert fingerprint(on_ray.pool) == fingerprint(simulated.pool)
    assert {c.status for c in on_ray.pool} >= {Status.PAUSED, Status.DONE, Status.FAILED}
    assert not (tmp_path / "tune").exists()
    kept = [path.name for path in (tmp_path / "checkpoints").iterdir()]
    latest = [name for name in kept if "-earlier" not in name]
    assert len(latest) == len([c for c in on_ray.pool if c.epochs])
    promoted = [c for c in on_ray.pool if c.level > 1]
    assert len(kept) - len(latest) >= len(promoted)


def test_async_ends_with_the_same_quotas(local_ray, tmp_path):
    search = new_search(NoshPolicy(LEVELS, Budget(60), per_round=5, mode="async"))
    run_search(search, FakeObjective(), propose_at_random(search.space), options(tmp_path))
    reached = [search.pool.reached(level) for level in (1, 2, 3)]
    assert reached == [reached[0], reached[0] // 2, reached[0] // 2 // 2]
    assert search.pool.spent_epochs <= 60


class Broken(FakeObjective):
    def prepare(self):
        import a_module_that_is_not_there  # noqa: F401


def test_a_worker_that_cannot_import_stops_the_run_with_its_traceback(local_ray, tmp_path):
    search = new_search()
    with pytest.raises(WorkerError, match="a_module_that_is_not_there"):
        run_search(search, Broken(), propose_at_random(search.space), options(tmp_path))
    assert all(c.status is not Status.FAILED for c in search.pool)
    assert not search.finished


@pytest.mark.slow
def test_if_all_fail_the_first_traceback_comes_out(local_ray, tmp_path):
    search = new_search()
    objective = FakeObjective(failing=[f"a{i}" for i in range(1000)])
    with pytest.raises(TrialError, match="was made to fail"):
        run_search(search, objective, propose_at_random(search.space), options(tmp_path))


class Dying(FakeObjective):
    """Kills its worker once per architecture of a set, leaving a mark on disk."""

    def __init__(self, folder, texts):
        super().__init__()
        self.folder, self.texts = folder, texts

    def metrics(self, text, epoch):
        import os

        mark = self.folder / f"{text}.died"
        if text in self.texts and epoch == 2 and not mark.exists():
            mark.touch()
            os._exit(1)
        return super().metrics(text, epoch)


@pytest.mark.slow
def test_a_killed_worker_restarts_from_its_last_checkpoint(local_ray, tmp_path):
    plain, search = new_search(), new_search()
    propose = propose_at_random(search.space)
    simulate(plain, FakeObjective(), propose)
    victim = next(c.text for c in plain.pool if c.level == 3)
    run_search(search, Dying(tmp_path, {victim}), propose, options(tmp_path))
    assert (tmp_path / f"{victim}.died").exists()
    assert fingerprint(search.pool) == fingerprint(plain.pool)


def test_a_user_tune_scheduler_decides_instead(local_ray, tmp_path):
    from ray.tune.schedulers import ASHAScheduler

    search = new_search(FullPolicy(LEVELS, Budget(60), per_round=6, max_pool=12))
    scheduler = ASHAScheduler(time_attr="epoch", max_t=4, grace_period=1, reduction_factor=2)
    run_search(
        search,
        FakeObjective(),
        propose_at_random(search.space),
        options(tmp_path),
        scheduler=scheduler,
    )
    assert len(search.pool) == 12
    levels = [c.level for c in search.pool]
    assert max(levels) == 3
    assert min(levels) < 3  # somebody was stopped early
    assert search.pool.spent_epochs == sum(c.epochs for c in search.pool)


class Telling(FakeObjective):
    """Reports which process trained, and how many trials that process has started."""

    def start(self, architecture, seed):
        self.started = getattr(self, "started", 0) + 1
        return super().start(architecture, seed)

    def metrics(self, text, epoch):
        import os

        return {**super().metrics(text, epoch), "pid": os.getpid(), "started": self.started}


@pytest.mark.slow
def test_actors_are_reused_from_one_architecture_to_the_next(local_ray, tmp_path):
    search = new_search()
    run_search(search, Telling(), propose_at_random(search.space), options(tmp_path))
    reports = [metrics for c in search.pool for metrics in c.metrics.values()]
    assert len({report["pid"] for report in reports}) <= 2
    assert max(report["started"] for report in reports) > len(search.pool) / 2


class AllDying(FakeObjective):
    def metrics(self, text, epoch):
        import os

        os._exit(1)


def test_if_workers_only_die_the_run_stops_and_blames_nobody(local_ray, tmp_path):
    search = new_search()
    with pytest.raises(WorkerError, match="workers in a row died"):
        run_search(search, AllDying(), propose_at_random(search.space), options(tmp_path))
    assert search.pool.spent_epochs == 0
    assert search.pool.num_running == 0


class Raising(FakeObjective):
    def metrics(self, text, epoch):
        if text in self.failing:
            return {"accuracy": float("nan")}
        if text.endswith("3"):
            raise ValueError("a shape does not fit")
        return super().metrics(text, epoch)


def test_whatever_training_raises_is_recorded_and_the_search_goes_on(local_ray, tmp_path):
    search = new_search()
    objective = Raising(failing=[f"a{i}" for i in range(0, 1000, 7)])
    run_search(search, objective, propose_at_random(search.space), options(tmp_path))
    errors = [c.error for c in search.pool if c.status is Status.FAILED]
    assert any("ValueError: a shape does not fit" in error for error in errors)
    assert any("accuracy is nan at epoch 1" in error for error in errors)
    assert all(c.level == 0 for c in search.pool if c.status is Status.FAILED)
    assert search.finished


@pytest.mark.slow
def test_a_wall_clock_budget_is_kept(local_ray, tmp_path):
    class Slow(FakeObjective):
        def metrics(self, text, epoch):
            import time

            time.sleep(0.2)
            return super().metrics(text, epoch)

    started_s = []

    def emit(event, elapsed_s):
        if isinstance(event, Started):
            started_s.append(elapsed_s)

    budget = Budget.parse("6s", workers=2)
    search = new_search(NoshPolicy(LEVELS, budget, per_round=5), emit=emit)
    run_search(search, Slow(), propose_at_random(search.space), options(tmp_path))
    assert max(started_s) < 6
    assert search.finished
    assert search.pool.spent_epochs > 0
