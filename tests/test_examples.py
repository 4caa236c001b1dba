"""The examples hold to the contracts and run."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from raynas.testing import PolicyContract

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"


def example(name):
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class TestMedianPolicy(PolicyContract):
    @pytest.fixture
    def make_policy(self):
        return lambda budget: example("custom_policy").MedianPolicy(self.levels, budget)


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda p: p.name)
def test_examples_are_short(path):
    assert len(path.read_text().splitlines()) < 60


@pytest.mark.ray
@pytest.mark.slow
def test_a_policy_of_ones_own_runs_by_name_and_is_drawn(tmp_path):
    search = [sys.executable, "-m", "raynas", "search", "--budget", "12", "--out", "a", "--json"]
    options = ("policy.name=custom_policy:MedianPolicy", "levels=[1,2]", "data.train_size=200")
    sets = [word for option in options for word in ("--set", option)]
    env = {"PYTHONPATH": str(EXAMPLES), "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
    done = subprocess.run(
        [*search, *sets], cwd=tmp_path, capture_output=True, text=True, timeout=200, env=env
    )
    assert done.returncode == 0, done.stderr
    refused = subprocess.run(
        [sys.executable, "-m", "raynas", "resume", "a"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=100,
        env=env,
    )
    assert refused.returncode == 2
    assert "--trust-code" in refused.stderr
    pytest.importorskip("matplotlib", reason="the extra `plot` is not installed")
    drawn = subprocess.run(
        [sys.executable, str(EXAMPLES / "plot_search.py"), "a", "a.svg"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert drawn.returncode == 0, drawn.stderr
    assert (tmp_path / "a.svg").read_text().startswith("<?xml")


def test_a_supernet_method_of_ones_own_is_a_few_lines_and_runs(tmp_path):
    import raynas
    from raynas.spaces.nasbench201 import NasBench201

    annealed = example("custom_supernet_method").Annealed
    text = (EXAMPLES / "custom_supernet_method.py").read_text()
    method, _ = text.partition("class Annealed")[2].split("if __name__")
    assert len(method.strip().splitlines()) <= 25
    result = raynas.search_supernet(
        space=NasBench201(channels=4, cells_per_stage=1),
        method=annealed(coldest=0.05),
        data={"name": "digits", "train_size": 32, "valid_size": 16},
        selection="magnitude",
        training={"batch_size": 8},
        epochs=2,
        engine="local",
        out=tmp_path / "run",
    )
    assert result.finished
    assert result.architecture is not None
