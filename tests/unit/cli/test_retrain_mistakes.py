"""`raynas retrain`: slips are answered in one line, exit code 2; what is shown while it runs."""

import pytest
from typer.testing import CliRunner

from raynas.cli.main import app
from raynas.cli.retrain import Lines, job_line, opening, spread, words
from raynas.retraining.config import NamedArchitecture, RetrainConfig
from raynas.retraining.records import Records, choose, make_jobs, summarise
from raynas.retraining.session import RetrainResult
from raynas.training.job import Finished, JobFailed, Trained

CELL = "|nor_conv_1x1~0|+|none~0|skip_connect~1|+|skip_connect~0|none~1|none~2|"

MISTAKES = [
    ([], "name an architecture"),
    (["DARTS_V9"], "did you mean"),
    (["runs/none"], "no such run folder"),
    (["DARTS_V2", "--preset", "cifra"], "did you mean 'cifar'"),
    ([CELL, "--preset", "cifar"], "DARTS family"),
    (["DARTS_V2", "--preset", "imagenet-mobile"], "--data"),
    (["DARTS_V2", "--space", "nasbench201"], "nasbench201"),
    ([CELL, "--space", "dart"], "did you mean 'darts'"),
    (["DARTS_V2", "--data", "digit"], "digits"),
    (["DARTS_V2", "--data", "npz:none.npz"], "none.npz"),
    (["DARTS_V2", "--epochs", "0"], "epochs"),
    (["DARTS_V2", "--seeds", "0"], "seeds"),
    (["DARTS_V2", "--workers", "0"], "workers"),
    (["DARTS_V2", "--workers-per-network", "0"], "workers_per_network"),
    (["DARTS_V2", "--top", "3"], "none is given"),
    (["DARTS_V2", "--set", "training.lr=fast"], "training.lr"),
    (["DARTS_V2", "--set", "trainign.lr=1"], "did you mean 'training'"),
    (["DARTS_V2", "--set", "training.batch_size=4", "--workers-per-network", "3"], "too small"),
    ([CELL, "--set", "training.drop_path=0.2"], "drop no paths"),
    (["--resume", "none"], "no such run folder"),
    (["DARTS_V2", "--resume", "none"], "give nothing else"),
]


@pytest.mark.parametrize(("arguments", "word"), MISTAKES, ids=lambda v: " ".join(v))
def test_slips(arguments, word, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    out = [] if "--resume" in arguments else ["--out", "out"]
    result = CliRunner().invoke(app, ["retrain", *arguments, *out])
    assert result.exit_code == 2, result.output
    assert len(result.stderr.splitlines()) == 1
    assert word in result.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def config():
    named = [NamedArchitecture(text=t, label=t.upper()) for t in ("a", "b")]
    return RetrainConfig(architectures=named, space="nasbench201", data="digits", epochs=2, seeds=2)


@pytest.fixture
def records():
    return Records(make_jobs(["a", "b"], seeds=2, run_seed=0))


def close(records, job, accuracy):
    records.hear(Trained(job, 1, {"accuracy": 0.9, "train_accuracy": 0.5}))
    records.hear(Trained(job, 2, {"accuracy": 0.8, "train_accuracy": 0.6}))
    records.hear(Finished(job, "test", accuracy, 0.1, [[1]], 1_234_567, 2_000_000))


def test_lines_tell_what_is_new(records, config, capsys):
    lines = Lines()
    lines(records, config)
    assert capsys.readouterr().out.splitlines() == [
        "2 architectures, 2 seeds, 2 epochs each on digits (preset plain)",
        "0 of 4 networks | 0 of 8 epochs",
    ]
    records.hear(Trained(1, 1, {"accuracy": 0.25}))
    lines(records, config)
    assert capsys.readouterr().out == ""  # not five seconds later
    close(records, 0, 0.75)
    records.elapsed_s = 4.0
    lines(records, config)
    first, second = capsys.readouterr().out.splitlines()
    assert first == "A seed 0: test 75.00 % after the last epoch, best valid 90.00 % at epoch 1"
    assert second.startswith("1 of 4 networks | 3 of 8 epochs | B seed 0: epoch 1, valid 25.00 %")
    assert second.endswith("left")


def test_a_failure_is_told(records, config):
    records.hear(JobFailed(1, "boom"))
    assert job_line(records, config, 1) == "B seed 0: failed"


def test_training_accuracy_is_shown_where_nothing_validates(records, config, capsys):
    lines = Lines()
    records.hear(Trained(0, 1, {"train_accuracy": 0.5}))
    lines(records, config)
    assert "A seed 0: epoch 1, train 50.00 %" in capsys.readouterr().out


def test_one_of_each():
    one = RetrainConfig(
        architectures=[NamedArchitecture(text="a", label="A")],
        space="nasbench201",
        data="digits",
        epochs=1,
    )
    assert opening(one).startswith("1 architecture, 1 seed, 1 epoch each")


def test_the_last_epoch_comes_first(records, config, tmp_path):
    close(records, 0, 0.7)
    close(records, 2, 0.8)
    labels = ["A", "B"]
    chosen = choose(records)[0]
    result = RetrainResult(
        tmp_path, False, summarise(records, labels), labels[chosen.job.architecture], records
    )
    head, first, second, *rest = words(result)
    assert head.split("  ")[0] == "architecture"
    assert head.index("test, last epoch") < head.index("valid, best epoch")
    assert "75.00 ± 7.07 %" in first
    assert "90.00 ± 0.00 %" in first
    assert "1.23 M" in first
    assert second.split() == ["B", "0", "-", "-", "-", "-"]
    assert "delivered            A" in rest[0]
    assert f"raynas resume {tmp_path}" in rest[-1]


def test_means_and_deviations_as_people_read_them():
    assert spread(None, None) == "-"
    assert spread(0.5, None) == "50.00 %"
    assert spread(0.97244, 0.0008) == "97.24 ± 0.08 %"
