"""A few digits, tiny spaces, and trainings on them that answer their own questions."""

import json
from dataclasses import replace

import pytest
import torch
from toys import one_thread as one_thread

from raynas.spaces.darts import DartsSpace, S2Space
from raynas.spaces.nasbench201 import NasBench201
from raynas.supernets.method import Method, make_method
from raynas.supernets.training import SupernetTraining
from raynas.training.data import load_data

SPACES = {
    "nasbench201": NasBench201(channels=4, cells_per_stage=1),
    "darts": DartsSpace(channels=4, layers=3, with_none=True),
    "s2": S2Space(channels=4, layers=3),
}


@pytest.fixture(scope="session")
def few_digits():
    """32 + 16 digits."""
    return load_data("digits", train_size=32, valid_size=16)


@pytest.fixture(scope="session")
def exact_digits(few_digits):
    """The same as float64 images."""
    return replace(few_digits, mean=few_digits.mean.double(), std=few_digits.std.double())


@pytest.fixture
def make_training(few_digits):
    """Makes a training: of a space (or its name), a method (or its name), settings as keywords."""

    def make(space="nasbench201", method="darts", options=None, *, data=None, seed=0, **settings):
        if not isinstance(method, Method):
            method = make_method(method, options)
        config = method.training_config(
            {"epochs": 4, "batch_size": 8, "device": "cpu", "valid_batch_size": 16, **settings}
        )
        if isinstance(space, str):
            space = SPACES[space]
        return SupernetTraining(space, data or few_digits, method, config, seed)

    return make


@pytest.fixture
def train():
    """Trains on for some epochs; questions of the method are answered by magnitude."""
    return _train


def _train(training, epochs):
    for _ in range(epochs):
        metrics = training.train_epoch()
        json.dumps(metrics)
        while questions := training.questions():
            question = questions[0]
            weights = training.strengths()[question.kind][question.edge, list(question.options)]
            chosen = question.options[int(weights.argmax())]
            training.decisions.decide_op(question.kind, question.edge, chosen)
            training.answered(question, (chosen,))
    return training


@pytest.fixture
def in_double():
    """Turns a training into one in float64."""

    def turn(training):
        training.supernet.double()
        for parameter in training.method.parameters:
            parameter.data = parameter.data.double()
        return training

    return turn


@pytest.fixture
def same():
    """Whether two states are equal to the last bit, times aside."""
    return _same


def _same(first, second):
    if isinstance(first, torch.Tensor):
        return torch.equal(first, second)
    if isinstance(first, dict):
        keys = first.keys() - {"time_s"}
        return keys == second.keys() - {"time_s"} and all(_same(first[k], second[k]) for k in keys)
    if isinstance(first, list | tuple):
        return len(first) == len(second) and all(map(_same, first, second))
    return first == second
