"""What is merged from run, preset and user, and what is refused."""

import pytest

from raynas.config import Choice
from raynas.errors import UsageError
from raynas.retraining.config import resolve
from raynas.retraining.protocols import PROTOCOLS
from raynas.retraining.session import make_objective

CELL = "|nor_conv_1x1~0|+|none~0|skip_connect~1|+|skip_connect~0|none~1|none~2|"


def test_the_plain_protocol_leaves_sizes_and_recipe_alone(searched):
    config = resolve([str(searched)])
    assert config.space == Choice(name="nasbench201", channels=2, cells_per_stage=1)
    assert config.data == Choice(name="digits")
    assert (config.preset, config.epochs, config.training) == ("plain", 30, {})


def test_the_user_goes_before_the_run_and_the_preset(searched):
    config = resolve(
        [str(searched)],
        overrides={"data": "npz:x.npz", "epochs": 3, "seeds": 2},
        assignments=("space.channels=7", "training.lr=0.3", "data.train_size=9"),
    )
    assert config.space.options == {"channels": 7, "cells_per_stage": 1}
    assert config.data == Choice(name="npz:x.npz", train_size=9)
    assert (config.epochs, config.seeds, config.training) == (3, 2, {"lr": 0.3})


def test_the_recipe_decides_about_the_auxiliary_classifier():
    config = resolve(["DARTS_V2"], preset="cifar")
    assert config.space.options["auxiliary"] is True
    assert config.space.options["drop_path"] == 0.0
    plain = config.delivered_space.options
    assert plain == {"auxiliary": False, "drop_path": 0.0, "channels": 36, "layers": 20}
    without = resolve(
        ["DARTS_V2"],
        preset="cifar",
        assignments=("training.auxiliary_weight=0", "space.auxiliary=true"),
    )
    assert without.space.options["auxiliary"] is False


@pytest.mark.parametrize("preset", [*PROTOCOLS])
def test_every_protocol_makes_an_objective(preset):
    config = resolve(["DARTS_V2"], preset=preset, overrides={"data": "digits"})
    assert make_objective(config).training.full_epochs == PROTOCOLS[preset].epochs


@pytest.mark.parametrize(
    ("given", "options", "word"),
    [
        ("DARTS_V2", {"preset": "cifra"}, "did you mean 'cifar'"),
        (CELL, {"preset": "cifar"}, "protocol for networks of the DARTS family"),
        ("DARTS_V2", {"preset": "imagenet-mobile"}, "say which with --data"),
        ("DARTS_V2", {"assignments": ("epohcs=3",)}, "did you mean 'epochs'"),
        ("DARTS_V2", {"overrides": {"epochs": 0}}, "epochs"),
        ("DARTS_V2", {"overrides": {"seeds": 0}}, "seeds"),
        ("DARTS_V2", {"assignments": ("epochs",)}, "key.sub=value"),
    ],
)
def test_slips(given, options, word):
    with pytest.raises(UsageError, match=word) as caught:
        resolve([given], **options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("assignment", "word"),
    [
        ("training.full_epochs=3", "is `epochs`"),
        ("training.lrr=3", "did you mean 'lr'"),
        ("training.warmup_epochs=40", "must end before the 30 epochs"),
        ("training.drop_path=0.2", "drop no paths"),
        ("training.auxiliary_weight=0.4", "no auxiliary classifier"),
        ("data.trian_size=3", "train_size"),
        ("space.chanels=3", "channels"),
    ],
)
def test_slips_in_sections(assignment, word):
    with pytest.raises(UsageError, match=word):
        make_objective(resolve([CELL], assignments=(assignment,)))
