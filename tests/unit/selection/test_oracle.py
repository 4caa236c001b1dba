"""Discretisation accuracy at convergence (algorithms.md §3.5)."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from raynas.selection import oracle
from raynas.selection.oracle import OracleConfig, oracle_strength
from raynas.supernets.candidates import BatchScores
from raynas.supernets.mixture import Mixture

from .fakes import KeepTwo, TinyTraining


class Scripted(TinyTraining):
    """Gets as many more images right after each epoch as the script says."""

    script = ()

    def train_epoch(self):
        self.epoch += 1
        return {}


def run(script, monkeypatch, **options):
    """Return the strength of a made-up course of hits (of 1000)."""

    training = Scripted(KeepTwo())

    def score(request):
        hits = script[min(training.epoch, len(script) - 1)]
        return BatchScores(np.array([[hits]]), np.array([[1.0]]), np.array([1000]))

    monkeypatch.setattr(oracle, "local_scorer", lambda training: score)
    return oracle_strength(training, 0, 2, 1, OracleConfig(**options))


def test_it_stops_when_nothing_gets_better(monkeypatch):
    found = run([500, 600, 700, 700, 699, 700], monkeypatch, min_epochs=1, patience=3)
    assert found.trace == (0.5, 0.6, 0.7, 0.7, 0.699, 0.7)
    assert found.converged
    assert found.accuracy == 0.7
    assert (found.kind, found.edge, found.op) == (0, 2, 1)


def test_a_gain_of_less_than_the_least_counts_for_nothing(monkeypatch):
    creeping = list(range(500, 600))
    found = run(creeping, monkeypatch, min_epochs=1, patience=5, min_delta=0.0105)
    assert found.trace[-1] == 0.505  # ten steps would be one too few
    found = run(creeping, monkeypatch, min_epochs=1, patience=5, min_delta=0.0035)
    assert len(found.trace) == 1 + 96 + 5  # every fourth counts, and the 96th is the last


def test_it_trains_the_least_and_at_most_the_most(monkeypatch):
    found = run([500], monkeypatch)
    assert len(found.trace) == 1 + 20
    assert found.converged
    found = run(list(range(0, 1000, 5)), monkeypatch)
    assert len(found.trace) == 1 + 140
    assert not found.converged


def test_it_measures_the_supernet_with_the_op_alone_on_its_edge():
    training = TinyTraining(KeepTwo(), steps=1)
    training.train_epoch()
    snapshot = training.save()
    strengths = {}
    for op in range(3):
        copy = TinyTraining(KeepTwo(), steps=1)
        copy.load(snapshot)
        config = OracleConfig(min_epochs=1, max_epochs=1, batch_size=16)
        strengths[op] = oracle_strength(copy, 0, 2, op, config)
        assert copy.tuned_from == (1, 0.0025, "constant", 1)

        rows = training.theta()[0].detach().clone()
        rows[2] = F.one_hot(torch.tensor(op), 3)
        mixture = Mixture((rows,), ((rows != 0).numpy(),))
        hits = 0
        with torch.no_grad():
            for images, labels in training.selection_batches(16):
                hits += int((training.supernet(images, mixture).argmax(1) == labels).sum())
        assert strengths[op].trace[0] == hits / 32
    assert len({strength.loss_trace for strength in strengths.values()}) == 3


@pytest.mark.parametrize("norm", ["running", "recalibrated"])
def test_other_statistics_of_norms(norm):
    training = TinyTraining(KeepTwo(), steps=1)
    training.train_epoch()
    config = OracleConfig(min_epochs=1, max_epochs=1, batch_size=16, norm=norm)
    assert len(oracle_strength(training, 0, 0, 1, config).trace) == 2
