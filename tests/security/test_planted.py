"""Hostile files in every place raynas reads: refused in one line, and nothing in them is run."""

import bz2
import io
import json
import os
import pickle
import zipfile
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

import raynas
from raynas import api
from raynas.engine.trainable import CandidateTrainable
from raynas.errors import CheckpointError, RaynasError, UsageError
from raynas.tabular.names import load_table
from raynas.testing import FakeObjective
from raynas.training.data import load_data


def checkpoint_of(hostile):
    """The ways to hide an object in a checkpoint, by name."""
    plain = io.BytesIO()
    torch.save({"state": {"network": {}, "epoch": hostile}}, plain)
    legacy = io.BytesIO()
    torch.save({"state": hostile}, legacy, _use_new_zipfile_serialization=False)
    return {
        "zip": plain.getvalue(),
        "legacy": legacy.getvalue(),
        "pickle": pickle.dumps({"state": hostile}),
        "member": _with_member(plain.getvalue(), pickle.dumps(hostile)),
    }


def _with_member(content, data):
    """A checkpoint whose pickle is replaced by another."""
    source, target = zipfile.ZipFile(io.BytesIO(content)), io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        for name in source.namelist():
            archive.writestr(name, data if name.endswith("data.pkl") else source.read(name))
    return target.getvalue()


WAYS = ("zip", "legacy", "pickle", "member")


@pytest.mark.parametrize("way", WAYS)
def test_a_checkpoint_of_a_search(tmp_path, hostile, way):
    (tmp_path / "000000.pt").write_bytes(checkpoint_of(hostile)[way])
    from ray import cloudpickle

    told = {
        "candidate_id": 0,
        "space": "toy",
        "text": "a1",
        "seed": 0,
        "from_epoch": 1,
        "report_epochs": None,
    }
    trainable = CandidateTrainable.__new__(CandidateTrainable)
    trainable.setup(told, objective=cloudpickle.dumps(FakeObjective()), folder=str(tmp_path))
    result = trainable.step()
    assert "trained again" in result["notice"]  # as after any damage: the architecture's own work
    assert len(result["notice"].splitlines()) == 1
    assert result["epoch"] == 2


@pytest.mark.parametrize("way", WAYS)
def test_a_checkpoint_that_is_loaded_or_exported(runs, hostile, raynas_says, way):
    facts = json.loads((runs / "retrain" / "best.json").read_text())
    (runs / "retrain" / facts["checkpoint"]).write_bytes(checkpoint_of(hostile)[way])
    with pytest.raises(CheckpointError, match="cannot be read"):
        raynas.load(runs / "retrain")
    assert "cannot be read" in raynas_says("export", runs / "retrain", code=1)


@pytest.mark.parametrize("way", WAYS)
def test_a_checkpoint_of_a_retraining(reopened, hostile, way):
    folder = reopened / "retrain"
    (folder / "journal.jsonl").unlink()
    (folder / "checkpoints" / "000000.pt").write_bytes(checkpoint_of(hostile)[way])
    result = api.resume(folder, engine="inline")
    assert result.finished
    assert "trained again from the start" in result.notices[0]


@pytest.mark.parametrize("way", WAYS)
def test_a_checkpoint_of_a_supernet(reopened, hostile, way):
    folder = reopened / "supernet"
    for path in (folder / "checkpoints").glob("step-*/supernet.pt"):
        path.write_bytes(checkpoint_of(hostile)[way])
    with pytest.raises(RaynasError, match=r"no checkpoint of .* can be read") as caught:
        api.resume(folder, engine="local")
    assert len(str(caught.value).splitlines()) == 1
    with pytest.raises(RaynasError):
        api.diagnose(folder, "trajectory", engine="local")


