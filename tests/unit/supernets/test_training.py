"""The loop: what it trains, what it reports, how it resumes, what it refuses."""

import math

import pytest
import torch

from raynas.errors import CheckpointError, ConfigError, TrialError
from raynas.spaces.nasbench201 import NasBench201
from raynas.supernets import METHODS
from raynas.supernets.decisions import Decisions
from raynas.supernets.metrics import describe, skip_gap
from raynas.training.checkpoint import load_checkpoint, save_checkpoint
from raynas.training.loop import snapshot

# Options with which every method shows all it does within the 4 epochs of these tests.
SHORT = {
    "sgas": {"criterion": 2, "first": 0, "every": 1, "history": 2},
    "sdarts_adv": {"ascents": 2},
    "robust": {
        "order": 1,
        "every": 1,
        "window": 1,
        "lag": 1,
        "earliest": 0,
        "on_rise": "regularise",
        "exact_up_to": 0,
        "iterations": 3,
    },
    "drnas_progressive": {"partials": [4, 2], "ops": [3]},
}
LONGER = {"sgas": {"epochs": 8}}


def alphas(training):
    return [alpha.detach().clone() for alpha in training.method.parameters]


@pytest.mark.parametrize("space", ["nasbench201", "darts"])
@pytest.mark.parametrize("name", METHODS)
def test_every_method_trains_and_theta_is_sane(make_training, train, name, space):
    training = make_training(space, name, SHORT.get(name), batch_size=16, **LONGER.get(name, {}))
    before = alphas(training)
    train(training, 2)
    for theta, kind in zip(training.theta(), training.decisions.kinds, strict=True):
        assert theta.shape == (kind.num_edges, kind.num_ops)
        assert (theta >= 0).all()
        torch.testing.assert_close(theta.sum(dim=1), torch.ones(kind.num_edges))
    moved = [not torch.equal(old, new) for old, new in zip(before, alphas(training), strict=True)]
    assert all(moved) == any(moved) == (name != "fixed")
    last = training.history[-1]
    assert last["epoch"] == 2
    assert all(math.isfinite(last[key]) for key in ("train_loss", "loss", "lr"))
    assert last["accuracy"] == last["correct"] / last["count"]
    assert last["count"] == 16
    assert (last["alpha_loss"] is None) == (name == "fixed")


@pytest.mark.parametrize("name", METHODS)
def test_resumed_training_is_bit_equal(make_training, train, tmp_path, same, name):
    def make():
        settings = {"batch_size": 16, **LONGER.get(name, {})}
        return make_training("nasbench201", name, SHORT.get(name), **settings)

    first, second = train(make(), 2), make()
    save_checkpoint(tmp_path / "c", first.save())
    second.load(load_checkpoint(tmp_path / "c"))
    assert same(train(second, 2).save(), train(first, 2).save())


def test_a_later_stage_resumes_bit_equal(make_training, train, same):
    options = {"partials": [4, 2, 1], "ops": [4, 2]}

    def make():
        return make_training("nasbench201", "drnas_progressive", options, epochs=6)

    first, second = train(make(), 5), make()
    second.load(first.save())
    assert second.supernet.stages[0].mixed.partial == 1
    assert same(train(second, 1).save(), train(first, 1).save())


def test_a_snapshot_does_not_change_as_training_goes_on(make_training, train, same):
    training = train(make_training(), 1)
    state, again = training.save(), training.save()
    assert same(state, again)
    train(training, 1)
    assert same(state, again)
    assert not same(state, training.save())


def test_what_is_loaded_does_not_change_either(make_training, train, same):
    state = train(make_training(), 1).save()
    again = snapshot(state)
    training = make_training()
    training.load(state)
    train(training, 1)
    assert same(state, again)


def test_another_seed_is_another_training(make_training, train, same):
    one, other = (train(make_training(seed=seed), 1).save() for seed in (0, 1))
    assert not same(one["learner"], other["learner"])


def test_one_epoch_moves_what_it_should(make_training):
    training = make_training()
    names = [name for name, _ in training.supernet.named_parameters()]
    before = [p.detach().clone() for p in training.supernet.parameters()]
    training.train_epoch()
    still = [
        name
        for name, old, new in zip(names, before, training.supernet.parameters(), strict=True)
        if torch.equal(old, new)
    ]
    assert still == []
    assert training.supernet.training
    assert all(p.requires_grad and p.grad is None for p in training.supernet.parameters())
    assert training.supernet.tracking


