"""What a user can get wrong: one line that names the key, exit code 2, nothing written."""

import numpy as np
import pytest
from typer.testing import CliRunner

from raynas.cli.main import app
from raynas.errors import UsageError
from raynas.spaces.nasbench201 import NasBench201


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        result = CliRunner().invoke(app, ["search", "--out", "out", *arguments])
        return result.exit_code, result.stderr

    return run


def npz(path, **changes):
    rng = np.random.default_rng(0)
    arrays = {
        "x_train": rng.integers(0, 256, (40, 8, 8), dtype=np.uint8),
        "y_train": np.arange(40) % 4,
        "x_valid": rng.integers(0, 256, (8, 8, 8), dtype=np.uint8),
        "y_valid": np.arange(8) % 4,
    }
    arrays |= changes
    np.savez(path, **{k: v for k, v in arrays.items() if v is not None})


MISTAKES = [
    (["--space", "nasbench101x"], ["space", "nasbench201"]),
    (["--space", "no.module:Space"], ["cannot import"]),
    (["--data", "digit"], ["digits"]),
    (["--data", "npz:missing.npz"], ["missing.npz"]),
    (["--data", "torchvision:CIFAR11"], ["CIFAR10"]),
    (["--data", "imagefolder:missing"], ["missing"]),
    (["--budget", "0"], ["budget"]),
    (["--budget", "-5"], ["budget"]),
    (["--budget", "ten"], ["budget", "6h"]),
    (["--budget", "1", "--set", "levels=[2,4]"], ["budget", "first level"]),
    (["--budget", "12gpuh"], ["resources.gpus"]),
    (["--set", "levels=[4,2]"], ["levels", "increasing"]),
    (["--set", "policy.promote_fraction=1"], ["promote_fraction", "between 0 and 1"]),
    (["--set", "policy.promote_fractoin=.5"], ["promote_fraction"]),
    (["--set", "policy.mode=asink"], ["mode", "async"]),
    (["--set", "policy.name=nohs"], ["nosh"]),
    (["--set", "proposer.name=rankin"], ["ranking"]),
    (["--set", "level0.proxies=[sinflow]"], ["synflow"]),
    (["--set", "level0.aggregate=best"], ["borda"]),
    (["--set", "training.leraning_rate=1"], ["training"]),
    (["--set", "training.batch_size=0"], ["batch_size"]),
    (["--set", "space.chanels=4"], ["channels"]),
    (["--set", "space.channels=0"], ["channels"]),
    (["--set", "data.valid_fractoin=.5"], ["valid_fraction"]),
    (["--set", "budgte=3"], ["budget"]),
    (["--preset", "laptoop"], ["laptop"]),
    (["none.yaml"], ["none.yaml"]),
]


@pytest.mark.parametrize(("arguments", "words"), MISTAKES, ids=lambda v: " ".join(v))
def test_mistakes(run, tmp_path, arguments, words):
    code, errors = run(*arguments)
    assert code == 2, errors
    assert len(errors.splitlines()) == 1
    for word in words:
        assert word in errors
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"y_train": None}, "y_train"),
        ({"y_train": np.arange(39) % 4}, "39"),
        ({"y_train": np.full(40, -1)}, "-1"),
        ({"y_train": np.zeros(40, dtype=int)}, "class"),
        ({"y_valid": np.full(8, 9)}, "9"),
        ({"x_train": np.full((40, 8, 8), np.nan)}, "NaN"),
        ({"x_train": np.zeros((40, 8), dtype=np.uint8)}, "x_train"),
        ({"x_train": np.array([{}] * 40, dtype=object)}, "x_train"),
        ({"x_valid": np.zeros((8, 9, 9), dtype=np.uint8)}, "x_valid"),
    ],
    ids=lambda v: " ".join(v) if isinstance(v, dict) else str(v),
)
def test_bad_arrays(run, tmp_path, changes, word):
    npz(tmp_path / "data.npz", **changes)
    code, errors = run("--data", "npz:data.npz")
    assert code == 2, errors
    assert len(errors.splitlines()) == 1
    assert word in errors
    assert not (tmp_path / "out").exists()


def test_a_file_that_is_no_npz(run, tmp_path):
    (tmp_path / "data.npz").write_bytes(b"PK\x03\x04 nonsense")
    code, errors = run("--data", "npz:data.npz")
    assert code == 2
    assert "data.npz" in errors


def test_a_folder_that_holds_another_run(run, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "config.yaml").write_text("{}")
    code, errors = run()
    assert code == 2
    assert "raynas resume out" in errors


def test_an_architecture_says_where_it_is_wrong():
    with pytest.raises(UsageError, match=r"character 2.*nor_conv_3x3"):
        NasBench201().parse("|nor_conv_3x4~0|+|none~0|none~1|+|none~0|none~1|none~2|")


@pytest.mark.parametrize("command", ["status", "resume"])
def test_no_run_there(tmp_path, command):
    result = CliRunner().invoke(app, [command, str(tmp_path / "none")])
    assert result.exit_code == 2
    assert "no such run folder" in result.stderr


def test_a_run_folder_cannot_name_foreign_code(tmp_path):
    (tmp_path / "config.yaml").write_text("policy: {name: 'os:system'}\n")
    (tmp_path / "run.json").write_text("{}")
    result = CliRunner().invoke(app, ["resume", str(tmp_path)])
    assert result.exit_code == 2
    assert "--trust-code" in result.stderr
