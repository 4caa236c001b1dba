"""The report of a retraining: its sentences say what its tables hold."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest

from raynas import api
from raynas.errors import RunFolderError
from raynas.report.retrain_plots import confusion_figure, curves_figure
from raynas.report.retrain_report import (
    classes_sentence,
    confusion_sentence,
    curves_sentence,
    mistakes,
    read_retrain,
    results_sentence,
    retrain_summary,
)
from raynas.report.words import percent, points, spread
from raynas.runs.folder import RunFolder

from .conftest import sections
from .test_pages import HOSTILE, Outline


@pytest.fixture(scope="module")
def run(retrained):
    return read_retrain(RunFolder(retrained, "retrain"))


@pytest.fixture(scope="module")
def best(retrained):
    return json.loads((retrained / "best.json").read_text())


def copied(retrained, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(retrained, folder)
    return folder


def rewrite(path, change):
    value = json.loads(path.read_text())
    change(value)
    path.write_text(json.dumps(value))


def test_the_summary(run, best):
    assert retrain_summary(run) == (
        f"4 of 4 trainings of 2 architectures finished; delivered is {best['label']}, with "
        f"{percent(best['accuracy'])} on the test part after its last epoch."
    )


def test_the_last_epoch_comes_first_and_the_best_second(pages, run, retrained):
    page = pages["retrain"]
    columns = [
        page.index(f">{name}<")
        for name in (
            "test part, last epoch",
            "validation, last epoch",
            "validation, best epoch",
            "seeds",
        )
    ]
    assert columns == sorted(columns)
    jobs = pd.read_parquet(retrained / "retrain.parquet")
    for label, rows in jobs.groupby("label"):
        shown = spread(rows["accuracy"].mean(), rows["accuracy"].std(ddof=1))
        assert label in page
        assert f">{shown}<" in page


def test_who_is_ahead_and_by_how_much(run, retrained):
    jobs = pd.read_parquet(retrained / "retrain.parquet")
    means = jobs.groupby("label")["accuracy"].mean().sort_values(ascending=False)
    deviation = jobs.groupby("label")["accuracy"].std(ddof=1).max()
    lead = means.iloc[0] - means.iloc[1]
    sentence = results_sentence(run)
    assert points(lead) in sentence
    assert ("no more than" in sentence) == (lead <= deviation)


def test_curves_a_line_a_seed(run, retrained):
    figure = curves_figure(run.history)
    history = pd.read_parquet(retrained / "history.parquet")
    for axes in figure.axes:
        assert [len(line.get_xdata()) for line in axes.get_lines()] == [2] * 4
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert len(labels) == history["label"].nunique() == 2
    last = history[history["epoch"] == 2]
    sentence = curves_sentence(run)
    assert percent(last["train_accuracy"].mean()) in sentence
    assert percent(last["valid_accuracy"].mean()) in sentence
    assert percent(last["valid_accuracy"].min()) in sentence


def test_classes_and_confusions_are_those_of_the_delivered_network(run, best):
    confusion = np.array(best["confusion"])
    wrong = confusion - np.diag(np.diag(confusion))
    found = mistakes(run)
    assert sum(times for *_, times in found) == wrong.sum()
    true, predicted, times = found[0]
    assert times == wrong.max() == wrong[true, predicted]
    assert f"class {true} taken for class {predicted}" in confusion_sentence(run)
    known = [a for a in best["per_class_accuracy"] if a is not None]
    assert percent(min(known)) in classes_sentence(run)
    assert f"{wrong.sum()} images of {confusion.sum()}" in classes_sentence(run)
    axes = confusion_figure(run.confusion).axes[0]
    assert len(axes.patches) == np.count_nonzero(confusion)
    assert sorted(int(t.get_text()) for t in axes.texts) == sorted(confusion[confusion > 0])


def test_many_classes_are_told_by_the_worst(retrained, tmp_path):
    folder = copied(retrained, tmp_path)
    confusion = np.eye(100, dtype=int) * 5
    confusion[7, 9] = 3

    def change(best):
        best["confusion"] = confusion.tolist()
        best["per_class_accuracy"] = [5 / sum(row) for row in confusion.tolist()]

    rewrite(folder / "best.json", change)
    page = api.write_report(folder).read_text()
    assert 'id="classes-title"' in page
    assert 'id="confusion-title"' not in page
    assert "class 7 taken for class 9, 3 times" in page


def test_one_class_without_images_and_no_error(retrained, tmp_path):
    folder = copied(retrained, tmp_path)

    def change(best):
        best["confusion"] = [[2, 0], [0, 0]]
        best["per_class_accuracy"] = [1.0, None]

    rewrite(folder / "best.json", change)
    page = api.write_report(folder).read_text()
    assert "No image was taken for another class." in page
    assert "1 of 1 class have no error" in page


def test_an_interrupted_retraining_shows_what_there_is(retrained, tmp_path):
    folder = copied(retrained, tmp_path)
    (folder / "best.json").unlink()
    rewrite(folder / "run.json", lambda manifest: manifest.update(finished=False))
    page = api.write_report(folder).read_text()
    assert "It was interrupted before its end" in page
    assert "no network is delivered yet" in page
    assert sections(page) == ["asked", "results", "curves", "provenance"]


def test_labels_and_errors_are_escaped(retrained, tmp_path):
    folder = copied(retrained, tmp_path)
    rewrite(folder / "summary.json", lambda rows: rows[0].update(label=HOSTILE))
    rewrite(folder / "best.json", lambda best: best.update(label=HOSTILE, chosen_by=HOSTILE))
    for name in ("retrain", "history"):
        table = pd.read_parquet(folder / f"{name}.parquet")
        table["label"] = HOSTILE + "$x$"
        if name == "retrain":
            table["error"] = table["error"].astype(object)
            table.loc[0, ["status", "error"]] = ["failed", HOSTILE]
        table.to_parquet(folder / f"{name}.parquet")
    outline = Outline(page := api.write_report(folder).read_text())
    assert not outline.tags & {"script", "img"}
    assert outline.handlers == []
    assert page.count("&lt;script&gt;") > 6


@pytest.mark.parametrize(
    ("name", "text", "match"),
    [
        ("best.json", "{}", "has no 'architecture'"),
        ("best.json", "[]", "not a JSON object"),
        ("best.json", "no json", "cannot be read"),
        ("summary.json", '[{"label": "a"}]', "has no 'architecture'"),
        ("summary.json", "{}", "not a JSON list"),
        ("retrain.parquet", "no parquet", "cannot be read"),
    ],
)
def test_files_of_something_else_are_one_line(retrained, tmp_path, name, text, match):
    folder = copied(retrained, tmp_path)
    (folder / name).write_text(text)
    with pytest.raises(RunFolderError, match=match) as caught:
        api.write_report(folder)
    assert "\n" not in str(caught.value)
