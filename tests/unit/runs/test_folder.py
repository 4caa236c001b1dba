import subprocess
import sys

import pytest

from raynas.errors import RunFolderError
from raynas.runs.folder import RunFolder, replace_file


def test_a_new_folder_holds_config_and_manifest(tmp_path):
    folder = RunFolder(tmp_path / "a" / "b")
    folder.create({"seed": 3}, {"data": {"name": "digits"}})
    assert folder.read_config() == {"seed": 3}
    manifest = folder.read_manifest()
    assert manifest["versions"]["torch"]
    assert manifest["data"] == {"name": "digits"}
    folder.note(finished=True)
    assert folder.read_manifest()["finished"] is True


def test_refuses_a_folder_in_use(tmp_path):
    folder = RunFolder(tmp_path / "a")
    folder.create({}, {})
    with pytest.raises(RunFolderError, match="another run"):
        RunFolder(tmp_path / "a").check_free()
    other = tmp_path / "b"
    other.mkdir()
    (other / "thesis.tex").write_text("mine")
    with pytest.raises(RunFolderError, match="not empty"):
        RunFolder(other).check_free()
    file = tmp_path / "c"
    file.write_text("")
    with pytest.raises(RunFolderError, match="not a folder"):
        RunFolder(file).check_free()


def test_an_empty_folder_is_free(tmp_path):
    RunFolder(tmp_path).check_free()


def test_only_one_driver_at_a_time(tmp_path):
    folder = RunFolder(tmp_path / "a")
    assert not folder.is_locked()
    folder.create({}, {})
    code = (
        "import sys; from raynas.runs.folder import RunFolder\n"
        f"folder = RunFolder({str(folder.path)!r})\n"
        "print(folder.is_locked())\n"
        "try: folder.lock()\n"
        "except Exception as error: print(error)"
    )

    def ask():
        run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        return run.stdout

    assert "True" in ask()
    assert "in use" in ask()
    folder.unlock()
    assert ask() == "False\n"


@pytest.mark.parametrize("content", ["[1, 2]", "{unclosed", "\x00"])
def test_a_config_that_cannot_be_read_is_one_line(tmp_path, content):
    folder = RunFolder(tmp_path / "a")
    folder.create({}, {})
    folder.config.write_text(content)
    with pytest.raises(RunFolderError) as caught:
        folder.read_config()
    assert "\n" not in str(caught.value)


def test_no_run(tmp_path):
    with pytest.raises(RunFolderError, match="no such run folder"):
        RunFolder(tmp_path / "none").read_config()
    with pytest.raises(RunFolderError, match="holds no run"):
        RunFolder(tmp_path).read_manifest()


def test_replacing_leaves_nothing_behind(tmp_path):
    path = tmp_path / "x"
    replace_file(path, b"1")
    replace_file(path, b"2")
    assert path.read_bytes() == b"2"
    assert list(tmp_path.iterdir()) == [path]
