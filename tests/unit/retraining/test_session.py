"""A whole retraining in this process: what it leaves, and how it goes on."""

import itertools
import json

import numpy as np
import pandas as pd
import pytest

import raynas
from raynas.api.searching import resume_search
from raynas.errors import UsageError
from raynas.retraining import session as session_module
from raynas.runs.folder import RunFolder
from raynas.training.data import load_data
from raynas.training.evaluation import evaluate
from raynas.training.job import run_here
from raynas.training.placement import choose_placement

FILES = ("retrain.parquet", "history.parquet", "confusion.parquet")


def tables(folder):
    frames = [pd.read_parquet(folder / name) for name in FILES]
    return [frame.drop(columns="time_s", errors="ignore") for frame in frames]


def same_tables(first, second):
    for one, other in zip(tables(first), tables(second), strict=True):
        pd.testing.assert_frame_equal(one, other)


def test_a_row_a_job_an_epoch_and_a_pair_of_classes(whole):
    jobs, history, confusion = tables(whole.folder)
    assert len(jobs) == 4
    assert (jobs["status"] == "finished").all()
    assert jobs.groupby("label")["seed"].nunique().tolist() == [2, 2]
    assert len(history) == 8
    assert history["lr"].iloc[0] == 0.1
    assert len(confusion) == 4 * 100
    right = confusion[confusion["true_class"] == confusion["predicted_class"]]
    accuracy = right.groupby("job")["count"].sum() / confusion.groupby("job")["count"].sum()
    assert accuracy.tolist() == pytest.approx(jobs["accuracy"].tolist())
    assert jobs["best_valid_accuracy"].ge(jobs["valid_accuracy"]).all()


def test_means_over_seeds(whole):
    jobs, *_ = tables(whole.folder)
    rows = json.loads((whole.folder / "summary.json").read_text())
    assert rows == whole.summary
    for row in rows:
        mine = jobs[jobs["label"] == row["label"]]["accuracy"]
        assert row["accuracy_mean"] == pytest.approx(mine.mean())
        assert row["accuracy_std"] == pytest.approx(mine.std(ddof=1))


def test_the_best_can_be_loaded_and_does_what_it_says(whole):
    best = json.loads((whole.folder / "best.json").read_text())
    network = raynas.load(whole.folder)
    data = load_data("digits", train_size=60, valid_size=30)
    found = evaluate(network, data, data.load_test(), choose_placement("cpu"))
    assert found.accuracy == best["accuracy"]
    assert best["accuracy_of"] == "test"
    assert best["per_class_accuracy"] == [
        row[c] / sum(row) for c, row in enumerate(best["confusion"])
    ]
    valid = evaluate(network, data, data.valid, choose_placement("cpu"))
    assert valid.accuracy == best["metrics"]["accuracy"]


def test_the_manifest_says_what_it_is(whole):
    manifest = RunFolder(whole.folder, None).read_manifest()
    assert (manifest["kind"], manifest["finished"]) == ("retrain", True)
    assert manifest["data"]["fingerprint"]


@pytest.mark.parametrize("stop_after", [0, 1, 2, 3, 7])
def test_goes_on_as_if_never_interrupted(whole, run, tmp_path, monkeypatch, stop_after):
    def interrupted(jobs, objective, folder):
        yield from itertools.islice(run_here(jobs, objective, folder), stop_after)
        raise KeyboardInterrupt

    folder = tmp_path / "whole"  # its name is in no table
    with monkeypatch.context() as patch:
        patch.setattr(session_module, "run_here", interrupted)
        first = run(out=folder)
    assert not first.finished
    assert RunFolder(folder, None).read_manifest()["finished"] is False
    # By the same command, or by the folder alone.
    second = run(out=folder) if stop_after % 2 else run(resume=folder)
    assert second.finished
    same_tables(folder, whole.folder)


def test_a_finished_one_has_nothing_to_do(whole, run):
    before = (whole.folder / "journal.jsonl").read_bytes()
    assert run(resume=whole.folder).finished
    assert (whole.folder / "journal.jsonl").read_bytes() == before


def test_the_listener_hears_of_every_epoch(run, tmp_path):
    heard = []
    run(out=tmp_path / "a", listener=lambda records, config: heard.append(records.epochs))
    assert heard[0] == 0
    assert heard[-1] == 8
    assert heard == sorted(heard)


def test_failures_are_told_and_the_rest_goes_on(run, tmp_path):
    result = run(out=tmp_path / "a", options=("training.lr=3e38", "training.grad_clip=null"))
    assert result.finished
    assert result.best is None
    assert len(result.failures) == 4
    assert "diverged at epoch 1" in result.failures[0]
    rows = pd.read_parquet(tmp_path / "a" / "retrain.parquet")
    assert (rows["status"] == "failed").all()
    assert not (tmp_path / "a" / "best.json").exists()


def test_another_question_needs_another_folder(whole, run):
    with pytest.raises(UsageError, match="holds another retraining"):
        run(out=whole.folder, epochs=3)


def test_status_and_resume_know_a_retraining(whole):
    facts = raynas.status(whole.folder)
    assert (facts["kind"], facts["state"]) == ("retrain", "done")
    assert facts["epochs"] == facts["num_epochs"]
    assert facts["architectures"] == whole.summary
    again = raynas.resume(whole.folder, engine="inline")
    assert again.summary == whole.summary
    with pytest.raises(UsageError, match="takes no objects, and 'space' is given"):
        raynas.resume(whole.folder, space=object())


def test_a_retraining_is_no_search(whole):
    with pytest.raises(UsageError, match="is no search but a retrain run: `raynas resume"):
        resume_search(whole.folder)


def test_a_search_is_no_retraining(searched, run):
    with pytest.raises(UsageError, match="raynas resume"):
        run(resume=searched)


def test_a_retraining_can_be_retrained(whole, run, tmp_path):
    result = run(whole.folder, out=tmp_path / "a", seeds=1, epochs=1)
    best = json.loads((whole.folder / "best.json").read_text())
    assert result.summary[0]["architecture"] == best["architecture"]


def test_data_that_changed_is_noticed(run, tmp_path):
    rng = np.random.default_rng(0)

    def write():
        images = rng.integers(0, 256, (60, 8, 8), np.uint8)
        np.savez(tmp_path / "d.npz", x_train=images, y_train=np.arange(60) % 3)

    write()
    options = ("data.train_size=null", "data.valid_size=null")
    arguments = {"data": f"npz:{tmp_path}/d.npz", "options": options, "out": tmp_path / "a"}
    run(**arguments)
    write()
    with pytest.raises(UsageError, match="began with other data"):
        run(**arguments)


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (("training.train_on=train+valid", "data.test_fraction=0"), "nothing is left to report on"),
        (("space.channels=0",), "channels"),
        (("workers_per_network=2",), "only Ray"),
        (("data.name=npz:none.npz",), "none.npz"),
    ],
)
def test_slips_write_nothing(run, tmp_path, options, word):
    with pytest.raises(UsageError, match=word) as caught:
        run(out=tmp_path / "a", options=options)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "a").exists()


def test_images_too_small_for_the_auxiliary_classifier(tmp_path):
    with pytest.raises(UsageError, match=r"by training\.auxiliary_weight=0"):
        raynas.retrain(
            "DARTS_V2",
            preset="cifar",
            data="digits",
            engine="inline",
            assignments=("space.channels=2", "space.layers=3"),
            out=tmp_path / "a",
        )
