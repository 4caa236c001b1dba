import os
import pickle

import pytest
import torch

from raynas.errors import CheckpointError
from raynas.training.checkpoint import load_checkpoint, save_checkpoint

STATE = {
    "epoch": 3,
    "history": {1: {"accuracy": 0.5}},
    "weights": {"w": torch.arange(100.0)},
    "more": [1, "two", None, True],
}


class Hostile:
    def __init__(self, command):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


def test_what_was_saved_comes_back(tmp_path):
    for sync in (False, True):
        save_checkpoint(tmp_path / "a.pt", STATE, sync=sync)
        loaded = load_checkpoint(tmp_path / "a.pt")
        assert torch.equal(loaded.pop("weights")["w"], STATE["weights"]["w"])
        assert loaded == {k: v for k, v in STATE.items() if k != "weights"}
    assert [file.name for file in tmp_path.iterdir()] == ["a.pt"]


def test_a_failed_write_leaves_the_old_checkpoint(tmp_path):
    save_checkpoint(tmp_path / "a.pt", {"epoch": 1})
    with pytest.raises(Exception, match="pickle"):
        save_checkpoint(tmp_path / "a.pt", {"epoch": 2, "bad": lambda: None})
    assert load_checkpoint(tmp_path / "a.pt") == {"epoch": 1}
    assert [file.name for file in tmp_path.iterdir()] == ["a.pt"]


def test_a_reader_of_the_old_checkpoint_keeps_it_whole(tmp_path):
    save_checkpoint(tmp_path / "a.pt", {"epoch": 1})
    os.link(tmp_path / "a.pt", tmp_path / "reader.pt")  # as one who has it open sees it
    save_checkpoint(tmp_path / "a.pt", {"epoch": 2})
    assert load_checkpoint(tmp_path / "reader.pt") == {"epoch": 1}


@pytest.mark.parametrize("write", [torch.save, lambda o, p: p.write_bytes(pickle.dumps(o))])
def test_code_in_a_checkpoint_is_refused_and_not_run(tmp_path, write):
    write({"weights": Hostile(f"touch {tmp_path / 'ran'}")}, tmp_path / "a.pt")
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(tmp_path / "a.pt")
    assert "\n" not in str(caught.value)
    assert "weights_only" not in str(caught.value)  # torch's advice to load it all the same
    assert not (tmp_path / "ran").exists()


def test_every_truncation_is_refused(tmp_path):
    save_checkpoint(tmp_path / "a.pt", STATE)
    whole = (tmp_path / "a.pt").read_bytes()
    for size in (0, 1, 100, len(whole) // 2, len(whole) - 1):
        (tmp_path / "cut.pt").write_bytes(whole[:size])
        with pytest.raises(CheckpointError, match=r"cut\.pt cannot be read"):
            load_checkpoint(tmp_path / "cut.pt")


def test_damaged_bytes_raise_nothing_else(tmp_path):
    save_checkpoint(tmp_path / "a.pt", STATE)
    whole = bytearray((tmp_path / "a.pt").read_bytes())
    refused = 0
    for place in range(0, len(whole), 41):
        damaged = bytearray(whole)
        damaged[place] ^= 0xFF
        (tmp_path / "bad.pt").write_bytes(damaged)
        try:
            load_checkpoint(tmp_path / "bad.pt")
        except CheckpointError:
            refused += 1
    assert refused


@pytest.mark.parametrize("name", ["missing.pt", "folder.pt"])
def test_no_file_is_a_checkpoint_error(tmp_path, name):
    (tmp_path / "folder.pt").mkdir()
    with pytest.raises(CheckpointError):
        load_checkpoint(tmp_path / name)


def test_a_checkpoint_is_a_mapping(tmp_path):
    torch.save([1, 2], tmp_path / "a.pt")
    with pytest.raises(CheckpointError, match="holds no state"):
        load_checkpoint(tmp_path / "a.pt")
