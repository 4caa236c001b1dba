"""What a full disk leaves behind: whole files, a whole journal, and an error with a name."""

import errno
import os

import pytest

from raynas.disk import check_room, writing
from raynas.errors import DiskFullError
from raynas.runs.folder import RunFolder, replace_file
from raynas.runs.journal import RecordFile
from raynas.training.checkpoint import load_checkpoint, save_checkpoint


def full_disk(*args, **kwargs):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_the_error_names_the_file(number):
    with pytest.raises(DiskFullError, match=r"^runs/a/x: the disk is full"), writing("runs/a/x"):
        raise OSError(number, os.strerror(number))


def test_other_errors_are_left_alone():
    with pytest.raises(PermissionError), writing("x"):
        raise PermissionError(errno.EACCES, "no")


def test_a_torn_line_is_taken_back_and_none_follows(tmp_path, monkeypatch):
    path = tmp_path / "journal.jsonl"
    with RecordFile(path) as file:
        file.write({"a": 1})
        monkeypatch.setattr(os, "fsync", full_disk)  # the line is in the file by now
        with pytest.raises(DiskFullError, match=r"journal\.jsonl"):
            file.write({"b": 2})
        monkeypatch.undo()
        with pytest.raises(DiskFullError):  # there is room again, but b would be missing
            file.write({"c": 3})
    assert path.read_bytes() == b'{"a":1}\n'


def test_files_and_checkpoints_stay_as_they_were(tmp_path, monkeypatch):
    file, checkpoint = tmp_path / "best.json", tmp_path / "000001.pt"
    replace_file(file, b"old")
    save_checkpoint(checkpoint, {"epoch": 1})
    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(DiskFullError, match=r"best\.json"):
        replace_file(file, b"new")
    with pytest.raises(DiskFullError, match=r"000001\.pt"):
        save_checkpoint(checkpoint, {"epoch": 2}, sync=True)
    assert file.read_bytes() == b"old"
    assert load_checkpoint(checkpoint) == {"epoch": 1}
    assert sorted(p.name for p in tmp_path.iterdir()) == ["000001.pt", "best.json"]


def test_a_run_says_how_it_goes_on(tmp_path, monkeypatch):
    folder = RunFolder(tmp_path)
    folder.config.write_text("{}")
    with pytest.raises(DiskFullError) as caught, folder.in_need_of_room():
        full_disk()
    assert str(caught.value).endswith(
        f"make room, then `raynas resume {tmp_path}` carries the run on"
    )
    with pytest.raises(KeyError), folder.in_need_of_room():  # there is room: it is what it is
        raise KeyError("x")
    usage = type("Usage", (), {"free": 0})
    monkeypatch.setattr("raynas.disk.shutil.disk_usage", lambda path: usage)
    with pytest.raises(DiskFullError), folder.in_need_of_room():
        raise KeyError("a library's own words for it")
    with pytest.raises(DiskFullError):
        check_room(tmp_path)
