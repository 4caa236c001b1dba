"""`raynas export` on real run folders: what it writes, what the card says, what it refuses."""

import json
import shutil

import pytest
import torch
from typer.testing import CliRunner

import raynas
from raynas.api.retraining import retrain
from raynas.cli.main import app
from raynas.errors import UsageError
from raynas.exporting import onnx_model
from raynas.exporting.program import NOTES

CELL = "|nor_conv_1x1~0|+|none~0|skip_connect~1|+|skip_connect~0|none~1|none~2|"
SIZES = ("space.channels=2", "space.cells_per_stage=1")
OPTIONS = ("data.train_size=60", "data.valid_size=30", "training.batch_size=30")


@pytest.fixture(scope="module")
def retrained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "b"
    retrain(CELL, epochs=1, seeds=2, engine="inline", assignments=(*SIZES, *OPTIONS), out=folder)
    return folder


def invoke(*arguments):
    return CliRunner().invoke(app, ["export", *map(str, arguments)])


def test_a_retraining_is_exported_with_a_card(retrained, tmp_path):
    written = raynas.export(retrained, "source", out=tmp_path)
    assert [f.name for f in written.files] == ["network.py", "network.safetensors", "card.md"]
    card = (tmp_path / "card.md").read_text()
    best = json.loads((retrained / "best.json").read_text())
    for fact in (
        CELL,
        "digits",
        "60 to train on, 30 to validate on",
        f"test accuracy after the last epoch: {100 * best['accuracy']:.2f} %",
        "over 2 seeds",
        f"parameters: {best['num_params']:,}",
        f"multiply-accumulates for one image: {best['flops']:,}",
        "for a batch of 1",
        "for a batch of 32",
        "seed: 0",
        f"torch {torch.__version__}",
        "| 9 |",
        "mean [",
    ):
        assert fact in card, fact


def test_the_card_speaks_of_all_exports_of_these_weights_only(retrained, tmp_path):
    raynas.export(retrained, "source", out=tmp_path)
    raynas.export(retrained / "best.json", "pt2", out=tmp_path)
    card = (tmp_path / "card.md").read_text()
    assert "`network.py`" in card
    assert "`network.pt2`" in card
    (tmp_path / "card.md").write_text("of another network")
    raynas.export(retrained, "pt2", out=tmp_path)
    assert "`network.py`" not in (tmp_path / "card.md").read_text()


def test_the_notes_say_how_to_normalise(retrained):
    written = raynas.export(retrained, "pt2")
    assert written.files[0] == retrained / "export" / "network.pt2"
    extra = {NOTES: ""}
    torch.export.load(written.files[0], extra_files=extra)
    notes = json.loads(extra[NOTES])
    assert notes["architecture"] == CELL
    assert len(notes["mean"]) == len(notes["std"]) == 1


def test_a_bare_best_json_with_its_weights_is_enough(retrained, tmp_path):
    (tmp_path / "a").mkdir()
    shutil.copy(retrained / "best.json", tmp_path / "a")
    shutil.copytree(retrained / "checkpoints", tmp_path / "a" / "checkpoints")
    result = invoke(tmp_path / "a" / "best.json", "--format", "pt2", "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["max_difference"] < 1e-5


def test_a_failed_export_leaves_nothing(retrained, tmp_path, monkeypatch):
    def broken(network, task, path, notes):
        path.write_text("half")
        raise UsageError("no")

    monkeypatch.setattr("raynas.exporting.program.write_program", broken)
    with pytest.raises(UsageError, match="no"):
        raynas.export(retrained, "pt2", out=tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_slips(retrained, tmp_path, monkeypatch):
    young = tmp_path / "young"
    young.mkdir()
    (young / "config.yaml").write_text("{}")
    (tmp_path / "other.json").write_text("{}")
    monkeypatch.setattr(onnx_model, "PACKAGES", ("no_such_package",))
    slips = [
        ([retrained, "--format", "pt3"], "did you mean 'pt2'"),
        ([retrained, "--format", "torchscript"], "allowed: pt2, onnx, source"),
        ([tmp_path / "none"], "cannot be read"),
        ([young], "no best.json yet"),
        ([tmp_path / "other.json"], "not the best.json of a run"),
        ([retrained, "--format", "onnx"], "pip install 'raynas[onnx]'"),
        ([retrained, "--out", retrained / "best.json"], "cannot create it"),
    ]
    for arguments, word in slips:
        result = invoke(*arguments)
        assert result.exit_code == 2, (arguments, result.output)
        assert len(result.stderr.splitlines()) == 1
        assert word in result.stderr


def test_a_file_cannot_name_foreign_code(retrained, tmp_path):
    best = json.loads((retrained / "best.json").read_text())
    (tmp_path / "best.json").write_text(json.dumps({**best, "space": {"name": "os:system"}}))
    result = invoke(tmp_path)
    assert result.exit_code == 2
    assert "code outside raynas" in result.stderr
