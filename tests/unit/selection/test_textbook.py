"""Decisions on tiny trained supernets, against the published procedure written out straight.

The straight version (algorithms.md §3.3) shares no code with the package but the network and its
training: weights, masks, counts, rounds and the calendar are its own.
"""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from raynas.selection.config import SelectionConfig
from raynas.selection.program import SupernetProgram
from raynas.selection.scoring import local_scorer
from raynas.spaces.darts import S2Space
from raynas.spaces.nasbench201 import NasBench201
from raynas.supernets.candidates import BatchScores
from raynas.supernets.mixture import Mixture

from .fakes import KeepTwo, TinyTraining, without_times

SPACES = {
    "s2": S2Space(channels=2, layers=3),
    "keep_two": KeepTwo(),
    "nasbench201": NasBench201(
        channels=4, cells_per_stage=1, ops=["none", "skip_connect", "nor_conv_1x1"]
    ),
}


class Straight:
    """The pseudo-code of §3.3, with the order in which edges and nodes come given."""

    def __init__(self, training, edges, nodes, tune_epochs, cumulative, criterion, none_wins):
        self.training, self.kinds = training, training.supernet.kinds
        self.op = [[None] * len(kind.edges) for kind in self.kinds]
        self.keep = [{} for _ in self.kinds]
        self.edges, self.nodes = edges, nodes
        self.tune_epochs, self.cumulative = tune_epochs, cumulative
        self.criterion, self.none_wins = criterion, none_wins
        self.log = []

    def weights(self):
        found = []
        for c, (kind, alpha) in enumerate(zip(self.kinds, self.training.alphas, strict=True)):
            rows = torch.softmax(alpha.detach(), 1).clone()
            for e, (_, node) in enumerate(kind.edges):
                if self.op[c][e] is not None:
                    rows[e] = 0
                    rows[e, self.op[c][e]] = 1
                if node in self.keep[c] and e not in self.keep[c][node]:
                    rows[e] = 0
            found.append(rows)
        return found

    def evaluate(self, weights):
        """Return hits and summed loss over the validation images, batch statistics in the norms."""
        mixture = Mixture(tuple(weights), tuple((w != 0).numpy() for w in weights))
        supernet, images, labels = (
            self.training.supernet, self.training.images, self.training.labels
        )  # fmt: skip
        supernet.train()
        state = {k: v.clone() for k, v in supernet.state_dict().items()}
        hits, loss = 0, 0.0
        with torch.no_grad():
            for start in range(0, len(labels), 16):
                logits = supernet(images[start : start + 16], mixture)
                target = labels[start : start + 16]
                hits += int((logits.argmax(1) == target).sum())
                loss += float(F.cross_entropy(logits, target, reduction="sum"))
        supernet.load_state_dict(state)
        return hits, loss

    def badness(self, weights):
        hits, loss = self.evaluate(weights)
        self.log.append((hits, loss))
        return loss if self.criterion == "loss" else -hits

    def decide_op(self, c, e):
        best, worst = None, -np.inf
        ops = self.kinds[c].ops[e]
        order = [o for o, name in enumerate(ops) if name != "none"]
        order += [o for o, name in enumerate(ops) if name == "none" and self.none_wins]
        for o in order:
            weights = self.weights()
            weights[c][e, o] = 0
            if (bad := self.badness(weights)) > worst:
                best, worst = o, bad
        self.op[c][e] = best

    def decide_node(self, c, n):
        left = [e for e, (_, node) in enumerate(self.kinds[c].edges) if node == n]
        rejected = []
        while len(left) > 2:
            best, least = None, np.inf
            for e in left:
                weights = self.weights()
                weights[c][e] = 0
                if self.cumulative:
                    weights[c][rejected] = 0
                if (bad := self.badness(weights)) <= least:
                    best, least = e, bad
            left.remove(best)
            rejected.append(best)
        self.keep[c][n] = left

    def run(self):
        """Tune from event to event; the decided rows reach training through its decisions."""
        num_events, topology = len(self.edges[0]) + len(self.nodes[0]), bool(self.nodes[0])
        total = self.tune_epochs * (num_events - 1) + (1 if topology else 0)
        self.training.begin_tuning(0.0025, "constant", total)
        event = 0
        for t in range(total):
            if t % self.tune_epochs == 0 or t == total - 1:
                for c in range(len(self.kinds)):
                    if event < len(self.edges[c]):
                        e = self.edges[c][event]
                        self.decide_op(c, e)
                        self.training.decisions.decide_op(c, e, self.op[c][e])
                    else:
                        n = self.nodes[c][event - len(self.edges[c])]
                        self.decide_node(c, n)
                        self.training.decisions.keep_edges(c, n, self.keep[c][n])
                event += 1
            self.training.train_epoch()
        assert event == num_events


