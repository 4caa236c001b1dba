"""The report of a comparison: what `raynas compare` left, in its own numbers."""

import importlib.metadata
import json
import shutil

import pytest

from raynas import api
from raynas.errors import RunFolderError
from raynas.report.compare_report import (
    leader_sentence,
    means_figure,
    read_comparison,
    regret_sentence,
)

from .conftest import sections
from .test_pages import HOSTILE, Outline


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("compare") / "c"
    methods = "random:full,evolution:full"
    done = api.compare(
        "fashion16", methods=methods, budgets=[40, 80], seeds=2, out=folder, processes=1
    )
    done.draw(folder / "regret.svg")
    return folder


def copied(compared, tmp_path):
    return shutil.copytree(compared, tmp_path / "copy")


def test_means_regret_and_speedups_are_those_of_the_files(compared, tmp_path):
    page = api.write_report(compared, tmp_path / "r.html").read_text()
    summary = json.loads((compared / "summary.json").read_text())
    assert sections(page) == ["means", "regret", "speedups", "provenance"]
    for row in summary["means"]:
        assert f"{row['mean']:.2f} ± {row['ci95']:.2f} %" in page
    files = read_comparison(compared)
    for budget in (40, 80):
        rows = [row for row in summary["means"] if row["budget_epochs"] == budget]
        best = max(rows, key=lambda row: row["mean"])
        assert f"{best['method']} with {best['mean']:.2f}" in leader_sentence(files)
    for row in summary["means"]:
        if row["budget_epochs"] == 80:
            assert f"{row['method']} {row['regret']:.2f}" in regret_sentence(files)
    assert importlib.metadata.version("numpy") in page.split('id="provenance"')[1]
    lines = means_figure(files, "m").axes[0].containers
    assert [list(line[0].get_xdata()) for line in lines] == [[40, 80]] * 2
    outline = Outline(page)
    assert outline.open == []
    assert len(outline.ids) == len(set(outline.ids))


def test_an_unfinished_one_and_foreign_files_are_one_line(compared, tmp_path):
    folder = copied(compared, tmp_path)
    for text, match in (("{}", "has no 'means'"), ('{"means": [], "speedups": []}', "no means")):
        (folder / "summary.json").write_text(text)
        with pytest.raises(RunFolderError, match=match):
            api.write_report(folder)
    (folder / "summary.json").unlink()
    with pytest.raises(RunFolderError, match="has not ended yet"):
        api.write_report(folder)


def test_texts_are_escaped_and_a_broken_picture_is_told(compared, tmp_path):
    folder = copied(compared, tmp_path)
    summary = json.loads((folder / "summary.json").read_text())
    for row in (*summary["means"], *summary["speedups"]):
        row["method"] = row["method"] + HOSTILE
    summary["notes"] = [HOSTILE]
    (folder / "summary.json").write_text(json.dumps(summary))
    (folder / "comparison.json").write_text(json.dumps({"table": HOSTILE, "methods": [HOSTILE]}))
    (folder / "regret.svg").write_text("<svg")
    page = api.write_report(folder).read_text()
    assert not Outline(page).tags & {"script", "img"}
    assert "regret.svg cannot be shown" in page


def test_unknown_means_are_a_dash(compared, tmp_path):
    folder = copied(compared, tmp_path)
    summary = json.loads((folder / "summary.json").read_text())
    summary["means"][0] |= {"mean": None, "ci95": None, "regret": None}
    (folder / "summary.json").write_text(json.dumps(summary))
    assert '<td class="n">-</td>' in api.write_report(folder).read_text()
