import io
import pickle
from pathlib import Path

import pytest
import torch

from raynas import storage
from raynas.errors import CheckpointError, StorageError, UsageError
from raynas.storage import StorePath, location, remove_tree
from raynas.training.checkpoint import earlier, keep_as_earlier, load_checkpoint, save_checkpoint


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("runs/a", Path("runs/a")),
        ("/runs/a", Path("/runs/a")),
        ("a:b/c", Path("a:b/c")),
        ("odd:/folder", Path("odd:/folder")),
        ("/tmp/s3:bucket", Path("/tmp/s3:bucket")),
        ("file:///runs/a%20b", Path("/runs/a b")),
        ("file:/runs/a", Path("/runs/a")),
        (Path("file:///runs/a"), Path("/runs/a")),
        ("s3://bucket/runs/a", StorePath("s3://bucket/runs/a")),
        ("s3://bucket/runs/a/", StorePath("s3://bucket/runs/a")),
        ("s3://bucket//runs//a", StorePath("s3://bucket/runs/a")),
        (Path("s3://bucket/runs/a"), StorePath("s3://bucket/runs/a")),
        ("gs://bucket/a?retry_limit_seconds=3", StorePath("gs://bucket/a?retry_limit_seconds=3")),
        ("abfs://box@account.dfs.core.windows.net/a", StorePath("abfs://box@account.dfs.core.windows.net/a")),
    ],
)  # fmt: skip
def test_what_a_user_writes_is_a_path_or_a_place_in_a_store(written, meant):
    assert location(written) == meant
    assert location(location(written)) == meant


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ("s4://bucket/a", "unknown scheme 's4', did you mean 's3'?"),
        ("S3A://bucket/a", "did you mean 's3'?"),
        ("https://bucket/a", "allowed: file, s3, gs"),
        ("s3:bucket/a", "two slashes, s3://bucket/a (or give a local folder's absolute path)"),
        ("s3://", "names no bucket"),
        ("s3:///a", "names no bucket"),
        ("s3://bucket/../other", "'.' or '..'"),
        ("s3://bucket/a/%2e%2e/b", "'.' or '..'"),
        ("file://host/a", "names a host"),
        ("s3://KEY:hunter2@bucket/a", "credentials come from AWS_ACCESS_KEY_ID"),
        ("abfs://:hunter2@account/a", "credentials in a URI"),
    ],
)
def test_what_is_no_place_is_told_in_one_line(written, words):
    with pytest.raises(UsageError) as caught:
        location(written)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_a_query_that_pyarrow_does_not_know_is_told_when_it_is_first_used():
    with pytest.raises(StorageError, match="nonsense"):
        location("s3://bucket/a?nonsense=1&endpoint_override=127.0.0.1:1").check()


def test_a_place_is_put_together_like_a_path(memory):
    place = memory / "checkpoints" / "000001.pt"
    assert place == memory / "checkpoints/000001.pt"
    assert (place.name, place.stem, place.suffix) == ("000001.pt", "000001", ".pt")
    assert place.parent.parent == memory
    assert place.parent.parent.parent.name == "runs"
    assert earlier(place).name == "000001-earlier.pt"
    assert location(str(place)).key == place.key
    assert pickle.loads(pickle.dumps(place)) == place
    odd = memory / "a b?c#d"
    assert location(str(odd)).key == odd.key
    assert str(StorePath("s3://b/a?scheme=http") / "x") == "s3://b/a/x?scheme=http"


def test_files_are_written_read_listed_and_deleted(memory):
    assert not memory.exists()
    assert list(memory.files()) == []
    assert memory.children() == []
    (memory / "a").write_bytes(b"1")
    (memory / "b/c").write_bytes(b"22")
    (memory / "a").write_bytes(b"333")
    assert (memory / "a").read_text() == "333"
    assert {p.key[len(memory.key) + 1 :]: v.size for p, v in memory.files(below=True)} == {
        "a": 3,
        "b/c": 2,
    }
    assert sorted(memory.children()) == ["a", "b"]
    assert [path.name for path, _ in memory.files()] == ["a"]
    assert memory.is_dir()
    assert (memory / "a").is_file()
    assert not (memory / "b").is_file()
    (memory / "a").copy_to(memory / "d")
    assert (memory / "d").read_bytes() == b"333"
    (memory / "a").unlink()
    (memory / "a").unlink(missing_ok=True)
    for gone in (
        (memory / "a").unlink,
        (memory / "a").read_bytes,
        lambda: (memory / "a").copy_to(memory / "d"),
    ):
        with pytest.raises(FileNotFoundError):
            gone()
    assert (memory / "a").version() is None
    remove_tree(memory)
    remove_tree(memory)
    assert not memory.exists()


