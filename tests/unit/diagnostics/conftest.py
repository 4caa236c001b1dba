"""Toy supernet runs, trainings in float64, and subjects that hand them out."""

import shutil
from dataclasses import replace

import pytest
import torch
from toys import one_thread as one_thread
from toys import supernet_config

from raynas import api
from raynas.spaces.darts import S2Space
from raynas.spaces.nasbench201 import NasBench201
from raynas.supernets.method import make_method
from raynas.supernets.training import SupernetTraining
from raynas.training.data import load_data

TOY = supernet_config(training={"epochs": 3, "alpha_lr": 0.1})

SPACES = {
    "nasbench201": NasBench201(channels=2, cells_per_stage=1),
    "s2": S2Space(channels=4, layers=3),
}


def make_run(folder, **changes):
    torch.set_num_threads(1)
    api.search_supernet(config={**TOY, **changes}, out=folder, engine="local")
    return folder


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory):
    """A run of three epochs, all checkpoints kept; not to be written into."""
    return make_run(tmp_path_factory.mktemp("diagnosed") / "run")


@pytest.fixture(scope="session")
def dirichlet_run(tmp_path_factory):
    """The like with Dirichlet distributions, and nothing trained while it selects."""
    folder = tmp_path_factory.mktemp("diagnosed") / "dirichlet"
    return make_run(folder, method="drnas", selection="magnitude")


@pytest.fixture
def run(finished_run, tmp_path):
    """A copy of one's own."""
    shutil.copytree(finished_run, tmp_path / "run")
    return tmp_path / "run"


@pytest.fixture(scope="session")
def exact_digits():
    """32 + 16 digits as float64 images."""
    digits = load_data("digits", train_size=32, valid_size=16)
    return replace(digits, mean=digits.mean.double(), std=digits.std.double())


@pytest.fixture
def exact_training(exact_digits):
    """Makes a training in float64: of a space (by name) and a method."""

    def make(space="nasbench201", method="darts", options=None, *, spread=0.5, **settings):
        made = make_method(method, options)
        config = made.training_config(
            {"epochs": 4, "batch_size": 8, "device": "cpu", "alpha_init": spread, **settings}
        )
        training = SupernetTraining(SPACES[space], exact_digits, made, config, 0)
        training.supernet.double()
        for parameter in training.method.parameters:
            parameter.data = parameter.data.double()
        return training

    return make


class Holding:
    """A subject that hands out a training."""

    def __init__(self, training):
        self._training = training

    def restored(self, step):
        return self._training


@pytest.fixture
def holding():
    return Holding
