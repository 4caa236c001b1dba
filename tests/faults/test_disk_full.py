"""A disk that fills up under a run: one clear line, and a run that goes on when there is room."""

import json
import os
import re
import subprocess
import sys
from contextlib import contextmanager

import pytest
import yaml
from faults.harness import config, damage, journal_lines, parts, undisturbed, wait_for

from raynas import api
from raynas.cli.common import exit_codes
from raynas.errors import DiskFullError

pytestmark = [pytest.mark.ray, pytest.mark.faults]

SIZE = 2 * 1024 * 1024


@pytest.fixture
def small_disk(tmp_path):
    """A file system of its own of 2 MiB; skips where nothing may be mounted."""
    place = tmp_path / "small"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(place)],
        capture_output=True,
        text=True,
    )
    if mounted.returncode:
        pytest.skip(f"mounting is not allowed here: {mounted.stderr.strip()}")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


def fill(place, leave=0):
    """Write until nothing more goes in, then give back a little."""
    with (place / "filler").open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            pass
        if leave:
            file.truncate(file.tell() - leave)


@contextmanager
def full(message_of):
    with pytest.raises(DiskFullError) as caught:
        yield
    message_of.append(str(caught.value))


def check_message(message, folder):
    assert "\n" not in message
    assert re.match(rf"{re.escape(str(folder))}/\S+: the disk is full", message), message
    assert message.endswith(f"make room, then `raynas resume {folder}` carries the run on")


# Nothing at all: the journal meets it first. A page: a line still goes in, a checkpoint does not.
@pytest.mark.parametrize(
    "leave",
    [0, pytest.param(4096, marks=pytest.mark.slow)],
    ids=["journal", "checkpoint"],
)
def test_a_search_meets_a_full_disk(local_ray, small_disk, tmp_path, record_fault, leave):
    log, folder = tmp_path / "run.log", small_disk / "run"
    filled, messages = [], []

    def listener(search, budget):
        if not filled and search.pool.spent_epochs >= 8:
            fill(small_disk, leave)
            filled.append(search.pool.spent_epochs)

    with full(messages):
        api.search(config=config(), **parts(log), out=folder, listener=listener)
    check_message(messages[0], folder)
    with full(messages):  # and again, as long as there is no room
        api.resume(folder, **parts(log))
    check_message(messages[1], folder)
    (small_disk / "filler").unlink()
    assert api.status(folder)["state"] == "interrupted"
    result = api.resume(folder, **parts(log))
    assert result.finished
    found = damage(folder, undisturbed(tmp_path), log)
    record_fault("disk full", injected=1, **found.as_dict())
    assert found.lost_epochs <= 2 * 2  # two workers' in flight, twice
    assert found.lost_architectures == found.differences == 0
    assert not list(folder.rglob("*.tmp"))


def test_no_room_to_begin(small_disk, tmp_path):
    fill(small_disk)
    messages = []
    with full(messages):
        api.search(
            config=config(), **parts(tmp_path / "a"), out=small_disk / "a", engine="simulate"
        )
    assert "the disk is full" in messages[0]
    assert "\n" not in messages[0]


def test_the_exit_code_says_that_it_did_not_finish(capsys):
    import typer

    with pytest.raises(typer.Exit) as left, exit_codes():
        raise DiskFullError("runs/a/journal.jsonl: the disk is full")
    assert left.value.exit_code == 1
    assert capsys.readouterr().err == (
        "raynas: the run stopped: runs/a/journal.jsonl: the disk is full\n"
    )


# -- the commands, as a user gives them ------------------------------------------------------------

DIGITS = {"name": "digits", "train_size": 60, "valid_size": 30}
CELLS = {"name": "nasbench201", "channels": 2, "cells_per_stage": 1}
ONE = "|nor_conv_1x1~0|+|none~0|skip_connect~1|+|skip_connect~0|none~1|none~2|"
COMMANDS = {
    "search": {
        "space": CELLS,
        "data": DIGITS,
        "budget": 24,
        "levels": [1, 2, 4],
        "policy": {"name": "nosh", "per_round": 4},
        "proposer": {"name": "random"},
        "level0": {"mode": "off"},
        "workers": 2,
    },
    "supernet": {
        "space": CELLS,
        "data": DIGITS,
        "selection": {"name": "perturbation", "tune_epochs": 2, "batch_size": 10},
        "training": {"epochs": 6, "batch_size": 5, "alpha_lr": 0.01},
        "resources": {"cpus": 1, "evaluators": 1},
        "checkpoints": {"keep_last": 2, "keep_every": 0},
    },
}
RETRAIN = [
    *(
        ONE,
        "--space",
        "nasbench201",
        "--set",
        "space.channels=2",
        "--set",
        "space.cells_per_stage=1",
    ),
    *("--data", "digits", "--set", "data.train_size=60", "--set", "data.valid_size=30"),
    *("--epochs", 40, "--seeds", 2, "--workers", 2),
]


def run(*words):
    return subprocess.Popen(
        [sys.executable, "-m", "raynas", *map(str, words)],
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def timeless(value):
    if isinstance(value, dict):
        times = {"time_s", "wall_s", "training_s", "elapsed_s"}
        return {k: timeless(v) for k, v in value.items() if k not in times}
    return value


def outcome(folder):
    """Return what must be the same however often the disk was full on the way."""
    return timeless(json.loads((folder / "best.json").read_text()))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["search", "supernet", "retrain"])
def test_a_command_meets_a_full_disk(kind, small_disk, tmp_path, record_fault):
    asked = tmp_path / "asked.yaml"
    words = [kind, *RETRAIN] if kind == "retrain" else [kind, asked]
    asked.write_text(yaml.safe_dump(COMMANDS.get(kind)))
    folder = small_disk / "run"
    process = run(*words, "--out", folder, "--json")
    wait_for(lambda: journal_lines(folder) >= 6, process)
    fill(small_disk)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 1, errors
    said = [line for line in errors.splitlines() if line.startswith("raynas: ")]
    assert len(said) == 1, errors
    check_message(said[0].removeprefix("raynas: the run stopped: "), folder)
    (small_disk / "filler").unlink()
    process = run("resume", folder, "--json")
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    whole = run(*words, "--out", tmp_path / "whole", "--json")
    _, errors = whole.communicate(timeout=300)
    assert whole.returncode == 0, errors
    differs = outcome(folder) != outcome(tmp_path / "whole")
    record_fault(
        f"disk full ({kind} command)",
        injected=1,
        lost_epochs=None,
        lost_architectures=0,
        differences=int(differs),
    )
    assert not differs
