"""Racing: who is given up when, and that nothing else changes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raynas.selection.answer import Situation
from raynas.selection.config import RacingConfig, SelectionConfig
from raynas.selection.perturbation import Perturbation
from raynas.selection.racing import race, survivors
from raynas.selection.scoring import Request
from raynas.spaces.darts import DartsSpace
from raynas.supernets.candidates import BatchScores
from raynas.supernets.decisions import Decisions, Question

from .fakes import FakeTraining

SPACE = DartsSpace()
NUM_BATCHES = 40
MIXTURE = Decisions(SPACE.kinds).mix(FakeTraining(SPACE).theta())


def table(means, noise, seed=0):
    """Correct of 64 and summed losses, `7 x 40`; batches are harder or easier for all alike."""
    rng = np.random.default_rng(seed)
    batch = rng.normal(0, 0.1, NUM_BATCHES)
    rate = np.clip(np.array(means)[:, None] + batch + rng.normal(0, noise, (7, NUM_BATCHES)), 0, 1)
    return np.rint(64 * rate).astype(np.int64), 64 * (1.5 - rate)


class Scores:
    """A scorer that looks a table up and counts what it was asked."""

    def __init__(self, correct, loss):
        self.correct, self.loss = correct, loss
        self.passes, self.seen = 0, []

    def __call__(self, request):
        rows, columns = list(request.options), list(request.batches or range(NUM_BATCHES))
        assert columns == sorted(columns)
        self.passes += len(rows) * len(columns)
        self.seen.append((tuple(rows), tuple(columns)))
        place = np.ix_(rows, columns)
        return BatchScores(self.correct[place], self.loss[place], np.full(len(columns), 64))


def request(options=range(7), **question):
    question = question or {"edge": 0}
    return Request(
        MIXTURE,
        Question(0, tuple(options), **question),
        tuple(options),
        "batch",
        64,
    )


def run(score, *, most=True, criterion="accuracy", seed=0, **options):
    return race(
        request(),
        score,
        RacingConfig(**options),
        num_batches=NUM_BATCHES,
        criterion=criterion,
        most=most,
        seed=seed,
    )


def winner(found, *, most=True, criterion="accuracy"):
    """The best of those that saw the most."""
    longest = [s for s in found if s.count == max(s.count for s in found)]
    badness = {s.option: s.mean_loss if criterion == "loss" else -s.accuracy for s in longest}
    return (max if most else min)(badness, key=badness.get)


def test_a_clear_winner_is_found_on_few_batches():
    score = Scores(*table([0.6, 0.58, 0.3, 0.6, 0.61, 0.6, 0.6], 0.02))
    found = run(score)
    assert winner(found) == 2
    assert score.passes == 7 * 4
    assert [s.option for s in found] == list(range(7))
    assert {s.count for s in found} == {256}


def test_equals_are_scored_to_the_end_on_every_batch_once():
    score = Scores(*table([0.5] * 7, 0.0))
    found = run(score)
    assert score.passes == 7 * NUM_BATCHES
    assert sorted(c for _, columns in score.seen for c in columns) == list(range(NUM_BATCHES))
    assert [s.correct for s in found] == score.correct.sum(axis=1).tolist()


def test_batches_come_in_an_order_of_the_seed():
    def first(seed):
        score = Scores(*table([0.5] * 7, 0.0))
        run(score, seed=seed)
        return score.seen[0][1]

    assert first(0) == first(0)
    assert len({first(seed) for seed in range(10)}) > 5


@pytest.mark.parametrize("criterion", ["accuracy", "loss"])
@pytest.mark.parametrize("most", [True, False])
def test_the_best_is_sought_in_either_direction(criterion, most):
    means = [0.6, 0.3, 0.6, 0.6, 0.9, 0.6, 0.6]
    found = run(Scores(*table(means, 0.02)), most=most, criterion=criterion, z=1.0)
    assert winner(found, most=most, criterion=criterion) == (1 if most else 4)


def test_who_is_out_by_hand():
    values = np.array([[0.5, 0.6, 0.5, 0.6], [0.4, 0.6, 0.4, 0.6], [0.1, 0.3, 0.2, 0.2]])
    # Behind the first: (.1, 0, .1, 0), mean .05, sd .0577; and .35, sd .0577.
    error = np.sqrt(1 / 300) * np.sqrt((1 - 4 / 16) / 4)
    assert error == pytest.approx(0.025)
    assert survivors(values, 16, 2.01) == [0, 1]
    assert survivors(values, 16, 1.99) == [0]
    assert survivors(values, 16, 20) == [0, 1, 2]
    assert survivors(values, 4, 0.1) == [0, 1, 2]  # all seen: nothing left to save
    # The fewer batches are left, the surer: with an endless supply the second stays.
    assert survivors(values, 10**9, 1.75) == [0, 1]


@settings(deadline=None)
@given(st.integers(0, 10**6), st.floats(0.5, 5), st.booleans(), st.integers(1, 7))
def test_whoever_stays_has_seen_everything_the_others_saw(seed, z, most, stride):
    rng = np.random.default_rng(seed)
    score = Scores(*table(rng.uniform(0.3, 0.7, 7), 0.05, seed))
    found = run(score, most=most, z=z, stride=stride, seed=seed)
    alive = set(range(7))
    for rows, _ in score.seen:
        assert set(rows) <= alive
        alive = set(rows)
    counts = {s.option: s.count for s in found}
    for option in range(7):
        seen = [c for rows, columns in score.seen if option in rows for c in columns]
        assert counts[option] == 64 * len(seen) == 64 * len(set(seen))
        assert found[option].correct == score.correct[option, seen].sum()
    assert score.passes <= 7 * NUM_BATCHES
    assert winner(found, most=most) in alive


def decide(question, score, **options):
    training = FakeTraining(SPACE)
    training.num_selection_batches = lambda batch_size: NUM_BATCHES
    config = SelectionConfig(criterion="loss", **options)
    return Perturbation(config).answer(question, Situation(training, score, seed=3))


def test_decisions_agree_and_cost_less_where_differences_are_clear():
    agree = saved = 0
    for seed in range(20):
        means = np.random.default_rng(seed).uniform(0.4, 0.6, 7)
        full, raced = (Scores(*table(means, 0.03, seed)) for _ in range(2))
        question = Question(0, tuple(range(7)), edge=0)
        expected = decide(question, full)
        found = decide(question, raced, racing={})
        agree += expected.chosen == found.chosen
        saved += full.passes - raced.passes
        assert full.passes == 7 * NUM_BATCHES
    assert agree >= 19
    assert saved > 20 * 7 * NUM_BATCHES / 2


def test_a_node_races_in_rounds():
    means = [0.5] * 7
    means[2:5] = 0.3, 0.7, 0.4
    score = Scores(*table(means, 0.02))
    found = decide(Question(0, (2, 3, 4), node=3), score, racing={})
    assert found.chosen == (2, 4)
    assert score.passes < 3 * NUM_BATCHES
    assert {s.round for s in found.scores} == {0}


def test_rounds_race_anew_though_nothing_else_is_masked():
    """What one race gave up early may be what the next one seeks."""
    means = [0.5] * 7
    means[2:6] = 0.6, 0.7, 0.5, 0.4
    score = Scores(*table(means, 0.02))
    found = decide(Question(0, (2, 3, 4, 5), node=4), score, racing={}, cumulative=False)
    assert found.chosen == (4, 5)
    assert {s.round for s in found.scores} == {0, 1}


def test_few_batches_are_all_used():
    score = Scores(*table([0.5, 0.4, 0.6, 0.5, 0.5, 0.5, 0.5], 0.02))
    question = Question(0, tuple(range(7)), edge=0)
    decide(question, score, racing={"min_batches": 4}, num_batches=3)
    assert [len(columns) for _, columns in score.seen] == [3]
