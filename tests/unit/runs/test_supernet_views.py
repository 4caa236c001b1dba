import json

import pyarrow.parquet as pq
import pytest

from raynas.runs.folder import RunFolder
from raynas.runs.supernet_journal import SupernetLog
from raynas.runs.supernet_views import SupernetViews
from raynas.spaces.mixture import CellKind

KIND = CellKind("cell", ((0, 1), (0, 2), (1, 2)), (("skip_connect", "conv"),) * 3, keep=None)


def mixing(*decided):
    return {
        "kind": "cell",
        "alpha": [[0.1, 0.2]] * 3,
        "theta": [[0.25, 0.75]] * 3,
        "decided": list(decided),
        "kept": [True, True, False],
    }


def epoch(step, phase, **more):
    metrics = {"accuracy": 0.5, "skip_gap": {"cell": 0.1}, "spectrum": [1.0, 2.0]}
    return {
        "event": "epoch",
        "step": step,
        "phase": phase,
        "epoch": step,
        "elapsed_s": 1.0 * step,
        "metrics": metrics,
        "mixing": [mixing(None, 1, None)],
        "decisions": [],
        **more,
    }


def candidate(option, name, accuracy, round=0):
    return {
        "option": option,
        "name": name,
        "round": round,
        "correct": int(100 * accuracy),
        "count": 100,
        "accuracy": accuracy,
        "loss": 1.0 - accuracy,
    }


def decision(**more):
    return {
        "kind": "cell",
        "edge": 0,
        "node": None,
        "source": 0,
        "target": 1,
        "rule": "perturbation",
        "options": [0, 1],
        "names": ["skip_connect", "conv"],
        "chosen": [1],
        "chosen_names": ["conv"],
        "candidates": [candidate(0, "skip_connect", 0.75), candidate(1, "conv", 0.5)],
        "strengths": None,
        "unmasked": {"accuracy": 0.8, "loss": 0.2},
        "margin": 0.25,
        "fallback": None,
        "time_s": 2.5,
        "workers": ["10.0.0.1:7", "10.0.0.2:9"],
        **more,
    }


@pytest.fixture
def folder(tmp_path):
    folder = RunFolder(tmp_path / "run")
    folder.create({}, {})
    return folder


def views(folder):
    return SupernetViews(folder, (KIND,), lambda text: {"genotype": f"<{text}>"})


def read(folder, name):
    return pq.read_table(folder.path / name).to_pylist()


def log_of(*records):
    log = SupernetLog()
    for record in records:
        log.hear(record)
    return log


def test_a_row_an_op_an_edge_an_epoch(folder):
    views(folder).refresh(log_of(epoch(1, "search"), epoch(2, "select")), force=True)
    rows = read(folder, "alpha.parquet")
    assert len(rows) == 2 * 3 * 2
    assert rows[3] == {
        "step": 1,
        "phase": "search",
        "epoch": 1,
        "kind": "cell",
        "edge": 1,
        "source": 0,
        "target": 2,
        "op": "conv",
        "alpha": 0.2,
        "theta": 0.75,
        "decided": True,
        "kept": True,
    }
    assert not rows[-1]["kept"]


def test_figures_of_kinds_of_cells_are_columns(folder):
    views(folder).refresh(log_of(epoch(1, "search")), force=True)
    (row,) = read(folder, "history.parquet")
    assert row["skip_gap_cell"] == 0.1
    assert row["accuracy"] == 0.5
    assert "spectrum" not in row


def test_every_candidate_of_every_decision(folder):
    weighed = decision(candidates=[], strengths=[0.4, 0.6], rule="magnitude", unmasked=None)
    record = {**epoch(1, "select"), "event": "decision", "decisions": [decision(), weighed]}
    views(folder).refresh(log_of(record), force=True)
    rows = read(folder, "decisions.parquet")
    assert [row["decision"] for row in rows] == [1, 1, 2, 2]
    assert [row["chosen"] for row in rows] == [False, True, False, True]
    assert [row["accuracy"] for row in rows] == [0.75, 0.5, None, None]
    assert [row["strength"] for row in rows] == [None, None, 0.4, 0.6]
    assert rows[0]["workers"] == "10.0.0.1:7, 10.0.0.2:9"
    assert rows[0]["unmasked_accuracy"] == 0.8


def test_the_best_is_there_once_all_is_decided(folder):
    views(folder).refresh(log_of(epoch(1, "search")), force=True)
    assert not (folder.path / "best.json").exists()
    last = epoch(2, "select", architecture="|conv~0|")
    views(folder).refresh(log_of(epoch(1, "search"), last), force=True)
    best = json.loads((folder.path / "best.json").read_text())
    assert best["architecture"] == "|conv~0|"
    assert best["genotype"] == "<|conv~0|>"
    assert best["epochs"] == {"search": 1, "select": 1}
    assert best["supernet"]["accuracy"] == 0.5
