"""Scaled losses, steps left out, mixed precision, evaluation."""

import math

import pytest
import torch

from raynas.supernets.bilevel import Tally, axpy, without_zeros
from raynas.supernets.decisions import Decisions
from raynas.supernets.workers import Alone
from raynas.training.evaluation import evaluate


@pytest.mark.parametrize("options", [{"order": 1}, {"order": 2}])
def test_a_scaled_loss_gives_the_same_training(make_training, train, same, options):
    plain = train(make_training(options=options), 1)
    scaled = make_training(options=options)
    scaled._learner.bilevel.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10)
    train(scaled, 1)
    states = [training.save()["learner"] for training in (plain, scaled)]
    for key in ("supernet", "alphas"):
        assert same(states[0][key], states[1][key])
    assert states[1]["scaler"]["scale"] == 2**10


def test_a_gradient_that_is_not_finite_makes_a_step_be_left_out(make_training):
    training = make_training()
    bilevel, method = training._learner.bilevel, training.method
    bilevel.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10)
    bilevel.scaler.scale(torch.ones(1))  # as `gradient` does
    before = method.alphas[0].detach().clone()
    gradients = [torch.full_like(before, math.inf)]
    bilevel.descend(training._learner.alpha_optimizer, method.alphas, gradients, None)
    assert torch.equal(method.alphas[0], before)
    assert bilevel.scaler.get_scale() == 2**9
    assert method.alphas[0].grad is None


@pytest.mark.parametrize("name", ["darts", "sdarts_adv", "drnas", "pc_darts", "gdas"])
def test_mixed_precision_trains(make_training, train, name):
    options = {"pc_darts": {"partial": 2}, "sdarts_adv": {"ascents": 1}}.get(name)
    training = train(
        make_training("nasbench201", name, options, amp="bf16", alpha_frozen_epochs=0), 1
    )
    assert math.isfinite(training.history[0]["train_loss"])
    assert training.history[0]["alpha_loss"] is not None
    assert all(p.dtype == torch.float32 for p in training.supernet.parameters())
    assert all(alpha.dtype == torch.float32 for alpha in training.theta())


def test_evaluation_is_that_of_any_network(make_training):
    training = make_training()
    training.train_epoch()
    mixture, bilevel = training.mixture(), training._learner.bilevel
    data, part = training._data, training._data.valid

    class Mixed(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.supernet = training.supernet

        def forward(self, images):
            return self.supernet(images, mixture)

    expected = evaluate(Mixed(), data, part, bilevel.placement, batch_size=6)
    found = bilevel.evaluate(data, part, mixture, batch_size=6)
    assert (found.correct, found.count) == (expected.correct, expected.count)
    assert found.loss == pytest.approx(expected.loss, rel=1e-6)


def test_losses_do_not_depend_on_who_evaluates_which_batch(make_training):
    training = make_training()
    bilevel, mixture, found = training._learner.bilevel, training.mixture(), []

    class OneOfTwo(Alone):
        size = 2

        def __init__(self, rank):
            self.rank = rank

        def all_reduce_(self, tensors, *, mean=False):
            found.append([tensor.clone() for tensor in tensors])

    data = training._data
    whole = bilevel.evaluate(data, data.valid, mixture, batch_size=6)
    for rank in (0, 1):
        bilevel.workers = OneOfTwo(rank)
        bilevel.evaluate(data, data.valid, mixture, batch_size=6)
    correct, losses = (first + second for first, second in zip(*found, strict=True))
    assert int(correct.sum()) == whole.correct
    assert float(losses.sum()) / 16 == whole.loss


def test_ops_of_weight_0_are_left_out(make_training):
    training = make_training()
    theta = [torch.tensor([[0.5, 0.0, 0.5, 0.0, 0.0]]).repeat(6, 1)]
    mixture = without_zeros(training.method.mix(theta))
    assert mixture.active[0].tolist() == [[True, False, True, False, False]] * 6


def test_pieces():
    assert Tally.on(torch.device("cpu")).read(Alone()) is None
    one, two = torch.ones(1), torch.full((1,), 2.0)
    found = axpy([one, None, one, None], 3.0, [two, two, None, None])
    assert [None if t is None else t.item() for t in found] == [7, 6, 1, None]


def test_gradients_that_share_memory_can_be_added_up(make_training):
    bilevel = make_training()._learner.bilevel
    a, b = (torch.ones(3, requires_grad=True) for _ in range(2))
    first, second = bilevel.gradient((a + b).sum(), [a, b])
    first += 1
    assert (first.tolist(), second.tolist()) == ([2, 2, 2], [1, 1, 1])


def test_decisions_are_the_methods_and_the_trainings_own(make_training):
    training = make_training()
    assert training.method.decisions is training.decisions
    assert isinstance(training.decisions, Decisions)
