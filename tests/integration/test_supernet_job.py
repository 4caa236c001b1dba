"""Supernet runs on a real Ray: Train workers, evaluators, and what they must agree on."""

import json
import os
import signal
import threading
import time

import numpy as np
import pandas as pd
import pytest
import ray
import yaml
from toys import one_thread as one_thread
from toys import supernet_config
from typer.testing import CliRunner

from raynas import api
from raynas.cli.main import app
from raynas.engine.evaluators import EvaluatorPool, start_host
from raynas.errors import TrialError
from raynas.runs.supernet_journal import read_supernet_journal
from raynas.selection.scoring import Request, local_scorer
from raynas.supernet_config import load_supernet_config
from raynas.supernet_setup import SupernetParts, set_up_supernet
from raynas.supernets.decisions import Question
from raynas.supernets.workers import Alone

pytestmark = pytest.mark.ray

TOY = supernet_config(
    data={"name": "digits", "train_size": 64, "valid_size": 20},
    selection={"name": "perturbation", "tune_epochs": 1, "batch_size": 8},
    training={"batch_size": 16, "alpha_lr": 0.01},
    resources={"cpus": 1, "evaluators": 2},
)


# -- evaluators ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def job():
    return set_up_supernet(load_supernet_config(TOY), SupernetParts())[0]


@pytest.fixture(scope="module")
def training(job):
    training = job.program(Alone()).training
    training.train_epoch()
    return training


class Some:
    """A host that hands out only some of the evaluators of another."""

    def __init__(self, evaluators):
        self.evaluators = self
        self._handles = ray.put(evaluators)

    def remote(self):
        return self._handles


@pytest.fixture(scope="module")
def evaluators(local_ray, job):
    host = start_host(ray.cloudpickle.dumps(job), 3, 0.0)
    yield ray.get(host.evaluators.remote())
    ray.kill(host)


def request(training, **changes):
    question = Question(0, tuple(range(5)), edge=1)
    values = {
        "mixture": training.mixture(),
        "question": question,
        "options": question.options,
        "norm": "batch",
        "batch_size": 8,
    }
    return Request(**{**values, **changes})


REQUESTS = [
    {},
    {"options": (3, 1), "batches": (0, 2)},
    {"norm": "running"},
    {"augmented": True, "shuffle_seed": 5},
    {"batch_size": 32},  # one batch: options are shared out
]


@pytest.mark.parametrize("changes", REQUESTS, ids=str)
def test_scores_are_the_same_whoever_computes_them(evaluators, training, changes):
    asked = request(training, **changes)
    expected = local_scorer(training)(asked)
    for count in (1, 2, 3):
        pool = EvaluatorPool(Some(evaluators[:count]), training)
        found = pool(asked)
        assert np.array_equal(found.correct, expected.correct)
        assert np.array_equal(found.loss, expected.loss)
        assert np.array_equal(found.count, expected.count)
        assert 1 <= len(pool.took_part()) <= count


def test_a_new_step_is_a_new_supernet(evaluators, training):
    pool = EvaluatorPool(Some(evaluators[:2]), training)
    before = pool(request(training))
    training.train_epoch()
    pool.begin()
    after = pool(request(training))
    assert not np.array_equal(before.loss, after.loss)
    assert np.array_equal(after.loss, local_scorer(training)(request(training)).loss)


@pytest.mark.faults
def test_an_evaluator_killed_in_the_middle_changes_nothing(evaluators, training, record_fault):
    victim, other = evaluators[:2]
    expected = local_scorer(training)(request(training))
    pid = int(ray.get(victim.name.remote()).rpartition(":")[2])
    pool = EvaluatorPool(Some([victim, other]), training)
    killer = threading.Timer(0.05, lambda: os.kill(pid, signal.SIGKILL))
    killer.start()
    rounds = 0
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        found = pool(request(training))
        assert np.array_equal(found.correct, expected.correct)
        assert np.array_equal(found.loss, expected.loss)
        rounds += 1
        if int(ray.get(victim.name.remote()).rpartition(":")[2]) != pid:
            break
    assert int(ray.get(victim.name.remote()).rpartition(":")[2]) != pid  # it came back
    killer.join()
    record_fault(
        "evaluator killed in the middle of a decision",
        injected=1,
        lost_epochs=0,
        lost_architectures=0,
        differences=0,
    )


# -- whole runs ----------------------------------------------------------------------------------


def theta(folder):
    return pd.read_parquet(folder / "alpha.parquet")["theta"].to_numpy()


@pytest.mark.slow
def test_two_workers_train_as_one_with_the_joint_batch(local_ray, tmp_path):
    """Float32 and another order of sums: equal to a tolerance, and so the decisions."""
    alone = api.search_supernet(config=TOY, out=tmp_path / "one", engine="local")
    both = api.search_supernet(config=TOY, workers=2, out=tmp_path / "two")
    assert alone.finished
    assert both.finished
    searched = slice(0, 2 * 6 * 5)
    np.testing.assert_allclose(
        theta(tmp_path / "two")[searched], theta(tmp_path / "one")[searched], atol=2e-4
    )
    assert both.log.sessions[0]["workers"] == 2
    decisions = pd.read_parquet(tmp_path / "two" / "decisions.parquet")
    assert decisions["decision"].nunique() == 6
    assert (decisions["workers"].str.len() > 0).all()
    assert not list((tmp_path / "two" / "checkpoints").glob("*.json"))


def test_the_command_on_ray_is_bit_by_bit_one_process_without(local_ray, tmp_path):
    here = api.search_supernet(config=TOY, out=tmp_path / "here", engine="local")
    config = tmp_path / "toy.yaml"
    config.write_text(yaml.safe_dump(TOY))
    there = tmp_path / "there"
    ran = CliRunner().invoke(app, ["supernet", str(config), "--out", str(there), "--json"])
    assert ran.exit_code == 0, ran.output
    found = json.loads(ran.stdout)
    assert found["architecture"] == here.architecture.text
    assert found["decisions"] == 6
    assert np.array_equal(theta(tmp_path / "here"), theta(there))
    columns = ["option", "correct", "loss", "chosen"]
    one = pd.read_parquet(tmp_path / "here" / "decisions.parquet")[columns]
    other = pd.read_parquet(there / "decisions.parquet")[columns]
    assert one.equals(other)


@pytest.mark.slow
def test_divergence_on_two_workers_is_told_once_and_not_repeated(local_ray, tmp_path):
    training = {**TOY["training"], "epochs": 6, "lr": 1e4, "min_lr": 0, "grad_clip": None}
    with pytest.raises(TrialError, match=r"diverged at epoch .* checkpoint"):
        api.search_supernet(config=TOY, training=training, workers=2, out=tmp_path / "run")
    log, _ = read_supernet_journal(tmp_path / "run" / "journal.jsonl")
    assert log.failure is not None
    assert len(log.sessions) == 1
