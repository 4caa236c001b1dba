import pytest
import torch
from torch import nn

from raynas.config import validate
from raynas.errors import ConfigError
from raynas.training.placement import choose_placement
from raynas.training.recipe import TrainingConfig


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"learning_rate": 0.1}, r"training\.learning_rate: unknown key"),
        ({"batchsize": 8}, r"did you mean 'batch_size'"),
        ({"lr": 0}, r"training\.lr"),
        ({"lr": float("inf")}, r"training\.lr"),
        ({"batch_size": 1}, r"training\.batch_size"),
        ({"momentum": 0.0}, "nesterov needs a momentum"),
        ({"min_lr": 0.5}, "min_lr 0.5 is above lr 0.1"),
        ({"warmup_epochs": 8}, "warmup_epochs 8 must end before the 8 epochs"),
        ({"tail_epochs": 8}, "tail_epochs 8 must be fewer than the 8 epochs"),
        ({"schedule": "cosin"}, r"training\.schedule"),
        ({"drop_path": 1.0}, r"training\.drop_path"),
        ({"ema": 1.0}, r"training\.ema"),
        ({"train_on": "valid"}, r"training\.train_on"),
        ({"color_jitter": [0.4, 0.4, 0.4, 0.9]}, r"training\.color_jitter"),
        ({"resized_crop": 0}, r"training\.resized_crop"),
        ({"device": "gpu"}, r"training\.device"),
        ({"amp": "fp8"}, r"training\.amp"),
    ],
)
def test_bad_settings_are_refused_in_one_line(options, message):
    with pytest.raises(ConfigError, match=message) as caught:
        validate(TrainingConfig, options, where="training.")
    assert "\n" not in str(caught.value)


def test_the_recipe_leaves_out_where_it_is_computed():
    here = TrainingConfig(device="cpu", amp="off", channels_last=False, valid_batch_size=7)
    assert here.recipe() == TrainingConfig().recipe()
    assert TrainingConfig(lr=0.2).recipe() != TrainingConfig().recipe()


def test_optimisers_take_their_settings():
    network = nn.Linear(2, 2)
    sgd = TrainingConfig(momentum=0.7, weight_decay=0.25).make_optimizer(network)
    assert isinstance(sgd, torch.optim.SGD)
    assert sgd.param_groups[0]["momentum"] == 0.7
    assert sgd.param_groups[0]["nesterov"]
    adamw = TrainingConfig(optimizer="adamw", weight_decay=0.25).make_optimizer(network)
    assert isinstance(adamw, torch.optim.AdamW)
    assert adamw.param_groups[0]["weight_decay"] == 0.25


def test_the_cpu_trains_in_float32_and_channels_last():
    placement = choose_placement("cpu")
    assert placement.amp is None
    assert placement.channels_last
    assert not placement.needs_scaler
    with pytest.raises(ConfigError, match="'fp16' needs a GPU"):
        choose_placement("cpu", "fp16")


def test_memory_format_reaches_network_and_batch():
    convolution = nn.Conv2d(3, 4, 3)
    images = torch.zeros(2, 3, 8, 8)
    for flag in (True, False):
        placement = choose_placement("cpu", channels_last=flag)
        weight = placement.place(convolution).weight
        for tensor in (weight, placement.lay_out(images)):
            assert tensor.is_contiguous(memory_format=placement.memory_format)


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is here")
def test_a_missing_gpu_is_said_in_one_line():
    with pytest.raises(ConfigError, match=r"training\.device: 'cuda:1' is not here"):
        choose_placement("cuda:1")
    assert choose_placement("auto").device.type == "cpu"


def test_a_recipe_of_an_older_raynas_had_the_defaults_of_what_came_later():
    config = TrainingConfig()
    old = {k: v for k, v in config.recipe().items() if k not in ("schedule", "ema", "drop_path")}
    assert config.differs_from(old) is None
    assert TrainingConfig(ema=0.5).differs_from(old) == "ema None, not 0.5"
    assert config.differs_from({**old, "lr": 0.3}) == "lr 0.3, not 0.1"
