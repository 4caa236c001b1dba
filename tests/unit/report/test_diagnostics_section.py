"""Diagnostics beside a run get into its report; whatever acts in their files does not."""

import json
import re
import shutil

import pytest

from raynas import api
from raynas.report.palette import SERIES, new_figure

from .conftest import sections
from .test_pages import HOSTILE, Outline

BAD_SVG = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 9 9" onload="alert(1)">'
    '<script>alert(1)</script><a href="javascript:alert(1)"><rect width="1" height="1"/></a>'
    '<image href="http://evil.example/x.png"/><rect onclick="alert(1)" width="2" height="2"/></svg>'
)


@pytest.fixture
def folder(searched, tmp_path):
    copy = tmp_path / "run"
    shutil.copytree(searched, copy)
    (copy / "diagnostics").mkdir()
    return copy


def write(folder, entries, **files):
    place = folder / "diagnostics"
    (place / "summary.json").write_text(
        entries if isinstance(entries, str) else json.dumps(entries)
    )
    for name, text in files.items():
        (place / f"{name}.svg").write_text(text)


def entry(name, **more):
    told = {"name": name, "title": f"About {name}", "sentences": ["One.", "Two."]}
    return {**told, "table": f"{name}.parquet", "plot": f"{name}.svg", "settings": {}, **more}


def test_each_has_a_section_with_its_plot_sentences_and_settings(folder):
    figure = new_figure(4, 2)
    figure.subplots().plot([1, 2], color=SERIES[2])
    figure.savefig(folder / "diagnostics" / "levels.svg")
    figure.savefig(folder / "diagnostics" / "saved.svg")
    write(folder, [entry("levels", settings={"draws": 10}), entry("saved")])
    page = api.write_report(folder).read_text()
    assert sections(page)[-3:] == ["diagnostic-0", "diagnostic-1", "provenance"]
    assert "About levels" in page
    assert "<figcaption>One. Two.</figcaption>" in page
    assert "<dt>draws</dt><dd>10</dd>" in page
    first = re.search(r'<section id="diagnostic-0">.*?</section>', page, re.S)[0]
    assert "var(--c1b9e77)" in first
    assert "#1b9e77" not in first
    outline = Outline(page)
    assert len(outline.ids) == len(set(outline.ids))


def test_a_hostile_plot_is_drawn_without_what_acts(folder):
    write(folder, [entry("bad", title=HOSTILE, sentences=[HOSTILE])], bad=BAD_SVG)
    page = api.write_report(folder).read_text()
    outline = Outline(page)
    assert not outline.tags & {"script", "img", "image"}
    assert outline.handlers == []
    assert "evil.example" not in page
    assert "javascript:" not in page
    assert 'viewBox="0 0 9 9"' in page
    assert '<rect width="2" height="2"' in page


@pytest.mark.parametrize(
    ("plot", "why"),
    [
        ("missing.svg", "No such file"),
        ("../../secret.svg", "is no SVG of that folder"),
        ("/etc/passwd", "is no SVG of that folder"),
        ("levels.png", "is no SVG of that folder"),
        ("broken.svg", "no XML"),
    ],
)
def test_a_plot_that_cannot_be_shown_is_told(folder, plot, why):
    write(folder, [entry("levels", plot=plot)], broken="<svg")
    page = api.write_report(folder).read_text()
    assert "cannot be shown" in page
    assert why in page
    assert "One. Two." in page


@pytest.mark.parametrize("text", ["no json", "{}", "[1]"])
def test_a_summary_that_cannot_be_read_is_told(folder, text):
    write(folder, text)
    page = api.write_report(folder).read_text()
    assert "diagnostics/summary.json cannot be read" in page


@pytest.mark.parametrize("one", [{}, {"title": 3, "sentences": "x", "plot": 4, "settings": []}])
def test_entries_of_another_form_do_no_harm(folder, one):
    write(folder, [one])
    assert "diagnostic-0" in sections(api.write_report(folder).read_text())