@pytest.mark.parametrize(
    ("name", "options"),
    [
        pytest.param("s2", {"criterion": "loss"}, marks=pytest.mark.slow),
        ("keep_two", {}),
        ("keep_two", {"criterion": "loss"}),
        ("keep_two", {"criterion": "loss", "cumulative": False}),
        ("keep_two", {"cumulative": False, "tune_epochs": 3}),
        ("nasbench201", {}),
    ],
)
def test_decisions_are_those_of_the_straight_procedure(name, options):
    space = SPACES[name]
    options = {"tune_epochs": 2, "batch_size": 16, **options}
    tuning_steps = 0 if name == "s2" else 1  # a step of S2 takes its time
    training = TinyTraining(space)
    training.steps = 4
    program = SupernetProgram(space, training, SelectionConfig(**options), seed=5)
    decided = program.step(local_scorer(training))["decisions"]
    training.steps = tuning_steps
    while not program.finished:
        decided += program.step(local_scorer(training))["decisions"]

    names = [kind.name for kind in space.kinds]
    edges = [[d["edge"] for d in decided if d["kind"] == n and d["node"] is None] for n in names]
    nodes = [[d["node"] for d in decided if d["kind"] == n and d["edge"] is None] for n in names]
    other = TinyTraining(space)
    other.train_epoch()
    other.steps = tuning_steps
    straight = Straight(
        other,
        edges,
        nodes,
        options["tune_epochs"],
        options.get("cumulative", True),
        options.get("criterion", "accuracy"),
        none_wins=space.kinds[0].keep is None,
    )
    straight.run()
    assert [list(ops) for ops in training.decisions.ops] == straight.op
    assert training.decisions.kept == [
        {n: tuple(kept) for n, kept in keep.items()} for keep in straight.keep
    ]
    assert training.epoch == other.epoch
    if options.get("cumulative", True):  # else the program asks but once a node
        ours = [
            (c["correct"], c["loss"] * c["count"])
            for d in decided
            for c in sorted(d["candidates"], key=lambda c: (c["round"], c["name"] == "none"))
        ]
        assert [hits for hits, _ in ours] == [hits for hits, _ in straight.log]
        theirs = [loss for _, loss in straight.log]
        assert [loss for _, loss in ours] == pytest.approx(theirs, rel=1e-5)
    assert {len(kept) for keep in training.decisions.kept for kept in keep.values()} <= {2}


def test_a_run_with_a_network_resumes_bit_by_bit():
    space = SPACES["keep_two"]
    config = SelectionConfig(tune_epochs=1, batch_size=16, norm="recalibrated")

    def start():
        training = TinyTraining(space, steps=1)
        return training, SupernetProgram(space, training, config, 0)

    training, program = start()
    expected, states = [], {}
    while not program.finished:
        if program.num_steps in (0, 1, 6, 18):
            states[program.num_steps] = program.save()
        expected.append(program.step(local_scorer(training)))
    for stop, state in states.items():
        later_training, later = start()
        later.load(state)
        found = []
        while not later.finished:
            found.append(later.step(local_scorer(later_training)))
        assert without_times(found) == without_times(expected[stop:])
        ours, theirs = later_training.supernet.state_dict(), training.supernet.state_dict()
        assert all(torch.equal(ours[key], theirs[key]) for key in theirs)
        assert all(map(torch.equal, later_training.alphas, training.alphas))


def test_the_result_does_not_depend_on_how_scoring_is_split():
    """One by one, in shards of batches, or all at once: the same record to the last bit."""
    space = SPACES["keep_two"]
    config = SelectionConfig(tune_epochs=0, batch_size=8)

    def joined(parts):
        return BatchScores(
            np.concatenate([p.correct for p in parts], axis=1),
            np.concatenate([p.loss for p in parts], axis=1),
            np.concatenate([p.count for p in parts]),
        )

    def by_batches(score, workers):
        def split(request):
            numbers = range(4) if request.batches is None else request.batches
            shards = np.array_split(np.array(list(numbers)), workers)
            return joined(
                [score(replace(request, batches=tuple(map(int, s)))) for s in shards if len(s)]
            )

        return split

    def by_options(score):
        def split(request):
            parts = [score(replace(request, options=(o,))) for o in request.options]
            return BatchScores(
                np.concatenate([p.correct for p in parts]),
                np.concatenate([p.loss for p in parts]),
                parts[0].count,
            )

        return split

    found = []
    for wrap in (
        lambda score: score,
        lambda score: by_batches(score, 2),
        lambda score: by_batches(by_options(score), 4),
    ):
        training = TinyTraining(space, steps=1)
        program = SupernetProgram(space, training, config, 0)
        records = []
        while not program.finished:
            records.append(without_times(program.step(wrap(local_scorer(training)))))
        found.append((records, program.result))
    assert all(other == found[0] for other in found[1:])
