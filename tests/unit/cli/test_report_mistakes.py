"""What a user gets wrong with `raynas report`: one line, exit code 2."""

import builtins
import json

import pytest
from typer.testing import CliRunner

from raynas import api
from raynas.cli.main import app
from raynas.testing import FakeObjective, ToySpace

pytest.importorskip("matplotlib", reason="the extra `plot` is not installed")


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    folder = tmp_path_factory.mktemp("search") / "run"
    config = {"policy": {"name": "nosh", "per_round": 4}, "proposer": "random"}
    options = {"budget": 12, "levels": [1, 2], "engine": "simulate", "config": config}
    api.search(space=ToySpace(), objective=FakeObjective(), out=folder, **options)
    return folder


def mistake(*args):
    result = CliRunner().invoke(app, ["report", *map(str, args)])
    assert result.exit_code == 2, result.output
    assert result.stderr.count("\n") == 1, result.stderr
    assert result.stderr.startswith("raynas: ")
    return result.stderr


def test_no_folder(tmp_path):
    assert "no such run folder" in mistake(tmp_path / "nothing")


def test_no_run(tmp_path):
    assert "holds no run" in mistake(tmp_path)


def test_nothing_trained_yet(searched, tmp_path):
    for name in ("config.yaml", "run.json"):
        (tmp_path / name).write_text((searched / name).read_text())
    assert "nothing to report" in mistake(tmp_path)
    for kind, word in (("supernet", "config.yaml"), ("other", "unknown kind")):
        (tmp_path / "run.json").write_text(json.dumps({"kind": kind}))
        assert word in mistake(tmp_path)


def test_a_file_that_cannot_be_written(searched, tmp_path):
    assert "cannot be written" in mistake(searched, "--out", tmp_path / "no" / "where.html")
    (tmp_path / "file").write_text("x")
    assert "cannot be written" in mistake(searched, "--out", tmp_path / "file" / "r.html")


def test_a_journal_of_something_else(searched, tmp_path):
    for name in ("config.yaml", "run.json"):
        (tmp_path / name).write_text((searched / name).read_text())
    (tmp_path / "journal.jsonl").write_text(
        '{"t": 0, "event": "started", "id": 4, "to_epoch": 1}\n' * 2
    )
    assert "journal" in mistake(tmp_path)


def test_without_matplotlib(searched, monkeypatch):
    found = builtins.__import__

    def missing(name, *args, **kwargs):
        if name.partition(".")[0] == "matplotlib":
            raise ImportError(name)
        return found(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", missing)
    assert "pip install 'raynas[plot]'" in mistake(searched)


def test_it_says_what_it_wrote(searched, tmp_path):
    target = tmp_path / "r.html"
    result = CliRunner().invoke(app, ["report", str(searched), "--out", str(target)])
    assert result.output == f"written  {target}\n"
    assert target.read_text().startswith("<!doctype html>")
    result = CliRunner().invoke(app, ["report", str(searched), "--out", str(target), "--json"])
    assert json.loads(result.output) == {"report": str(target)}
