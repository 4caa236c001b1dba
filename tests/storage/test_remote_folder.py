"""A run folder in a store, seen by drivers and readers; the store is pyarrow's in memory."""

import json
import shutil

import pytest

from raynas.errors import RunFolderError, StorageError
from raynas.runs.folder import RunFolder, new_folder
from raynas.runs.remote import mirrored, pushed
from raynas.storage import StorePath, location


def begun(memory, kind="search"):
    folder = RunFolder(memory, kind)
    folder.create({"seed": 3}, {"data": {"name": "digits"}})
    return folder


def test_a_new_run_is_in_the_store_at_once(memory):
    folder = begun(memory)
    assert RunFolder(memory).read_config() == {"seed": 3}
    assert RunFolder(str(memory)).read_manifest()["data"] == {"name": "digits"}
    assert RunFolder(memory).is_locked()
    folder.note(finished=True)
    folder.unlock()
    assert RunFolder(memory).read_manifest()["finished"] is True
    assert not RunFolder(memory).is_locked()
    assert sorted(memory.children()) == [".lease", "config.yaml", "run.json"]
    assert folder.checkpoints == memory / "checkpoints"
    assert str(folder) == str(memory)


def test_a_place_that_holds_anything_is_not_free(memory):
    begun(memory).unlock()
    with pytest.raises(RunFolderError, match=r"another run.*`raynas resume mock:"):
        RunFolder(memory).check_free()
    other = memory / "b"
    (other / "thesis.tex").write_bytes(b"mine")
    with pytest.raises(RunFolderError, match="not empty"):
        RunFolder(other).check_free()
    RunFolder(memory / "c").check_free()


def test_no_run(memory):
    with pytest.raises(RunFolderError, match=r"mock:.*: no such run folder"):
        RunFolder(memory).read_config()
    (memory / "x").write_bytes(b"")
    with pytest.raises(RunFolderError, match=r"config\.yaml is missing"):
        RunFolder(memory).read_config()
    begun(memory / "s", "supernet").unlock()
    with pytest.raises(RunFolderError, match="is no search but a supernet run"):
        RunFolder(memory / "s").read_config()
    assert RunFolder(memory / "s", None).read_manifest()["kind"] == "supernet"


def test_only_one_driver_at_a_time(memory):
    folder = begun(memory)
    with pytest.raises(RunFolderError, match="in use by process"):
        RunFolder(memory).lock()
    folder.unlock()
    again = RunFolder(memory)
    again.lock()
    again.unlock()


def test_a_driver_goes_on_with_what_the_store_holds(memory, own_cache):
    folder = begun(memory)
    folder.journal.write_text("1\n2\n")
    (folder.path / "results.parquet").write_text("view")
    folder.push("journal.jsonl")
    assert (memory / "journal.jsonl").read_text() == "1\n2\n"
    folder.unlock()
    assert list((own_cache / "raynas/runs").iterdir()) == []  # staging goes
    again = RunFolder(memory)
    again.lock()
    assert again.journal.read_text() == "1\n2\n"
    assert (again.path / "results.parquet").read_text() == "view"
    again.unlock()


def killed(folder):
    """End a driver without a word."""
    folder._remote._mirror.stop(push=False)
    folder._remote._lease.release()


@pytest.mark.parametrize(
    ("pushed_part", "left", "goes_on_with"),
    [
        ("1\n", "1\n2\n", "1\n2\n"),  # the same machine: nothing is lost
        ("1\n2\n", "1\n", "1\n2\n"),
        ("1\n3\n", "1\n2\n4\n", "1\n3\n"),  # another machine has gone on in the meantime
        ("", "1\n", "1\n"),
    ],
)
def test_what_a_killed_driver_had_not_pushed(memory, own_cache, pushed_part, left, goes_on_with):
    folder = begun(memory)
    folder.journal.write_text(left)
    killed(folder)
    (memory / "journal.jsonl").write_bytes(pushed_part.encode())
    again = RunFolder(memory)
    again.lock()
    assert again.journal.read_text() == goes_on_with
    again.unlock()
    assert (memory / "journal.jsonl").read_text() == goes_on_with


