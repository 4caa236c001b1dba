"""`raynas search` as a user runs it: real Ray, real images, and what the files then say."""

import itertools
import json
import math

import pandas as pd
import pytest
from commands import run_command

import raynas
from raynas.runs.folder import RunFolder
from raynas.runs.journal import read_journal
from raynas.scheduling.events import Proposed, Started

pytestmark = pytest.mark.ray

BUDGET = 60


@pytest.fixture(scope="module")
def run(local_ray, tmp_path_factory):
    """A search on the embedded digits, small enough for a test."""
    folder = tmp_path_factory.mktemp("search")
    done = run_command(
        *("search", "--space", "nasbench201", "--data", "digits", "--budget", BUDGET),
        *("--seed", "0", "--out", "a", "--json", "--set", "data.train_size=300"),
        *("--set", "levels=[1,2,4]", "--set", "policy.per_round=5", "--set", "space.channels=4"),
        cwd=folder,
    )
    assert done.returncode == 0, done.stderr
    return folder / "a", json.loads(done.stdout)


def test_the_books_balance(run):
    folder, summary = run
    rows = pd.read_parquet(folder / "architectures.parquet")
    results = pd.read_parquet(folder / "results.parquet")
    assert rows["epochs"].sum() == summary["spent_epochs"] == len(results)
    assert summary["spent_epochs"] <= BUDGET
    reached = [(rows["level"] >= level).sum() for level in (1, 2, 3)]
    assert reached == summary["reached"]
    for below, above in itertools.pairwise(reached):
        assert above == math.floor(0.5 * below)
    assert rows["key"].is_unique
    assert (rows["num_params"] > 0).all()
    assert (rows["flops"] > 0).all()


def test_an_old_loser_rose_after_newcomers_came(run):
    folder, _ = run
    rounds = -1
    entered = {}
    late = 0
    count = 0
    for event, _ in read_journal(folder / "journal.jsonl")[0]:
        if isinstance(event, Proposed):
            rounds = event.round
            for _ in event.admitted:
                entered[count] = rounds
                count += 1
        elif isinstance(event, Started) and event.to_epoch > 1:
            late += entered[event.id] < rounds
    assert rounds >= 2
    assert late >= 1


def test_predictor_and_proxies_are_on_record(run):
    folder, _ = run
    fits = pd.read_parquet(folder / "ranker.parquet")
    assert len(fits) >= 2
    for column in ("kendall_tau", "spearman", "pair_accuracy", "fit_s", "score_s"):
        assert column in fits
    rows = pd.read_parquet(folder / "architectures.parquet")
    assert {"proxy_synflow", "proxy_params", "proxy_jacob_cov"} <= set(rows.columns)
    assert len(pd.read_parquet(folder / "level0.parquet")) > 0


def test_the_best_can_be_loaded_and_does_what_it_says(run):
    from raynas.training.data import load_data
    from raynas.training.evaluation import evaluate
    from raynas.training.placement import choose_placement

    folder, summary = run
    best = json.loads((folder / "best.json").read_text())
    assert best["architecture"] == summary["architecture"]
    network = raynas.load(folder)
    data = load_data("digits", train_size=300)
    found = evaluate(network, data, data.valid, choose_placement("cpu"))
    assert found.accuracy == pytest.approx(summary["accuracy"])


def test_the_manifest_says_what_ran(run):
    folder, _ = run
    manifest = RunFolder(folder).read_manifest()
    assert manifest["finished"] is True
    assert manifest["data"]["fingerprint"]
    assert manifest["versions"]["ray"]
    assert RunFolder(folder).read_config()["seed"] == 0


def test_status_of_a_finished_run_and_resume_has_nothing_to_do(run):
    folder, summary = run
    done = run_command("status", folder, "--json", cwd=folder.parent)
    assert done.returncode == 0, done.stderr
    status = json.loads(done.stdout)
    assert status["state"] == "done"
    assert status["spent_epochs"] == summary["spent_epochs"]
    before = (folder / "journal.jsonl").read_bytes()
    again = run_command("resume", folder, "--json", cwd=folder.parent)
    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout)["architecture"] == summary["architecture"]
    assert (folder / "journal.jsonl").read_bytes() == before


def test_the_same_seed_gives_the_same_pool(run, tmp_path):
    """Again in the simulated engine, on one worker: same config, real training, same pool."""
    folder, _ = run
    result = raynas.search(
        config=RunFolder(folder).read_config(), engine="simulate", out=tmp_path / "b"
    )
    first = pd.read_parquet(folder / "architectures.parquet").drop(columns="time_s")
    second = pd.read_parquet(result.folder / "architectures.parquet").drop(columns="time_s")
    pd.testing.assert_frame_equal(first, second)


def test_a_search_on_a_users_own_images(local_ray, tmp_path, shared_data):
    done = run_command(
        *("search", "--data", f"npz:{shared_data}/fashion_mnist_16x16.npz", "--budget", "16"),
        *("--out", "f", "--set", "levels=[2,4]", "--set", "space.channels=4"),
        *("--set", "data.train_size=1000", "--set", "data.valid_size=200", "--json"),
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["accuracy"] > 0.2
