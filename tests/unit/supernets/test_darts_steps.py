"""DARTS against straight-line code written from the formulas, in float64.

First order: gradients and whole steps. Second order: the gradient against the derivative of the
loss one step ahead.
"""

import math

import pytest
import torch
import torch.nn.functional as F
from textbook.supernet import copy_weights, parameter_pairs, textbook_of

from raynas.spaces.mixture import CellKind
from raynas.spaces.nasbench201 import NasBench201
from raynas.supernets import darts
from raynas.supernets.bilevel import Step
from raynas.supernets.halves import Batch
from raynas.supernets.supernet import Supernet

EXACT = {"rtol": 1e-9, "atol": 1e-9}


def batches(count, seed, size=8):
    generator = torch.Generator().manual_seed(seed)
    made = []
    for _ in range(count):
        images = torch.randn(size, 1, 8, 8, generator=generator, dtype=torch.float64)
        made.append(Batch(images, torch.randint(10, (size,), generator=generator), size))
    return made


class StraightDarts:
    """First-order DARTS by hand: the textbook's supernet, SGD, Adam and clipping written out."""

    def __init__(self, space, task, supernet, alphas):
        self.network = textbook_of(space, task).double()
        copy_weights(self.network, supernet)
        self.own = [own for _, own in parameter_pairs(self.network, supernet)]
        self.w = [theirs for theirs, _ in parameter_pairs(self.network, supernet)]
        self.alphas = [alpha.detach().clone().requires_grad_() for alpha in alphas]
        self.momentum = [torch.zeros_like(w) for w in self.w]
        self.first = [torch.zeros_like(a) for a in self.alphas]
        self.second = [torch.zeros_like(a) for a in self.alphas]
        self.steps = 0

    def loss(self, batch):
        theta = [torch.exp(a) / torch.exp(a).sum(dim=1, keepdim=True) for a in self.alphas]
        return F.cross_entropy(self.network(batch.images, theta), batch.labels)

    def clear(self):
        for tensor in [*self.w, *self.alphas]:
            tensor.grad = None

    def alpha_gradient(self, batch):
        self.clear()
        self.loss(batch).backward()
        return [a.grad.clone() for a in self.alphas]

    def move_alpha(self, batch, lr=3e-4, b1=0.5, b2=0.999, decay=1e-3, eps=1e-8):
        gradients = self.alpha_gradient(batch)
        self.steps += 1
        for a, g, m, v in zip(self.alphas, gradients, self.first, self.second, strict=True):
            g = g + decay * a.detach()
            m.copy_(b1 * m + (1 - b1) * g)
            v.copy_(b2 * v + (1 - b2) * g**2)
            direction = (m / (1 - b1**self.steps)) / (torch.sqrt(v / (1 - b2**self.steps)) + eps)
            a.data -= lr * direction

    def move_w(self, batch, lr, decay=3e-4, momentum=0.9, clip=5.0):
        self.clear()
        self.loss(batch).backward()
        norm = math.sqrt(sum(float((w.grad**2).sum()) for w in self.w))
        for w, buffer in zip(self.w, self.momentum, strict=True):
            gradient = w.grad * min(1.0, clip / (norm + 1e-6))  # as torch clips
            buffer.copy_(momentum * buffer + gradient + decay * w.detach())
            w.data -= lr * buffer


@pytest.mark.parametrize("space", ["nasbench201", "s2"])
def test_steps_of_first_order_are_those_of_straight_line_code(
    make_training, exact_digits, in_double, monkeypatch, space
):
    training = in_double(make_training(space, data=exact_digits, epochs=2))
    # Other than at the start, α here differs between ops, so that the softmax matters.
    for alpha in training.method.alphas:
        alpha.data.mul_(300)
    straight = StraightDarts(
        training._space, exact_digits.task, training.supernet, training.method.alphas
    )
    for epoch in range(2):
        pairs = list(zip(batches(2, 2 * epoch), batches(2, 2 * epoch + 1), strict=True))
        monkeypatch.setattr(training, "_batches", lambda pairs=pairs: iter(pairs))
        training.train_epoch()
        lr = 0.001 + (0.025 - 0.001) * (1 + math.cos(math.pi * epoch / 2)) / 2
        for train, valid in pairs:
            straight.move_alpha(valid)
            straight.move_w(train, lr)
        for found, expected in zip(training.method.alphas, straight.alphas, strict=True):
            torch.testing.assert_close(found, expected, check_dtype=True, **EXACT)
        for found, expected in zip(straight.own, straight.w, strict=True):
            torch.testing.assert_close(found, expected, **EXACT)


def step_of(training, train, valid, lr=0.05):
    return Step(
        bilevel=training._learner.bilevel,
        train=train,
        valid=valid,
        epoch=0,
        epochs=4,
        tuning=False,
        lr=lr,
        optimizer=training._learner.optimizer,
        generator=torch.Generator(),
    )


