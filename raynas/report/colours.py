"""Each colour of the palette as a CSS variable, with its counterpart on a dark page."""

from raynas.report import palette

PAPER = "#ffffff"
"""The page, and whatever a drawing puts on it to hide what lies behind."""

DARK = {
    PAPER: "#16181d",
    palette.INK: "#e8eaed",
    palette.MUTED: "#9aa3b2",
    palette.GRID: "#343a46",
    palette.ACCENT: "#ff9d4d",
    **dict(
        zip(
            palette.SERIES[2:],
            ("#4fd0a5", "#b3aef0", "#ff7dbd", "#d9a942", "#a6d854", "#aab4c0"),
            strict=True,
        )
    ),
    # One hue still, but the higher, the further from the paper: here lighter.
    **dict(zip(palette.LEVELS, ("#38608a", "#4a88bf", "#7dbdf0", "#d6ebff"), strict=True)),
}
"""Counterpart of each colour that drawings use."""

_SAME = {"#000000": palette.INK, "black": palette.INK, "white": PAPER} | dict.fromkeys(
    ("#cccccc", "#b0b0b0"), palette.GRID
)
"""What libraries draw in unless told otherwise, and what we mean by it."""


def variable(colour: str) -> str:
    """Return the CSS value that stands for a colour; one that is not of the palette, itself."""
    lower = colour.lower()
    known = _SAME.get(lower, lower)
    return f"var(--c{known[1:]})" if known in DARK else colour


def declarations(*, dark: bool) -> str:
    """Return the declarations of all variables, for light or dark pages."""
    shown = ((f"--c{light[1:]}", dim if dark else light) for light, dim in DARK.items())
    return "".join(f"{name}:{value};" for name, value in shown)