@pytest.mark.parametrize("suffix", ["npz", "npy"])
def test_data(tmp_path, hostile, suffix, raynas_says):
    path = tmp_path / f"data.{suffix}"
    images = np.array([hostile] * 20, dtype=object)
    if suffix == "npz":
        np.savez(path, x_train=images, y_train=np.arange(20) % 2)
    else:
        np.save(path, images, allow_pickle=True)
    with pytest.raises(UsageError, match="pickled Python objects"):
        load_data(f"npz:{path}")
    assert "pickled" in raynas_says("search", "--data", f"npz:{path}", "--out", "out")


def test_data_that_is_a_bare_pickle(tmp_path, hostile):
    (tmp_path / "data.npz").write_bytes(pickle.dumps({"x_train": hostile}))
    with pytest.raises(UsageError, match="pickled Python objects"):
        load_data(f"npz:{tmp_path / 'data.npz'}")


def test_members_of_an_npz_that_point_elsewhere(tmp_path, trace):
    """A member's name is no path: it is looked up in the archive, and nothing is unpacked."""
    array = io.BytesIO()
    np.save(array, np.zeros((4, 8, 8), dtype=np.uint8))
    with zipfile.ZipFile(tmp_path / "data.npz", "w") as archive:
        for name in ("../ran.npy", "/ran.npy", f"{trace}.npy", "../x_train.npy"):
            archive.writestr(name, array.getvalue())
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UsageError, match="x_train"):
        load_data(f"npz:{tmp_path / 'data.npz'}")
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("suffix", [".pth", ".pickle", ".pickle.pbz2"])
def test_an_import_of_a_benchmark(tmp_path, hostile, suffix, raynas_says):
    content = pickle.dumps({"meta_archs": ["x"], "arch2infos": {0: hostile}})
    path = tmp_path / f"download{suffix}"
    path.write_bytes(bz2.compress(content) if suffix.endswith("pbz2") else content)
    words = ("table", "import", path, "t.parquet", "--benchmark", "natsbench")
    assert "refused" in raynas_says(*words)
    assert not (tmp_path / "t.parquet").exists()


@pytest.mark.parametrize(
    "target",
    [
        ("numpy.core.multiarray", "scalar"),
        ("numpy", "ndarray"),
        ("numpy.core.multiarray", "_reconstruct"),
    ],
)
def test_allowed_names_cannot_be_led_astray(tmp_path, hostile, target):
    """What a plain pickle may name builds arrays; a pickle within an object array is refused."""
    inner = np.empty(1, dtype=object)
    inner[0] = hostile
    path = tmp_path / "x.pickle"
    path.write_bytes(pickle.dumps({"meta_archs": inner, "arch2infos": target}))
    with pytest.raises(UsageError, match="refused"):
        api.import_table(path, tmp_path / "t.parquet", benchmark="natsbench")


def parquet_with(metadata, path):
    table = pa.table({"architecture": ["a"], "x": pa.array([b"y"], type=pa.binary())})
    field = table.schema.field("x").with_metadata(metadata)
    pq.write_table(table.cast(table.schema.set(1, field)), path)


def test_a_parquet_file_with_a_pickled_type(tmp_path, hostile):
    """Arrow once unpickled what a column's metadata called a Python type (CVE-2023-47248)."""
    path = tmp_path / "t.parquet"
    metadata = {
        b"ARROW:extension:name": b"arrow.py_extension_type",
        b"ARROW:extension:metadata": pickle.dumps(hostile),
    }
    parquet_with(metadata, path)
    with pytest.raises(UsageError, match="no table of raynas' format"):
        load_table(str(path))


def test_a_table_whose_file_is_a_pickle(tmp_path, hostile):
    path = tmp_path / "t.parquet"
    path.write_bytes(pickle.dumps(hostile))
    with pytest.raises(UsageError, match="no Parquet file"):
        load_table(str(path))


YAML_CODE = "!!python/object/apply:builtins.open [{trace}, w]"


