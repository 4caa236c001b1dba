"""When perturbation-based selection decides what: published figures (algorithms.md §3.3, §11)."""

import pytest

from raynas.selection.config import SelectionConfig
from raynas.selection.schedule import schedule, schedule_for
from raynas.spaces.darts import DartsSpace, S2Space
from raynas.spaces.nasbench201 import NasBench201
from raynas.supernets.decisions import Decisions


def epochs_of(events):
    """Return the tuning epochs at which events happen, and how many there are in all."""
    places, epoch = [], 0
    for event in events:
        places.append(epoch)
        epoch += event.epochs
    return places, epoch


@pytest.mark.parametrize("space", [DartsSpace(), S2Space(), DartsSpace(two_cells=False)])
def test_darts_17_events_in_81_epochs(space):
    events = schedule_for(Decisions(space.kinds), 5)
    places, total = epochs_of(events)
    assert places == list(range(0, 81, 5))
    assert total == 81
    assert [event.stage for event in events] == ["op"] * 14 + ["topology"] * 3


def test_nasbench201_6_events_in_25_epochs():
    events = schedule_for(Decisions(NasBench201().kinds), 5)
    assert epochs_of(events) == ([0, 5, 10, 15, 20, 24], 25)
    assert {event.stage for event in events} == {"op"}


def test_other_tuning_lengths():
    assert epochs_of(schedule(14, 3, 2)) == (list(range(0, 33, 2)), 33)
    assert epochs_of(schedule(6, 0, 10)) == ([0, 10, 20, 30, 40, 49], 50)
    assert epochs_of(schedule(6, 0, 1)) == ([0, 1, 2, 3, 4, 4], 5)
    assert epochs_of(schedule(14, 3, 0)) == ([0] * 17, 0)
    assert epochs_of(schedule(6, 0, 0)) == ([0] * 6, 0)
    assert epochs_of(schedule(1, 0, 5)) == ([0], 1)
    assert schedule(0, 0, 5) == ()


def test_some_of_it_is_decided_already():
    decisions = Decisions(DartsSpace().kinds)
    decisions.keep_edges(0, 5, (9, 10))
    decisions.decide_op(0, 9, 1)
    decisions.decide_op(1, 2, 1)
    events = schedule_for(decisions, 5)
    assert [event.stage for event in events] == ["op"] * 13 + ["topology"] * 3


def test_reference_mode_is_the_published_one():
    config = SelectionConfig(mode="reference")
    assert config.order == "random"
    assert (config.tune_epochs, config.tune_lr, config.tune_schedule) == (5, 0.0025, "constant")
    assert (config.criterion, config.norm) == ("accuracy", "batch")
    assert (config.fixed_batches, config.augment, config.cumulative) == (False, True, False)
    assert (config.exclude, config.joint_cells, config.racing) == ((), False, None)
