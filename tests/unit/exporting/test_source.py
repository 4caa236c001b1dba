"""The standalone Python file: the same logits, no raynas, only what the network uses."""

import subprocess
import sys
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import nn

from raynas.errors import UsageError
from raynas.exporting.checking import example_images
from raynas.exporting.python_source import source_of, write_source
from raynas.spaces.cell_space import CellSpace
from raynas.spaces.darts import DartsSpace

NOTES = {"raynas": "1.0", "mean": [4.5], "std": [6.0]}


def test_gives_the_same_logits(loaded, tmp_path):
    path = tmp_path / "network.py"
    assert write_source(loaded, path, NOTES) < 1e-5
    code = path.read_text()
    assert "import raynas" not in code
    assert "from raynas" not in code
    assert max(map(len, code.splitlines())) <= 100
    weights = safetensors.torch.load_file(path.with_suffix(".safetensors"))
    assert set(weights) <= set(loaded.network.state_dict())


def test_runs_where_there_is_no_raynas(make_loaded, tmp_path):
    """In an interpreter that sees torch and safetensors, and nothing of this project."""
    loaded = make_loaded(DartsSpace(channels=2, layers=3), 8, "DARTS_V2")
    write_source(loaded, tmp_path / "network.py", NOTES)
    site = Path(torch.__file__).parents[1]
    torch.save(example_images(loaded.task, 5), tmp_path / "images.pt")
    script = (
        "import sys\n"
        "sys.meta_path.insert(0, type('No', (), {'find_spec': staticmethod(\n"
        "    lambda name, *_: (_ for _ in ()).throw(ImportError(name))\n"
        "    if name.split('.')[0] in ('raynas', 'ray') else None)}))\n"
        f"sys.path[:0] = [{str(tmp_path)!r}, {str(site)!r}]\n"
        "import network, torch\n"
        "torch.save(network.load()(torch.load('images.pt')), 'logits.pt')\n"
        "assert 'raynas' not in sys.modules\n"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", script],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    expected = loaded.network(example_images(loaded.task, 5))
    torch.testing.assert_close(torch.load(tmp_path / "logits.pt"), expected)


def test_holds_only_the_ops_that_are_used(make_loaded):
    only = "normal:" + "|skip_connect~0|max_pool_3x3~1|" + "+|skip_connect~0|skip_connect~1|" * 3
    both = only + ";reduce:" + "|max_pool_3x3~0|max_pool_3x3~1|" * 1
    both += "+|max_pool_3x3~0|max_pool_3x3~1|" * 3
    loaded = make_loaded(DartsSpace(channels=2, layers=3), 8, both)
    code = source_of(loaded, "w.safetensors", NOTES)
    assert "max_pool" in code
    for absent in ("Separable", "avg_pool", "noise", "operations"):
        assert absent not in code
    full = source_of(make_loaded(DartsSpace(channels=2, layers=3), 8, "DARTS_V1"), "w", NOTES)
    assert "Separable" in full
    assert "avg_pool" in full


def test_a_cell_reads_as_the_genotype(make_loaded):
    code = source_of(make_loaded(DartsSpace(channels=2, layers=3), 8, "DARTS_V2"), "w", NOTES)
    assert 's2 = op["0"](s0) + op["1"](s1)' in code
    assert 's4 = s0 + op["5"](s1)' in code  # a skip beside a convolution
    assert "MEAN = (4.5,)" in code


def test_a_network_that_draws_noise_draws_it_too(noisy, tmp_path):
    assert write_source(noisy, tmp_path / "network.py", NOTES) < 1e-5


class OwnOp(nn.Conv2d):
    def __init__(self, channels):
        super().__init__(channels, channels, 1)


def test_code_of_ones_own_cannot_be_written(make_loaded):
    space = CellSpace(ops={"none": "none", "own": OwnOp}, channels=2, cells_per_stage=1)
    text = "|own~0|+|own~0|own~1|+|own~0|own~1|own~2|"
    with pytest.raises(UsageError, match="op 'own' is code of its own"):
        source_of(make_loaded(space, 8, text), "w", NOTES)


def test_networks_of_ones_own_cannot_be_written(make_loaded):
    class Own(DartsSpace):
        def build(self, architecture, task):
            return nn.Sequential(nn.Flatten(), nn.Linear(64, 3))

    with pytest.raises(UsageError, match="writes no source of Sequential"):
        source_of(make_loaded(Own(channels=2, layers=3), 8, "DARTS_V2"), "w", NOTES)
