"""What becomes of a command that is sent, and of what it names."""

import json
from pathlib import Path

import pytest

from raynas.api import submitting
from raynas.api.submitting import complete, option, pip_requirements, runtime_env
from raynas.errors import ConfigError, UsageError


@pytest.fixture
def root(tmp_path):
    run = tmp_path / "runs" / "a"
    run.mkdir(parents=True)
    (run / "run.json").write_text("{}")
    (run / "config.yaml").write_text("{}")
    (run / "best.json").write_text("{}")
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "a.yaml").write_text("data: {name: 'npz:data/a.npz'}\n")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a.npz").write_bytes(b"")
    (tmp_path / "data" / "b.npz").write_bytes(b"")
    return tmp_path


@pytest.mark.parametrize("kind", ["search", "supernet", "retrain"])
def test_what_makes_a_run_is_told_where(root, kind, monkeypatch):
    monkeypatch.delenv("RAYNAS_RUNS", raising=False)
    words, folder = complete([kind, "--seed", "1"], root)
    assert words == [kind, "--seed", "1", "--out", str(folder)]
    assert folder.parent == root / "runs"
    assert folder.name.startswith(kind)
    monkeypatch.setenv("RAYNAS_RUNS", "/mnt/runs")
    assert complete([kind], root)[1].parent.as_posix() == "/mnt/runs"


@pytest.mark.parametrize("out", [["--out", "x"], ["--out=x"]])
def test_out_is_made_absolute(root, out):
    words, folder = complete(["raynas", "search", *out, "--seed", "1"], root)
    assert folder == root / "x"
    assert words == ["search", "--seed", "1", "--out", str(folder)]


def test_an_absolute_out_stays(root):
    assert complete(["search", "--out", "/mnt/a"], root)[1].as_posix() == "/mnt/a"


def test_run_folders_are_not_shipped_but_named_by_their_absolute_path(root):
    run = str(root / "runs" / "a")
    assert complete(["resume", "runs/a"], root) == (["resume", run], root / "runs" / "a")
    words, _ = complete(["retrain", "runs/a", "runs/a/best.json", "DARTS_V2"], root)
    assert words[1:4] == [run, f"{run}/best.json", "DARTS_V2"]
    assert complete(["retrain", "--resume=runs/a"], root)[0] == ["retrain", f"--resume={run}"]
    assert complete(["status", "runs/a"], root) == (["status", run], None)


@pytest.mark.parametrize("words", [[], ["raynas"], ["--budget", "3"], ["submit", "search"]])
def test_what_is_no_command_is_refused(root, words):
    with pytest.raises(UsageError, match=r"^submit: "):
        complete(words, root)


def test_options_are_found_in_both_spellings():
    assert option(["a", "--out", "x"], "--out") == "x"
    assert option(["a", "--out=x=y"], "--out") == "x=y"
    assert option(["a", "--outer", "x"], "--out") is None
    assert option(["a", "--out"], "--out") is None


def named(words, root):
    found = {path.relative_to(root).as_posix() for path in submitting._named_files(words, root)}
    return sorted(found)


def test_files_named_by_a_command_or_its_config_are_known(root):
    assert named(["search", "configs/a.yaml"], root) == ["configs/a.yaml", "data/a.npz"]
    assert named(["search", "--config=configs/a.yaml"], root) == ["configs/a.yaml", "data/a.npz"]
    assert named(["search", "--data", "npz:data/b.npz"], root) == ["data/b.npz"]
    assert named(["search", "--set", "data.name=npz:data/b.npz"], root) == ["data/b.npz"]
    assert named(["search", "--data", "imagefolder:data"], root) == ["data"]
    assert named(["search", "--budget", "3", "--out", ".", "..", "../x"], root) == []


def test_a_config_that_is_no_yaml_is_one_line(root):
    (root / "configs" / "a.yaml").write_text("a: [")
    with pytest.raises(ConfigError, match=r"a.yaml: not valid YAML") as caught:
        named(["search", "configs/a.yaml"], root)
    assert "\n" not in str(caught.value)


def test_pip_is_asked_for_this_version_and_for_nothing_the_image_has(root, monkeypatch):
    monkeypatch.setattr(submitting, "installed_version", lambda _: "1.2.3")
    assert pip_requirements("pip", ["torchvision"]) == ["raynas==1.2.3", "torchvision"]
    assert pip_requirements("source", ["torchvision"]) == ["torchvision"]
    assert pip_requirements("image", []) == []
    made = runtime_env(root / "a.zip", ["raynas==1.2.3"])
    assert "only-if-needed" in made["pip"]["pip_install_options"]
    assert "--ignore-installed" not in json.dumps(made)
    assert not any("torch" in one for one in made["pip"]["packages"])
    assert runtime_env(root / "a.zip", []) == {"working_dir": str(root / "a.zip")}
    monkeypatch.setattr(submitting, "installed_version", lambda _: None)
    with pytest.raises(ConfigError, match="not installed"):
        pip_requirements("pip", [])


def test_ray_takes_the_runtime_env(root):
    ray_env = pytest.importorskip("ray.runtime_env")
    made = runtime_env(root / "a.zip", ["raynas==1.2.3", "torchvision"])
    made["working_dir"] = "gcs://_ray_pkg_1.zip"  # what the upload makes of it
    assert ray_env.RuntimeEnv(**made).pip_config()["packages"] == ["raynas==1.2.3", "torchvision"]


class FakeJobs:
    sent = None

    def __init__(self, address):
        self.address = address or "http://here:8265"

    def submit(self, entrypoint, runtime_env, metadata, job_id):
        import zipfile

        names = zipfile.ZipFile(runtime_env["working_dir"]).namelist()
        FakeJobs.sent = (entrypoint, runtime_env, metadata, job_id, names)


@pytest.fixture
def fake(monkeypatch):
    module = pytest.importorskip("raynas.engine.submit")
    monkeypatch.setattr(module, "Jobs", FakeJobs)


def test_a_checkout_travels_and_an_installed_version_is_asked_for(root, fake, monkeypatch):
    sent = submitting.submit(["search", "--data", "npz:data/a.npz"], working_dir=root)
    entrypoint, env, metadata, job_id, names = FakeJobs.sent
    assert entrypoint == f"python -m raynas search --data npz:data/a.npz --out {sent.folder}"
    assert metadata["folder"] == str(sent.folder)
    assert job_id == sent.job_id
    assert "pip" not in env
    assert {"data/a.npz", "raynas/cli/main.py", "raynas/runs/folder.py"} <= set(names)
    assert not any(name.startswith("runs/") for name in names)
    assert sent.shipped == len(names)

    monkeypatch.setattr(submitting, "installed_version", lambda _: "1.2.3")
    submitting.submit("search --seed 1", working_dir=root, code="pip", python="python3.11")
    entrypoint, env, _, _, names = FakeJobs.sent
    assert entrypoint.startswith("python3.11 -m raynas search --seed 1 --out ")
    assert env["pip"]["packages"] == ["raynas==1.2.3"]
    assert not any(name.startswith("raynas/") for name in names)


def test_code_of_another_kind_is_refused(root, fake):
    with pytest.raises(ConfigError, match="code: 'wheel' must be one of source, pip, image"):
        submitting.submit("search", working_dir=root, code="wheel")


def test_a_name_of_nobody_is_a_folder_like_any_other(tmp_path):
    assert submitting._absolute(Path("~nosuchuser/a"), tmp_path) == tmp_path / "~nosuchuser/a"
    assert submitting._absolute(Path("~/a"), tmp_path) == Path.home() / "a"
