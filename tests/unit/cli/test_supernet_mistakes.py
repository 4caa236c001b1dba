"""What a user can get wrong about a supernet: one line that names the key, exit code 2, nothing
written, Ray not started.
"""

import pytest
from typer.testing import CliRunner

from raynas.cli.main import app

SMALL = (
    *("--set", "data.train_size=60", "--set", "data.valid_size=20"),
    *("--set", "training.batch_size=15", "--preset", "small"),
)


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    # No test here may get as far as starting Ray.
    monkeypatch.setattr("raynas.engine.session.connected", lambda *_: pytest.fail("starts Ray"))

    def run(*arguments):
        result = CliRunner().invoke(app, ["supernet", "--out", "out", *SMALL, *arguments])
        return result.exit_code, result.stderr

    return run


MISTAKES = [
    (["--space", "dart"], ["space", "darts"]),
    (["--space", "nasbench101"], ["nasbench101", "supernet"]),
    (["--space", "s2", "--set", "space.chanels=4"], ["channels"]),
    (["--space", "nasbench201", "--set", "space.ops=[skip_connect]"], ["two"]),
    (["--space", "no.module:Space"], ["cannot import"]),
    (["--data", "digit"], ["digits"]),
    (["--data", "npz:missing.npz"], ["missing.npz"]),
    (["--method", "dart"], ["method", "darts"]),
    (["--set", "method.ordre=2"], ["order"]),
    (["--set", "method.order=3"], ["method.order"]),
    (["--select", "perturbatoin"], ["perturbation"]),
    (["--set", "selection.tune_epoch=3"], ["tune_epochs"]),
    (["--set", "selection.criterion=acc"], ["criterion", "accuracy"]),
    (["--select", "magnitude", "--set", "selection.criterion=loss"], ["magnitude", "criterion"]),
    (["--set", "selection.exclude=[sep_conv_9x9]"], ["sep_conv_9x9"]),
    (["--epochs", "0"], ["training.epochs"]),
    (["--set", "training.epoch=3"], ["epochs"]),
    (["--set", "training.lr=-1"], ["training.lr"]),
    (["--set", "training.batch_size=64"], ["training.batch_size", "64", "30"]),
    (["--workers", "0"], ["workers"]),
    (["--workers", "16"], ["training.batch_size", "16 workers"]),
    (["--set", "resources.cpus=0"], ["resources.cpus"]),
    (["--set", "resources.evaluators=0"], ["resources.evaluators"]),
    (["--set", "resources.gpu=1"], ["gpus"]),
    (["--set", "checkpoints.keep_last=0"], ["keep_last"]),
    (["--set", "init_from=nowhere"], ["init_from", "nowhere"]),
    (["--set", "metod.name=darts"], ["method"]),
    (["--preset", "smal"], ["small"]),
    (["none.yaml"], ["none.yaml"]),
    (["--method", "sgas", "--space", "s2"], ["sgas", "none"]),
    (["--method", "pc_darts", "--set", "space.channels=6"], ["channels", "4"]),
]


@pytest.mark.parametrize(("arguments", "words"), MISTAKES, ids=lambda v: " ".join(v))
def test_mistakes(run, tmp_path, arguments, words):
    code, errors = run(*arguments)
    assert code == 2, errors
    assert len(errors.splitlines()) == 1
    for word in words:
        assert word in errors
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_holds_another_run(run, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "config.yaml").write_text("{}")
    code, errors = run()
    assert code == 2
    assert "raynas resume out" in errors


def test_a_run_folder_cannot_name_foreign_code(tmp_path):
    (tmp_path / "config.yaml").write_text("method: {name: 'os:system'}\n")
    (tmp_path / "run.json").write_text('{"kind": "supernet"}')
    result = CliRunner().invoke(app, ["resume", str(tmp_path)])
    assert result.exit_code == 2
    assert "--trust-code" in result.stderr
