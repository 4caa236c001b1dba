"""Names, options and published settings of the methods."""

import pytest

from raynas.config import validate
from raynas.errors import ConfigError
from raynas.supernets import METHODS
from raynas.supernets.config import SupernetTrainingConfig
from raynas.supernets.method import make_method


def published(name, **options):
    config = make_method(name, options).training_config()
    return {key: value for key, value in config.model_dump().items() if value is not None}


def test_defaults_are_those_of_darts():
    expected = {
        "epochs": 50,
        "batch_size": 64,
        "split": 0.5,
        "lr": 0.025,
        "min_lr": 0.001,
        "momentum": 0.9,
        "weight_decay": 3e-4,
        "grad_clip": 5,
        "alpha_lr": 3e-4,
        "alpha_betas": (0.5, 0.999),
        "alpha_weight_decay": 1e-3,
        "alpha_init": 1e-3,
    }
    for name in ("darts", "fixed", "sdarts_rs", "sdarts_adv", "sgas", "drnas", "robust", "gdas"):
        found = published(name)
        assert {key: found[key] for key in expected} == expected, name


def test_published_settings_of_the_others():
    progressive = {"lr": 0.1, "min_lr": 0, "alpha_lr": 6e-4, "alpha_weight_decay": 1e-3}
    assert published("drnas_progressive").items() >= progressive.items()
    assert make_method("drnas_progressive").partials == (6, 4)
    pc_darts = {"batch_size": 256, "lr": 0.1, "min_lr": 0, "alpha_lr": 6e-4}
    assert published("pc_darts").items() >= pc_darts.items()
    assert make_method("pc_darts").partial == 4
    assert published("drnas", regulariser="kl")["alpha_weight_decay"] == 0


def test_a_users_settings_lie_on_top():
    config = make_method("pc_darts").training_config({"lr": 0.2, "epochs": 10})
    assert (config.lr, config.epochs, config.batch_size) == (0.2, 10, 256)


@pytest.mark.parametrize(
    ("name", "epochs", "frozen"),
    [
        ("darts", 50, 0),
        ("pc_darts", 50, 15),
        ("pc_darts", 10, 3),
        ("drnas_progressive", 50, 10),
        ("drnas_progressive", 100, 20),
        ("drnas", 100, 0),
    ],
)
def test_alpha_is_frozen_for_the_published_share(name, epochs, frozen):
    method = make_method(name)
    assert method.frozen_epochs(method.training_config({"epochs": epochs})) == frozen
    assert method.frozen_epochs(method.training_config({"alpha_frozen_epochs": 7})) == 7


def test_every_name_is_a_method_with_documented_options():
    for name in METHODS:
        method = make_method(name)
        for option in type(method.options).model_fields:
            documented = "".join(
                vars(kind).get("__doc__") or "" for kind in type(method.options).__mro__
            )
            assert f"        {option}: " in documented or f"    {option}: " in documented, option


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("dart", {}, "unknown method 'dart', did you mean 'darts'?"),
        ("darts", {"ordre": 2}, "method.ordre: unknown key, did you mean 'order'?"),
        ("darts", {"order": 3}, "method.order: 3 input should be 1 or 2"),
        ("fixed", {"order": 1}, "method.order: unknown key"),
        ("fractions:Fraction", {}, "makes no raynas.supernets.method.Method"),
        ("drnas_progressive", {"ops": [4, 2]}, "2 stages need ops 1 times, not 2"),
    ],
)
def test_mistakes_are_one_line(name, options, message):
    with pytest.raises(ConfigError) as error:
        make_method(name, options)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"epoch": 3}, "training.epoch: unknown key, did you mean 'epochs'?"),
        ({"min_lr": 1.0}, "min_lr 1 is above lr 0.025"),
        ({"nesterov": True, "momentum": 0.0}, "nesterov needs a momentum above 0"),
        ({"warmup_epochs": 50}, "warmup_epochs 50 must end before the 50 epochs do"),
        ({"alpha_betas": (0.5, 1.0)}, "alpha_betas must lie in [0, 1)"),
        ({"batch_size": 1}, "training.batch_size: 1 input should be greater than or equal to 2"),
    ],
)
def test_settings_that_make_no_sense_are_one_line(settings, message):
    with pytest.raises(ConfigError) as error:
        make_method("darts").training_config(settings)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_recipe_is_all_that_decides():
    one, other = (
        validate(SupernetTrainingConfig, {"device": device, "amp": amp})
        for device, amp in (("cpu", "off"), ("auto", "bf16"))
    )
    assert one.recipe() == other.recipe()
    fields = set(SupernetTrainingConfig.model_fields)
    assert fields - set(one.recipe()) == {"device", "amp", "channels_last", "valid_batch_size"}


def test_ramps_rise_from_nothing_to_all_and_stay_there():
    config = SupernetTrainingConfig(epochs=50, drop_path=0.6, cutout=16, cutout_probability=0.5)
    assert [config.drop_path_at(e) for e in (0, 25, 50, 80)] == pytest.approx([0, 0.3, 0.6, 0.6])
    ramp = [config.cutout_probability_at(e) for e in (0, 25, 50, 80)]
    assert ramp == pytest.approx([0, 0.25, 0.5, 0.5])
