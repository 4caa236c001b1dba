"""The protocols of full trainings, epoch by epoch, against their published rules (§7.1, §7.2)."""

import math

import pytest
import torch

from raynas.networks.cost import flops, num_params
from raynas.retraining.config import resolve
from raynas.retraining.session import make_objective
from raynas.spaces.darts import DartsSpace
from raynas.spaces.space import TaskShape
from raynas.training.learner import auxiliary_of

CIFAR10 = TaskShape(in_channels=3, image_size=32, num_classes=10)
IMAGENET = TaskShape(in_channels=3, image_size=224, num_classes=1000)
MOBILE = {"overrides": {"data": "imagefolder:images"}}


def protocol(preset, **options):
    config = resolve(["DARTS_V2"], preset=preset, **options)
    return config, make_objective(config)


def built(objective, text, task):
    with torch.device("meta"):
        return objective.space.build(objective.space.parse(text), task)


def rates(training):
    return [training.lr_at(epoch) for epoch in range(training.full_epochs)]


def test_cifar():
    config, objective = protocol("cifar")
    training = objective.training
    assert config.data.name == "torchvision:CIFAR10"
    assert (config.epochs, training.batch_size, training.train_on) == (600, 96, "train+valid")
    assert (training.momentum, training.nesterov, training.weight_decay) == (0.9, False, 3e-4)
    assert (training.grad_clip, training.cutout, training.label_smoothing) == (5, 16, 0)
    expected = [0.025 * (1 + math.cos(math.pi * e / 600)) / 2 for e in range(600)]
    assert rates(training) == pytest.approx(expected)
    ramp = [training.drop_path_at(epoch) for epoch in range(1, 601)]
    assert ramp == pytest.approx([0.2 * e / 600 for e in range(600)])
    # The auxiliary weight is the same from the first epoch to the last.
    assert training.auxiliary_weight == 0.4


@pytest.mark.parametrize(
    ("name", "params"),
    [
        ("DARTS_V1", 3_169_414),
        ("DARTS_V2", 3_349_342),
        ("DrNAS_cifar10", 4_099_294),
        ("darts_pt_s5_seed0", 2_851_246),
        ("darts_pt_s5_seed1", 3_053_206),
        ("darts_pt_s5_seed2", 2_658_142),
        ("darts_pt_s5_seed3", 3_328_174),
    ],
)
def test_cifar_networks_are_the_published_ones(name, params):
    _, objective = protocol("cifar")
    network = built(objective, name, CIFAR10)
    auxiliary = auxiliary_of(network)
    assert num_params(auxiliary) == 476_426
    assert num_params(network) - num_params(auxiliary) == params


def test_the_mobile_setting_with_step_decay():
    config, objective = protocol("imagenet-mobile", **MOBILE)
    training = objective.training
    assert (config.epochs, training.batch_size, training.weight_decay) == (250, 128, 3e-5)
    assert (training.label_smoothing, training.auxiliary_weight, training.drop_path) == (
        0.1,
        0.4,
        0,
    )
    assert (training.resized_crop, training.color_jitter) == (0.08, (0.4, 0.4, 0.4, 0.2))
    assert rates(training) == pytest.approx([0.1 * 0.97**e for e in range(250)])
    assert config.data.options == {"test_fraction": 0.0}


def test_the_mobile_setting_with_linear_decay():
    _, objective = protocol("imagenet-mobile-linear", **MOBILE)
    training = objective.training
    assert (training.lr, training.batch_size) == (0.5, 768)

    def published(epoch):
        left = 250 - epoch
        lr = 0.5 * (245 - epoch) / 245 if left > 5 else 0.5 * left / (245 * 5)
        return lr * (epoch + 1) / 5 if epoch < 5 else lr

    assert rates(training) == pytest.approx([published(e) for e in range(250)])


def test_the_mobile_network_stays_below_the_bound():
    _, objective = protocol("imagenet-mobile", **MOBILE)
    network = built(objective, "DARTS_V2", IMAGENET)
    params = num_params(network) - num_params(auxiliary_of(network))
    assert round(params / 1e6, 1) == 4.7  # the paper's figure
    assert 500e6 < flops(network, IMAGENET) < 600e6


def test_flops_of_a_small_network_by_hand():
    """Every convolution of DARTS_V2 with C = 2 and 3 cells on 8 x 8 images of one channel.

    Cells 1 and 2 reduce; depthwise convolutions cost k² C a pixel, pointwise ones C_in C_out.
    """
    space = DartsSpace(channels=2, layers=3)
    network = space.build(space.parse("DARTS_V2"), TaskShape(1, 8, 3))

    def separable(channels, pixels, parts=2):
        return parts * pixels * (9 * channels + channels * channels)

    stem = 9 * 1 * 6 * 64
    fit = [2 * 6 * 2 * 64]  # cell 0: both inputs are the stem's 6 channels
    normal = 5 * separable(2, 64) + separable(2, 64, parts=1)  # and two skips, one dil_conv
    # Cell 1: inputs of 6 and 8 channels to 4, still 8 x 8; skips of inner nodes and pools are free.
    fit.append((6 * 4 + 8 * 4) * 64)
    # Cell 2: C = 8, maps 4 x 4; the first input (8 channels, 8 x 8) is halved by two convolutions
    # of half the channels each, the second has 16 channels.
    fit.append((8 * 8 + 16 * 8) * 16)
    classifier = 4 * 8 * 3
    by_hand = stem + sum(fit) + normal + classifier
    assert flops(network, TaskShape(1, 8, 3)) == by_hand
