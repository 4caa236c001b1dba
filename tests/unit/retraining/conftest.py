"""A search that is over, small enough to take milliseconds, and a retraining of a few images."""

import pytest

from raynas import api
from raynas.api.retraining import retrain

OPTIONS = (
    "data.train_size=60",
    "data.valid_size=30",
    "training.batch_size=30",
    "training.device=cpu",
)
SIZES = ("space.channels=2", "space.cells_per_stage=1")
CELLS = (
    "|nor_conv_1x1~0|+|none~0|skip_connect~1|+|skip_connect~0|none~1|none~2|",
    "|skip_connect~0|+|none~0|nor_conv_1x1~1|+|none~0|none~1|avg_pool_3x3~2|",
)


@pytest.fixture(scope="session")
def searched(tmp_path_factory):
    """The run folder of a search on 60 digits: 6 architectures, levels of 1 and 2 epochs."""
    folder = tmp_path_factory.mktemp("search") / "found"
    api.search(
        config={
            "space": {"name": "nasbench201", "channels": 2, "cells_per_stage": 1},
            "data": {"name": "digits", "train_size": 60, "valid_size": 30},
            "levels": [1, 2],
            "policy": {"name": "nosh", "per_round": 4, "initial": 4},
            "proposer": "random",
            "level0": {"mode": "off"},
            "training": {"batch_size": 30},
        },
        budget=9,
        engine="simulate",
        out=folder,
    )
    return folder


@pytest.fixture(scope="session")
def whole(tmp_path_factory):
    """A retraining of two cells, two seeds each, in one go."""
    return retrain(
        CELLS,
        epochs=2,
        seeds=2,
        engine="inline",
        assignments=(*OPTIONS, *SIZES),
        out=tmp_path_factory.mktemp("retrain") / "whole",
    )


@pytest.fixture
def run():
    """Retrains two tiny cells in this process."""

    def run(*architectures, options=(), resume=None, **arguments):
        if resume is not None:
            return retrain(resume=resume, engine="inline", **arguments)
        arguments = {"epochs": 2, "seeds": 2, "engine": "inline", **arguments}
        return retrain(
            architectures or CELLS, assignments=(*OPTIONS, *SIZES, *options), **arguments
        )

    return run
