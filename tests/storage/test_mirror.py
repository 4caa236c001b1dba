import os
import threading
import time

import pytest

from raynas.errors import StorageError
from raynas.runs.mirror import Mirror, fetch
from raynas.storage import StorePath


def names(place):
    return sorted(path.key[len(place.key) + 1 :] for path, _ in place.files(below=True))


def wait_until(true):
    deadline = time.monotonic() + 20
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture
def written(monkeypatch):
    """The names that are written, in order."""
    found = []
    real = StorePath.write_bytes

    def write(self, content):
        found.append(self.name)
        real(self, content)

    monkeypatch.setattr(StorePath, "write_bytes", write)
    return found


def test_pushes_what_has_changed_and_what_makes_it_a_run_last(tmp_path, memory, written):
    for name in ("config.yaml", "run.json", "journal.jsonl", "results.parquet", "other.json"):
        (tmp_path / name).write_text("1")
    mirror = Mirror(tmp_path, memory, leave_out=["other.json"])
    mirror.push()
    assert written == ["journal.jsonl", "results.parquet", "run.json", "config.yaml"]
    mirror.push()
    assert len(written) == 4
    (tmp_path / "journal.jsonl").write_text("12")
    mirror.push()
    assert written[4:] == ["journal.jsonl"]
    assert (memory / "journal.jsonl").read_text() == "12"


def test_leaves_scratch_and_checkpoints_alone(tmp_path, memory):
    for name in (".lock", ".a.tmp", "checkpoints/1.pt", "tune/x", "diagnostics/parts/a.json", "a"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("1")
    Mirror(tmp_path, memory).push()
    assert names(memory) == ["a", "diagnostics/parts/a.json"]


def test_pushes_in_the_background(tmp_path, memory):
    mirror = Mirror(tmp_path, memory)
    mirror.start()
    (tmp_path / "a").write_text("1")
    wait_until(lambda: (memory / "a").exists())
    (tmp_path / "b").write_text("1")
    mirror.stop()
    assert names(memory) == ["a", "b"]  # and all of it at the end
    (tmp_path / "c").write_text("1")
    mirror.stop(push=False)
    assert names(memory) == ["a", "b"]


def test_what_cannot_be_pushed_is_told_at_the_end_and_pushed_when_it_can(
    tmp_path, memory, monkeypatch
):
    tried = threading.Event()

    def write(self, content):
        tried.set()
        raise StorageError("full")

    mirror = Mirror(tmp_path, memory)
    (tmp_path / "a").write_text("1")
    with monkeypatch.context() as patch:
        patch.setattr(StorePath, "write_bytes", write)
        mirror.start()
        assert tried.wait(20)
        with pytest.raises(StorageError, match="full"):
            mirror.stop()
    mirror.push()
    assert names(memory) == ["a"]


def test_fetches_the_small_files_only(tmp_path, memory):
    for name in ("run.json", ".lease/x.json", "checkpoints/1.pt", "diagnostics/a/b", "tune/x"):
        (memory / name).write_bytes(name.encode())
    fetch(memory, tmp_path)
    found = {os.path.join(where, f) for where, _, files in os.walk(tmp_path) for f in files}
    assert found == {str(tmp_path / "run.json"), str(tmp_path / "diagnostics/a/b")}
    assert (tmp_path / "diagnostics/a/b").read_text() == "diagnostics/a/b"
