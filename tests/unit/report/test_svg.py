"""What gets into a page of a drawing: what is on the lists, and nothing else."""

import re
from xml.etree import ElementTree

import pytest

from raynas.errors import DataError
from raynas.report import palette
from raynas.report.colours import DARK, declarations, variable
from raynas.report.palette import new_figure
from raynas.report.svg import figure_svg, inline_svg, plain

HEAD = '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'


def svg(inside, more=""):
    return f'{HEAD} viewBox="0 0 10 10" {more}>{inside}</svg>'


def clean(inside, more=""):
    return str(inline_svg(svg(inside, more), "d", "T", "D"))


@pytest.fixture(scope="module")
def drawn():
    figure = new_figure(4, 2)
    axes = figure.subplots()
    axes.plot([1, 2], [3, 4], "o-", color=palette.SERIES[0], label=plain("a $x$ <b> & 'c'"))
    axes.axhline(3, color=palette.ACCENT)
    axes.set_ylabel(plain("\u4e2d"))
    axes.legend()
    return figure_svg(figure, "fig-a", "A title", "What <it> says")


@pytest.mark.parametrize(
    ("inside", "gone"),
    [
        ("<script>alert(1)</script>", "alert"),
        ('<rect width="1" height="1" onclick="alert(1)"/>', "alert"),
        ('<a href="http://evil.example/"><rect width="1"/></a>', "evil"),
        ('<foreignObject><iframe src="http://evil.example"/></foreignObject>', "evil"),
        ('<image href="http://evil.example/x.png" width="1" height="1"/>', "evil"),
        ('<image xlink:href="data:image/svg+xml;base64,PHN2Zz4=" width="1"/>', "svg+xml"),
        ('<image href="data:text/html;base64,AAAA" width="1"/>', "text/html"),
        ('<use href="http://evil.example/x.svg#a"/>', "evil"),
        ('<use href="#elsewhere"/>', "use"),
        ("<style>*{background:url(http://evil.example)}</style>", "evil"),
        ('<rect style="fill:url(http://evil.example/x)" width="1"/>', "evil"),
        ('<rect fill="url(http://evil.example/x)" width="1"/>', "evil"),
        ('<rect style="position:fixed;width:9999px;inset:0" width="1"/>', "fixed"),
        ('<rect style="fill:expression(alert(1))" width="1"/>', "alert"),
        ('<rect class="marked" width="1"/>', "marked"),
        ('<animate attributeName="href" to="javascript:alert(1)"/>', "alert"),
        ('<set attributeName="onload" to="alert(1)"/>', "alert"),
        ('<x:script xmlns:x="http://www.w3.org/1999/xhtml">alert(1)</x:script>', "alert"),
        ("<title>another title</title>", "another"),
        ('<g id="b"><use href="#b"/></g>', "use"),
    ],
)
def test_nothing_that_acts_or_loads_gets_in(inside, gone):
    assert gone not in clean(inside)
    assert "</svg>" in clean(inside)


def test_handlers_and_classes_of_the_outermost_element_are_dropped():
    assert "alert" not in clean("", 'onload="alert(1)" class="x" style="position:fixed"')


def test_text_stays_text():
    out = clean("<text>&lt;script&gt;alert(1)&lt;/script&gt;</text>")
    assert "&lt;script&gt;" in out
    assert "<script" not in out


def test_markers_clips_and_pixels_stay_under_new_ids():
    out = clean(
        '<defs><path id="m" d="M 0 0 L 1.23456 2"/><clipPath id="c"><rect width="1"/></clipPath>'
        '</defs><g clip-path="url(#c)"><use xlink:href="#m" x="1" style="fill: #2171b5"/></g>'
        '<image href="data:image/png;base64,iVBOR0==" width="1" height="1"/>'
    )
    assert 'id="d-m"' in out
    assert 'href="#d-m"' in out
    assert 'id="d-c"' in out
    assert "url(#d-c)" in out
    assert "M 0 0 L 1.23 2" in out
    assert "fill:var(--c2171b5)" in out
    assert "data:image/png;base64,iVBOR0==" in out


