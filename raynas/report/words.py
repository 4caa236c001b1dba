"""Numbers as people read them."""

import math
from collections.abc import Sequence

NOTHING = "-"
"""Stands where there is no number."""

_SPACE = "\N{NO-BREAK SPACE}"


def percent(share: float | None, digits: int = 2) -> str:
    """Return a share as ``98.89 %``; a dash where there is none."""
    if share is None or math.isnan(share):
        return NOTHING
    return f"{100 * share:.{digits}f}{_SPACE}%"


def points(share: float) -> str:
    """Return a difference of shares as ``1.20 points``."""
    return f"{100 * share:.2f} points"


def spread(mean: float | None, std: float | None) -> str:
    """Return a mean and a deviation as ``97.24 ± 0.08 %``."""
    if mean is None or std is None or math.isnan(mean) or math.isnan(std):
        return percent(mean)
    return f"{100 * mean:.2f} ± {100 * std:.2f}{_SPACE}%"


def number(value: float | None) -> str:
    """Return a count as ``32,258``."""
    return NOTHING if value is None or math.isnan(value) else f"{value:,.0f}"


def duration(seconds: float | None) -> str:
    """Return seconds as ``1 h 02 min``, ``3 min 07 s`` or ``12 s``."""
    if seconds is None or math.isnan(seconds):
        return NOTHING
    whole = round(seconds)
    if whole >= 3600:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    return f"{whole // 60} min {whole % 60:02d} s" if whole >= 60 else f"{whole} s"


def count(how_many: int, thing: str, things: str | None = None) -> str:
    """Return ``1 network`` or ``48 networks``."""
    return f"{how_many:,} {thing if how_many == 1 else things or thing + 's'}"


def listed(names: Sequence[str]) -> str:
    """Return ``a``, ``a and b``, or ``a, b and c``."""
    if len(names) < 2:
        return "".join(names)
    return f"{', '.join(names[:-1])} and {names[-1]}"
