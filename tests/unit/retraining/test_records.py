"""Means over seeds, what is delivered, and a journal that a crash may tear."""

import math

import pytest

from raynas.errors import RunFolderError
from raynas.retraining.journal import RetrainJournal, read_retraining
from raynas.retraining.records import (
    Records,
    Spread,
    choose,
    make_jobs,
    per_class_accuracy,
    summarise,
)
from raynas.training.job import Finished, JobFailed, Notice, Trained


def report(job, accuracy, part="test"):
    return Finished(job, part, accuracy, 0.5, [[3, 1], [0, 4]], 100, 200)


def trained(job, epoch, accuracy=None, loss=1.0):
    valid = {} if accuracy is None else {"accuracy": accuracy, "loss": loss}
    return Trained(job, epoch, {**valid, "train_loss": 0.1, "time_s": 1.0})


@pytest.fixture
def records():
    """Two architectures of two seeds: jobs 0 and 2 of the first, 1 and 3 of the second."""
    return Records(make_jobs(["a", "b"], seeds=2, run_seed=0))


def test_architectures_share_seeds_and_take_turns():
    jobs = make_jobs(["a", "b"], seeds=2, run_seed=7)
    assert [(job.text, job.repetition) for job in jobs] == [("a", 0), ("b", 0), ("a", 1), ("b", 1)]
    assert jobs[0].seed == jobs[1].seed != jobs[2].seed == jobs[3].seed
    assert make_jobs(["a"], 1, run_seed=8)[0].seed != jobs[0].seed


def test_spread_is_the_sample_deviation():
    assert Spread.of([]).count == 0
    one = Spread.of([0.5])
    assert (one.mean, one.count) == (0.5, 1)
    assert math.isnan(one.std)
    three = Spread.of([0.1, 0.2, 0.6])
    assert three.mean == pytest.approx(0.3)
    assert three.std == pytest.approx(math.sqrt((0.04 + 0.01 + 0.09) / 2))


def test_the_best_epoch_is_the_first_of_the_highest(records):
    for epoch, accuracy in enumerate([0.2, 0.7, 0.7, 0.5], start=1):
        records.hear(trained(0, epoch, accuracy))
    assert (records[0].best_epoch, records[0].best_accuracy) == (2, 0.7)
    assert records[0].last("accuracy") == 0.5
    assert records[1].best_epoch is None


def test_what_is_heard_twice_is_no_news(records):
    assert records.hear(trained(0, 1, 0.5))
    assert not records.hear(trained(0, 1, 0.5))
    assert records.hear(trained(0, 1, 0.6))  # trained again, from the start
    assert records.epochs == 1


def test_jobs_close(records):
    records.hear(report(0, 0.9))
    records.hear(JobFailed(1, "nan"))
    assert [job.id for job in records.open] == [2, 3]
    assert records.num_failed == 1


def test_validation_chooses_the_architecture_then_the_seed(records):
    assert choose(records) is None
    # The second architecture tests better, but validates worse.
    for job, valid, test in ((0, 0.8, 0.5), (2, 0.9, 0.4), (1, 0.7, 0.99), (3, 0.8, 0.99)):
        records.hear(trained(job, 1, valid))
        records.hear(report(job, test))
    chosen, by = choose(records)
    assert chosen.job.id == 2
    assert "validation" in by


def test_equal_validation_is_settled_by_the_loss(records):
    for job, loss in ((0, 0.4), (2, 0.3)):
        records.hear(trained(job, 1, 0.9, loss))
        records.hear(report(job, 0.5))
    assert choose(records)[0].job.id == 2


def test_without_validation_the_first_is_delivered(records):
    for job, test in ((3, 0.9), (1, 0.9), (2, 0.1), (0, 0.1)):
        records.hear(trained(job, 1))
        records.hear(report(job, test))
    chosen, by = choose(records)
    assert chosen.job.id == 0
    assert "order given" in by


def test_summaries(records):
    for job, valid, test in ((0, 0.8, 0.5), (2, 0.9, 0.4)):
        records.hear(trained(job, 1, 0.95))
        records.hear(trained(job, 2, valid))
        records.hear(report(job, test))
    first, second = summarise(records, ["one", "two"])
    assert first["accuracy_mean"] == pytest.approx(0.45)
    assert first["valid_accuracy_mean"] == pytest.approx(0.85)
    assert first["best_valid_accuracy_mean"] == pytest.approx(0.95)
    assert first["accuracies"] == [0.5, 0.4]
    assert (first["seeds"], first["part"], first["num_params"]) == (2, "test", 100)
    assert (second["seeds"], second["accuracy_mean"], second["part"]) == (0, None, None)


def test_accuracy_by_class():
    assert per_class_accuracy([[3, 1, 0], [0, 0, 0], [1, 1, 2]]) == [0.75, None, 0.5]


REPLIES = [trained(0, 1, 0.5), trained(1, 1), report(0, 0.9), JobFailed(1, "boom\nTrialError: x")]


def test_the_journal_comes_back(tmp_path):
    path = tmp_path / "journal.jsonl"
    assert read_retraining(path) == ([], 0)
    with RetrainJournal(path) as journal:
        for second, reply in enumerate(REPLIES):
            journal.append(reply, float(second))
        journal.append(Notice(0, "not kept"), 9.0)
    entries, size = read_retraining(path)
    assert [reply for reply, _ in entries] == REPLIES
    assert [elapsed_s for _, elapsed_s in entries] == [0, 1, 2, 3]
    assert size == path.stat().st_size


@pytest.mark.parametrize("torn", [b'{"t": 1, "ev', b'{"t": 1, "event": "trained"}', b"x\n"])
def test_a_torn_tail_has_not_happened(tmp_path, torn):
    path = tmp_path / "journal.jsonl"
    with RetrainJournal(path) as journal:
        journal.append(REPLIES[0], 0.0)
    whole = path.read_bytes()
    path.write_bytes(whole + torn)
    entries, size = read_retraining(path)
    assert len(entries) == 1
    with RetrainJournal(path, size) as journal:
        journal.append(REPLIES[1], 1.0)
    assert [reply for reply, _ in read_retraining(path)[0]] == REPLIES[:2]
    path.write_bytes(torn.rstrip(b"\n") + b"\n" + whole)
    with pytest.raises(RunFolderError, match="line 1"):
        read_retraining(path)