def test_scales_are_exact_and_what_has_no_colour_is_ink():
    out = clean('<path d="M 1.23456 0" transform="scale(0.015625 0.015625)"/>')
    assert 'transform="scale(0.015625 0.015625)"' in out
    assert "M 1.23 0" in out
    assert re.match(r'<svg [^>]*style="fill:var\(--c1a1a1a\);', out)


def test_an_id_stands_once():
    out = clean('<defs><path id="m" d="M0 0"/><path id="m" d="M1 1"/></defs><use href="#m"/>')
    assert out.count('id="d-m"') == 1


@pytest.mark.parametrize(
    "source",
    [
        "no xml",
        "<svg/>",
        '<svg viewBox="0 0 1 1"/>',
        f"{HEAD}/>",
        f'{HEAD} viewBox="a b c d"/>',
        '<!DOCTYPE svg [<!ENTITY a "b">]>' + svg("<text>&a;</text>"),
        svg("<g>" * 60 + "</g>" * 60),
        svg("<text>" + "x" * 9_000_000 + "</text>"),
    ],
    ids=["text", "empty", "no namespace", "no box", "bad box", "entities", "deep", "large"],
)
def test_what_is_no_drawing_is_refused(source):
    with pytest.raises(DataError) as caught:
        inline_svg(source, "d", "T", "D")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 200


def test_a_figure_is_text_in_the_pages_font_and_its_colours(drawn):
    assert "font-family" not in drawn
    assert "a $x$ &lt;b&gt; &amp; 'c'" in drawn
    assert "\u4e2d" in drawn
    assert not re.findall("#[0-9a-f]{6}", drawn)
    assert "var(--c2171b5)" in drawn
    assert "var(--cd95f02)" in drawn


def test_a_figure_says_what_it_is_to_who_cannot_see_it(drawn):
    root = ElementTree.fromstring(str(drawn))
    assert root.get("role") == "img"
    told = {child.get("id"): child.text for child in root if child.tag in ("title", "desc")}
    assert told == {"fig-a-title": "A title", "fig-a-desc": "What <it> says"}
    assert root.get("aria-labelledby").split() == list(told)


def test_ids_of_two_figures_differ_and_the_same_figure_is_the_same_text(drawn):
    def again(name):
        figure = new_figure(4, 2)
        figure.subplots().plot([1, 2], "o-")
        return str(figure_svg(figure, name, "t", "d"))

    assert again("one") == again("one")
    ids = [set(re.findall(r'id="([^"]+)"', again(name))) for name in ("one", "two")]
    assert ids[0]
    assert not ids[0] & ids[1]


def test_every_colour_has_a_dark_counterpart():
    colours = {palette.INK, palette.MUTED, palette.GRID, palette.ACCENT}
    colours |= {*palette.SERIES, *palette.LEVELS}
    assert colours <= set(DARK)
    for dark in (False, True):
        names = re.findall(r"--c[0-9a-f]{6}(?=:)", declarations(dark=dark))
        assert len(names) == len(set(names)) == len(DARK)
    assert all(variable(colour) == f"var(--c{colour[1:]})" for colour in colours)
    assert variable("#123456") == "#123456"


def luminance(colour):
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return sum(w * c for w, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(one, other):
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_text_and_lines_can_be_told_from_a_dark_page():
    paper = DARK["#ffffff"]
    assert contrast(DARK[palette.INK], paper) > 7
    assert contrast(DARK[palette.MUTED], paper) > 4.5
    for colour in (palette.ACCENT, *palette.SERIES):
        assert contrast(DARK[colour], paper) > 3
    shades = [contrast(DARK[colour], paper) for colour in palette.LEVELS]
    assert shades == sorted(shades)


def test_plain_text_is_cut_and_has_nothing_that_cannot_be_drawn():
    assert plain("a\x00b\nc") == "a b c"
    assert plain("$x$") == r"\$x\$"
    assert len(plain("x" * 100)) == 40
