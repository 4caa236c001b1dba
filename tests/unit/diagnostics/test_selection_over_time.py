"""What would be selected at each checkpoint; and the supernet's accuracy during selection."""

import pytest

from raynas.api.diagnosing import _supernet
from raynas.diagnostics.options import DiagnoseOptions
from raynas.diagnostics.session import measure
from raynas.diagnostics.trajectory import Trajectory
from raynas.diagnostics.trajectory import sentences as trajectory_sentences
from raynas.diagnostics.tuning import Tuning, tuning_rows
from raynas.diagnostics.tuning import sentences as tuning_sentences
from raynas.errors import ConfigError
from raynas.runs.folder import RunFolder
from raynas.runs.supernet_journal import read_supernet_journal


def subject_of(run, against=None):
    return _supernet(RunFolder(run, "supernet"), against, None, None, False)[0]


@pytest.fixture(scope="module")
def trajectory(finished_run):
    subject = subject_of(finished_run)
    diagnostic = Trajectory(DiagnoseOptions(tune_epochs=1))
    results = [measure(subject, 0, part) for part in diagnostic.parts(subject)]
    return subject, diagnostic.conclude(subject, results)


def test_a_row_for_each_checkpoint_and_selection(trajectory):
    subject, finding = trajectory
    assert [(row["epoch"], row["selection"]) for row in finding.rows] == [
        (epoch, selection) for epoch in (1, 2, 3) for selection in ("magnitude", "perturbation")
    ]
    for row in finding.rows:
        assert 0 <= row["discrete_accuracy"] <= 1
        assert 0 <= row["tuned_accuracy"] <= 1
        assert row["edges"] == 6
        architecture = subject.job.space.parse(row["architecture"])
        assert architecture.text.count("skip_connect") == row["skips"]


def test_magnitude_selects_the_largest_theta_of_that_checkpoint(trajectory):
    subject, finding = trajectory
    ops = subject.kinds[0].ops
    for moment in subject.moments:
        theta = subject.training(moment.step).theta()[0]
        chosen = {edge: ops[edge][int(row.argmax())] for edge, row in enumerate(theta)}
        (row,) = (
            r for r in finding.rows if (r["epoch"], r["selection"]) == (moment.epoch, "magnitude")
        )
        assert row["architecture"] == subject.job.space.assemble([chosen]).text


def test_sentences_tell_skips_and_accuracies():
    common = {"epoch": 20, "edges": 16, "supernet_accuracy": 0.9}
    rows = [
        {**common, "selection": "magnitude", "skips": 14}
        | {"discrete_accuracy": 0.3, "tuned_accuracy": 0.5},
        {**common, "selection": "perturbation", "skips": 5}
        | {"discrete_accuracy": 0.4, "tuned_accuracy": 0.75},
    ]
    earlier = [{**row, "epoch": 4, "skips": row["skips"] - 4} for row in rows]
    told = trajectory_sentences(earlier + rows, 1)
    assert "At epoch 20 magnitude selects 14 skips on 16 edges, perturbation 5" in told[0]
    assert "30.0 % and 40.0 %" in told[0]
    assert "after 1 epoch of tuning they reach 50.0 % and 75.0 %" in told[0]
    assert "magnitude went from 10 to 14, those of perturbation from 1 to 5" in told[1]
    untuned = [{**row, "tuned_accuracy": None} for row in rows]
    assert "75.0 %" not in trajectory_sentences(untuned, 0)[0]


# -- tuning ------------------------------------------------------------------------------------


def test_tuning_follows_the_journal(finished_run):
    log, _ = read_supernet_journal(finished_run / "journal.jsonl")
    rows = tuning_rows(finished_run)
    last_of_search, *selecting = [s for s in log.epochs if s["epoch"] >= 3]
    assert [row["epoch"] for row in rows] == [s["epoch"] for s in (last_of_search, *selecting)]
    assert [row["accuracy"] for row in rows[1:]] == [s["metrics"]["accuracy"] for s in selecting]
    assert rows[0]["decisions"] == 0
    assert rows[-1]["decisions"] == 6
    assert {row["selection"] for row in rows} == {"perturbation"}


def test_tuning_refuses_a_run_that_tunes_nothing(dirichlet_run, finished_run):
    with pytest.raises(ConfigError, match="no epoch between decisions"):
        Tuning(DiagnoseOptions()).check(subject_of(dirichlet_run))
    with pytest.raises(ConfigError, match=r"dirichlet has trained no epoch between decisions"):
        Tuning(DiagnoseOptions()).check(subject_of(finished_run, against=dirichlet_run))


def test_tuning_compares_two_runs():
    def row(run, selection, decisions, accuracy):
        return {"run": run, "selection": selection, "decisions": decisions, "accuracy": accuracy}

    rows = [row("a", "perturbation", d, a) for d, a in ((0, 0.9), (3, 0.6), (6, 0.8))]
    rows += [row("b", "magnitude", d, a) for d, a in ((2, 0.9), (6, 0.7))]
    told = tuning_sentences(rows)
    assert "from 90.0 % before any decision to 80.0 % after 6 decisions" in told[0]
    assert "it was least, 60.0 %, after 3" in told[0]
    assert "from 90.0 % after 2 decisions to 70.0 %" in told[1]
    assert told[2] == "At the end a is 10.0 points above b."
