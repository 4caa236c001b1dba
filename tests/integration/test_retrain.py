"""`raynas search`, `retrain`, `export` one after the other, as a user runs them; and DDP."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch
from commands import run_command

import raynas
from raynas.exporting.checking import example_images
from raynas.spaces.space import TaskShape

pytestmark = pytest.mark.ray

HERE = Path(__file__).parent
TASK = TaskShape(in_channels=1, image_size=8, num_classes=10)
# A dead edge (0 to 1) has weights that no image ever meets.
CELL = "|nor_conv_1x1~0|+|nor_conv_3x3~0|none~1|+|nor_conv_1x1~0|none~1|skip_connect~2|"


def sets(*assignments):
    return [word for one in assignments for word in ("--set", one)]


SMALL = sets("data.train_size=200", "data.valid_size=100", "training.batch_size=50")


@pytest.fixture(scope="module")
def runs(local_ray, tmp_path_factory):
    """A search and a retraining of its two best, two seeds each."""
    folder = tmp_path_factory.mktemp("runs")
    options = sets("levels=[1,2]", "space.channels=4", "policy.initial=5", "level0.mode=off")
    done = run_command(
        *("search", "--budget", 12, "--out", "a", "--workers", 2, *options, *SMALL), cwd=folder
    )
    assert done.returncode == 0, done.stderr
    command = ("retrain", "a", "--top", 2, "--seeds", 2, "--epochs", 3, "--workers", 2)
    done = run_command(*command, "--out", "b", *SMALL, cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder, done.stdout


def test_what_it_says(runs):
    folder, output = runs
    lines = output.splitlines()
    assert lines[0] == "2 architectures, 2 seeds, 3 epochs each on digits (preset plain)"
    assert sum("after the last epoch" in line for line in lines) == 4
    assert any(line.startswith("architecture") and "last epoch" in line for line in lines)
    assert sum("±" in line for line in lines) == 2
    jobs = pd.read_parquet(folder / "b" / "retrain.parquet")
    assert len(jobs) == 4
    assert (jobs["status"] == "finished").all()
    assert len(pd.read_parquet(folder / "b" / "history.parquet")) == 12
    best = json.loads((folder / "b" / "best.json").read_text())
    assert best["over_seeds"]["seeds"] == 2
    manifest = json.loads((folder / "b" / "run.json").read_text())
    assert manifest["finished"] is True


def test_the_same_in_this_process(runs, tmp_path):
    """On Ray and here, side by side or one after the other: the same networks."""
    folder, _ = runs
    assignments = [word for word in SMALL if word != "--set"]
    raynas.retrain(
        folder / "a",
        top=2,
        seeds=2,
        epochs=3,
        engine="inline",
        assignments=assignments,
        out=tmp_path / "b",
    )
    for name in ("retrain.parquet", "history.parquet", "confusion.parquet"):
        frames = [pd.read_parquet(f / name) for f in (folder / "b", tmp_path / "b")]
        one, other = (frame.drop(columns="time_s", errors="ignore") for frame in frames)
        pd.testing.assert_frame_equal(one, other)


def test_it_is_exported(runs):
    folder, _ = runs
    done = run_command("export", "b", "--format", "pt2", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert "same logits" in done.stdout
    network = raynas.load(folder / "b")
    images = example_images(TASK, 4)
    program = torch.export.load(folder / "b" / "export" / "network.pt2").module()
    torch.testing.assert_close(program(images), network(images))
    assert "# Model card" in (folder / "b" / "export" / "card.md").read_text()


def test_a_finished_retraining_has_nothing_to_do(runs):
    folder, _ = runs
    before = (folder / "b" / "journal.jsonl").read_bytes()
    done = run_command("retrain", "--resume", "b", "--json", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["finished"] is True
    assert (folder / "b" / "journal.jsonl").read_bytes() == before


def raynas_process(*arguments, cwd):
    """Run a command in a process of its own, whose workers find `norm_free`."""
    path = os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")])
    return subprocess.run(
        [sys.executable, "-m", "raynas", *map(str, arguments)],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=600,
        env={**os.environ, "PYTHONPATH": path},
    )


@pytest.mark.slow
def test_two_workers_on_one_network_do_what_one_does(tmp_path):
    """Without batch norm the gradients are those of the whole batch, to rounding."""
    options = ("space.channels=2", "space.cells_per_stage=1", "training.lr=0.01")
    odd = ("training.batch_size=33", "training.ema=0.5")  # shares of 17 and 16 images
    command = ("retrain", CELL, "--space", "norm_free:NormFree", "--epochs", 2, "--trust-code")
    both = (*command, *SMALL, *sets(*options, *odd))
    together = ("--workers-per-network", 2, "--workers", 1, "--out", "together")
    for arguments in (together, ("--workers", 1, "--out", "alone")):
        done = raynas_process(*both, *arguments, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    one, other = (pd.read_parquet(tmp_path / d / "history.parquet") for d in ("alone", "together"))
    for column in ("train_loss", "valid_loss", "train_accuracy", "valid_accuracy"):
        assert one[column].tolist() == pytest.approx(other[column].tolist(), rel=1e-3), column
    one, other = (
        pd.read_parquet(tmp_path / d / "confusion.parquet") for d in ("alone", "together")
    )
    assert one["count"].sum() == other["count"].sum() > 0
    first, second = (
        torch.load(tmp_path / d / "checkpoints" / "000000-final.pt")["state"]["network"]
        for d in ("alone", "together")
    )
    for name, value in first.items():
        torch.testing.assert_close(value, second[name], rtol=1e-3, atol=1e-5)