@pytest.mark.parametrize("kind", ["search", "supernet", "retrain"])
@pytest.mark.parametrize("command", ["resume", "status", "report", "diagnose", "export", "retrain"])
def test_code_in_a_run_folders_config(runs, trace, raynas_says, kind, command):
    folder = runs / kind
    config = folder / "config.yaml"
    config.write_text(config.read_text() + "seed: " + YAML_CODE.format(trace=trace) + "\n")
    (folder / "best.json").unlink(missing_ok=kind != "retrain" or command != "export")
    said = raynas_says(command, folder)
    assert "config.yaml" in said or "best.json" in said or "is a retrain run" in said


@pytest.mark.parametrize("command", ["search", "supernet"])
def test_code_in_a_config_of_the_users(tmp_path, trace, raynas_says, command):
    (tmp_path / "c.yaml").write_text(f"seed: {YAML_CODE.format(trace=trace)}\n")
    assert "not valid YAML" in raynas_says(command, "c.yaml", "--out", "out")
    told = raynas_says(command, "--set", f"seed={YAML_CODE.format(trace=trace)}", "--out", "out")
    assert "not a YAML value" in told
    assert not (tmp_path / "out").exists()


ENGINES = {"search": "simulate", "supernet": "local", "retrain": "inline"}
HIDDEN = '{"__reduce__": ["builtins.open", ["ran", "w"]], "py/object": "os.system"}'


def refusal(work):
    """Return why raynas refused, or None if it did not."""
    try:
        work()
    except RaynasError as error:
        return str(error)
    return None


@pytest.mark.parametrize("kind", ENGINES)
@pytest.mark.parametrize("name", ["journal.jsonl", "best.json", "run.json"])
def test_other_files_of_a_run_folder(reopened, hostile, raynas_says, kind, name):
    """Pickles and look-alikes of other formats where JSON should be."""
    folder = reopened / kind
    for content in (pickle.dumps(hostile) + b"\n{}\n", HIDDEN.encode() + b"\n{}\n", b"[]\n[]\n"):
        (folder / name).write_bytes(content)
        said = refusal(partial(api.resume, folder, engine=ENGINES[kind]))
        # A run can do without its best.json, and a journal that says nothing is that of a new run.
        assert said is None or len(said.splitlines()) == 1
        assert said is not None or name != "run.json"
        if name == "best.json":
            (folder / name).write_bytes(content)
            raynas_says("export", folder)


@pytest.mark.parametrize("content", [b"", b"PAR1 and no more PAR1", b"pickle"])
def test_a_damaged_view_is_said(runs, hostile, raynas_says, content):
    folder = runs / "search"
    data = pickle.dumps(hostile) if content == b"pickle" else content
    (folder / "architectures.parquet").write_bytes(data)
    assert "architectures.parquet: cannot be read" in raynas_says("diagnose", folder)


# -- whose code a run folder names -----------------------------------------------------------------


