"""Drawings as inline SVG: cleaned by whitelist, ids of their own, colours that follow the page.

What is on no list below does not get into the page: elements, attributes, properties, links that
lead anywhere but into the drawing. So a drawing that was found in a run folder is as inert as one
of ours. (What the lists hold is what matplotlib writes.)
"""

import io
import re
import warnings
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from markupsafe import Markup

from raynas.errors import DataError
from raynas.report.colours import variable

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SVG = "{http://www.w3.org/2000/svg}"
_XLINK_HREF = "{http://www.w3.org/1999/xlink}href"

_SHAPES = ("path", "rect", "circle", "ellipse", "line", "polyline", "polygon")
_ELEMENTS = frozenset((*_SHAPES, "g", "defs", "use", "clipPath", "text", "tspan", "image"))

_PLACES = ("x", "y", "x1", "y1", "x2", "y2", "cx", "cy", "dx", "dy")
_SIZES = ("width", "height", "r", "rx", "ry")
_ATTRIBUTES = frozenset((*_PLACES, *_SIZES, "d", "points", "transform"))
_STROKE = ("width", "opacity", "linecap", "linejoin", "dasharray", "dashoffset", "miterlimit")
_FONT = ("font-size", "font-style", "font-weight", "text-anchor")
_PROPERTIES = frozenset(
    (
        *(f"stroke-{name}" for name in _STROKE),
        *("fill", "fill-opacity", "fill-rule", "stroke", "opacity", "clip-path", "clip-rule"),
        *(*_FONT, "image-rendering"),
    )
)
_COLOURS = frozenset(("fill", "stroke"))

_GEOMETRY = re.compile(r"[\w\s.,()+-]*")
_PROPERTY = re.compile(r"(?:[\w\s#%.,+-]|rgba?\([\d\s.,%]+\))*")
_LOCAL = re.compile(r"url\(#([\w.-]+)\)|#([\w.-]+)")
_PICTURE = re.compile(r"data:image/png;base64,[A-Za-z0-9+/=\s]+")
_BOX = re.compile(r"\s*-?[\d.]+[\s,]+-?[\d.]+[\s,]+[\d.]+[\s,]+[\d.]+\s*")
_LONG_NUMBER = re.compile(r"-?\d+\.\d{3,}")

_FIXED = 'ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace'
_LARGEST = 8_000_000
_NARROWEST = {False: 440.0, True: 340.0}
"""Pixels below which a drawing is not squeezed (without or with letters of one width): a small
screen scrolls it sideways.
"""

_DEEPEST = 40


def figure_svg(figure: "Figure", name: str, title: str, description: str) -> Markup:
    """Return a figure as inline SVG, its text as text.

    Args:
        figure: Drawn in the colours of the palette.
        name: Begins every id in it; another for each drawing of a page.
        title: What it is, for who cannot see it.
        description: What it says, likewise.
    """
    from matplotlib import rc_context

    sink = io.StringIO()
    style = rc_context({"svg.fonttype": "none", "svg.hashsalt": name})
    with style, warnings.catch_warnings():
        # The page's font has what the one that measures it may lack.
        warnings.filterwarnings("ignore", message="Glyph")
        figure.savefig(sink, format="svg", transparent=True, metadata={"Date": None})
    return inline_svg(sink.getvalue(), name, title, description)


def plain(text: object, longest: int = 40) -> str:
    """Return a text that a figure draws as it stands: no formula, nothing that cannot be drawn."""
    shown = "".join(c if c.isprintable() else " " for c in str(text))
    shown = shown if len(shown) <= longest else shown[: longest - 1] + "…"
    return shown.replace("$", r"\$")


def inline_svg(
    source: str,
    name: str,
    title: str,
    description: str,
    *,
    scale: float = 1.55,
    fixed: bool = False,
) -> Markup:
    """Return an SVG file, whoever wrote it, as an element to stand in a page.

    Args:
        source: The file's text.
        name: Begins every id in it; letters, digits and dashes.
        title: What it is.
        description: What it says.
        scale: Pixels of the page for a unit of the drawing, where there is room.
        fixed: Whether its text is in a font of letters of one width.

    Raises:
        DataError: it is no SVG with a `viewBox`, or too large.
    """
    root = _parse(source)
    box = root.get("viewBox", "")
    if root.tag != f"{_SVG}svg" or not _BOX.fullmatch(box):
        raise DataError("no SVG with a viewBox")
    cleaner = _Cleaner(root, name)
    picture = ElementTree.Element("svg", {"viewBox": box, "role": "img"})
    picture.set("aria-labelledby", f"{name}-title {name}-desc")
    width = scale * float(re.split(r"[\s,]+", box.strip())[2])
    style = {
        # What matplotlib's style sheet says of everything; as an attribute it stays in here.
        "fill": variable("black"),  # of what has none, which else is black on dark pages too
        "stroke-linejoin": "round",
        "stroke-linecap": "butt",
        "max-width": f"{width:.0f}px",
        "min-width": f"{min(width, _NARROWEST[fixed]):.0f}px",
        **({"font-family": _FIXED} if fixed else {}),
    }
    picture.set("style", ";".join(f"{name}:{value}" for name, value in style.items()))
    for tag, text in (("title", title), ("desc", description)):
        ElementTree.SubElement(picture, tag, {"id": f"{name}-{tag}"}).text = text
    cleaner.copy_children(root, picture)
    return Markup(ElementTree.tostring(picture, encoding="unicode"))