def test_gradients_of_first_order_are_those_of_straight_line_code(
    make_training, exact_digits, in_double
):
    training = in_double(make_training("darts", data=exact_digits))
    straight = StraightDarts(
        training._space, exact_digits.task, training.supernet, training.method.alphas
    )
    (train,), (valid,) = batches(1, 0, 4), batches(1, 1, 4)
    training.supernet.train()
    outcome, found = training.method.alpha_gradient(step_of(training, train, valid))
    expected = straight.alpha_gradient(valid)
    torch.testing.assert_close(outcome.loss, straight.loss(valid), **EXACT)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, **EXACT)


class SmoothSupernet(Supernet):
    """One edge with three smooth ops, without norms: nothing in it has a kink."""

    def __init__(self):
        kind = CellKind("cell", ((0, 1),), (("a", "b", "c"),))
        super().__init__((kind,), ())
        self.ops = torch.nn.ModuleList(torch.nn.Linear(64, 6) for _ in range(3))
        self.last = torch.nn.Linear(6, 10)

    def forward(self, images, mixture):
        x = images.flatten(1)
        mixed = sum(
            weight * torch.tanh(op(x))
            for weight, op in zip(mixture.weights[0][0], self.ops, strict=True)
        )
        return self.last(mixed)


def loss_ahead(training, step, alpha):
    """Return ``L_valid(w'(α), α)``, differentiable by α through w' too."""
    supernet = step.bilevel.supernet
    mixture = training.method.decisions.mix([alpha.softmax(dim=1)])
    names, weights = zip(*supernet.named_parameters(), strict=True)

    def loss(values, batch):
        named = dict(zip(names, values, strict=True))
        logits = torch.func.functional_call(supernet, named, (batch.images, mixture))
        return F.cross_entropy(logits, batch.labels)

    slopes = torch.autograd.grad(loss(weights, step.train), weights, create_graph=True)
    momentum = [step.optimizer.state[w]["momentum_buffer"] for w in weights]
    moved = [
        w - step.lr * (0.9 * m + g + 3e-4 * w)
        for w, m, g in zip(weights, momentum, slopes, strict=True)
    ]
    return loss(moved, step.valid)


def slope_ahead(training, step):
    alpha = training.method.alphas[0]
    return torch.autograd.grad(loss_ahead(training, step, alpha), alpha)[0]


@pytest.fixture
def second_order(make_training, exact_digits, in_double, monkeypatch):
    """Makes a second-order training of a supernet, with momentum, and a step of it."""

    def make(build=None):
        if build:
            monkeypatch.setattr(
                "raynas.supernets.training.build_supernet", lambda *given, **named: build()
            )
        space = OneEdge() if build else "nasbench201"
        training = in_double(make_training(space, options={"order": 2}, data=exact_digits))
        training.train_epoch()
        training.supernet.train()
        training.method.alphas[0].data.mul_(300)
        (train,), (valid,) = batches(1, 0), batches(1, 1)
        return training, step_of(training, train, valid)

    return make


class OneEdge(NasBench201):
    kinds = (CellKind("cell", ((0, 1),), (("a", "b", "c"),)),)


def error_of_second_order(training, step):
    found, exact = training.method.alpha_gradient(step)[1][0], slope_ahead(training, step)
    return float((found - exact).norm() / exact.norm())


def test_second_order_is_the_derivative_of_the_loss_one_step_ahead(second_order, monkeypatch):
    training, step = second_order(SmoothSupernet)
    alpha, h = training.method.alphas[0], 1e-5
    exact = slope_ahead(training, step)
    for i in range(3):
        sides = []
        for sign in (1, -1):
            moved = alpha.detach().clone()
            moved[0, i] += sign * h
            sides.append(float(loss_ahead(training, step, moved).detach()))
        assert float(exact[0, i]) == pytest.approx((sides[0] - sides[1]) / (2 * h), rel=1e-6)
    first = training.method.__class__(order=1)
    first.begin(training.decisions, training.config, torch.Generator(), torch.device("cpu"))
    first.alphas = training.method.alphas
    of_first_order = first.alpha_gradient(step)[1][0]
    # As published, with ε = 0.01 / ‖v‖; a central difference, so a tenth of ε is a hundredth.
    error = error_of_second_order(training, step)
    assert error < 1e-5
    assert error < float((of_first_order - exact).norm() / exact.norm()) / 100
    monkeypatch.setattr(darts, "_EPSILON", 0.1)
    assert error_of_second_order(training, step) == pytest.approx(100 * error, rel=0.1)


def test_second_order_on_a_real_supernet_is_exact_between_kinks(second_order, monkeypatch):
    training, step = second_order()
    monkeypatch.setattr(darts, "_EPSILON", 1e-6)  # too small a move to cross a kink of a ReLU
    assert error_of_second_order(training, step) < 1e-7


def test_second_order_puts_everything_back(second_order):
    training, step = second_order()
    before = training.save()["learner"]
    training.method.alpha_gradient(step)
    after = training.save()["learner"]
    for name, tensor in before["supernet"].items():
        assert torch.equal(tensor, after["supernet"][name]), name
    for number, state in before["optimizer"]["state"].items():
        momentum = after["optimizer"]["state"][number]["momentum_buffer"]
        assert torch.equal(state["momentum_buffer"], momentum)
    assert all(p.requires_grad for p in training.supernet.parameters())
