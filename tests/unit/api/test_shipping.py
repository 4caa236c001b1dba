"""What travels to a cluster, and what does not."""

import os
import subprocess
import zipfile
from pathlib import Path

import pytest

import raynas
from raynas.api.shipping import MAX_TOTAL_MB, pack
from raynas.errors import UsageError


@pytest.fixture
def place(tmp_path):
    """Make files of so many bytes, or of a text."""
    root = tmp_path / "project"

    def write(files):
        for name, content in files.items():
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"x" * content if isinstance(content, int) else content.encode())
        return root

    return write


def names(shipment):
    return [path.as_posix() for path in shipment.files]


def test_what_is_hidden_a_cache_a_run_or_large_stays(place):
    root = place(
        {
            "configs/a.yaml": "a: 1",
            "my_space.py": "",
            "data/small.npz": 10,
            "data/large.npz": 2_000_000,
            ".env": "SECRET=1",
            ".git/config": "",
            ".venv/bin/python": "",
            "venv/bin/python": "",
            "pkg/__pycache__/a.pyc": "",
            "pkg/runs/code.py": "",  # a package may be called so; what is on top is ours
            "runs/old/journal.jsonl": "",
            "elsewhere/run.json": "{}",
            "elsewhere/config.yaml": "{}",
            "elsewhere/checkpoints/000001.pt": 10,
        }
    )
    shipment = pack(root, max_file_mb=1)
    assert names(shipment) == [
        "configs/a.yaml",
        "data/small.npz",
        "my_space.py",
        "pkg/runs/code.py",
    ]
    assert [path.as_posix() for path in shipment.left_out] == ["data/large.npz"]
    assert shipment.num_bytes == 14


def test_what_git_ignores_stays_unless_it_is_named(place):
    root = place(
        {".gitignore": "/data/\n", "a.py": "", "data/a.npz": 5, "data/b.npz": 5, "new.py": ""}
    )
    subprocess.run(["git", "init", "-q", str(root)], check=True)
    assert names(pack(root)) == ["a.py", "new.py"]
    assert names(pack(root, named=[root / "data/a.npz"])) == ["a.py", "data/a.npz", "new.py"]
    assert names(pack(root, named=[root / "data"])) == [
        "a.py",
        "data/a.npz",
        "data/b.npz",
        "new.py",
    ]
    below = pack(root / "data", named=[root / "data/a.npz"])  # a part of a work tree
    assert names(below) == ["a.npz"]


@pytest.mark.parametrize("pattern", ["data", "data/", "data/*", "*.npz", "data/a.npz"])
def test_more_can_be_left_out(place, pattern):
    assert names(pack(place({"a.py": "", "data/a.npz": 5}), exclude=[pattern])) == ["a.py"]


def test_a_file_that_the_run_needs_must_travel(place):
    root = place({"data/a.npz": 2_000_000})
    with pytest.raises(UsageError, match=r"data/a.npz stays here \(2 MB, more than 1\).*absolute"):
        pack(root, named=[root / "data/a.npz"], max_file_mb=1)
    with pytest.raises(UsageError, match=r"data/a.npz stays here \(excluded\)"):
        pack(root, named=[root / "data/a.npz"], exclude=["*.npz"])


def test_too_much_in_all_is_refused_and_the_largest_named(place, monkeypatch):
    root = place({"a.npz": 700_000, "b.npz": 900_000, "c.py": 5})
    monkeypatch.setattr("raynas.api.shipping.MAX_TOTAL_MB", 1.0)
    with pytest.raises(UsageError, match=r"2 MB, more than 1 \(largest: b.npz 0.9 MB, a.npz 0.7"):
        pack(root)
    assert MAX_TOTAL_MB > 1


def test_no_folder_is_one_line(tmp_path):
    with pytest.raises(UsageError, match="is no folder"):
        pack(tmp_path / "nothing")


def test_a_linked_file_travels_and_a_linked_folder_does_not(place, tmp_path):
    root = place({"a.py": ""})
    (tmp_path / "far").mkdir()
    (tmp_path / "far" / "data.npz").write_bytes(b"far")
    os.symlink(tmp_path / "far" / "data.npz", root / "data.npz")
    os.symlink(tmp_path / "far", root / "folder")
    shipment = pack(root)
    assert names(shipment) == ["a.py", "data.npz"]
    shipment.write(tmp_path / "out.zip")
    assert zipfile.ZipFile(tmp_path / "out.zip").read("data.npz") == b"far"


def test_the_same_files_make_the_same_zip(place, tmp_path):
    root = place({"a.py": "a", "b/c.py": "c"})
    pack(root).write(tmp_path / "1.zip")
    os.utime(root / "a.py", (1e9, 1e9))
    pack(root).write(tmp_path / "2.zip")
    assert (tmp_path / "1.zip").read_bytes() == (tmp_path / "2.zip").read_bytes()
    place({"a.py": "b"})
    pack(root).write(tmp_path / "2.zip")
    assert (tmp_path / "1.zip").read_bytes() != (tmp_path / "2.zip").read_bytes()


def test_an_extra_goes_below_its_name_and_gives_way(place, tmp_path):
    root = place({"a.py": "", "lib/mine.py": "mine"})
    extra = tmp_path / "lib"
    extra.mkdir()
    (extra / "mine.py").write_text("theirs")
    (extra / "more.py").write_text("more")
    pack(root).write(tmp_path / "out.zip", [pack(extra)])
    archive = zipfile.ZipFile(tmp_path / "out.zip")
    assert sorted(archive.namelist()) == ["a.py", "lib/mine.py", "lib/more.py"]
    assert archive.read("lib/mine.py") == b"mine"


def test_this_package_travels_whole():
    home = Path(raynas.__file__).parent
    shipped = set(pack(home, never_on_top=()).files)
    modules = {path.relative_to(home) for path in home.rglob("*.py")}
    assert modules <= shipped
    assert any(path.suffix == ".parquet" for path in shipped)
    assert not any(path.suffix == ".pyc" for path in shipped)
