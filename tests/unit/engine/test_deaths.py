"""Whose fault it is that workers die: an architecture's, the workers', or a node's."""

from types import SimpleNamespace

import pytest

from raynas.engine.dispatcher import Dispatcher
from raynas.engine.losses import MOST_NODES_LOST, lost_node
from raynas.engine.retrain_run import _Blame
from raynas.errors import WorkerError
from raynas.scheduling.budget import Budget
from raynas.scheduling.candidate import Status
from raynas.scheduling.nosh import NoshPolicy
from raynas.scheduling.pool import Pool
from raynas.scheduling.search import Decision, Search
from raynas.testing import ToySpace, propose_at_random
from raynas.training.job import Job

NODE_DIED = "The actor died because its node has died. Node Id: 12"
PROCESS_DIED = "The actor died unexpectedly: Worker exit type: SYSTEM_ERROR"
ALLOWED = 3


class FakeTrial:
    max_failures = ALLOWED

    def __init__(self, trial_id, folder):
        self.trial_id, self.config = trial_id, {}
        self.run_metadata = SimpleNamespace(num_failures=0)
        self._path = folder / f"{trial_id}.txt"

    @property
    def error_file(self):
        return str(self._path)

    def fails(self, how, actor):
        """Write an error down as Tune does, below those before it."""
        self.run_metadata.num_failures += 1
        with self._path.open("a") as file:
            file.write(f"Failure # {self.run_metadata.num_failures} (occurred at noon)\n")
            file.write(f"The actor died.\n\tactor_id: {actor:032x}\n{how}\n")


@pytest.fixture
def search():
    space = ToySpace()
    search = Search(space, NoshPolicy((1, 2), Budget(20), per_round=4), Pool((1, 2)), seed=0)
    request = search.request()
    search.admit(request, propose_at_random(space)(request, search.snapshot(), {}))
    return search


@pytest.fixture
def dispatcher(search):
    nobody = SimpleNamespace(poll=lambda wait_s: None, busy=False)
    return Dispatcher(search, nobody, lambda: 1)


@pytest.fixture
def begin(dispatcher, tmp_path):
    def begin(name):
        config = dispatcher.next_config(name)
        trial = FakeTrial(name, tmp_path)
        dispatcher.added(trial)
        return trial, config["candidate_id"]

    return begin


def test_a_trial_given_up_before_it_began_gets_a_new_one(dispatcher, search, begin):
    trial, candidate = begin("one")
    trial.fails(PROCESS_DIED, 1)
    dispatcher.died(trial, given_up=True, training=False)
    assert search.pool[candidate].status is not Status.FAILED
    assert candidate in [c.id for c in search.pool.owed]
    new, again = begin("two")
    assert again == candidate
    assert new.run_metadata.num_failures == 0
    late = {"epoch": 1, "accuracy": 0.5, "metrics/accuracy": 0.5, "train_s": 0.0}
    assert dispatcher.reported(trial, dict(late)) is Decision.STOP  # of the one given up
    assert search.pool[candidate].epochs == 0
    dispatcher.died(trial, given_up=True, training=True)
    assert search.pool[candidate].running
    assert dispatcher.reported(new, late) is not Decision.STOP
    assert search.pool[candidate].epochs == 1
    assert dispatcher.error is None


REPORT = {"epoch": 1, "accuracy": 0.5, "metrics/accuracy": 0.5, "train_s": 0.0}


def test_a_trial_that_died_while_it_ended_does_not_start_again(dispatcher, search, begin):
    """Its last report is in; Tune, which saves a checkpoint before it ends a trial, retries it."""
    trial, candidate = begin("one")
    assert dispatcher.reported(trial, dict(REPORT)) is Decision.PAUSE
    trial.fails(PROCESS_DIED, 1)
    dispatcher.died(trial, given_up=False, training=True)
    assert not dispatcher.added(trial)
    assert dispatcher.reported(trial, {**REPORT, "epoch": 2}) is Decision.STOP
    dispatcher.ended(trial)
    assert (search.pool[candidate].epochs, search.pool[candidate].target) == (1, None)
    assert dispatcher.error is None