class Failing:
    """A file system whose writes break in the middle."""

    def __init__(self, real):
        self._real = real

    def __getattr__(self, name):
        return getattr(self._real, name)

    def open_output_stream(self, key):
        stream = self._real.open_output_stream(key)
        stream.write(b"half")
        stream.close()
        raise PermissionError("Access denied")


def test_a_write_that_breaks_leaves_the_old_content_and_nothing_beside_it(memory, monkeypatch):
    (memory / "a").write_bytes(b"old")
    fs, base = storage._connect(memory.root)
    monkeypatch.setattr(storage, "_connect", lambda uri: (Failing(fs), base))
    with pytest.raises(StorageError, match="no permission to write"):
        (memory / "a").write_bytes(b"new and longer")
    assert (memory / "a").read_bytes() == b"old"
    assert memory.children() == ["a"]


class Flaky:
    """A file system that answers at the third time of asking."""

    def __init__(self, real, error):
        self._real = real
        self._error = error
        self.asked = 0

    def __getattr__(self, name):
        return getattr(self._real, name)

    def open_input_file(self, key):
        self.asked += 1
        if self.asked < 3:
            raise OSError(self._error)
        return self._real.open_input_file(key)


@pytest.mark.parametrize(
    ("error", "asked", "words"),
    [
        ("AWS Error NETWORK_CONNECTION during GetObject", 3, None),
        ("AWS Error SLOW_DOWN during GetObject", 3, None),
        ("AWS Error ACCESS_DENIED during GetObject", 1, "no permission to read it"),
        ("AWS Error NO_SUCH_BUCKET during GetObject", 1, "there is no bucket"),
    ],
)
def test_what_may_pass_is_tried_again_and_what_will_not_is_told(
    memory, monkeypatch, error, asked, words
):
    (memory / "a").write_bytes(b"1")
    fs, base = storage._connect(memory.root)
    flaky = Flaky(fs, error)
    monkeypatch.setattr(storage, "_connect", lambda uri: (flaky, base))
    monkeypatch.setattr(storage, "_PAUSES_S", (0.0, 0.0, 0.0))
    if words is None:
        assert (memory / "a").read_bytes() == b"1"
    else:
        with pytest.raises(StorageError, match=words):
            (memory / "a").read_bytes()
    assert flaky.asked == asked


def test_nobody_answers(monkeypatch):
    place = location("s3://bucket/a?endpoint_override=127.0.0.1:1&scheme=http")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(StorageError, match="cannot be reached") as caught:
        place.check()
    assert "\n" not in str(caught.value)


def test_an_error_goes_from_process_to_process():
    error = pickle.loads(pickle.dumps(StorageError("one line", may_pass=True)))
    assert str(error) == "one line"
    assert error.may_pass
    assert isinstance(error, OSError)  # to workers: none of a network's own
    assert isinstance(error, UsageError)


def test_checkpoints_are_written_and_read_in_a_store(memory):
    path = memory / "checkpoints/000001.pt"
    save_checkpoint(path, {"state": {"w": torch.ones(3)}})
    keep_as_earlier(path)
    save_checkpoint(path, {"state": {"w": torch.zeros(3)}}, sync=True)
    assert load_checkpoint(path)["state"]["w"].tolist() == [0, 0, 0]
    assert load_checkpoint(earlier(path))["state"]["w"].tolist() == [1, 1, 1]
    with pytest.raises(CheckpointError, match=r"000002.pt cannot be read: .*no such file"):
        load_checkpoint(path.with_name("000002.pt"))
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(CheckpointError, match="truncated"):
        load_checkpoint(path)
    content = io.BytesIO()
    torch.save({"a": Path}, content)
    path.write_bytes(content.getvalue())
    with pytest.raises(CheckpointError, match="objects other than"):
        load_checkpoint(path)
