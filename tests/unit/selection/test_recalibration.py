"""Running statistics taken anew before a decision."""

import copy

import pytest
import torch

from raynas.selection.config import SelectionConfig
from raynas.selection.program import SupernetProgram
from raynas.selection.recalibration import recalibrate
from raynas.selection.scoring import local_scorer
from raynas.supernets.norm import Norm

from .fakes import KeepTwo, TinyTraining


@pytest.fixture
def training():
    training = TinyTraining(KeepTwo(), steps=1)
    training.train_epoch()
    return training


def test_running_statistics_become_the_mean_over_the_batches(training):
    first = next(module for module in training.supernet.modules() if isinstance(module, Norm))
    seen = []
    first.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].detach()))
    training.supernet.drop_path_probability = 0.3
    training.supernet.eval()
    recalibrate(training, batch_size=16)
    assert len(seen) == 2
    mean = torch.stack([images.mean(dim=(0, 2, 3)) for images in seen]).mean(dim=0)
    var = torch.stack([images.var(dim=(0, 2, 3)) for images in seen]).mean(dim=0)
    torch.testing.assert_close(first.running_mean, mean)
    torch.testing.assert_close(first.running_var, var)
    assert {norm.momentum for norm in training.supernet.norms()} == {0.1}
    assert training.supernet.drop_path_probability == 0.3
    assert not training.supernet.training
    assert training.supernet.tracking


def test_weights_stay_and_what_is_decided_counts(training):
    before = copy.deepcopy(training.supernet.state_dict())
    recalibrate(training, batch_size=16)
    whole = copy.deepcopy(training.supernet.state_dict())
    moved = {key for key in before if not torch.equal(before[key], whole[key])}
    assert moved
    assert all("running" in key for key in moved)
    recalibrate(training, batch_size=16)
    again = training.supernet.state_dict()
    assert all(torch.equal(again[key], whole[key]) for key in whole)
    training.decisions.decide_op(0, 0, 1)
    recalibrate(training, batch_size=16)
    assert any(not torch.equal(again[key], whole[key]) for key in whole)


def test_a_decision_recalibrates_once_and_scores_with_running_statistics(training):
    space = training.space
    config = SelectionConfig(norm="recalibrated", batch_size=16, tune_epochs=0)
    program = SupernetProgram(space, training, config, 0)
    requests, states = [], []

    def score(request):
        requests.append(request)
        states.append(copy.deepcopy(training.supernet.state_dict()))
        return local_scorer(training)(request)

    fresh = copy.deepcopy(training)
    program.step(score)
    recalibrate(fresh, 16)
    assert requests[0].norm == "running"
    assert all(torch.equal(states[0][k], v) for k, v in fresh.supernet.state_dict().items())
    assert all(torch.equal(states[0][k], v) for k, v in training.supernet.state_dict().items())
