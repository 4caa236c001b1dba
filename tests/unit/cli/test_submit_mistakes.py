"""`raynas submit`, and what is said twice: mistakes are one line, before anything is sent."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from raynas import api
from raynas.api.submitting import JobEnd, Submission
from raynas.cli.common import warn_if_passing
from raynas.cli.main import app
from raynas.cli.submit import closing, exit_code, opening
from raynas.errors import UsageError


def run(*words, **options):
    return CliRunner().invoke(app, [*words], **options)


@pytest.fixture
def sent(monkeypatch):
    calls = []

    def submit(words, **options):
        calls.append((words, options))
        return Submission("job-1", "http://a:1", Path("/mnt/a"), 3, 1000, ())

    monkeypatch.setattr(api, "submit", submit)
    return calls


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "give a command"),
        (["--", "raynas"], "give a command"),
        (["--", "serch"], "no command 'serch', did you mean 'search'?"),
        (["--", "search", "--budgett", "3"], "--budgett"),
        (["--", "search", "--seed", "x"], "'--seed'"),
        (["--follow", "a", "--", "search"], "has its command already"),
        (["--addres", "a", "search"], "--addres"),
    ],
)
def test_mistakes_are_found_before_anything_is_sent(sent, words, told):
    result = run("submit", *words)
    assert result.exit_code == 2
    assert told in result.output
    assert sent == []


def test_a_command_is_passed_on_as_it_is_with_or_without_dashes(sent):
    for dashes in ([], ["--"], ["--", "raynas"]):
        words = ["search", "--budget", "3", "--set", "levels=[1]"]
        result = run("submit", "--detach", "--exclude", "x", "--code", "image", *dashes, *words)
        assert result.exit_code == 0, result.output
        assert "raynas submit --follow job-1" in result.output
        given, options = sent.pop()
        assert given == words
        assert options["exclude"] == ("x",)
        assert options["code"] == "image"


def test_ctrl_c_lets_go_and_says_how_to_come_back(sent, monkeypatch):
    def follow(job_id, **_):
        raise KeyboardInterrupt

    monkeypatch.setattr(api, "follow_job", follow)
    result = run("submit", "--address", "http://a:1", "search")
    assert result.exit_code == 3
    assert "raynas submit --follow job-1 --address http://a:1" in result.output
    assert "ray job stop job-1" in result.output


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [
        ("SUCCEEDED", 0, 0),
        ("FAILED", 2, 2),
        ("FAILED", 3, 3),
        ("FAILED", None, 1),
        ("STOPPED", None, 3),
        ("STOPPED", -15, 3),
    ],
)
def test_the_exit_code_is_that_of_the_command(status, code, expected):
    assert exit_code(JobEnd("a", status, code, "", None, False)) == expected


def test_the_last_line_says_where_the_results_are():
    here = closing(JobEnd("a", "SUCCEEDED", 0, "", Path("/mnt/a"), True))
    assert here[-1].split() == ["results", "/mnt/a", "(raynas", "status", "/mnt/a)"]
    away = closing(JobEnd("a", "FAILED", None, "no node", Path("/mnt/a"), False))
    assert "no node" in away[1]
    assert "nothing is there on this machine" in away[-1]


def test_what_was_too_large_is_named():
    many = tuple(Path(f"{i}.npz") for i in range(7))
    lines = opening(Submission("a", "http://a:1", None, 3, 1000, many))
    assert "0.npz, 1.npz, 2.npz, 3.npz, 4.npz, …" in lines[-1]


@pytest.mark.parametrize("command", ["search", "supernet"])
def test_a_config_is_an_argument_or_an_option_but_not_both(command, tmp_path, monkeypatch):
    seen = []

    def fake(config=None, **_):
        seen.append(config)
        raise UsageError("enough")

    monkeypatch.setattr(api, "search" if command == "search" else "search_supernet", fake)
    for words in (["a.yaml"], ["--config", "a.yaml"]):
        assert run(command, *words).exit_code == 2
    assert seen == [Path("a.yaml")] * 2
    both = run(command, "a.yaml", "--config", "b.yaml")
    assert both.exit_code == 2
    assert (
        both.output.strip() == "raynas: config: given twice, a.yaml and --config b.yaml; give one"
    )
    assert len(seen) == 2


def test_a_run_folder_that_will_go_is_warned_of(tmp_path, monkeypatch, capsys):
    job = tmp_path / "runtime_resources" / "working_dir_files"
    job.mkdir(parents=True)
    monkeypatch.chdir(job)
    monkeypatch.delenv("RAYNAS_RUNS", raising=False)
    for out in (None, Path("runs/a")):
        warn_if_passing(out)
        assert "give --out, or RAYNAS_RUNS" in capsys.readouterr().err
    warn_if_passing(tmp_path / "a")
    monkeypatch.setenv("RAYNAS_RUNS", str(tmp_path))
    warn_if_passing(None)
    assert capsys.readouterr().err == ""
