"""Who trains together: one process by itself, and two real ones against it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from raynas.supernets.workers import Alone

SCRIPT = Path(__file__).with_name("joint_training.py")


def test_alone_nothing_changes():
    tensors = [torch.ones(2), torch.zeros(1, dtype=torch.int64)]
    Alone().all_reduce_(tensors)
    Alone().all_reduce_(tensors, mean=True)
    assert [t.tolist() for t in tensors] == [[1, 1], [0]]
    assert Alone().broadcast({"a": [1]}) == {"a": [1]}


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """What `joint_training.py` found as one process, and as each of two."""
    folder = tmp_path_factory.mktemp("joint")
    processes = [
        subprocess.Popen([sys.executable, SCRIPT, str(folder), str(rank), str(size)])
        for rank, size in ((0, 1), (0, 2), (1, 2))
    ]
    codes = [process.wait(timeout=500) for process in processes]
    assert codes == [0, 0, 0]
    return {path.stem: torch.load(path) for path in folder.glob("*.pt")}


def test_messages_reach_all_workers(results):
    for rank in (0, 1):
        found = results[f"{rank}of2"]["messages"]
        assert found["sum"] == [[3, 3], [30.5]]
        assert found["mean"] == [1.5, 1.5]
        assert found["said"] == json.loads('{"from": 0, "é": [1.5, null]}')


@pytest.mark.parametrize("name", ["darts", "second order", "sdarts_adv", "drnas", "pc_darts"])
def test_two_workers_train_as_one_does_with_the_joint_batch(results, name):
    alone, first, second = (results[key][name] for key in ("0of1", "0of2", "1of2"))
    for step in ("alphas", "weights", "buffers"):
        for one, two, other in zip(alone[step], first[step], second[step], strict=True):
            torch.testing.assert_close(two, one, rtol=1e-8, atol=1e-10)
            assert torch.equal(two, other)
    assert first["metrics"] == second["metrics"]
    assert first["metrics"] == pytest.approx(alone["metrics"], rel=1e-8)
    for count in ("correct", "count"):
        assert first["metrics"][count] == alone["metrics"][count]


def test_a_checkpoint_of_one_worker_goes_on_with_two(results):
    found = results["0of2"]["resumed"]
    expected = results["0of1"]["resumed"]
    for one, two in zip(expected, found, strict=True):
        torch.testing.assert_close(two, one, rtol=1e-8, atol=1e-10)
