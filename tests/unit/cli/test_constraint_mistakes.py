"""Limits and objectives a user can get wrong: one line, exit code 2, nothing written."""

import pytest
from typer.testing import CliRunner

from raynas.cli.main import app

SMALL = ["--set", "data.train_size=40", "--set", "level0.mode=off"]

MISTAKES = [
    (
        ["--max-params", "100", "--set", "space.ops=[none,skip_connect]"],
        ["nasbench201", "max_params 100: 0 of 64 pass, smallest num_params 18,"],
    ),
    (
        ["--max-params", "2k", "--set", "constraints.params=builtins:id"],  # any large number
        ["max_params 2,000: 0 of 1,000 pass, smallest num_params "],
    ),
    (["--max-params", "few"], ["constraints.max_params", "'few'"]),
    (["--max-params", "0"], ["constraints.max_params", "greater than 0"]),
    (["--max-flops", "-3M"], ["constraints.max_flops", "greater than 0"]),
    (["--max-latency-ms", "1s"], ["constraints.max_latency_ms", "'1s'"]),
    (["--set", "constraints.max_param=3"], ["max_param", "did you mean 'max_params'"]),
    (["--set", "constraints.latency_batch=2"], ["latency_batch"]),
    (
        ["--max-latency-ms", "3", "--set", "constraints.latency=ms.csv"],
        ["ms.csv: no such file"],
    ),
    (
        ["--max-latency-ms", "3", "--set", "constraints.latency=phone"],
        ["constraints.latency", "'phone'", "module:function"],
    ),
    (
        ["--max-latency-ms", "3", "--set", "constraints.latency=no.such:thing"],
        ["cannot import 'no.such'"],
    ),
    (["--objectives", "accuracy,latncy"], ["objectives", "did you mean 'latency'"]),
    (["--objectives", "params"], ["objectives", "accuracy"]),
    (
        ["--objectives", "accuracy,params", "--set", "policy.name=asha"],
        ["objectives: accuracy, params", "AshaPolicy", "nosh, full"],
    ),
    (
        ["--objectives", "accuracy,params", "--set", "policy.name=hyperband"],
        ["HyperbandPolicy", "by accuracy alone"],
    ),
]


@pytest.mark.parametrize(("arguments", "words"), MISTAKES, ids=lambda v: " ".join(v))
def test_mistakes(tmp_path, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, ["search", "--out", "out", *SMALL, *arguments])
    assert result.exit_code == 2, result.stderr
    assert len(result.stderr.splitlines()) == 1
    for word in words:
        assert word in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_run_folder_cannot_name_a_function_either(tmp_path):
    (tmp_path / "config.yaml").write_text("constraints: {max_params: 9, params: 'os:system'}\n")
    (tmp_path / "run.json").write_text("{}")
    result = CliRunner().invoke(app, ["resume", str(tmp_path)])
    assert result.exit_code == 2
    assert "'os:system'" in result.stderr
    assert "--trust-code" in result.stderr


def test_a_file_in_a_run_folder_is_no_code(tmp_path):
    config = "constraints: {max_latency_ms: 9, latency: 'none.csv:pixel'}\n"
    (tmp_path / "config.yaml").write_text(config)
    (tmp_path / "run.json").write_text("{}")
    result = CliRunner().invoke(app, ["resume", str(tmp_path)])
    assert result.exit_code == 2
    assert "none.csv: no such file" in result.stderr
