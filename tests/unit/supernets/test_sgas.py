"""SGAS: the published schedule, scores against straight-line code, pruning, frozen α."""

import math

import pytest
import torch

from raynas.errors import ConfigError
from raynas.spaces.darts import DartsSpace, S3Space
from raynas.spaces.nasbench201 import NasBench201
from raynas.supernets.decisions import Decisions
from raynas.supernets.method import make_method
from raynas.supernets.sgas import certainty, normalised, stability

DARTS = DartsSpace(with_none=True)


def begun(space, options=None, **settings):
    """Return a method on a space, without a supernet, with α drawn large."""
    method = make_method("sgas", options)
    config = method.training_config({"alpha_init": 1.0, **settings})
    method.check(space.kinds, config)
    generator = torch.Generator().manual_seed(3)
    method.begin(Decisions(space.kinds), config, generator, torch.device("cpu"))
    return method


class Trained:
    tuning = False


def run(method, epochs):
    """Return (epoch from 0, kind, edge) of all decisions; questions get the op p is largest of."""
    decided, sizes = [], []
    for epoch in range(epochs):
        sizes.append(method.batch_size())
        method.end_epoch(Trained)
        while questions := method.questions(epoch + 1):
            question = questions[0]
            assert method.questions(epoch + 1) == questions
            theta = method.theta()[question.kind][question.edge].tolist()
            op = max(question.options, key=theta.__getitem__)
            method.decisions.decide_op(question.kind, question.edge, op)
            method.answered(question, (op,))
            decided.append((epoch, question.kind, question.edge))
        for alpha in method.alphas:  # as if it had learnt
            alpha.data += 0.1 * torch.randn(
                alpha.shape, generator=torch.Generator().manual_seed(epoch)
            )
    return decided, sizes


@pytest.mark.parametrize("criterion", [1, 2])
def test_eight_edges_of_each_kind_are_decided_as_published(criterion):
    method = begun(DARTS, {"criterion": criterion})
    decided, sizes = run(method, 50)
    epochs = [9, 14, 19, 24, 29, 34, 39, 44]
    for kind in (0, 1):
        assert [epoch for epoch, own, _ in decided if own == kind] == epochs
        assert method.decisions.undecided_edges(kind) == []
        assert method.decisions.undecided_nodes(kind) == []
        for node in (3, 4, 5):
            assert len(method.decisions.kept[kind][node]) == 2
    assert sizes == [64 + 8 * sum(epoch > e for e in epochs) for epoch in range(50)]
    assert all(op != 0 for ops in method.decisions.ops for op in ops if op is not None)


def test_nasbench201_decides_all_six_edges():
    decided, _ = run(begun(NasBench201(), epochs=50), 50)
    assert [epoch for epoch, _, _ in decided] == [9, 14, 19, 24, 29, 34]
    assert sorted(edge for _, _, edge in decided) == [0, 1, 2, 3, 4, 5]


def test_the_schedule_scales_with_the_epochs_unless_told():
    decided, _ = run(begun(DARTS, epochs=100), 100)
    assert [epoch for epoch, kind, _ in decided if kind == 0] == list(range(18, 89, 10))
    decided, _ = run(begun(DARTS, {"first": 1, "every": 7}, epochs=60), 60)
    assert [epoch for epoch, kind, _ in decided if kind == 0] == list(range(1, 51, 7))


def test_scores_are_those_of_the_formulas():
    method = begun(DARTS, {"criterion": 2, "history": 2})
    past = []
    for epoch in range(4):
        alpha = method.alphas[0].detach().double()
        theta = torch.exp(alpha) / torch.exp(alpha).sum(dim=1, keepdim=True)
        shares = [[float(w) / float(sum(row[1:])) for w in row[1:]] for row in theta]
        method.end_epoch(Trained)
        scores = []
        for edge, p in enumerate(shares):
            importance = float(sum(theta[edge][1:]))
            entropy = -sum(x * math.log(x) for x in p)
            overlaps = [sum(map(min, then[edge], p)) for then in past[-2:]]
            stable = sum(overlaps) / len(overlaps) if overlaps else 0.0
            scores.append((importance, 1 - entropy / math.log(7), stable))
        columns = list(zip(*scores, strict=True))
        expected = [1.0] * 14
        for values in columns:
            low, high = min(values), max(values)
            for edge in range(14):
                expected[edge] *= 0 if low == high else (values[edge] - low) / (high - low)
        assert method.scores(0).tolist() == pytest.approx(expected, abs=1e-6)
        past.append(shares)
        method.alphas[0].data += torch.randn(14, 8, generator=torch.Generator().manual_seed(epoch))


def test_criterion_1_does_not_look_back():
    method = begun(DARTS)
    before = method.scores(0)
    method.end_epoch(Trained)
    method.end_epoch(Trained)
    assert torch.equal(method.scores(0), before)


def test_the_edge_with_the_highest_score_is_asked_about_without_none():
    method = begun(DARTS, {"first": 0})
    question = method.questions(1)[0]
    assert question.edge == int(method.scores(0).argmax())
    assert question.options == (1, 2, 3, 4, 5, 6, 7)


def test_pieces():
    even = torch.tensor([[0.5, 0.5], [1.0, 0.0]])
    assert certainty(even).tolist() == [0, 1]
    assert certainty(torch.ones(2, 1)).tolist() == [1, 1]
    assert stability(even, []).tolist() == [0, 0]
    assert stability(even, [even, even.flip(1)]).tolist() == [1, 0.5]
    assert normalised(torch.tensor([1.0, 3.0, 2.0])).tolist() == [0, 1, 0.5]
    assert normalised(torch.tensor([2.0, 2.0])).tolist() == [0, 0]


def test_alpha_of_decided_edges_rests_in_training(make_training, train):
    training = make_training(
        S3Space(channels=4, layers=3), "sgas", {"grow": 1, "first": 0}, epochs=8
    )
    seen = {}
    for _ in range(8):
        train(training, 1)
        for kind, alpha in enumerate(training.method.alphas):
            for edge, row in seen.get(kind, {}).items():
                assert torch.equal(alpha[edge], row)
            undecided = training.decisions.undecided_edges(kind)
            seen[kind] = {e: alpha[e].detach().clone() for e in range(14) if e not in undecided}
    assert all(len(rows) == 14 for rows in seen.values())
    assert training.history[-1]["batch_size"] == 8 + 7


@pytest.mark.parametrize(
    ("space", "settings", "message"),
    [
        (DartsSpace(), {}, "method: sgas needs the op none on every edge, but not all edges of"),
        (NasBench201(ops=["skip_connect", "nor_conv_3x3"]), {}, "space.with_none=true"),
        (DARTS, {"epochs": 7}, "8 decisions, after epochs 1, 2, …, do not fit into 7 epochs"),
    ],
    ids=["darts", "nasbench201", "epochs"],
)
def test_what_makes_no_sense_is_refused(space, settings, message):
    with pytest.raises(ConfigError) as error:
        begun(space, **settings)
    assert message in str(error.value)
    assert "\n" not in str(error.value)
