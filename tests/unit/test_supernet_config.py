import pytest

from raynas.errors import ConfigError
from raynas.supernet_config import SUPERNET_PRESETS, SupernetConfig, load_supernet_config


def test_defaults_make_a_config():
    assert load_supernet_config() == SupernetConfig()


@pytest.mark.parametrize("preset", sorted(SUPERNET_PRESETS))
def test_presets_are_valid(preset):
    config = load_supernet_config(preset=preset)
    assert SupernetConfig.model_validate(config.model_dump(mode="json")) == config


@pytest.mark.parametrize(
    ("asked", "options"),
    [
        ({"overrides": {"space": "s3"}}, {"channels", "layers"}),
        ({"source": {"space": "darts"}}, {"channels", "layers"}),
        ({"assignments": ("space.name=nasbench201",)}, {"channels", "cells_per_stage"}),
        ({"overrides": {"space": "my.module:Space"}}, set()),
        ({}, {"channels", "layers"}),
    ],
)
def test_the_small_preset_fits_the_space_that_is_asked_for(asked, options):
    config = load_supernet_config(preset="small", **asked)
    assert set(config.space.options) == options


def test_what_is_said_goes_before_the_preset():
    config = load_supernet_config(
        preset="small",
        overrides={"space": {"name": "s2", "channels": 12}, "training": {"epochs": 3}},
        assignments=("training.lr=0.1", "selection.tune_epochs=0"),
    )
    assert config.space.options == {"channels": 12, "layers": 5}
    assert config.training["epochs"] == 3
    assert config.training["batch_size"] == 32
    assert config.training["lr"] == 0.1
    assert config.selection.options == {"tune_epochs": 0}


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("selektion=magnitude", "did you mean 'selection'"),
        ("resources.cpu=1", "did you mean 'cpus'"),
        ("resources.gpus=-1", "resources.gpus"),
        ("checkpoints.keep_last=0", "checkpoints.keep_last"),
        ("workers=0", "workers"),
        ("seed=-1", "seed"),
    ],
)
def test_mistakes_are_one_line_that_names_the_key(assignment, message):
    with pytest.raises(ConfigError) as caught:
        load_supernet_config(assignments=(assignment,))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_unknown_preset():
    with pytest.raises(ConfigError, match="did you mean 'small'"):
        load_supernet_config(preset="smal")
