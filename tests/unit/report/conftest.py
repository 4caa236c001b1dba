"""A run of every kind, small enough to take a few seconds in all, and its page."""

import re

import pytest
import torch

from raynas import api
from raynas.api.retraining import retrain
from raynas.seeds import derive_rng
from raynas.testing import FakeObjective

pytest.importorskip("matplotlib", reason="the extra `plot` is not installed")

CELLS = (
    "|nor_conv_1x1~0|+|none~0|skip_connect~1|+|skip_connect~0|none~1|none~2|",
    "|skip_connect~0|+|none~0|nor_conv_1x1~1|+|none~0|none~1|avg_pool_3x3~2|",
)


@pytest.fixture(autouse=True, scope="session")
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def fake_proxies(architectures):
    draws = (derive_rng(0, "proxy", one.text).uniform(size=2) for one in architectures)
    return [{"synflow": float(a), "params": float(b)} for a, b in draws]


def run_search(out, **changes):
    """Search made-up learning curves; some of the first architectures fail."""
    config = {
        "space": {"name": "nasbench201", "channels": 2, "cells_per_stage": 1},
        "levels": [1, 2, 4],
        "policy": {"name": "nosh", "per_round": 5, "initial": 10},
        "proposer": "random",
        "level0": {"mode": "off"},
        **changes.pop("config", {}),
    }
    changes = {"objective": FakeObjective(epoch_s=1.0), "budget": 60, **changes}
    return api.search(config=config, out=out, engine="simulate", **changes)


@pytest.fixture(scope="session")
def searched(tmp_path_factory):
    """A search with predictor and proxies."""
    folder = tmp_path_factory.mktemp("search") / "found"
    level0 = {"mode": "full", "proxies": ["synflow", "params"], "initial": 20}
    config = {"proposer": "ranking", "level0": level0}
    run_search(folder, config=config, score=fake_proxies)
    return folder


@pytest.fixture(scope="session")
def fronted(tmp_path_factory):
    """A search for accuracy and few parameters."""
    folder = tmp_path_factory.mktemp("front") / "found"
    costs = {"params": lambda one: 1000.0 + 300 * one.text.count("3x3") + len(one.text)}
    run_search(folder, config={"objectives": ["accuracy", "params"]}, costs=costs)
    return folder


@pytest.fixture(scope="session")
def supernet(tmp_path_factory):
    """A supernet of a few channels, two epochs and every decision."""
    folder = tmp_path_factory.mktemp("supernet") / "run"
    config = {
        "space": {"name": "nasbench201", "channels": 2, "cells_per_stage": 1},
        "data": {"name": "digits", "train_size": 60, "valid_size": 20},
        "method": "darts",
        "selection": {"name": "perturbation", "tune_epochs": 1, "batch_size": 15},
        "training": {"epochs": 2, "batch_size": 15},
    }
    api.search_supernet(config=config, out=folder, engine="local")
    return folder


@pytest.fixture(scope="session")
def retrained(tmp_path_factory):
    """Two cells, two seeds each, two epochs."""
    folder = tmp_path_factory.mktemp("retrain") / "whole"
    options = ("data.train_size=60", "data.valid_size=30", "training.batch_size=30")
    sizes = ("training.device=cpu", "space.channels=2", "space.cells_per_stage=1")
    retrain(CELLS, epochs=2, seeds=2, engine="inline", assignments=(*options, *sizes), out=folder)
    return folder


@pytest.fixture(scope="session")
def pages(searched, fronted, supernet, retrained, tmp_path_factory):
    """The report of each as HTML, by name."""
    out = tmp_path_factory.mktemp("pages")
    runs = {"search": searched, "front": fronted, "supernet": supernet, "retrain": retrained}
    return {
        name: api.write_report(run, out / f"{name}.html").read_text() for name, run in runs.items()
    }


def sections(page):
    """Return the ids of a page's sections, in order."""
    return re.findall(r'<section id="([^"]+)">', page)