def _parse(source: str) -> ElementTree.Element:
    if len(source) > _LARGEST:
        raise DataError(f"an SVG of {len(source)} characters is too large")
    if "<!ENTITY" in source:
        raise DataError("an SVG may define no entities")
    try:
        return ElementTree.fromstring(source)
    except ElementTree.ParseError as error:
        raise DataError(f"no XML: {error}") from None


class _Cleaner:
    """Copies what is on the lists.

    Args:
        root: The drawing.
        name: Begins every id.
    """

    def __init__(self, root: ElementTree.Element, name: str) -> None:
        self._name = name
        self._tags = {e.get("id"): e.tag.removeprefix(_SVG) for e in root.iter() if e.get("id")}
        self._used: set[str | None] = {
            found[1] or found[2]
            for element in root.iter()
            for value in element.attrib.values()
            for found in _LOCAL.finditer(value)
        }

    def copy_children(
        self, source: ElementTree.Element, target: ElementTree.Element, depth: int = 0
    ) -> None:
        if depth > _DEEPEST:
            raise DataError("an SVG of elements that lie too deep")
        for child in source:
            tag = str(child.tag).removeprefix(_SVG)
            attributes = self._attributes(child, tag) if tag in _ELEMENTS else None
            if attributes is None:
                continue
            if tag == "g" and not attributes:
                self.copy_children(child, target, depth + 1)
                continue
            copy = ElementTree.SubElement(target, tag, attributes)
            if tag in ("text", "tspan"):
                copy.text = child.text
                copy.tail = child.tail if tag == "tspan" else None
            self.copy_children(child, copy, depth + 1)

    def _attributes(self, element: ElementTree.Element, tag: str) -> dict[str, str] | None:
        """Return what an element may keep; None if it is nothing without what it may not."""
        kept: dict[str, str] = {}
        style: list[str] = []
        for attribute, value in element.attrib.items():
            if attribute in _ATTRIBUTES and _GEOMETRY.fullmatch(value):
                exact = attribute == "transform"  # a scale may be all decimals
                kept[attribute] = value if exact else _LONG_NUMBER.sub(_rounded, value)
            elif attribute in _PROPERTIES:
                style += self._declaration(attribute, value)
        for declaration in element.get("style", "").split(";"):
            style += self._declaration(*declaration.partition(":")[::2])
        if style:
            kept["style"] = ";".join(style)
        identity = element.get("id")
        if identity in self._used and re.fullmatch(r"[\w.-]+", str(identity)):
            kept["id"] = f"{self._name}-{identity}"
            self._used.discard(identity)  # a second one of that id keeps none
        if tag in ("use", "image"):
            link = self._link(tag, element.get("href", element.get(_XLINK_HREF, "")))
            return None if link is None else {**kept, "href": link}
        return kept

    def _declaration(self, name: str, value: str) -> list[str]:
        name, value = name.strip(), value.strip()
        if name not in _PROPERTIES:
            return []
        found = _LOCAL.fullmatch(value) if value.startswith("url") else None
        if found:
            known = self._tags.get(found[1]) == "clipPath" and name == "clip-path"
            return [f"{name}:url(#{self._name}-{found[1]})"] if known else []
        if not _PROPERTY.fullmatch(value):
            return []
        return [f"{name}:{variable(value) if name in _COLOURS else value}"]

    def _link(self, tag: str, target: str) -> str | None:
        """Return where a `use` or an `image` may lead: to a shape of its own, or to its pixels.

        Not to a group: groups that use groups grow without limit.
        """
        if tag == "image":
            return target if _PICTURE.fullmatch(target) else None
        known = target.startswith("#") and self._tags.get(target[1:]) in _SHAPES
        return f"#{self._name}-{target[1:]}" if known else None


def _rounded(number: re.Match[str]) -> str:
    return f"{float(number[0]):.2f}".rstrip("0").rstrip(".")