def test_weights_get_no_gradient_in_the_step_of_alpha(make_training, monkeypatch):
    training = make_training()
    seen = []
    forward = type(training.supernet).forward

    def spy(self, images, mixture):
        of_weights = any(p.requires_grad for p in self.parameters())
        seen.append((of_weights, mixture.weights[0].requires_grad, torch.is_grad_enabled()))
        return forward(self, images, mixture)

    monkeypatch.setattr(type(training.supernet), "forward", spy)
    training.train_epoch()
    steps = [(w, a) for w, a, on in seen if on]
    assert steps == [(False, True), (True, False)] * 2


def test_alpha_is_left_alone_in_frozen_epochs(make_training, train):
    training = make_training(alpha_frozen_epochs=2)
    start = alphas(training)
    train(training, 2)
    assert all(map(torch.equal, start, alphas(training)))
    assert training.history[-1]["alpha_loss"] is None
    train(training, 1)
    assert not any(map(torch.equal, start, alphas(training)))


def test_what_is_decided_keeps_its_alpha_and_the_rest_learns(make_training, train):
    training = make_training("s2")
    train(training, 1)  # so that Adam has momentum
    training.decisions.decide_op(0, 3, 1)
    training.decisions.keep_edges(0, 4, (5, 6))
    before = alphas(training)[0]
    train(training, 1)
    after = alphas(training)[0]
    settled = [3, 7, 8]
    assert torch.equal(before[settled], after[settled])
    others = [e for e in range(14) if e not in settled]
    assert (before[others] != after[others]).all()
    mixture = training.mixture()
    assert mixture.weights[0][3].tolist() == [0, 1]
    assert mixture.weights[0][7].tolist() == [0, 0]


def test_alpha_rests_once_nothing_is_open(make_training, train):
    training = make_training()
    for edge in range(6):
        training.decisions.decide_op(0, edge, 1)
    train(training, 1)
    assert training.history[-1]["alpha_loss"] is None
    assert training.history[-1]["theta_entropy"] == {"cell": 0.0}


def test_learning_rate_follows_the_published_cosine(make_training, train):
    training = train(make_training(epochs=4, lr=0.025, min_lr=0.001), 4)
    expected = [0.001 + 0.024 * (1 + math.cos(math.pi * e / 4)) / 2 for e in range(4)]
    assert [m["lr"] for m in training.history] == pytest.approx(expected)


def test_warm_up_rises_by_equal_steps(make_training, train):
    training = train(make_training(epochs=4, lr=0.5, min_lr=0.0, warmup_epochs=2), 3)
    cosine = 0.5 * (1 + math.cos(math.pi * 2 / 4)) / 2
    assert [m["lr"] for m in training.history] == pytest.approx([0.25, 0.5, cosine])


def test_tuning_begins_with_new_momentum_and_a_constant_rate(make_training, train):
    training = train(make_training(epochs=2), 2)
    assert training.searched
    adam = training.save()["learner"]["alpha_optimizer"]["state"][0]["step"]
    training.begin_tuning(0.0025, "constant", 5)
    assert training.save()["learner"]["optimizer"]["state"] == {}
    train(training, 2)
    assert [m["lr"] for m in training.history[2:]] == [0.0025, 0.0025]
    assert training.save()["learner"]["alpha_optimizer"]["state"][0]["step"] == adam + 4
    assert training.epoch == 4
    assert training.searched


def test_tuning_can_end_at_zero(make_training, train):
    training = train(make_training(epochs=1), 1)
    training.begin_tuning(0.01, "cosine", 2)
    train(training, 2)
    assert [m["lr"] for m in training.history[1:]] == pytest.approx([0.01, 0.005])


def test_tuning_resumes_bit_equal(make_training, train, same):
    def tuned(training):
        train(training, 1)
        training.begin_tuning(0.01, "cosine", 3)
        return train(training, 1)

    first = tuned(make_training(epochs=1))
    second = make_training(epochs=1)
    second.load(first.save())
    assert same(train(second, 1).save(), train(first, 1).save())


