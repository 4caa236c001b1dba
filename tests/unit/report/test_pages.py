"""What holds of every page: whole, closed to the net and to scripts, every id one of a kind."""

import html.parser
import re

import pytest

from raynas import api
from raynas.report.page import Code, Facts, More, Page, Plot, Prose, Section, Table, render

from .conftest import sections

KINDS = ("search", "front", "supernet", "retrain")
NAMESPACES = ("http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink")
SECTIONS = {
    "search": ["asked", "best", "budget", "pyramid", "predictor", "proxies", "provenance"],
    "front": ["asked", "best", "budget", "pyramid", "front", "provenance"],
    "supernet": ["asked", "best", "learning", "theta", "mixing", "decisions", "provenance"],
    "retrain": ["asked", "results", "curves", "delivered", "classes", "provenance"],
}
HOSTILE = '"><script>alert(1)</script><img src=x onerror=alert(1)>'


class Outline(html.parser.HTMLParser):
    """Notes ids, links and open elements; fails where one closes that is not open."""

    VOID = ("meta", "br", "img", "link")

    def __init__(self, page):
        super().__init__()
        self.ids, self.links, self.open, self.tags, self.handlers = [], [], [], set(), []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.handle_startendtag(tag, attrs)
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.add(tag)
        found = dict(attrs)
        self.ids += [found["id"]] if "id" in found else []
        self.links += [found[name] for name in ("href", "src", "xlink:href") if name in found]
        self.handlers += [name for name in found if name.startswith("on")]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.mark.parametrize("kind", KINDS)
def test_a_page_is_whole_and_has_its_sections(pages, kind):
    outline = Outline(pages[kind])
    assert outline.open == []
    assert sections(pages[kind]) == SECTIONS[kind]
    assert {f"#{name}" for name in SECTIONS[kind]} <= set(outline.links)


@pytest.mark.parametrize("kind", KINDS)
def test_ids_are_one_of_a_kind_and_links_stay_in_the_page(pages, kind):
    outline = Outline(pages[kind])
    assert len(outline.ids) == len(set(outline.ids))
    for link in outline.links:
        assert link.startswith("#"), link
        assert link[1:] in outline.ids
    used = set(re.findall(r"url\(#([^)]+)\)", pages[kind]))
    assert used <= set(outline.ids)


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_loaded_and_nothing_runs(pages, kind):
    page, outline = pages[kind], Outline(pages[kind])
    assert not outline.tags & {"script", "link", "iframe", "object", "embed", "img", "base"}
    assert outline.handlers == []
    addresses = re.findall(r"https?://[^\s\"'<>]+", page)
    assert [a for a in addresses if a not in NAMESPACES] == []
    assert "@import" not in page
    assert "url(" not in re.sub(r"url\(#[\w.-]+\)", "", page)
    assert "default-src 'none'" in page


@pytest.mark.parametrize("kind", KINDS)
def test_every_plot_has_a_sentence_and_no_colour_that_stays_light(pages, kind):
    captions = re.findall(r"<figcaption>(.*?)</figcaption>", pages[kind], re.S)
    assert len(captions) == pages[kind].count("<figure>") >= 3
    assert all(len(caption) > 20 and caption.strip().endswith((".", ".)")) for caption in captions)
    for drawing in re.findall(r"<svg.*?</svg>", pages[kind], re.S):
        assert "var(--c" in drawing
        assert re.findall(r"#[0-9a-fA-F]{6}\b", drawing) == []


@pytest.mark.parametrize("kind", KINDS)
def test_versions_seed_and_config_are_there(pages, kind, searched):
    for word in ("torch", "numpy", "seed", "The whole config"):
        assert word in pages[kind]


def test_the_fingerprint_of_the_data_is_there(pages, retrained):
    fingerprint = re.search(r'"fingerprint": "(\w+)"', (retrained / "run.json").read_text())[1]
    assert fingerprint in pages["retrain"]


def test_every_block_is_escaped():
    blocks = [
        Facts([(HOSTILE, HOSTILE)]),
        Table((HOSTILE,), [(HOSTILE,)], caption=HOSTILE),
        Plot([], HOSTILE),
        Prose(HOSTILE, warning=True),
        Code(HOSTILE),
        More(HOSTILE, [Prose(HOSTILE)]),
    ]
    page = render(Page(HOSTILE, HOSTILE, "done", HOSTILE, [Section("a", HOSTILE, blocks)], HOSTILE))
    outline = Outline(page)
    assert not outline.tags & {"script", "img"}
    assert outline.handlers == []
    assert page.count("&lt;script&gt;") == 10 + 7  # blocks, and the page around them


def test_the_report_goes_where_it_is_asked_to_and_replaces_itself(searched, tmp_path):
    path = api.write_report(searched, tmp_path)
    assert path == tmp_path / "report.html"
    first = path.read_bytes()
    assert api.write_report(searched, path).read_bytes() == first, "the same run, the same page"
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"]
    own = api.write_report(searched)
    assert own == searched / "report.html"
    own.unlink()
