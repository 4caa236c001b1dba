"""The example of a user's own macro space holds to the contract, and what it builds trains."""

import importlib.util
import re
import sys
from pathlib import Path

import pytest
import torch

from raynas import api
from raynas.spaces.space import SearchSpace, TaskShape
from raynas.testing import SpaceContract

PATH = Path(__file__).resolve().parents[3] / "examples" / "macro_space.py"


@pytest.fixture(scope="module")
def macro_space():
    spec = importlib.util.spec_from_file_location("macro_space", PATH)
    module = importlib.util.module_from_spec(spec)
    sys.modules["macro_space"] = module  # where pickle looks for the class
    spec.loader.exec_module(module)
    yield module
    del sys.modules["macro_space"]


class TestMacroSpace(SpaceContract):
    @pytest.fixture
    def space(self, macro_space):
        return macro_space.MacroSpace()


def test_is_a_search_space_of_a_page(macro_space):
    assert isinstance(macro_space.MacroSpace(), SearchSpace)
    assert len(PATH.read_text().splitlines()) < 60


def test_a_neighbour_differs_in_one_number(macro_space):
    space = macro_space.MacroSpace()
    text = "d1w8k3e1-d2w16k5e3-d1w32k3e3"
    found = [re.findall(r"\d+", a.text) for a in space.neighbours(space.parse(text))]
    assert len(found) == 3 * (1 + 2 + 1 + 1)
    old = re.findall(r"\d+", text)
    assert all(sum(a != b for a, b in zip(old, new, strict=True)) == 1 for new in found)


def test_builds_what_the_text_says(macro_space):
    space = macro_space.MacroSpace()
    task = TaskShape(in_channels=1, image_size=8, num_classes=3)
    network = space.build(space.parse("d1w8k3e1-d2w16k5e3-d1w32k3e3"), task)
    convs = [part for part in network if isinstance(part, torch.nn.Conv2d)]
    spatial = [part for part in convs if part.kernel_size != (1, 1)]
    assert [part.kernel_size[0] for part in spatial] == [3, 5, 5, 3]
    assert [part.stride[0] for part in spatial] == [2, 2, 1, 2]
    assert [part.out_channels for part in spatial] == [1, 24, 48, 48]
    assert [part.out_channels for part in convs[2::3]] == [8, 16, 16, 32]
    assert network(torch.randn(2, 1, 8, 8)).shape == (2, 3)


def test_is_searched(macro_space, tmp_path):
    result = api.search(
        space=macro_space.MacroSpace(),
        data={"name": "digits", "train_size": 64},
        levels=[1],
        budget=3,
        proposer="random",
        config={"level0": {"mode": "off"}},
        engine="simulate",
        out=tmp_path / "run",
    )
    assert result.pool.spent_epochs == 3
    assert not any(candidate.error for candidate in result.pool)
