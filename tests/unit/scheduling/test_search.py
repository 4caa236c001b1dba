import pytest

from raynas.errors import TrialError
from raynas.scheduling.budget import Budget
from raynas.scheduling.events import Newcomer, Proposed
from raynas.scheduling.nosh import NoshPolicy
from raynas.scheduling.policy import Job
from raynas.scheduling.pool import Pool
from raynas.scheduling.search import Decision, Level0, Proposals, Search, replay
from raynas.scheduling.simulate import simulate
from raynas.spaces.architecture import Architecture
from raynas.testing import FakeObjective, ToySpace, propose_at_random

LEVELS = (1, 2, 4)


def new_search(emit=lambda event, elapsed_s: None, **options):
    policy = NoshPolicy(LEVELS, Budget(60), per_round=4, **options.pop("policy", {}))
    return Search(ToySpace(), policy, Pool(LEVELS), seed=0, emit=emit, **options)


def by_number(scores):
    import numpy as np

    return np.array([s["number"] for s in scores])


def number(architectures):
    return [{"number": float(a.text[1:])} for a in architectures]


def test_level_0_admits_the_best_of_all_it_knows():
    search = new_search(level0=Level0("full", 0.25, by_number))
    request = search.request()
    assert (request.wanted, request.count, request.score) == (8, 32, True)
    proposals = propose_at_random(search.space)(request, search.snapshot(), {})
    scores = number(proposals.architectures)
    proxies = {a.text: p for a, p in zip(proposals.architectures, scores, strict=True)}
    admitted = search.admit(request, proposals, proxies)
    best = sorted((int(a.text[1:]) for a in proposals.architectures), reverse=True)
    assert [int(c.text[1:]) for c in admitted] == best[:8]
    assert len(search.pool.scored) == 24


def test_level_0_residents_get_their_chance_later():
    search = new_search(level0=Level0("full", 0.25, by_number))
    simulate(search, FakeObjective(), propose_at_random(search.space), score=number)
    rounds = {}
    for candidate in search.pool:
        rounds.setdefault(candidate.round, []).append(int(candidate.text[1:]))
    left = [int(s.text[1:]) for s in search.pool.scored.values()]
    # Whoever is still at level 0 is worse by proxy than all who were admitted last.
    assert max(left) < min(rounds[max(rounds)])


def test_init_only_chooses_in_the_first_round_only():
    search = new_search(level0=Level0("init_only", 0.5, by_number))
    events = []
    search._emit = lambda event, elapsed_s: events.append(event)
    simulate(search, FakeObjective(), propose_at_random(search.space), score=number)
    rounds = [event for event in events if isinstance(event, Proposed)]
    assert len(rounds[0].scored) == 16
    assert all(not event.scored for event in rounds[1:])


def test_known_keys_and_repeats_are_dropped():
    search = new_search()
    request = search.request()
    a, b = Architecture("toy", "a1"), Architecture("toy", "a2")
    admitted = search.admit(request, Proposals("t", [a, b, a]))
    assert [c.text for c in admitted] == ["a1", "a2"]


def test_an_empty_answer_ends_the_arrivals():
    search = new_search()
    assert search.admit(search.request(), Proposals("t", [])) == []
    assert search.pool.exhausted
    assert search.request() is None
    assert search.finished


def test_one_request_at_a_time():
    search = new_search()
    assert search.request() is not None
    assert search.request() is None
    assert not search.finished
    search.withdraw_request()
    assert search.request() is not None


def test_decisions_on_a_report():
    search = new_search(policy={"initial": 2})
    request = search.request()
    search.admit(request, propose_at_random(search.space)(request, search.snapshot(), {}))
    first, second = search.next_jobs(2)
    search.start(first)
    search.start(second)
    assert search.report(0, 1, {"accuracy": 0.5}) is Decision.PAUSE
    assert search.report(1, 1, {"accuracy": float("inf")}) is Decision.STOP
    assert search.pool[1].error == "accuracy is inf at epoch 1"


def test_report_epochs_may_be_sparse():
    search = new_search(report_epochs=(2, 4))
    search.admit(search.request(), Proposals("t", [Architecture("toy", "a1")]))
    (job,) = search.next_jobs(1)
    search.start(job)
    assert search.next_report(search.pool[0]) == 1  # the level ends before the next report


