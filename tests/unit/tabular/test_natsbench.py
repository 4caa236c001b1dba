"""Downloads of NAS-Bench-201 and NATS-Bench, in all three layouts; hostile ones are refused."""

import bz2
import os
import pickle

import numpy as np
import pytest
import torch

from raynas.errors import DataError
from raynas.tabular.format import read_table, write_table
from raynas.tabular.natsbench import import_natsbench


def run(length, seed, names, shift):
    """One training as the benchmarks' state dicts hold it."""
    accuracies = {
        f"{name}@{e}": 10.0 + 0.25 * e + shift + 0.1 * seed for name in names for e in range(length)
    }
    return {
        "params": 0.5,
        "flop": 40.0,
        "epochs": length,
        "eval_acc1es": accuracies,
        "train_times": dict.fromkeys(range(length), 2.0),
    }


def info(index, names):
    """One architecture's results by length of run."""
    results = {}
    for name, length in zip(names, (12, 200), strict=True):
        runs = {
            ("cifar10-valid", s): run(length, s, ["x-valid", "ori-test"], index) for s in (1, 3)
        }
        runs[("cifar10", 1)] = run(length, 1, ["ori-test"], index + 5)
        runs[("cifar100", 1)] = run(length, 1, ["x-valid", "x-test"], 0.0)
        results[name] = {"arch_index": index, "all_results": runs, "dataset_seed": {}}
    return results


def download(kind, cells, folder):
    meta = {"meta_archs": cells}
    if kind == "pth":
        path = folder / "NAS-Bench-201-v1_1.pth"
        infos = {i: info(i, ("less", "full")) for i in range(len(cells))}
        torch.save({**meta, "arch2infos": infos}, path)
    elif kind == "file":
        path = folder / "NATS-tss.pickle.pbz2"
        infos = {i: info(i, ("12", "200")) for i in range(len(cells))}
        path.write_bytes(bz2.compress(pickle.dumps({**meta, "arch2infos": infos})))
    else:
        path = folder / "NATS-tss-simple"
        path.mkdir()
        (path / "meta.pickle.pbz2").write_bytes(bz2.compress(pickle.dumps(meta)))
        for i in range(len(cells)):
            content = bz2.compress(pickle.dumps(info(i, ("12", "200"))))
            (path / f"{i:06d}.pickle.pbz2").write_bytes(content)
    return path


@pytest.mark.parametrize("kind", ["pth", "file", "folder"])
def test_a_download_becomes_a_table(tmp_path, cells, kind):
    cells = cells[:3]
    path = download(kind, cells, tmp_path)
    out = tmp_path / "out.parquet"
    write_table(out, *import_natsbench(path, "cifar10"))
    table = read_table(out)
    assert table.texts == tuple(cells)
    assert table.epochs == (12, 200)
    assert table.separate_runs
    # means over seeds 1 and 3: 10 + 11 / 4 + index + 0.2
    assert table.accuracy[:, 0] == pytest.approx(np.array([12.95, 13.95, 14.95]) / 100, abs=1e-6)
    assert table.report == pytest.approx(np.array([64.85, 65.85, 66.85]) / 100, abs=1e-6)
    assert table.time_s[0].tolist() == [24, 400]
    assert table.proxies["params"].tolist() == [500_000] * 3


def test_another_data_set_and_one_that_is_not_there(tmp_path, cells):
    path = download("file", cells[:2], tmp_path)
    header, _, columns = import_natsbench(path, "cifar100")
    assert header.name == "nasbench201 cifar100"
    assert columns["test_accuracy_e12"] == pytest.approx([0.1285, 0.1285])
    with pytest.raises(DataError, match="did you mean 'cifar100'"):
        import_natsbench(path, "cifar1000")
    with pytest.raises(DataError, match="ImageNet16-120"):
        import_natsbench(path, "imagenet16")


class Hostile:
    def __reduce__(self):
        return os.system, ("touch planted",)


@pytest.mark.parametrize("suffix", [".pbz2", ".pickle", ".pth"])
def test_a_hostile_pickle_is_refused_and_not_run(tmp_path, monkeypatch, suffix):
    monkeypatch.chdir(tmp_path)
    content = pickle.dumps({"meta_archs": [Hostile()], "arch2infos": {}})
    path = tmp_path / f"x{suffix}"
    path.write_bytes(bz2.compress(content) if suffix == ".pbz2" else content)
    with pytest.raises(DataError, match="refused") as caught:
        import_natsbench(path, "cifar10")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "planted").exists()


@pytest.mark.parametrize("content", [{}, {"meta_archs": ["x"], "arch2infos": {0: {}}}, [1, 2]])
def test_another_layout_is_said(tmp_path, content):
    path = tmp_path / "x.pickle"
    path.write_bytes(pickle.dumps(content))
    with pytest.raises(DataError, match=r"laid out|holds no"):
        import_natsbench(path, "cifar10")