def test_a_trial_with_a_successor_does_not_start_again(dispatcher, search, begin):
    trial, candidate = begin("one")
    trial.fails(PROCESS_DIED, 1)
    dispatcher.died(trial, given_up=True, training=False)
    new, again = begin("two")
    assert again == candidate
    assert not dispatcher.added(trial)
    dispatcher.ended(trial)
    assert search.pool[candidate].running
    assert dispatcher.reported(new, dict(REPORT)) is Decision.PAUSE


def test_a_trial_that_died_at_work_starts_again(dispatcher, search, begin):
    trial, candidate = begin("one")
    trial.fails(PROCESS_DIED, 1)
    dispatcher.died(trial, given_up=False, training=True)
    assert dispatcher.added(trial)
    assert trial.run_metadata.num_failures == 1
    assert dispatcher.reported(trial, dict(REPORT)) is Decision.PAUSE
    assert search.pool[candidate].epochs == 1


def test_a_trial_that_died_while_it_was_paused_runs_again(dispatcher, search, begin):
    """A user's scheduler paused it amid its job, and Tune starts it again by itself."""
    trial, candidate = begin("one")
    search.interrupt(candidate)
    trial.fails(PROCESS_DIED, 1)
    dispatcher.died(trial, given_up=False, training=True)
    assert dispatcher.added(trial)
    assert search.pool[candidate].running
    assert dispatcher.reported(trial, dict(REPORT)) is Decision.PAUSE


def test_dying_too_often_is_an_architecture_s_fault(dispatcher, search, begin):
    """Each death is told twice, as Tune does, and counts once; others report in between."""
    trial, candidate = begin("0")
    for death in range(ALLOWED):
        trial.fails(PROCESS_DIED, death)
        dispatcher.died(trial, given_up=False, training=True)
        trial.fails(PROCESS_DIED, death)
        given_up = trial.run_metadata.num_failures > ALLOWED
        dispatcher.died(trial, given_up=given_up, training=True)
        assert search.pool[candidate].status is not Status.FAILED
        assert given_up == (death == ALLOWED - 1)
    assert dispatcher.error is None
    trial, again = begin("new")
    assert again == candidate
    assert trial.run_metadata.num_failures == ALLOWED
    trial.fails(PROCESS_DIED, ALLOWED)
    dispatcher._deaths_in_a_row = 0  # another one has reported
    dispatcher.died(trial, given_up=True, training=True)
    assert search.pool[candidate].status is Status.FAILED
    assert PROCESS_DIED in search.pool[candidate].error


def test_deaths_in_a_row_blame_nobody(dispatcher, search, begin):
    trial, candidate = begin("one")
    for death in range(4):
        assert dispatcher.error is None
        trial.fails(PROCESS_DIED, death)
        dispatcher.died(trial, given_up=False, training=False)
    assert "4 workers in a row died" in str(dispatcher.error)
    assert search.pool[candidate].status is not Status.FAILED


def test_a_lost_node_is_not_counted_and_blames_nobody(dispatcher, search, begin):
    trial, candidate = begin("one")
    for death in range(MOST_NODES_LOST):
        trial.fails(NODE_DIED, death)
        dispatcher.died(trial, given_up=False, training=True)
        assert trial.run_metadata.num_failures == 0
    assert dispatcher.error is None
    assert search.pool[candidate].status is Status.RUNNING
    trial.fails(NODE_DIED, MOST_NODES_LOST)
    dispatcher.died(trial, given_up=False, training=True)
    assert isinstance(dispatcher.error, WorkerError)
    assert "nodes went in a row" in str(dispatcher.error)
    assert search.pool[candidate].status is not Status.FAILED


def test_a_node_that_takes_all_networks_of_a_retraining_with_it():
    blame = _Blame(3, lambda: 8)
    jobs = [Job(i, i, "a0", 0, 0) for i in range(8)]
    assert [blame.died(job, NODE_DIED) for job in jobs] == [None] * 8
    for job in jobs[:3]:
        assert blame.died(job, PROCESS_DIED) is None
    with pytest.raises(WorkerError, match="4 times in a row"):
        blame.died(jobs[3], PROCESS_DIED)


def test_nodes_are_told_from_processes():
    assert lost_node(NODE_DIED)
    assert not lost_node(PROCESS_DIED)
    assert not lost_node("no reason known")
