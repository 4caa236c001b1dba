import math

import pytest

from raynas.errors import RunFolderError
from raynas.scheduling.candidate import Status
from raynas.scheduling.events import (
    Failed,
    Interrupted,
    Newcomer,
    Proposed,
    Reported,
    Started,
    event_from_json,
    event_to_json,
)
from raynas.scheduling.pool import Pool


def pool_of(count, levels=(1, 2, 4)):
    pool = Pool(levels)
    newcomers = [Newcomer(f"a{i}", f"a{i}", {"synflow": float(i)}) for i in range(count)]
    pool.record(Proposed(0, "test", newcomers))
    return pool


def train(pool, candidate_id, to_epoch, accuracy, loss=0.5):
    pool.record(Started(candidate_id, to_epoch))
    for epoch in range(pool[candidate_id].epochs + 1, to_epoch + 1):
        pool.record(Reported(candidate_id, epoch, {"accuracy": accuracy, "loss": loss}, 1.0))


def test_levels_are_reached_by_epochs():
    pool = pool_of(1)
    train(pool, 0, 2, 0.7)
    assert (pool[0].level, pool[0].status) == (2, Status.PAUSED)
    train(pool, 0, 4, 0.8)
    assert (pool[0].level, pool[0].status) == (3, Status.DONE)
    assert pool[0].level_accuracy == [0.7, 0.7, 0.8]
    assert pool.spent_epochs == 4
    assert pool.time_s == 4.0


def test_order_at_rest_is_accuracy_then_loss_then_age():
    pool = pool_of(5)
    for candidate_id, (accuracy, loss) in enumerate(
        [(0.5, 0.1), (0.9, 0.5), (0.9, 0.2), (0.9, 0.2), (0.6, math.nan)]
    ):
        train(pool, candidate_id, 1, accuracy, loss)
    assert [c.id for c in pool.best_resting(1, 5)] == [2, 3, 1, 4, 0]


def test_counts_of_jobs_in_flight():
    pool = pool_of(2)
    pool.record(Started(0, 2))
    assert (pool.heading(1), pool.heading(2), pool.committed_epochs) == (1, 1, 2)
    pool.record(Reported(0, 1, {"accuracy": 0.5}))
    assert (pool.heading(1), pool.heading(2), pool.committed_epochs) == (0, 1, 1)
    pool.record(Failed(0, "boom"))
    assert (pool.heading(2), pool.committed_epochs, pool.spent_epochs) == (0, 0, 1)
    assert pool.reached(1) == 1
    assert pool[0].status is Status.FAILED


def test_an_interrupted_job_is_owed_and_can_be_started_again_only_as_it_was():
    pool = pool_of(1)
    pool.record(Started(0, 4))
    pool.record(Reported(0, 1, {"accuracy": 0.5}))
    pool.record(Interrupted(0))
    assert [c.id for c in pool.owed] == [0]
    assert pool.num_in_flight == 1
    with pytest.raises(ValueError, match="owes another job"):
        pool.record(Started(0, 2))
    pool.record(Started(0, 4))
    assert pool.owed == []
    assert pool[0].origin == 0


def test_a_job_given_up_rests_where_it_is():
    pool = pool_of(2)
    pool.record(Started(0, 4))
    pool.record(Reported(0, 1, {"accuracy": 0.5}))
    pool.record(Interrupted(0, owed=False))
    assert pool[0].status is Status.PAUSED
    assert pool.committed_epochs == 0
    assert [c.id for c in pool.best_resting(1, 2)] == [0]
    pool.record(Started(1, 4))
    pool.record(Interrupted(1, owed=False))
    assert pool[1].status is Status.WAITING


@pytest.mark.parametrize(
    "event",
    [
        Started(0, 9),
        Started(0, 0),
        Reported(0, 1, {"accuracy": 0.5}),
        Interrupted(0),
        Failed(0, "no"),
        Proposed(1, "test", []),
        Proposed(0, "test", [Newcomer("x", "a0"), Newcomer("y", "a0")]),
    ],
)
def test_refuses_what_cannot_have_happened(event):
    pool = Pool((1, 2, 4)) if isinstance(event, Proposed) else pool_of(1)
    with pytest.raises(ValueError):  # noqa: PT011 - each case has its own words
        pool.record(event)


def test_refuses_a_report_out_of_order_or_without_accuracy():
    pool = pool_of(1)
    pool.record(Started(0, 2))
    with pytest.raises(ValueError, match="no finite accuracy"):
        pool.record(Reported(0, 1, {"accuracy": math.nan}))
    pool.record(Reported(0, 1, {"accuracy": 0.5}))
    with pytest.raises(ValueError, match="reports epoch 1 after 1"):
        pool.record(Reported(0, 1, {"accuracy": 0.5}))


def test_the_best_is_of_the_highest_level():
    pool = pool_of(3)
    assert pool.best() is None
    train(pool, 0, 1, 0.99)
    train(pool, 1, 2, 0.7)
    train(pool, 2, 2, 0.8)
    best = pool.best()
    assert best is not None
    assert best.id == 2


def test_admission_takes_an_architecture_out_of_level_0():
    pool = Pool((1, 2))
    pool.record(Proposed(0, "t", [Newcomer("a", "a")], [Newcomer("a", "a"), Newcomer("b", "b")]))
    assert list(pool.scored) == ["b"]
    assert pool.snapshot().scored[0].text == "b"
    assert pool.snapshot().keys() == {"a"}


def test_every_event_survives_json():
    for event in (
        Proposed(0, "t", [Newcomer("a", "k", {"p": 1.0})], [], True, {"s": 1}, {}, {"tau": 0.5}),
        Started(1, 4),
        Reported(1, 3, {"accuracy": 0.25}, 0.5),
        Interrupted(1, False),
        Failed(1, "why"),
    ):
        assert event_from_json(event_to_json(event)) == event


@pytest.mark.parametrize(
    "value", [{"event": "nonsense"}, {"event": "started", "id": 1}, {"event": "proposed"}, {}]
)
def test_refuses_malformed_events(value):
    with pytest.raises(RunFolderError):
        event_from_json(value)
