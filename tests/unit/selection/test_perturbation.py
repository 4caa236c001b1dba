"""What perturbation and magnitude choose, ties above all (algorithms.md §3.1 to §3.4)."""

import numpy as np
import pytest
import torch

from raynas.selection.answer import Situation, decision_record
from raynas.selection.config import SelectionConfig
from raynas.selection.magnitude import Magnitude
from raynas.selection.perturbation import Perturbation
from raynas.selection.scoring import totals
from raynas.spaces.darts import DartsSpace, S3Space
from raynas.spaces.nasbench201 import NasBench201
from raynas.supernets.candidates import BatchScores
from raynas.supernets.decisions import Question

from .fakes import FakeTraining


def scores(correct, loss=None, batches=1):
    correct = np.array(correct, dtype=np.int64)[:, None].repeat(batches, axis=1)
    loss = np.zeros(correct.shape) if loss is None else np.array(loss, dtype=float)[:, None]
    return BatchScores(
        correct, loss.repeat(batches // loss.shape[1], axis=1), np.full(batches, 100)
    )


def scoring(correct, loss=None, asked=None):
    """Scores by option: accuracies in percent, and losses."""

    def score(request):
        if asked is not None:
            asked.append(request)
        options = list(request.options)
        return scores(
            [correct[o] for o in options], None if loss is None else [loss[o] for o in options]
        )

    return score


def answer(space, question, score, training=None, **options):
    training = training or FakeTraining(space)
    situation = Situation(training, score, seed=0)
    return Perturbation(SelectionConfig(**options)).answer(question, situation)


def op_question(space, edge=0, kind=0, options=None):
    return Question(kind, options or tuple(range(space.kinds[kind].num_ops)), edge=edge)


def test_the_op_is_chosen_without_which_least_is_right():
    space = DartsSpace()
    found = answer(space, op_question(space), scoring([50, 40, 30, 20, 45, 33, 60]))
    assert found.chosen == (3,)
    assert found.margin == pytest.approx(0.10)
    assert found.rule == "perturbation"
    assert [(s.option, s.correct, s.count) for s in found.scores][:2] == [
        (0, 50, 100),
        (1, 40, 100),
    ]
    assert found.unmasked is None


def test_or_without_which_the_loss_is_largest():
    space = DartsSpace()
    losses = [10, 20, 30, 80, 90, 60, 70]
    score = scoring([50, 40, 30, 20, 45, 33, 60], losses)
    found = answer(space, op_question(space), score, criterion="loss")
    assert found.chosen == (4,)
    assert found.margin == pytest.approx(0.1)
    assert found.scores[4].mean_loss == pytest.approx(0.9)


def test_of_equals_the_first_op_wins():
    space = DartsSpace()
    assert answer(space, op_question(space), scoring([50, 20, 30, 20, 20, 33, 60])).chosen == (1,)
    score = scoring([50] * 7, [2, 3, 3, 1, 3, 2, 1])
    assert answer(space, op_question(space), score, criterion="loss").chosen == (1,)


def test_none_wins_only_where_every_other_op_does_harm():
    space = NasBench201()
    tie = answer(space, op_question(space), scoring([50, 60, 50, 70, 50]))
    assert tie.chosen == (2,)
    harm = answer(space, op_question(space), scoring([50, 60, 51, 70, 80]))
    assert harm.chosen == (0,)
    assert harm.fallback is None
    assert harm.unmasked.correct == 50


def test_none_that_cannot_be_in_an_architecture_leaves_a_fallback():
    space = S3Space()
    found = answer(space, op_question(space), scoring([50, 70, 60]), mode="reference")
    assert found.chosen == (0,)
    assert found.fallback == 2
    record = decision_record(space.kinds[0], op_question(space), found)
    assert record["chosen_names"] == ["none"]
    assert record["fallback"] == "sep_conv_3x3"
    assert record["unmasked"] == {"accuracy": 0.5, "loss": 0.0}


def node_question(space, node=5, kind=0):
    return Question(kind, space.kinds[kind].incoming(node), node=node)


def test_edges_go_whose_removal_leaves_most_right():
    space = DartsSpace()
    correct = {9: 50, 10: 40, 11: 70, 12: 30, 13: 60}
    for cumulative in (True, False):
        asked = []
        found = answer(
            space, node_question(space), scoring(correct, asked=asked), cumulative=cumulative
        )
        assert found.chosen == (10, 12)
        assert found.margin == pytest.approx(0.1)
        passes = [r.options for r in asked]
        if cumulative:
            assert passes == [(9, 10, 11, 12, 13), (9, 10, 12, 13), (9, 10, 12)]
            gone = [np.flatnonzero(~r.mixture.active[0].any(axis=1)).tolist() for r in asked]
            assert gone == [[], [11], [11, 13]]
        else:
            assert passes == [(9, 10, 11, 12, 13)]


def test_rounds_of_a_node_are_told_apart():
    space = DartsSpace()
    correct = {9: 50, 10: 40, 11: 70, 12: 30, 13: 60}
    found = answer(space, node_question(space), scoring(correct))
    assert [(s.option, s.round) for s in found.scores] == [
        *[(e, 0) for e in (9, 10, 11, 12, 13)],
        *[(e, 1) for e in (9, 10, 12, 13)],
        *[(e, 2) for e in (9, 10, 12)],
    ]
    record = decision_record(space.kinds[0], node_question(space), found)
    assert record["names"] == ["0->5", "1->5", "2->5", "3->5", "4->5"]
    assert record["chosen_names"] == ["1->5", "3->5"]


def test_of_equal_edges_the_last_goes():
    space = DartsSpace()
    assert answer(space, node_question(space), scoring(dict.fromkeys(range(14), 50))).chosen == (
        9,
        10,
    )
    score = scoring(dict.fromkeys(range(14), 50), {9: 1, 10: 3, 11: 1, 12: 2, 13: 3})
    assert answer(space, node_question(space), score, criterion="loss").chosen == (10, 13)


def test_the_reference_shuffles_anew_for_every_candidate():
    space, asked = DartsSpace(), []
    score = scoring(dict.fromkeys(range(14), 50), asked=asked)
    answer(space, op_question(space), score, mode="reference")
    assert [r.options for r in asked] == [(o,) for o in range(7)]
    answer(space, node_question(space, node=3), score, mode="reference")
    assert [r.options for r in asked[7:]] == [(2,), (3,), (4,)]
    answer(space, node_question(space, node=4), score, mode="reference")
    assert [r.options for r in asked[10:]] == [(5,), (6,), (7,), (8,), (5,), (6,), (7,)]
    seeds = [r.shuffle_seed for r in asked]
    assert None not in seeds
    assert len(set(seeds[:7])) == 7
    assert len(set(seeds[10:])) == 7
    assert all(r.augmented and r.norm == "batch" for r in asked)


def test_fixed_batches_are_one_request_augmented_alike():
    space, asked = DartsSpace(), []
    score = scoring([50] * 7, asked=asked)
    answer(space, op_question(space), score, norm="running", batch_size=32, num_batches=3)
    answer(space, op_question(space), score, augment=True)
    first, second = asked
    assert (first.shuffle_seed, first.augmented, first.norm) == (None, False, "running")
    assert (first.batches, first.batch_size) == ((0, 1, 2), 32)
    assert second.shuffle_seed is not None
    assert second.augmented
    assert second.batches is None


def test_magnitude_for_topology_only():
    space, asked = DartsSpace(), []
    training = FakeTraining(space)
    situation = Situation(training, scoring({}, asked=asked), 0)
    question = node_question(space)
    config = SelectionConfig(topology="magnitude")
    assert Perturbation(config).answer(question, situation) == Magnitude(config).answer(
        question, situation
    )
    assert asked == []


# -- magnitude -------------------------------------------------------------------------------------


class Weighted(FakeTraining):
    def __init__(self, space, rows):
        super().__init__(space)
        self.rows = rows

    def theta(self):
        return [torch.tensor(self.rows, dtype=torch.float64)] * len(self.space.kinds)


def magnitude(training, question):
    return Magnitude(SelectionConfig(name="magnitude")).answer(
        question, Situation(training, scoring({}), 0)
    )


def test_magnitude_takes_the_largest_weight_the_first_on_ties():
    space = NasBench201()
    training = Weighted(space, [[0.1, 0.3, 0.3, 0.2, 0.1], *[[0.4, 0.2, 0.2, 0.1, 0.1]] * 5])
    first = magnitude(training, op_question(space))
    assert first.chosen == (1,)
    assert first.margin == 0
    assert first.strengths == (0.1, 0.3, 0.3, 0.2, 0.1)
    assert magnitude(training, op_question(space, 1)).chosen == (0,)


def test_magnitude_keeps_the_edges_with_the_strongest_ops_but_none():
    space = S3Space()
    best = [0.3, 0.2, 0.4, 0.1, 0.3, *[0.2, 0.4, 0.4, 0.4], *[0.1, 0.1, 0.45, 0.1, 0.1]]
    rows = [[1 - b - 0.05, 0.05, b] for b in best]
    training = Weighted(space, rows)
    assert magnitude(training, node_question(space, 3)).chosen == (2, 4)
    assert magnitude(training, node_question(space, 4)).chosen == (6, 7)  # stable on ties
    assert magnitude(training, node_question(space, 5)).chosen == (9, 11)


def test_the_op_that_stands_on_an_edge_speaks_for_it():
    space = S3Space()
    training = Weighted(space, [[0.1, 0.2, 0.7]] * 14)
    assert magnitude(training, node_question(space, 3)).chosen == (2, 3)
    training.decisions.decide_op(0, 2, 1)  # of weight 0.2 only
    assert magnitude(training, node_question(space, 3)).chosen == (3, 4)


def test_sums_go_batch_by_batch_however_many_there_are():
    rng = np.random.default_rng(0)
    loss = rng.normal(size=(3, 1001)) * 10.0 ** rng.integers(-8, 8, size=(3, 1001))
    found = totals(
        (4, 5, 6),
        BatchScores(np.ones((3, 1001), dtype=np.int64), loss, np.full(1001, 7)),
    )
    for row, score in zip(loss, found, strict=True):
        expected = 0.0
        for value in row:
            expected += value
        assert score.loss == expected
        assert (score.correct, score.count) == (1001, 7007)
