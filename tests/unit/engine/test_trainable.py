"""A trial whose checkpoint was damaged goes on from the level before, and says so."""

import pytest
from ray import cloudpickle

from raynas.engine.trainable import CandidateTrainable, checkpoint_path
from raynas.testing import FakeObjective
from raynas.training.checkpoint import earlier, load_checkpoint


def job(folder, from_epoch):
    """Return a trial at the beginning of a job, as Tune would set it up in a worker."""
    trial = CandidateTrainable.__new__(CandidateTrainable)
    told = {"candidate_id": 7, "space": "toy", "text": "a", "seed": 0}
    config = {**told, "from_epoch": from_epoch, "report_epochs": None}
    trial.setup(config, objective=cloudpickle.dumps(FakeObjective()), folder=str(folder))
    return trial


@pytest.fixture
def paused(tmp_path):
    """A candidate that was trained to epoch 2, paused, resumed to 4, paused again."""
    for from_epoch in (0, 2):
        trial = job(tmp_path, from_epoch)
        results = [trial.step(), trial.step()]
        assert "notice" not in results[0]
    return tmp_path


def truncate(path):
    path.write_bytes(path.read_bytes()[:-200])


def expected(epoch):
    return FakeObjective().metrics("a", epoch)["accuracy"]


def test_the_level_before_is_kept(paused):
    path = checkpoint_path(paused, 7)
    assert max(load_checkpoint(path)["history"]) == 4
    assert max(load_checkpoint(earlier(path))["history"]) == 2
    assert sorted(file.name for file in paused.iterdir()) == ["000007-earlier.pt", "000007.pt"]


def test_a_truncated_checkpoint_falls_back_to_it(paused):
    truncate(checkpoint_path(paused, 7))
    result = job(paused, 4).step()
    assert "000007.pt" in result["notice"]
    assert "trained again from epoch 2, the checkpoint before" in result["notice"]
    assert (result["epoch"], result["accuracy"]) == (5, expected(5))
    assert max(load_checkpoint(checkpoint_path(paused, 7))["history"]) == 5
    assert max(load_checkpoint(earlier(checkpoint_path(paused, 7)))["history"]) == 2


def test_if_both_are_damaged_training_starts_again(paused):
    for path in (checkpoint_path(paused, 7), earlier(checkpoint_path(paused, 7))):
        truncate(path)
    result = job(paused, 4).step()
    assert "trained again from the start" in result["notice"]
    assert (result["epoch"], result["accuracy"]) == (5, expected(5))


def test_a_lost_checkpoint_falls_back_too(paused):
    checkpoint_path(paused, 7).unlink()
    trial = job(paused, 4)
    result = trial.step()
    assert "000007.pt: is gone; trained again from epoch 2" in result["notice"]
    assert result["accuracy"] == expected(5)
    assert set(trial._history) == {1, 2, 5}


def test_mounts_without_hard_links(paused, monkeypatch):
    def refuse(*_):
        raise OSError("no hard links here")

    monkeypatch.setattr("os.link", refuse)
    assert job(paused, 4).step()["epoch"] == 5
    assert max(load_checkpoint(earlier(checkpoint_path(paused, 7)))["history"]) == 4
