"""Perturbed mixing weights: bounds, the simplex, ascent, and what is left alone."""

from types import SimpleNamespace

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings

from raynas.supernets.sdarts import SdartsAdversarial, SdartsRandom, on_simplex, uniform

entries = st.floats(-2, 2, allow_nan=False, width=32)
rows = st.lists(st.lists(entries, min_size=3, max_size=3), min_size=1, max_size=4)


@settings(deadline=None)  # no matter how busy the machine is
@given(rows)
def test_rows_come_back_to_the_simplex(values):
    before = torch.tensor(values)
    after = on_simplex(before)
    assert (after >= 0).all()
    torch.testing.assert_close(after.sum(dim=1), torch.ones(len(before)))
    clamped = before.clamp(0, 1)
    for old, new in zip(clamped, after, strict=True):
        if old.any():  # divided by the sum, so shares are kept and zeros stay zeros
            torch.testing.assert_close(new * old.sum(), old)
    on_it = on_simplex(after)
    torch.testing.assert_close(on_it, after)


def test_a_row_pushed_out_altogether_keeps_its_largest_entry():
    pushed = torch.tensor([[-0.3, -0.1, -0.2], [0.0, -1.0, 0.0]])
    assert on_simplex(pushed).tolist() == [[0, 1, 0], [1, 0, 0]]


def test_clamping_is_not_the_nearest_point():
    torch.testing.assert_close(
        on_simplex(torch.tensor([[1.5, 0.5]])), torch.tensor([[2 / 3, 1 / 3]])
    )


@settings(max_examples=20, deadline=None)
@given(st.floats(0, 1), st.integers(0, 2**32))
def test_draws_stay_within_epsilon(epsilon, seed):
    drawn = uniform(torch.zeros(14, 7), epsilon, torch.Generator().manual_seed(seed))
    assert drawn.abs().max() <= epsilon


def test_epsilon_grows_with_the_epochs_and_stays_while_tuning():
    method = SdartsRandom()
    steps = [SimpleNamespace(epoch=e, epochs=50, tuning=False) for e in (0, 25, 49)]
    grown = [method.epsilon(step) for step in steps]
    assert grown == pytest.approx([0.03, 0.165, 0.03 + 0.27 * 49 / 50])
    assert method.epsilon(SimpleNamespace(epoch=60, epochs=50, tuning=True)) == 0.3


@torch.no_grad()
def _loss(step, mixture):
    step.bilevel.supernet.eval()
    loss = float(step.bilevel.run(step.train, mixture).loss)
    step.bilevel.supernet.train()
    return loss


@pytest.fixture
def watched(make_training, monkeypatch):
    """Trains an epoch and collects the θ before, the perturbed mixture and the step of each w."""

    def watch(name, options=None, before=None, **settings):
        training = make_training("s2", name, options, batch_size=16, **settings)
        if before:
            before(training)
        seen = []
        draw = training.method.weights_mixture

        def spy(step):
            alphas = [alpha.detach().clone() for alpha in training.method.alphas]
            theta, mode = training.theta(), training.supernet.training
            buffers = [buffer.clone() for buffer in training.supernet.buffers()]
            mixture = draw(step)
            assert all(map(torch.equal, alphas, training.method.alphas))
            assert training.supernet.training is mode
            losses = None
            if name == "sdarts_adv":
                assert all(map(torch.equal, buffers, training.supernet.buffers()))
                losses = [_loss(step, one) for one in (training.method.mix(theta), mixture)]
            seen.append((theta, mixture, training.method.epsilon(step), losses))
            return mixture

        monkeypatch.setattr(training.method, "weights_mixture", spy)
        training.train_epoch()
        assert seen
        return seen

    return watch


@pytest.mark.parametrize("name", ["sdarts_rs", "sdarts_adv"])
def test_weights_are_trained_near_theta(watched, name):
    changed = False
    for theta, mixture, epsilon, _ in watched(name, {"first_epsilon": 0.2}):
        assert epsilon == 0.2
        for old, new in zip(theta, mixture.weights, strict=True):
            # Rows of two: clamped sums lie within [1 - 2ε, 1 + 2ε], entries within ε before.
            torch.testing.assert_close(new.sum(dim=1), torch.ones(14))
            assert ((new - old).abs() <= 2 * epsilon / (1 - 2 * epsilon)).all()
            changed |= not torch.equal(old, new)
            assert not new.requires_grad
    assert changed


def test_ops_pushed_to_zero_do_not_run(watched):
    found = watched("sdarts_rs", {"first_epsilon": 1.0, "last_epsilon": 1.0})
    off = 0
    for _, mixture, _, _ in found:
        for weights, active in zip(mixture.weights, mixture.active, strict=True):
            assert ((weights != 0).numpy() == active).all()
            off += int((~active).sum())
    assert off > 0


def test_decided_rows_are_not_perturbed(watched):
    def decide(training):
        training.decisions.decide_op(0, 2, 1)
        training.decisions.keep_edges(1, 4, (5, 7))

    for _, mixture, _, _ in watched("sdarts_rs", {"first_epsilon": 0.5}, decide):
        assert mixture.weights[0][2].tolist() == [0, 1]
        assert mixture.active[0][2].tolist() == [False, True]
        assert not mixture.active[1][[6, 8]].any()


def test_the_adversary_hurts_and_keeps_theta_where_it_cannot(watched):
    for theta, mixture, _, losses in watched("sdarts_adv", {"first_epsilon": 0.3}):
        clean, hurt = losses
        assert hurt > clean or all(map(torch.equal, theta, mixture.weights))


def test_an_adversary_that_finds_nothing_leaves_theta(watched, monkeypatch):
    monkeypatch.setattr(SdartsAdversarial, "_loss", lambda self, theta, step: 1.0)
    for theta, mixture, _, _ in watched("sdarts_adv", {"ascents": 1}):
        assert all(map(torch.equal, theta, mixture.weights))
