"""A report as a page: what stands in it, and one self-contained HTML file of that.

The file needs no network and no script, and its security policy forbids both. Whatever is not
`Markup` is escaped by the template engine.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from typing import ClassVar

import jinja2
from markupsafe import Markup

from raynas.report.colours import declarations


@dataclass(frozen=True, slots=True)
class Facts:
    """Names and values, side by side."""

    rows: Sequence[tuple[str, str]]
    kind: ClassVar[str] = "facts"


@dataclass(frozen=True, slots=True)
class Table:
    """A table.

    Attributes:
        header: Name of each column.
        rows: Cells, as they are shown.
        texts: Columns that are text; the others are numbers, to the right.
        caption: What it shows.
        marked: A row that stands out.
    """

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    texts: Sequence[int] = (0,)
    caption: str = ""
    marked: int | None = None
    kind: ClassVar[str] = "table"


@dataclass(frozen=True, slots=True)
class Plot:
    """Drawings side by side, and one sentence that says what they show in this run's numbers."""

    svgs: Sequence[Markup]
    sentence: str
    kind: ClassVar[str] = "plot"


@dataclass(frozen=True, slots=True)
class Prose:
    """A paragraph."""

    text: str
    warning: bool = False
    kind: ClassVar[str] = "prose"


@dataclass(frozen=True, slots=True)
class Code:
    """A text in a fixed-width font."""

    text: str
    kind: ClassVar[str] = "code"


@dataclass(frozen=True, slots=True)
class More:
    """What is folded away until somebody asks."""

    summary: str
    blocks: "Sequence[Block]"
    kind: ClassVar[str] = "more"


Block = Facts | Table | Plot | Prose | Code | More


@dataclass(frozen=True, slots=True)
class Section:
    """A section.

    Attributes:
        id: Its anchor, one of a kind.
        title: Its heading.
        blocks: What stands in it.
    """

    id: str
    title: str
    blocks: Sequence[Block]


@dataclass(frozen=True, slots=True)
class Page:
    """A report.

    Attributes:
        kind: What it reports on.
        title: Its heading.
        state: ``done``, ``running`` or ``interrupted``.
        summary: What happened, in a sentence or two.
        sections: In order.
        footer: Who made it.
    """

    kind: str
    title: str
    state: str
    summary: str
    sections: Sequence[Section]
    footer: str


def render(page: Page) -> str:
    """Return the page as HTML."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("raynas.report"), autoescape=True, trim_blocks=True
    )
    css = resources.files("raynas.report").joinpath("templates/page.css").read_text()
    return environment.get_template("page.html").render(
        page=page,
        css=Markup(css),
        light=Markup(declarations(dark=False)),
        dark=Markup(declarations(dark=True)),
    )
