"""Selection after, and during, the methods' own training."""

import pytest
import torch

from raynas.seeds import derive_rng
from raynas.selection.config import SelectionConfig
from raynas.selection.program import SupernetProgram
from raynas.selection.scoring import local_scorer
from raynas.spaces.darts import DartsSpace, S3Space
from raynas.supernets.decisions import Decisions
from raynas.supernets.method import make_method
from raynas.supernets.training import SupernetTraining
from raynas.training.data import load_data

from .fakes import FakeTraining, KeepTwo, expressed, fake_scorer, without_times

SETTINGS = {"epochs": 2, "batch_size": 32, "device": "cpu", "alpha_frozen_epochs": 0}


@pytest.fixture(scope="module")
def digits():
    return load_data("digits", train_size=64, valid_size=32)


def started(digits, method, selection, space=None, options=None, **settings):
    method = make_method(method, options or {})
    config = method.training_config({**SETTINGS, **settings})
    space = space or KeepTwo()
    training = SupernetTraining(space, digits, method, config, seed=1)
    return training, SupernetProgram(space, training, SelectionConfig(**selection), seed=1)


def finish(training, program):
    records = []
    while not program.finished:
        records.append(program.step(local_scorer(training)))
    return records


@pytest.mark.parametrize(
    "selection",
    [
        {"name": "magnitude"},
        {"tune_epochs": 1, "batch_size": 16},
        {"mode": "reference", "tune_epochs": 1, "batch_size": 16},
    ],
    ids=str,
)
@pytest.mark.parametrize("method", ["darts", "fixed", "sdarts_rs", "drnas", "pc_darts"])
def test_a_method_and_a_selection_end_with_an_architecture(digits, method, selection):
    training, program = started(digits, method, selection)
    records = finish(training, program)
    tuned = 0 if selection.get("name") == "magnitude" else 10 + 2  # events, an epoch each
    assert training.epoch == 2 + tuned
    assert program.result.text
    assert training.decisions.complete
    if selection.get("mode") != "reference":
        assert expressed(training.supernet.kinds, training.decisions)
    if tuned:
        assert {r["metrics"]["lr"] for r in records[3:] if r["metrics"]} == {0.0025}


def test_magnitude_multiplies_the_weights_of_ops_and_edges_of_pc_darts(digits):
    training, _ = started(digits, "pc_darts", {"name": "magnitude"})
    for number, parameter in enumerate(training.method.parameters):
        generator = torch.Generator().manual_seed(number)
        parameter.data.copy_(torch.randn(parameter.shape, generator=generator))
    alpha, beta = (parameter.data.double() for parameter in training.method.parameters)
    training.epoch = training.search_epochs  # searched, with these weights
    program = SupernetProgram(KeepTwo(), training, SelectionConfig(name="magnitude"), seed=1)
    (record,) = finish(training, program)
    kind = training.supernet.kinds[0]
    for decision in record["decisions"]:
        if decision["node"] is None:
            continue
        edges = list(kind.incoming(decision["node"]))
        weights = alpha.softmax(1)[edges, 1:].amax(dim=1) * beta[edges].softmax(0)
        assert decision["strengths"] == pytest.approx(weights.tolist(), rel=1e-5)
        best = sorted(range(len(edges)), key=weights.tolist().__getitem__)[-2:]
        assert decision["chosen"] == sorted(edges[place] for place in best)


@pytest.mark.parametrize("name", ["magnitude", "perturbation"])
def test_sgas_decides_while_it_searches(digits, name):
    selection = {"batch_size": 16} if name == "perturbation" else {}
    options = {"first": 1, "every": 1}
    training, program = started(
        digits, "sgas", {"name": name, **selection}, options=options, epochs=10
    )
    records = finish(training, program)
    decided = [(r["epoch"], d["edge"]) for r in records for d in r["decisions"]]
    assert [epoch for epoch, _ in decided] == list(range(2, 9))  # 1 + 2 + 2 + 2 edges
    assert {r["phase"] for r in records} == {"search"}
    assert training.epoch == 10
    assert {d["rule"] for r in records for d in r["decisions"]} <= {name}
    assert expressed(training.supernet.kinds, training.decisions)


def test_a_real_run_resumes_bit_by_bit(digits):
    def start():
        return started(digits, "sdarts_rs", {"tune_epochs": 1, "batch_size": 16})

    training, program = start()
    records, states = [], {}
    while not program.finished:
        if program.num_steps in (1, 2, 7, 20):
            states[program.num_steps] = program.save()
        records.append(program.step(local_scorer(training)))
    for stop, state in states.items():
        other, later = start()
        later.load(state)
        assert without_times(finish(other, later)) == without_times(records[stop:])
        ours, theirs = other.supernet.state_dict(), training.supernet.state_dict()
        assert all(torch.equal(ours[key], theirs[key]) for key in theirs)
        assert all(map(torch.equal, other.theta(), training.theta()))


class SgasWithoutNetwork(FakeTraining):
    """The schedule and choices of SGAS itself, on mixing weights that move at random."""

    def __init__(self, space):
        super().__init__(space, search_epochs=50)
        self.method = make_method("sgas", {})
        config = self.method.training_config({"device": "cpu"})
        self.method.check(space.kinds, config)
        self.method.begin(self.decisions, config, torch.Generator(), torch.device("cpu"))
        self.batch_sizes = []

    def train_epoch(self):
        self.batch_sizes.append(self.method.batch_size())
        for number, alpha in enumerate(self.method.alphas):
            rng = derive_rng(number, "alpha", self.epoch)
            alpha.data.copy_(torch.from_numpy(rng.normal(size=tuple(alpha.shape))))
        return super().train_epoch()

    def theta(self):
        return [rows.detach() for rows in self.method.theta()]

    def questions(self):
        return self.method.questions(self.epoch)

    def answered(self, question, chosen):
        self.method.answered(question, chosen)


@pytest.mark.parametrize("name", ["magnitude", "perturbation"])
@pytest.mark.parametrize("space", [DartsSpace(with_none=True), S3Space()], ids=["darts", "s3"])
def test_sgas_takes_eight_decisions_of_each_kind_in_fifty_epochs(space, name):
    """After epochs 9, 14, ..., 44, counted from 0; batches grow by 8 (algorithms.md §2.3, §11)."""
    training = SgasWithoutNetwork(space)
    assert isinstance(training.decisions, Decisions)
    program = SupernetProgram(space, training, SelectionConfig(name=name), seed=0)
    records = []
    while not program.finished:
        records.append(program.step(fake_scorer(training)))
    decided = [(r["epoch"] - 1, d["kind"]) for r in records for d in r["decisions"]]
    after = range(9, 45, 5)
    assert decided == [(epoch, kind) for epoch in after for kind in ("normal", "reduce")]
    assert training.epoch == 50
    assert training.batch_sizes[::5] == [64, 64, *range(72, 129, 8)]
    assert expressed(space.kinds, training.decisions)
    assert all(0 not in d["options"] for r in records for d in r["decisions"])
