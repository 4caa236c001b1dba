"""Runs of each kind, at toy size, and objects that leave a trace if somebody unpickles them."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from raynas import api
from raynas.cli.main import app

SPACE = {"name": "nasbench201", "channels": 2, "cells_per_stage": 1}
DATA = {"name": "digits", "train_size": 60, "valid_size": 20}
CELL = "|nor_conv_3x3~0|+|none~0|skip_connect~1|+|avg_pool_3x3~0|none~1|nor_conv_1x1~2|"


class Hostile:
    """Creates a file when it is unpickled."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self):
        return open, (str(self.trace), "w")


@pytest.fixture
def trace(tmp_path):
    """The file that hostile objects create; checked to be absent at the end."""
    path = tmp_path / "ran"
    yield path
    assert not path.exists(), "something was run"


@pytest.fixture
def hostile(trace):
    return Hostile(trace)


@pytest.fixture
def raynas_says(tmp_path, monkeypatch):
    """Run a command that must be refused; returns its one line."""
    monkeypatch.chdir(tmp_path)

    def says(*arguments, code=2):
        result = CliRunner().invoke(app, [str(a) for a in arguments])
        assert result.exit_code == code, (result.output, result.exception)
        assert len(result.stderr.strip().splitlines()) == 1, result.stderr
        return result.stderr

    return says


@pytest.fixture(scope="session")
def _whole(tmp_path_factory):
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    root = tmp_path_factory.mktemp("whole")
    api.search(
        space=SPACE,
        data=DATA,
        budget=4,
        levels=(1, 2),
        seed=0,
        policy={"name": "nosh", "per_round": 1, "initial": 2},
        proposer="random",
        assignments=["level0.mode=off", "training.batch_size=20"],
        engine="simulate",
        out=root / "search",
    )
    api.retrain(
        CELL,
        space=SPACE,
        data=DATA,
        epochs=1,
        seeds=1,
        assignments=["training.batch_size=20"],
        engine="inline",
        out=root / "retrain",
    )
    api.search_supernet(
        config={
            "space": SPACE,
            "data": DATA,
            "method": "darts",
            "selection": "magnitude",
            "training": {"epochs": 1, "batch_size": 15},
        },
        engine="local",
        out=root / "supernet",
    )
    torch.set_num_threads(threads)
    return root


@pytest.fixture
def runs(_whole, tmp_path):
    """A copy of a finished search, retraining and supernet run."""
    return Path(shutil.copytree(_whole, tmp_path / "runs"))


@pytest.fixture
def reopened(runs):
    """The same, with the runs said to be unfinished."""
    for folder in runs.iterdir():
        manifest = json.loads((folder / "run.json").read_text())
        (folder / "run.json").write_text(json.dumps({**manifest, "finished": False}))
    return runs
