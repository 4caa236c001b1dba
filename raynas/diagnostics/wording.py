"""Figures and counts as people read them."""

import math


def percent(share: float, digits: int = 1) -> str:
    """Return a share as percent."""
    return f"{100 * share:.{digits}f} %"


def figure(value: float | None, digits: int = 2) -> str:
    """Return a number; ``undefined`` where there is none, as of the rank of equal values."""
    if value is None or math.isnan(value):
        return "undefined"
    return f"{value:.{digits}f}".replace("-", "−")


def counted(number: int, word: str) -> str:
    """Return a number of things in words, e.g. ``3 edges``."""
    return f"{number} {word}" if number == 1 else f"{number} {word}s"


def known(value: float) -> float | None:
    """Return a number; None for NaN, which JSON and Parquet should not have to hold."""
    return None if math.isnan(value) else value


def mean(values: list[float | None]) -> float | None:
    """Return the mean of those that are there."""
    there = [value for value in values if value is not None]
    return sum(there) / len(there) if there else None
