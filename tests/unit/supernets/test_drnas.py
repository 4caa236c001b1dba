"""DrNAS: distributions, their draws and gradients, the regulariser, stages."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.distributions import Dirichlet, kl_divergence

from raynas.errors import ConfigError, SpaceError
from raynas.spaces.cell_space import CellSpace
from raynas.spaces.nasbench201 import NasBench201
from raynas.supernets.decisions import Decisions
from raynas.supernets.dirichlet import divergence_from_uniform, draw_dirichlet
from raynas.supernets.method import make_method


def begun(name="drnas", options=None, space=None, **settings):
    method = make_method(name, options)
    space = space or NasBench201()
    config = method.training_config({"alpha_init": 1.0, **settings})
    method.check(space.kinds, config)
    generator = torch.Generator().manual_seed(3)
    method.begin(Decisions(space.kinds), config, generator, torch.device("cpu"))
    return method


def step(seed=0):
    return SimpleNamespace(generator=torch.Generator().manual_seed(seed))


def allowed(*rows):
    return np.array(rows, dtype=np.bool_)


def test_draws_are_torchs_own_with_its_gradient():
    c = (torch.rand(6, 5, dtype=torch.float64) + 0.1).requires_grad_()
    weights = torch.rand(6, 5, dtype=torch.float64)
    with torch.random.fork_rng():
        torch.manual_seed(5)
        expected = Dirichlet(c).rsample()
    (of_torch,) = torch.autograd.grad((expected * weights).sum(), c)
    found = draw_dirichlet(c, np.ones((6, 5), np.bool_), torch.Generator().manual_seed(5))
    (own,) = torch.autograd.grad((found * weights).sum(), c)
    torch.testing.assert_close(found, expected, rtol=0, atol=0)
    torch.testing.assert_close(own, of_torch)


def test_masked_draws_are_draws_over_what_is_left():
    mask = allowed([1, 1, 0, 1], [1, 0, 1, 0], [1, 1, 1, 1])
    c = torch.tensor([[1.0, 4, 9, 2], [3, 5, 1, 7], [2, 2, 2, 2]], dtype=torch.float64)
    generator = torch.Generator().manual_seed(0)
    draws = torch.stack([draw_dirichlet(c, mask, generator) for _ in range(3000)])
    assert (draws[:, torch.from_numpy(~mask)] == 0).all()
    torch.testing.assert_close(draws.sum(dim=2), torch.ones(3000, 3, dtype=torch.float64))
    for row in range(3):
        kept = c[row, torch.from_numpy(mask[row])]
        own = draws[:, row, torch.from_numpy(mask[row])]
        exact = Dirichlet(kept)
        torch.testing.assert_close(own.mean(dim=0), exact.mean, atol=0.02, rtol=0)
        torch.testing.assert_close(own.var(dim=0), exact.variance, atol=0.01, rtol=0)


def test_masked_gradients_reach_what_is_left_alone():
    mask = allowed([1, 1, 0, 1])
    c = torch.full((1, 4), 2.0, requires_grad=True)
    draw_dirichlet(c, mask, torch.Generator().manual_seed(0))[0, 1].backward()
    assert c.grad[0, 2] == 0
    assert (c.grad[0, [0, 1, 3]] != 0).all()


def test_divergence_is_torchs():
    c = torch.rand(6, 5, dtype=torch.float64) + 0.2
    expected = kl_divergence(Dirichlet(c), Dirichlet(torch.ones_like(c)))
    torch.testing.assert_close(divergence_from_uniform(c, np.ones((6, 5), np.bool_)), expected)
    mask = allowed(*[[1, 0, 1, 1, 0]] * 6)
    kept = c[:, [0, 2, 3]]
    expected = kl_divergence(Dirichlet(kept), Dirichlet(torch.ones_like(kept)))
    torch.testing.assert_close(divergence_from_uniform(c, mask), expected)


def test_concentrations_are_1_at_the_start_and_never_0():
    method = begun(alpha_init=0.0)
    assert (method.concentrations()[0] == 1).all()
    method.alphas[0].data.fill_(-50.0)
    (c,) = method.concentrations()
    assert (c > 0).all()
    mixture = method.draw(step())
    assert torch.isfinite(mixture.weights[0]).all()
    torch.testing.assert_close(mixture.weights[0].sum(dim=1), torch.ones(6))


def test_theta_is_the_mean_and_strengths_are_the_softmax_of_beta():
    method = begun()
    beta = method.alphas[0].detach()
    c = torch.where(beta > 0, beta, torch.exp(beta) - 1) + 1
    torch.testing.assert_close(method.theta()[0], c / c.sum(dim=1, keepdim=True))
    torch.testing.assert_close(method.strengths()[0], beta.softmax(dim=1))
    assert torch.equal(method.theta()[0].argmax(dim=1), method.strengths()[0].argmax(dim=1))


def test_every_pass_draws_anew_and_all_workers_alike():
    method = begun()
    here, there = step(7), step(7)
    first, second = (method.draw(here).weights[0] for _ in range(2))
    assert not torch.equal(first, second)
    assert torch.equal(first, method.draw(there).weights[0])


def test_penalty_is_the_divergence_of_all_edges_or_weight_decay():
    method = begun(options={"regulariser": "kl", "strength": 0.1})
    c = method.concentrations()[0]
    expected = 0.1 * kl_divergence(Dirichlet(c), Dirichlet(torch.ones_like(c))).sum()
    torch.testing.assert_close(method.penalty(), expected)
    assert begun().penalty() is None


def test_stages_prune_and_widen_and_carry_momentum(make_training, train):
    options = {"partials": [4, 2], "ops": [2]}
    training = make_training("nasbench201", "drnas_progressive", options, epochs=4)
    beta = training.method.alphas[0]
    assert training.supernet.stages[0].mixed.partial == 4
    train(training, 2)
    momentum = {
        name: training._learner.optimizer.state[p]["momentum_buffer"].clone()
        for name, p in training.supernet.named_parameters()
    }
    kept = torch.from_numpy(training.decisions.allowed(0))
    best = beta.detach().masked_fill(~kept, -math.inf).topk(2, dim=1).indices.sort(dim=1).values
    training._begin_epoch()
    assert training.supernet.stages[0].mixed.partial == 2
    after = torch.from_numpy(training.decisions.allowed(0))
    assert after.sum(dim=1).tolist() == [2] * 6
    assert torch.equal(after.nonzero()[:, 1].view(6, 2), best)
    assert (beta[~after] == 0).all()
    for name, parameter in training.supernet.named_parameters():
        carried = training._learner.optimizer.state[parameter]["momentum_buffer"]
        assert carried.shape == parameter.shape
        old = momentum[name]
        assert torch.equal(carried[tuple(slice(n) for n in old.shape)], old), name
    train(training, 2)
    assert (beta[~after] == 0).all()
    theta = training.theta()[0]
    assert (theta[~after] == 0).all()
    torch.testing.assert_close(theta.sum(dim=1), torch.ones(6))


def test_beta_is_frozen_at_the_start_of_each_stage():
    method = begun("drnas_progressive", {"ops": [3]}, epochs=50)
    learns = []
    for epoch in range(50):
        method.begin_epoch(epoch)
        learns.append(method.trains_alpha(epoch, tuning=False))
    assert learns == ([False] * 10 + [True] * 15) * 2
    assert method.partial == 4


def test_a_user_op_that_cannot_be_widened_is_found_at_once(make_training):
    class Own(torch.nn.Conv2d):
        def __init__(self, channels):
            super().__init__(channels, channels, 1)

    space = CellSpace(
        ops={"skip": "skip_connect", "own": Own}, nodes=3, channels=4, stages=2, cells_per_stage=1
    )
    with pytest.raises(SpaceError, match="cannot widen an op of your own"):
        make_training(space, "drnas_progressive", {"partials": [2, 1], "ops": [1]})


@pytest.mark.parametrize(
    ("options", "settings", "message"),
    [
        ({"ops": [6]}, {}, "a stage cannot keep 6 ops of an edge where 5 are"),
        (
            {"partials": [4, 2, 1], "ops": [2, 3]},
            {},
            "a stage cannot keep 3 ops of an edge where 2 are",
        ),
        ({"partials": [2, 4]}, {}, "channels are only added, but 1 of 4 is less than 1 of 2"),
        ({"ops": [3]}, {"epochs": 1}, "0 leave none of the 0 epochs of a stage"),
        ({"ops": [3]}, {"epochs": 8, "alpha_frozen_epochs": 4}, "alpha_frozen_epochs"),
    ],
)
def test_what_makes_no_sense_is_refused(options, settings, message):
    with pytest.raises(ConfigError) as error:
        begun("drnas_progressive", options, **settings)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_partial_channels_must_divide(make_training):
    with pytest.raises(SpaceError, match="must divide"):
        make_training("nasbench201", "drnas_progressive", {"partials": [3, 2], "ops": [3]})
    with pytest.raises(SpaceError, match="must divide"):
        make_training("nasbench201", "pc_darts", {"partial": 3})