def test_a_whole_round_that_fails_stops_the_search_with_the_first_reason():
    objective = FakeObjective(failing=[f"a{i}" for i in range(1000)])
    search = new_search()
    with pytest.raises(TrialError, match=r"round 0 failed; the first was a\d+:\na\d+ was made"):
        simulate(search, objective, propose_at_random(search.space))
    assert search.pool.rounds == 1


def test_a_stateful_policy_and_proposer_come_back_as_they_were():
    class Counting(NoshPolicy):
        def __init__(self, *arguments, **options):
            super().__init__(*arguments, **options)
            self.heard = []

        def started(self, job):
            self.heard.append(["started", job.candidate_id, job.from_epoch, job.to_epoch])

        def finished(self, outcome):
            self.heard.append(["finished", outcome.job.candidate_id, outcome.job.from_epoch])

        def state_dict(self):
            return {"heard": [list(words) for words in self.heard]}

        def load_state_dict(self, state):
            self.heard = [list(words) for words in state["heard"]]

    def make(emit=lambda event, elapsed_s: None):
        policy = Counting(LEVELS, Budget(40), per_round=4)
        return Search(ToySpace(), policy, Pool(LEVELS), seed=0, emit=emit)

    def propose(request, snapshot, state):
        proposals = propose_at_random(ToySpace())(request, snapshot, state)
        return Proposals("t", proposals.architectures, {"calls": state.get("calls", 0) + 1})

    journal = []
    search = make(lambda event, elapsed_s: journal.append(event))
    simulate(search, FakeObjective(), propose)
    for cut in (len(journal), len(journal) - 7, len(journal) // 2, 3):
        again = make()
        replay(again, journal[:cut])
        straight = make()
        for event in journal[:cut]:
            straight._apply(event)
        assert again.policy.heard == straight.policy.heard
        assert again.proposer_state == straight.proposer_state
    assert search.proposer_state == {"calls": search.pool.rounds}


def newcomers(count):
    return [Newcomer(f"a{i}", f"a{i}", {"number": float(i)}) for i in range(count)]


def test_the_first_round_is_the_best_of_all_and_the_best_of_a_few():
    level0 = Level0("full", 0.5, by_number, initial=100, top_share=0.7)
    assert level0.num_proposed(10, 0) == 100
    assert level0.num_proposed(10, 3) == 20
    numbers = [int(n.text[1:]) for n in level0.first(newcomers(100), 10, seed=4)]
    assert numbers[:7] == [99, 98, 97, 96, 95, 94, 93]
    assert len(set(numbers)) == 10
    drawn = {
        n
        for seed in range(40)
        for n in (int(a.text[1:]) for a in level0.first(newcomers(100), 10, seed)[7:])
    }
    assert min(drawn) < 40  # not just the next best
    assert numbers == [int(n.text[1:]) for n in level0.first(newcomers(100), 10, seed=4)]
    assert len(level0.first(newcomers(4), 10, seed=0)) == 4


def test_a_proposer_that_weighed_the_proxies_has_its_order_kept():
    search = new_search(level0=Level0("full", 0.5, by_number, initial=40))
    request = search.request()
    proposals = propose_at_random(search.space)(request, search.snapshot(), {})
    proxies = {
        a.text: s
        for a, s in zip(proposals.architectures, number(proposals.architectures), strict=True)
    }
    for candidate in search.admit(request, proposals, proxies):
        search.start(Job.of(candidate, 1))
        search.report(candidate.id, 1, {"accuracy": 0.5})
    while jobs := search.next_jobs(1):
        search.start(jobs[0])
        search.report(jobs[0].candidate_id, jobs[0].to_epoch, {"accuracy": 0.5})
    request = search.request()
    known = [
        Architecture("toy", text) for text in sorted(s.text for s in search.pool.scored.values())
    ]
    worst_first = sorted(known, key=lambda a: int(a.text[1:]))[: request.count]
    admitted = search.admit(request, Proposals("t", worst_first, weighed=True), {})
    assert [c.text for c in admitted] == [a.text for a in worst_first[: request.wanted]]