def test_selection_batches_are_the_half_of_alpha_and_do_not_change(make_training):
    training = make_training(batch_size=8)
    batches = list(training.selection_batches(6))
    assert [len(labels) for _, labels in batches] == [6, 5, 5]
    assert training.num_selection_batches(6) == 3
    again = list(training.selection_batches(6))
    assert all(torch.equal(a, b) for (a, _), (b, _) in zip(batches, again, strict=True))
    ways = [
        torch.cat([images for images, _ in training.selection_batches(6, **how)])
        for how in ({"shuffle_seed": 1}, {"shuffle_seed": 2})
    ]
    plain = torch.cat([images for images, _ in batches])
    assert not torch.equal(*ways)
    for shuffled in ways:
        assert torch.equal(_sorted(shuffled), _sorted(plain))
    moved = torch.cat(
        [images for images, _ in training.selection_batches(6, augmented=True, shuffle_seed=1)]
    )
    assert not torch.equal(moved, ways[0])


def _sorted(images):
    rows = sorted(images.flatten(1).tolist())
    return torch.tensor(rows)


def test_alpha_half_is_gone_through_again_where_it_is_smaller(make_training, train):
    training = train(make_training(split=0.75, batch_size=8), 1)
    assert training.history[0]["alpha_loss"] is not None  # 3 batches of w, 1 of α


def test_divergence_names_epoch_and_loss(make_training, train):
    training = train(make_training(), 1)
    with torch.no_grad():
        next(training.supernet.parameters()).fill_(math.nan)
    with pytest.raises(TrialError, match="diverged at epoch 2: training loss is nan"):
        training.train_epoch()
    assert training.epoch == 1


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"seed": 1}, "trained with seed 0, not 1"),
        ({"method": "gdas"}, "trained with method 'Darts', not 'Gdas'"),
        ({"options": {"order": 2}}, "trained with method.order 1, not 2"),
        ({"lr": 0.05}, "trained with training.lr 0.025, not 0.05"),
        ({"space": "s2"}, "a supernet of space nasbench201, not of s2"),
        (
            {"space": NasBench201(channels=4, cells_per_stage=1, ops=["none", "nor_conv_3x3"])},
            "a supernet of space nasbench201 with other cells or ops",
        ),
        (
            {"space": NasBench201(channels=8, cells_per_stage=1)},
            "not a checkpoint of this supernet",
        ),
    ],
    ids=lambda value: "" if isinstance(value, str) else next(iter(value)),
)
def test_a_checkpoint_of_something_else_is_refused(make_training, changed, message):
    state = make_training().save()
    with pytest.raises(CheckpointError) as error:
        make_training(**changed).load(state)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_what_is_no_checkpoint_is_refused(make_training):
    with pytest.raises(CheckpointError, match="format None, not 1"):
        make_training().load({})
    state = make_training().save()
    del state["learner"]
    with pytest.raises(CheckpointError, match="not a checkpoint of this supernet: 'learner'"):
        make_training().load(state)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"batch_size": 17},
            "training.batch_size: 17 images a batch, but the half of the training images that the "
            "weights learn from has 16",
        ),
        (
            {"split": 0.8, "batch_size": 8},
            "training.batch_size: 8 images a batch, but the half of the training images that the "
            "alphas learn from has 6",
        ),
        ({"alpha_frozen_epochs": 4}, "training.alpha_frozen_epochs: 4 leave none of the 4 epochs"),
    ],
    ids=["weights", "alphas", "frozen"],
)
def test_settings_that_do_not_fit_are_one_line(make_training, settings, message):
    with pytest.raises(ConfigError) as error:
        make_training(**settings)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_entropy_and_gap_of_a_mixture(make_training):
    training = make_training("s2")
    kind = training.decisions.kinds[0]
    theta = torch.tensor([[0.5, 0.5]]).repeat(14, 1)
    theta[0] = torch.tensor([1.0, 0.0])
    assert skip_gap(kind, theta) == pytest.approx(1 / 14)
    described = describe([kind], Decisions([kind]).mix([theta]))
    assert described["theta_entropy"] == {"normal": pytest.approx(13 / 14)}
    nasbench = make_training().decisions.kinds[0]
    row = torch.tensor([[0.1, 0.4, 0.2, 0.1, 0.2]]).repeat(6, 1)
    assert skip_gap(nasbench, row) == pytest.approx(0.4 - 0.15)
    bare = NasBench201(channels=4, cells_per_stage=1, ops=["none", "nor_conv_3x3"]).kinds[0]
    assert skip_gap(bare, torch.full((6, 2), 0.5)) is None


def test_drop_path_is_over_when_the_epoch_is(make_training, train):
    training = make_training(drop_path=0.5, epochs=2)
    train(training, 2)
    assert training.supernet.drop_path_probability == 0
