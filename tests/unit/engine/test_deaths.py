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
from raynas.scheduling.search import Search
from raynas.testing import ToySpace, propose_at_random
from raynas.training.job import Job

NODE_DIED = "The actor died because its node has died. Node Id: 12"
PROCESS_DIED = "The actor died unexpectedly: Worker exit type: SYSTEM_ERROR"


class FakeTrial:
    def __init__(self, trial_id, error):
        self.trial_id, self.config = trial_id, {}
        self.run_metadata = SimpleNamespace(num_failures=1)
        self._error = error

    def get_error(self):
        return self._error


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


def begin(dispatcher, name, error):
    config = dispatcher.next_config(name)
    trial = FakeTrial(name, error)
    dispatcher.added(trial)
    return trial, config["candidate_id"]


def test_a_trial_given_up_before_it_began_gets_a_new_one(dispatcher, search):
    trial, candidate = begin(dispatcher, "one", None)
    dispatcher.died(trial, given_up=True, blamed=False)
    assert search.pool[candidate].status is not Status.FAILED
    assert candidate in [c.id for c in search.pool.owed]
    _, again = begin(dispatcher, "two", None)
    assert again == candidate
    assert dispatcher.error is None


def test_dying_too_often_is_an_architecture_s_fault(dispatcher, search):
    trial, candidate = begin(dispatcher, "one", PROCESS_DIED)
    dispatcher.died(trial, given_up=True, blamed=True)
    assert search.pool[candidate].status is Status.FAILED


def test_a_lost_node_is_not_counted_and_blames_nobody(dispatcher, search):
    trial, candidate = begin(dispatcher, "one", NODE_DIED)
    for _ in range(MOST_NODES_LOST):
        trial.run_metadata.num_failures = 1
        dispatcher.died(trial, given_up=False, blamed=False)
        assert trial.run_metadata.num_failures == 0
    assert dispatcher.error is None
    assert search.pool[candidate].status is Status.RUNNING
    dispatcher.died(trial, given_up=False, blamed=False)
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
