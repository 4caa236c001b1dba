"""On a real S3-compatible server, without Ray."""

import subprocess
import sys
import threading
import time

import pytest
from typer.testing import CliRunner

from raynas import api
from raynas.cli.main import app
from raynas.errors import DataError, RunFolderError, StorageError
from raynas.proposing.random import RandomProposer
from raynas.runs.folder import RunFolder
from raynas.runs.lease import Lease
from raynas.storage import location
from raynas.testing import FakeObjective, ToySpace

MB = 2**20


def parts():
    space = ToySpace()
    return {"space": space, "proposer": RandomProposer(space), "objective": FakeObjective()}


class Interrupted(FakeObjective):
    """Is interrupted after eleven epochs."""

    epochs = 0

    def metrics(self, text, epoch):
        if self.epochs == 11:
            raise KeyboardInterrupt
        self.epochs += 1
        return super().metrics(text, epoch)


def simulated(out, **options):
    return api.search(
        **{**parts(), **options},
        budget=30,
        levels=[1, 2, 4],
        policy={"name": "nosh", "per_round": 5},
        assignments=["level0.mode=off"],
        engine="simulate",
        out=out,
    )


def resumed(run):
    return api.resume(run, engine="simulate", **parts())


def pool(result):
    return [(c.text, c.level, c.epochs, c.level_accuracy) for c in result.pool]


def test_files(s3):
    place = location(s3("runs/a"))
    place.check()
    assert not place.exists()
    (place / "a").write_bytes(b"1")
    (place / "b/c").write_bytes(b"x" * (6 * MB))
    assert (place / "a").read_bytes() == b"1"
    assert len((place / "b/c").read_bytes()) == 6 * MB
    assert sorted(place.children()) == ["a", "b"]
    assert place.is_dir()
    (place / "a").copy_to(place / "d")
    (place / "a").unlink()
    (place / "a").unlink(missing_ok=True)
    with pytest.raises(FileNotFoundError):
        (place / "a").read_bytes()
    assert abs((place / "d").version().mtime - time.time()) < 60
    place.remove_tree()
    assert not place.exists()


def test_what_keeps_a_run_from_a_store_is_one_line(s3, monkeypatch):
    missing = location(s3("runs/a", bucket="no-such-bucket"))
    for ask in (missing.check, lambda: (missing / "a").write_bytes(b"1")):
        with pytest.raises(
            StorageError, match="there is no bucket 'no-such-bucket'; make it first"
        ):
            ask()
    result = CliRunner().invoke(app, ["search", "--out", str(missing), "--budget", "3"])
    assert result.exit_code == 2
    assert "no bucket 'no-such-bucket'" in result.output
    assert result.output.count("\n") == 1
    for command in ("status", "resume", "report", "export", "diagnose"):
        result = CliRunner().invoke(app, [command, s3("runs/none")])
        assert result.exit_code == 2
        assert "no such run folder" in result.output or "cannot be read" in result.output
        assert result.output.count("\n") == 1


WRITER = """
import sys
from raynas.storage import location
place = location(sys.argv[1])
print("ready", flush=True)
while True:
    for content in (b"a", b"b"):
        place.write_bytes(content * int(sys.argv[2]))
"""


def test_a_writer_that_is_killed_leaves_an_object_that_is_whole(s3):
    size = 12 * MB  # an upload in parts
    place = location(s3("runs/a/000001.pt"))
    place.write_bytes(b"o" * size)
    for number in range(6):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(place), str(size)],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert writer.stdout.readline() == "ready\n"
        time.sleep(0.15 + 0.13 * number)
        writer.kill()
        writer.wait()
        content = place.read_bytes()
        assert len(content) == size
        assert len(set(content)) == 1
    assert place.parent.children() == ["000001.pt"]


def test_a_search_in_a_store_is_the_same_search(s3, tmp_path):
    uri = s3("runs/a")
    there, here = simulated(uri), simulated(tmp_path / "run")
    assert pool(there) == pool(here)
    assert str(there.folder) == uri
    assert there.summary()["folder"] == uri
    status, local = api.status(uri), api.status(tmp_path / "run")
    assert {**status, "elapsed_s": 0} == {**local, "elapsed_s": 0}
    assert status["state"] == "done"
    names = {path.name for path in (tmp_path / "run").iterdir()} - {".lock", "checkpoints"}
    assert {path.name for path, _ in location(uri).files()} == names
    for name in ("results.parquet", "architectures.parquet"):
        assert (location(uri) / name).version().size > 0


def test_status_as_people_read_it(s3):
    uri = s3("runs/a")
    simulated(uri)
    result = CliRunner().invoke(app, ["status", uri])
    assert result.exit_code == 0, result.output
    assert result.output.startswith("done: 28 epochs of a budget of 30")


def test_an_interrupted_search_is_pushed_whole_and_goes_on_elsewhere(s3, tmp_path, monkeypatch):
    uri = s3("runs/a")

    with pytest.raises(KeyboardInterrupt):
        simulated(uri, objective=Interrupted())
    state = api.status(uri)
    assert (state["state"], state["spent_epochs"]) == ("interrupted", 11)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "another machine"))
    result = resumed(uri)
    assert result.finished
    assert pool(result) == pool(simulated(tmp_path / "run"))


def test_a_table_in_a_store(s3):
    from importlib import resources

    place = location(s3("tables/mine.parquet"))
    data = resources.files("raynas.tabular") / "data" / "fashion16_nasbench201.parquet"
    place.write_bytes(data.read_bytes())
    assert api.describe_table(str(place)) == api.describe_table("fashion16")
    with pytest.raises(DataError, match="no such file or table"):
        api.describe_table(s3("tables/none.parquet"))


def test_two_drivers_on_one_uri(s3):
    uri = s3("runs/a")
    simulated(uri)
    first = RunFolder(uri)
    first.lock()
    assert api.status(uri)["state"] == "running"
    with pytest.raises(RunFolderError, match="holds another run"):
        simulated(uri)
    with pytest.raises(RunFolderError, match=r"is in use by process \d+ on "):
        resumed(uri)
    first.unlock()
    assert api.status(uri)["state"] == "done"
    assert resumed(uri).finished


def test_of_many_drivers_at_once_one_gets_the_lease(s3):
    folder = location(s3("runs/a")) / ".lease"
    begin, got = threading.Barrier(4), []

    def run():
        lease = Lease(folder, "run")
        begin.wait()
        try:
            lease.take()
        except RunFolderError:
            return
        got.append(lease)

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(got) == 1
    got[0].release()
    assert list(folder.files()) == []