@pytest.fixture
def module(tmp_path, monkeypatch, trace):
    """A module on the path that leaves a trace when it is imported."""
    (tmp_path / "planted_code.py").write_text(
        f"open({str(trace)!r}, 'w').close()\nclass Space: pass\ndef op(channels): pass\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    return "planted_code:Space"


def plant(folder, **changes):
    import yaml

    config = yaml.safe_load((folder / "config.yaml").read_text())
    (folder / "config.yaml").write_text(yaml.safe_dump({**config, **changes}))
    best = folder / "best.json"
    if best.exists() and "space" in changes:
        facts = json.loads(best.read_text())
        best.write_text(json.dumps({**facts, "space": changes["space"]}))


CELL_OPS = {"name": "cell", "ops": {"none": "none", "mine": "planted_code:op"}}


@pytest.mark.parametrize("space", [{"name": "planted_code:Space"}, CELL_OPS], ids=["name", "ops"])
@pytest.mark.parametrize(
    ("kind", "command"),
    [
        ("search", ["resume"]),
        ("search", ["retrain"]),
        ("search", ["retrain", "--top", "1"]),
        ("supernet", ["resume"]),
        ("supernet", ["retrain"]),
        ("supernet", ["diagnose"]),
        ("retrain", ["resume"]),
        ("retrain", ["retrain"]),
        ("retrain", ["export"]),
    ],
    ids=lambda v: " ".join(v) if isinstance(v, list) else v,
)
def test_a_run_folder_cannot_name_code(reopened, module, raynas_says, kind, command, space):
    plant(reopened / kind, space=space)
    said = raynas_says(command[0], reopened / kind, *command[1:])
    assert "planted_code" in said
    assert "trust" in said


@pytest.mark.parametrize("command", ["status", "report"])
@pytest.mark.parametrize("kind", ["search", "supernet", "retrain"])
def test_reading_a_run_imports_nothing(reopened, module, kind, command, monkeypatch, tmp_path):
    from typer.testing import CliRunner

    from raynas.cli.main import app

    monkeypatch.chdir(tmp_path)
    plant(reopened / kind, space={"name": module})
    result = CliRunner().invoke(app, [command, str(reopened / kind)])
    assert result.exit_code in (0, 2), result.output


@pytest.mark.parametrize(
    ("kind", "key"),
    [
        ("search", "policy"),
        ("search", "proposer"),
        ("supernet", "method"),
        ("supernet", "selection"),
    ],
)
def test_no_other_part_can_be_named_either(reopened, module, raynas_says, kind, key):
    plant(reopened / kind, **{key: {"name": module}})
    assert "--trust-code" in raynas_says("resume", reopened / kind)


def test_costs_and_tables_cannot_name_code(reopened, module, raynas_says, tmp_path):
    plant(reopened / "search", constraints={"latency": "planted_code:op", "max_latency_ms": 1})
    assert "--trust-code" in raynas_says("resume", reopened / "search")
    header = {
        "format": 1,
        "name": "t",
        "space": {"name": module},
        "fidelity": "curve",
        "selection": {"1": "a"},
        "report": "a",
    }
    table = pa.table({"architecture": ["x"], "a": [0.5]})
    table = table.replace_schema_metadata({b"raynas.table": json.dumps(header).encode()})
    pq.write_table(table, tmp_path / "t.parquet")
    for command in (["table", "show"], ["compare", "--methods", "random:full", "--table"]):
        assert "--trust-code" in raynas_says(*command, tmp_path / "t.parquet")


def test_a_names_own_prefix_is_no_passport(reopened, raynas_says, trace):
    """`raynas.registry:load_object` is ours, and imports what its options say."""
    plant(reopened / "search", space={"name": "raynas.registry:load_object", "path": "os:system"})
    assert "--trust-code" in raynas_says("resume", reopened / "search")


# -- paths -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["../../x.pt", "/etc/passwd", "checkpoints/../../x.pt", "x.pt", "..", "", 7, None]
)
def test_the_checkpoint_of_a_best_json_stays_in_the_folder(runs, raynas_says, name):
    (runs / "x.pt").write_bytes((runs / "retrain" / "checkpoints" / "000000.pt").read_bytes())
    best = runs / "retrain" / "best.json"
    best.write_text(json.dumps({**json.loads(best.read_text()), "checkpoint": name}))
    with pytest.raises(UsageError, match=r"best\.json"):
        raynas.load(best)
    assert "best.json" in raynas_says("export", runs / "retrain")


@pytest.mark.parametrize("kind", ["search", "supernet", "retrain"])
@pytest.mark.parametrize("name", ["journal.jsonl", "checkpoints", "config.yaml", ".new.tmp"])
def test_a_link_out_of_the_folder_is_refused_and_its_target_untouched(
    reopened, raynas_says, tmp_path, kind, name
):
    folder = reopened / kind
    outside = tmp_path / "outside"
    if name == "checkpoints":
        (folder / name).rename(outside)
        before = sorted(outside.rglob("*"))
    else:
        outside.write_text("one line of the user's own\n")
        (folder / name).unlink(missing_ok=True)
    (folder / name).symlink_to(outside)
    for command in ("resume", "status", "report", "diagnose", "retrain"):
        said = raynas_says(command, folder)
        assert "leads out of the run folder" in said or "is a retrain run" in said
    if name == "checkpoints":
        assert sorted(outside.rglob("*")) == before
    else:
        assert outside.read_text() == "one line of the user's own\n"