def test_what_another_run_at_the_same_place_left_is_nobodys(memory):
    folder = begun(memory)
    folder.journal.write_text("1\n")
    killed(folder)
    manifest = json.loads((memory / "run.json").read_text())
    (memory / "run.json").write_bytes(json.dumps({**manifest, "id": "another"}).encode())
    again = RunFolder(memory)
    again.lock()
    assert not again.journal.exists()
    again.unlock()


def test_who_was_taken_over_pushes_nothing_more(memory):
    folder = begun(memory)
    folder._remote._lease.lost = "was taken over by process 7 on far"
    folder.journal.write_text("1\n")
    with pytest.raises(RunFolderError, match="taken over"):
        folder.push("journal.jsonl")
    with pytest.raises(RunFolderError, match="taken over by process 7"):
        folder.unlock()
    assert not (memory / "journal.jsonl").exists()


def test_what_cannot_be_pushed_at_the_end_is_kept_and_said_where(memory, monkeypatch):
    folder = begun(memory)
    folder.journal.write_text("1\n")

    def write(self, content):
        raise StorageError("full")

    with monkeypatch.context() as patch:
        patch.setattr(StorePath, "write_bytes", write)
        with pytest.raises(
            StorageError, match=r"full; what is missing there is kept in .*raynas/runs"
        ):
            folder.unlock()
    again = RunFolder(memory)
    again.lock()
    assert again.journal.read_text() == "1\n"
    again.unlock()


def test_workers_write_the_journal_of_a_supernet_run(memory):
    folder = begun(memory, "supernet")
    folder.written_journal.write_bytes(b"1\n")
    (folder.path / "journal.jsonl").write_text("stray")
    (folder.path / "history.parquet").write_text("view")
    folder.unlock()
    assert (memory / "journal.jsonl").read_text() == "1\n"
    assert (memory / "history.parquet").read_text() == "view"
    assert RunFolder(memory, "supernet").journal.read_text() == "1\n"


def test_copies_go_with_who_reads_them(memory):
    begun(memory).unlock()
    reader = RunFolder(memory)
    path = reader.path
    assert path.name == memory.name
    assert (path / "run.json").exists()
    del reader
    assert not path.exists()


def test_a_cache_that_cannot_be_written_is_told_before_anything_is(memory, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(RunFolderError, match="set XDG_CACHE_HOME"):
        begun(memory)
    assert not RunFolder(memory).is_locked()
    assert memory.children() in ([], [".lease"])


def test_new_folders_may_be_in_a_store(monkeypatch, memory):
    monkeypatch.setenv("RAYNAS_RUNS", str(memory))
    first = new_folder("search")
    assert first.parent == memory
    (first / "run.json").write_bytes(b"")
    assert new_folder("search").name in (f"{first.name}-2", new_folder("search").name)


def test_files_made_here_go_there_if_all_goes_well(memory, tmp_path):
    (memory / "old").write_bytes(b"1")
    with pushed(memory, with_old=True) as folder:
        assert (folder / "old").read_text() == "1"
        (folder / "new").write_text("2")
    assert (memory / "new").read_text() == "2"

    def fail(folder):
        (folder / "half").write_text("2")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), pushed(memory) as folder:
        fail(folder)
    assert sorted(memory.children()) == ["new", "old"]
    with pushed(tmp_path) as folder:
        assert folder == tmp_path


def test_what_was_measured_before_an_error_is_kept(memory, tmp_path):
    def measure():
        (tmp_path / "part").write_text("1")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), mirrored(tmp_path, memory):
        measure()
    assert (memory / "part").read_text() == "1"


def test_a_file_uri_is_a_local_run(tmp_path):
    folder = RunFolder(f"file://{tmp_path}/a b")
    folder.create({"seed": 1}, {})
    assert folder.path == tmp_path / "a b"
    assert RunFolder(tmp_path / "a b").is_locked()
    folder.unlock()
    shutil.rmtree(tmp_path / "a b")
    assert location(f"file://{tmp_path}/a%20b") == folder.path
