"""PC-DARTS' weights of edges, GDAS' one op an edge, and α that is never touched."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from raynas.spaces.darts import DartsSpace
from raynas.supernets.decisions import Decisions
from raynas.supernets.method import make_method


def begun(name, options=None, space=None):
    method = make_method(name, options)
    config = method.training_config({"alpha_init": 1.0})
    generator = torch.Generator().manual_seed(3)
    space = space or DartsSpace()
    method.begin(Decisions(space.kinds), config, generator, torch.device("cpu"))
    return method


def test_edges_into_a_node_share_a_weight_of_1():
    method = begun("pc_darts")
    first, second = method.edge_weights()
    raw = method.edge_alphas[0].detach().exp()
    for node, edges in enumerate(([0, 1], [2, 3, 4], [5, 6, 7, 8], [9, 10, 11, 12, 13])):
        torch.testing.assert_close(first[edges], raw[edges] / raw[edges].sum(), msg=str(node))
    assert float(second.detach().sum()) == pytest.approx(4)
    assert [p.shape for p in method.parameters] == [(14, 7), (14, 7), (14,), (14,)]


def test_selection_compares_products_of_op_and_edge():
    method = begun("pc_darts")
    expected = method.theta()[1] * method.edge_weights()[1][:, None]
    torch.testing.assert_close(method.strengths()[1], expected)
    mixture = method.mix(method.theta())
    torch.testing.assert_close(mixture.weights[1], method.alphas[1].softmax(dim=1))
    torch.testing.assert_close(mixture.edge_weights[1], method.edge_weights()[1])


def test_edges_need_not_be_weighed():
    method = begun("pc_darts", {"normalise_edges": False})
    assert method.edge_weights() is None
    assert len(method.parameters) == 2
    assert torch.equal(method.strengths()[0], method.theta()[0])


def test_weights_of_edges_learn_and_partial_channels_run(make_training, train):
    training = make_training("nasbench201", "pc_darts", {"partial": 2}, alpha_frozen_epochs=0)
    assert training.supernet.stages[0].mixed.partial == 2
    before = [p.detach().clone() for p in training.method.parameters]
    train(training, 1)
    assert not any(map(torch.equal, before, training.method.parameters))


def gdas_step(epoch=0, tuning=False):
    generator = torch.Generator().manual_seed(0)
    return SimpleNamespace(epoch=epoch, epochs=50, tuning=tuning, generator=generator)


def test_one_op_of_every_edge_runs_with_weight_1():
    mixture = begun("gdas").draw(gdas_step())
    for weights, active in zip(mixture.weights, mixture.active, strict=True):
        assert (active.sum(axis=1) == 1).all()
        torch.testing.assert_close(weights.detach(), torch.from_numpy(active).float())


def test_ops_are_drawn_with_the_probabilities_theta():
    method, step = begun("gdas"), gdas_step()
    counts = np.zeros((14, 7))
    for _ in range(2000):
        counts += method.draw(step).active[0]
    theta = method.theta()[0].detach().numpy()
    np.testing.assert_allclose(counts / 2000, theta, atol=0.04)


def test_gradient_is_that_of_the_soft_weights():
    method, step = begun("gdas"), gdas_step(epoch=25)
    factors = [torch.rand(14, 7) for _ in range(2)]
    weights = method.draw(step).weights
    loss = sum((f * w).sum() for f, w in zip(factors, weights, strict=True))
    found = torch.autograd.grad(loss, method.alphas)
    generator = gdas_step().generator
    soft = []
    for alpha in method.alphas:
        noise = -torch.empty_like(alpha).exponential_(generator=generator).log()
        soft.append(((alpha.log_softmax(dim=1) + noise) / 5.5).softmax(dim=1))
    loss = sum((f * w).sum() for f, w in zip(factors, soft, strict=True))
    for one, other in zip(found, torch.autograd.grad(loss, method.alphas), strict=True):
        torch.testing.assert_close(one, other)


def test_temperature_falls():
    method = begun("gdas")
    temperatures = [method.temperature(gdas_step(epoch)) for epoch in (0, 25, 50)]
    assert temperatures == pytest.approx([10, 5.5, 1])
    assert method.temperature(gdas_step(60, tuning=True)) == 1


def test_alpha_is_exactly_zero_for_ever(make_training, train):
    training = train(make_training("s2", "fixed"), 1)
    training.begin_tuning(0.0025, "constant", 1)
    train(training, 1)
    assert all((alpha == 0).all() for alpha in training.method.alphas)
    assert all((theta == 0.5).all() for theta in training.theta())
