"""Whole supernet runs in one process, at toy size: the folder, resuming, and what stops a run."""

import json
import shutil

import pandas as pd
import pytest
import torch
from toys import SUPERNET, assert_equal, final_state
from toys import one_thread as one_thread

import raynas
from raynas import api
from raynas.errors import ConfigError, RunFolderError, TrialError
from raynas.runs.supernet_books import CHECKPOINT, saved_steps


def run(out, listener=None, **changes):
    return api.search_supernet(
        config={**SUPERNET, **changes}, out=out, engine="local", listener=listener
    )


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("whole") / "run"
    return folder, run(folder)


class Interrupt:
    """Presses Ctrl-C after so many steps."""

    def __init__(self, steps):
        self.steps = steps

    def __call__(self, log):
        if len(log.steps) >= self.steps:
            self.steps = 10**9
            raise KeyboardInterrupt


def test_what_a_run_leaves(whole):
    folder, result = whole
    assert result.finished
    assert result.architecture.text.startswith("|")
    best = json.loads((folder / "best.json").read_text())
    assert best["architecture"] == result.architecture.text
    assert best["space"]["channels"] == 2
    history = pd.read_parquet(folder / "history.parquet")
    assert list(history["phase"]) == ["search"] * 2 + ["select"] * 5
    assert list(history["epoch"]) == list(range(1, 8))
    assert history["accuracy"].between(0, 1).all()
    alpha = pd.read_parquet(folder / "alpha.parquet")
    assert len(alpha) == 7 * 6 * 5
    undecided = alpha[alpha["epoch"] == 1].groupby("edge")["theta"].sum()
    assert undecided.to_numpy() == pytest.approx(1.0)
    decisions = pd.read_parquet(folder / "decisions.parquet")
    assert decisions["decision"].nunique() == 6
    assert (decisions.groupby("decision")["chosen"].sum() == 1).all()
    assert (decisions["count"] == 30).all()
    assert (decisions["correct"] / decisions["count"] == decisions["accuracy"]).all()
    assert decisions["workers"].str.startswith("local:").all()
    manifest = json.loads((folder / "run.json").read_text())
    assert manifest["kind"] == "supernet"
    assert manifest["finished"] is True


def test_the_architecture_can_be_built(whole):
    _, result = whole
    space = raynas.NasBench201(channels=2, cells_per_stage=1)
    network = space.build(result.architecture, raynas.spaces.space.TaskShape(1, 8, 10))
    assert network(torch.zeros(2, 1, 8, 8)).shape == (2, 10)


@pytest.mark.parametrize("steps", [1, 6])
def test_a_resumed_run_ends_bit_by_bit_as_one_that_never_stopped(whole, tmp_path, steps):
    folder, result = whole
    cut = run(tmp_path / "cut", listener=Interrupt(steps))
    assert not cut.finished
    assert cut.architecture is None
    assert api.status(tmp_path / "cut")["state"] == "interrupted"
    again = api.resume(tmp_path / "cut", engine="local")
    assert again.finished
    assert again.architecture == result.architecture
    assert_equal(final_state(tmp_path / "cut"), final_state(folder))
    for view in ("alpha.parquet", "decisions.parquet"):
        one, other = (pd.read_parquet(at / view) for at in (folder, tmp_path / "cut"))
        timing = [c for c in ("time_s", "workers") if c in one]
        assert one.drop(columns=timing).equals(other.drop(columns=timing))


def test_a_step_cut_off_before_its_checkpoint_is_done_again(whole, tmp_path):
    folder, result = whole
    run(tmp_path / "cut", listener=Interrupt(5))
    checkpoints = tmp_path / "cut" / "checkpoints"
    shutil.rmtree(checkpoints / f"step-{saved_steps(checkpoints)[-1]:06d}")
    again = api.resume(tmp_path / "cut", engine="local")
    assert again.architecture == result.architecture
    assert [step["step"] for step in again.log.steps] == list(range(1, 14))
    assert_equal(final_state(tmp_path / "cut"), final_state(folder))


def test_views_can_be_lost(whole):
    folder, result = whole
    names = ("alpha.parquet", "decisions.parquet", "history.parquet", "best.json")
    before = {name: (folder / name).read_bytes() for name in names}
    for name in names:
        (folder / name).unlink()
    again = api.resume(folder)  # finished: nothing is started
    assert again.architecture == result.architecture
    assert {name: (folder / name).read_bytes() for name in names} == before


def test_a_truncated_checkpoint_is_skipped_and_said(whole, tmp_path):
    _, result = whole
    folder = tmp_path / "cut"
    run(folder, listener=Interrupt(4))
    newest = saved_steps(folder / "checkpoints")[-1]
    path = folder / "checkpoints" / f"step-{newest:06d}" / CHECKPOINT
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    again = api.resume(folder, engine="local")
    assert again.architecture == result.architecture
    assert any(f"step-{newest:06d}" in notice for notice in again.notices)


def test_divergence_names_the_last_good_checkpoint(tmp_path):
    def poison(log):
        if len(log.steps) == 1:
            path = tmp_path / "run" / "checkpoints" / "step-000001"
            assert path.is_dir()

    training = {"epochs": 9, "batch_size": 15, "lr": 1e4, "min_lr": 0, "grad_clip": None}
    with pytest.raises(TrialError, match="diverged at epoch"):
        run(tmp_path / "run", listener=poison, training=training)
    status = api.status(tmp_path / "run")
    assert status["state"] == "interrupted"
    assert "diverged" in status["failure"]


def test_another_selection_from_the_same_supernet(whole, tmp_path):
    folder, _ = whole
    result = run(tmp_path / "mag", selection="magnitude", init_from=str(folder))
    assert result.finished
    assert result.summary()["search_epochs"] == 0
    history = pd.read_parquet(folder / "alpha.parquet")
    last = history[history["epoch"] == 2]
    best = [ops.loc[ops["theta"].idxmax(), "op"] for _, ops in last.groupby("edge")]
    for op in best:
        assert op in result.architecture.text


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"seed": 1}, "seed"),
        ({"method": "fixed"}, "method"),
        ({"space": {"name": "s2", "channels": 2, "layers": 3}}, "space"),
        ({"training": {"epochs": 2, "batch_size": 15, "lr": 0.1}}, "training.lr"),
    ],
)
def test_a_checkpoint_of_something_else_is_refused(whole, tmp_path, changes, word):
    folder, _ = whole
    with pytest.raises(ConfigError, match=word) as caught:
        run(tmp_path / "other", init_from=str(folder), **changes)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "other").exists()


def test_resume_asks_for_the_same_run(whole):
    folder, result = whole
    again = api.search_supernet(config=SUPERNET, out=folder, engine="local", resume=True)
    assert again.finished
    assert again.architecture == result.architecture
    with pytest.raises(RunFolderError, match="seed"):
        api.search_supernet(config={**SUPERNET, "seed": 3}, out=folder, engine="local", resume=True)
    with pytest.raises(RunFolderError, match="another run"):
        api.search_supernet(config=SUPERNET, out=folder, engine="local")


def test_resume_takes_what_goes_with_the_kind_of_run(whole):
    folder, _ = whole
    with pytest.raises(ConfigError, match="'policy'"):
        api.resume(folder, policy=object())
    assert api.kind_of(folder) == "supernet"


def test_a_trained_network_is_not_what_a_supernet_run_leaves(whole):
    folder, _ = whole
    with pytest.raises(RunFolderError, match="supernet"):
        raynas.load(folder)