@pytest.mark.parametrize("kind", ["search", "supernet", "retrain"])
def test_a_file_that_has_another_name_outside_is_not_written_into(runs, tmp_path, kind):
    folder = runs / kind
    outside = tmp_path / "outside"
    outside.mkdir()
    with (folder / "journal.jsonl").open("ab") as journal:
        journal.write(b'{"torn')  # a resume cuts that off
    if kind == "retrain":
        api.export(folder, "source")
        for path in (folder / "export").iterdir():
            path.write_text("not what an export writes")
    if kind == "supernet":  # a finished one's journal is only read
        manifest = json.loads((folder / "run.json").read_text())
        (folder / "run.json").write_text(json.dumps({**manifest, "finished": False}))
    (folder / ".lock").write_text("something")
    before = {}
    for path in folder.rglob("*"):
        if path.is_file():
            other = outside / str(len(before))
            os.link(path, other)
            before[other] = other.read_bytes()
    api.resume(folder, engine="local" if kind == "supernet" else None)
    if kind == "retrain":
        api.export(folder, "source")
    assert {other: other.read_bytes() for other in before} == before
    assert (folder / "journal.jsonl").read_bytes().endswith(b"}\n")


def test_a_linked_checkpoint_is_not_loaded(runs, tmp_path, raynas_says):
    folder = runs / "retrain"
    (folder / "checkpoints").rename(tmp_path / "elsewhere")
    (folder / "checkpoints").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UsageError, match="leads out"):
        raynas.load(folder)
    (folder / "checkpoints").unlink()
    (tmp_path / "elsewhere").rename(folder / "checkpoints")
    (folder / "export").symlink_to(tmp_path)
    assert "leads out" in raynas_says("export", folder)


def test_a_link_within_the_folder_and_to_it_is_fine(runs, tmp_path):
    folder = runs / "retrain"
    (folder / "checkpoints").rename(folder / "kept")
    (folder / "checkpoints").symlink_to("kept")
    (tmp_path / "link").symlink_to(folder)
    assert raynas.load(tmp_path / "link") is not None
    assert api.status(tmp_path / "link")["state"] == "done"


def test_a_pipe_in_a_run_folder_does_not_hang(runs, raynas_says):
    import os

    (runs / "search" / "journal.jsonl").unlink()
    os.mkfifo(runs / "search" / "journal.jsonl")
    assert "neither a file nor a folder" in raynas_says("status", runs / "search")


@pytest.mark.parametrize("value", ["1); open('ran', 'w')  #", "8", 8.0, True, 0, -1, 10**9, None])
def test_the_task_of_a_best_json_is_numbers(runs, raynas_says, value):
    """They are written into the source that `raynas export` makes and runs."""
    best = runs / "retrain" / "best.json"
    facts = json.loads(best.read_text())
    for key in facts["task"]:
        changed = {**facts, "task": {**facts["task"], key: value}}
        best.write_text(json.dumps(changed))
        assert "its task holds" in raynas_says("export", runs / "retrain", "--format", "source")


def test_files_are_named_by_number_and_never_by_text(tmp_path):
    from pathlib import Path

    from raynas.engine.trainable import checkpoint_path
    from raynas.training.job import JobFiles

    assert checkpoint_path(Path("x"), 12).name == "000012.pt"
    files = JobFiles(Path("x"), 3)
    assert {files.checkpoint.parent, files.network.parent} == {Path("x")}
    assert files.checkpoint.stem.isdecimal()
