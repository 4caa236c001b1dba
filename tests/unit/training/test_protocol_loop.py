"""What full trainings do beyond a search's: auxiliary loss, dropped paths, averages, all data."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from raynas.errors import CheckpointError, ConfigError
from raynas.training.learner import Learner, auxiliary_of
from raynas.training.loop import NetworkTrial
from raynas.training.recipe import TrainingConfig

CONFIG = TrainingConfig(full_epochs=4, batch_size=50, device="cpu")


class WithHead(nn.Module):
    """A network with an auxiliary classifier and a probability of dropping paths."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner
        with torch.random.fork_rng():
            torch.manual_seed(1)
            self.auxiliary = nn.Linear(10, 10)
        self.drop_path_probability = 0.7
        self.seen = []

    def forward(self, images):
        if self.training:
            self.seen.append(self.drop_path_probability)
        return self.inner(images)

    def forward_with_auxiliary(self, images):
        logits = self(images)
        return logits, self.auxiliary(logits)


@pytest.fixture
def start(digits, make_network):
    def start(network=None, data=digits, seed=5, **options):
        config = CONFIG.model_copy(update=options)
        return NetworkTrial(network or WithHead(make_network()), data, config, seed)

    return start


def test_the_loss_is_that_of_both_classifiers(make_network):
    network = WithHead(make_network()).eval()
    images, labels = torch.randn(6, 1, 8, 8), torch.arange(6)
    loss, logits = Learner(network, label_smoothing=0.1, auxiliary_weight=0.4)(images, labels)
    other = network.auxiliary(logits)
    first, second = (F.cross_entropy(x, labels, label_smoothing=0.1) for x in (logits, other))
    assert loss.item() == pytest.approx(first.item() + 0.4 * second.item())
    plain, _ = Learner(network, label_smoothing=0.1)(images, labels)
    assert plain.item() == pytest.approx(first.item())


def test_only_a_weight_trains_the_auxiliary_classifier(start, same):
    for weight, moves in ((0.0, False), (0.4, True)):
        trial = start(auxiliary_weight=weight, weight_decay=0.0)
        before = trial.network.auxiliary.weight.clone()
        trial.train(1)
        assert torch.equal(trial.network.auxiliary.weight, before) is not moves


def test_paths_are_dropped_ever_more_often(start):
    trial = start(drop_path=0.4)
    trial.train(2)
    trial.train(4)
    assert trial.network.seen == pytest.approx([p for p in (0, 0.1, 0.2, 0.3) for _ in range(4)])


def test_without_a_ramp_the_networks_own_probability_stays(start):
    trial = start()
    trial.train(1)
    assert set(trial.network.seen) == {0.7}


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"auxiliary_weight": 0.4}, "no auxiliary classifier"),
        ({"drop_path": 0.2}, "drops no paths"),
        ({"color_jitter": (0.4, 0.0, 0.0, 0.0)}, "three channels"),
    ],
)
def test_what_the_network_or_the_images_lack_is_said(start, make_network, options, word):
    with pytest.raises(ConfigError, match=word):
        start(make_network(), **options)


def test_an_attribute_that_is_no_head_is_no_head(make_network):
    network = make_network()
    network.auxiliary = nn.Linear(1, 1)
    assert auxiliary_of(network) is None
    assert auxiliary_of(WithHead(make_network())) is not None


def test_the_average_validates_and_is_delivered(start, digits):
    from raynas.training.evaluation import evaluate

    trial = start(ema=0.9)
    metrics = trial.train(2)
    assert trial.delivered is not trial.network
    found = evaluate(trial.delivered, digits, digits.valid, CONFIG.placement())
    assert metrics["accuracy"] == found.accuracy
    raw = evaluate(trial.network, digits, digits.valid, CONFIG.placement())
    assert raw.loss != found.loss


def test_the_average_does_not_change_what_is_trained(start, same):
    plain, averaged = start(), start(ema=0.9)
    plain.train(2), averaged.train(2)
    assert same(plain.save()["network"], averaged.save()["network"])


@pytest.mark.parametrize("options", [{"ema": 0.9}, {"auxiliary_weight": 0.4, "drop_path": 0.2}])
def test_pausing_changes_nothing(start, same, options):
    whole, first, second = start(**options), start(**options), start(**options)
    whole.train(3)
    first.train(2)
    second.load(first.save())
    second.train(3)
    assert same(whole.save(), second.save())


def test_a_checkpoint_of_before_there_were_averages_is_refused_only_if_one_is_asked_for(start):
    old = start()
    old.train(1)
    state = old.save()
    for name in ("ema", "schedule", "drop_path", "train_on"):
        del state["recipe"][name]
    again = start()
    again.load(state)
    assert again.epoch == 1
    with pytest.raises(CheckpointError, match=r"trained with ema None, not 0\.9"):
        start(ema=0.9).load(state)


def test_trained_on_everything_there_is_nothing_to_validate_on(start, digits):
    whole = digits.train_on_all()
    assert len(whole.train) == 280
    assert len(whole.valid) == 0
    assert torch.equal(whole.train.images[200:], digits.valid.images)
    metrics = start(data=whole).train(1)
    assert "accuracy" not in metrics
    assert math.isfinite(metrics["train_loss"])


def test_crops_take_the_place_of_shifts(start, same):
    trial = start(resized_crop=0.3)
    assert trial._augmentation.crop_padding == 0
    again = start(resized_crop=0.3)
    assert same(trial.train(2), again.train(2))
    assert not same(trial.train(3), start().train(3))
