"""Where to draw the boxes and arrows of a directed graph: in layers, nothing over anything else.

Sugiyama, Tagawa and Toda, "Methods for visual understanding of hierarchical system structures",
1981: an arrow over several layers takes a place in each of them; places of a layer are put in an
order with few crossings, then moved side by side as close as can be below what they hang on. So
arrows run between layers, or through places of their own, and never behind a box.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_SWEEPS = 40
_SETTLED = 0.5
"""A sweep that moves nothing further than this is the last."""

_PATH_WIDTH = 2.0
"""Width of the place of an arrow that passes through a layer."""

_PATH_WEIGHT = 8.0
"""How much more a long arrow wants to be straight than a box wants to sit in the middle."""

Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Layout:
    """Where everything is; x to the right, y down, from 0.

    Attributes:
        centres: Of each box.
        routes: Of each arrow: the points it passes, straight down from the second of each pair on
            to the first of the next: out of a box, (top, bottom) of each place, into a box.
        width: Of all of it.
        height: Of all of it.
    """

    centres: tuple[Point, ...]
    routes: tuple[tuple[Point, ...], ...]
    width: float
    height: float


def lay_out(
    sizes: Sequence[tuple[float, float]],
    arrows: Sequence[tuple[int, int]],
    layers: Sequence[int],
    *,
    gap: tuple[float, float] = (14.0, 22.0),
) -> Layout:
    """Place boxes and arrows.

    Args:
        sizes: Width and height of each box.
        arrows: From which box to which, always to a higher layer.
        layers: Of each box, from 0 at the top; each has one or more.
        gap: Least space between the boxes of a layer, and between layers.
    """
    chains, places = _chains(arrows, layers)
    rows = _in_order(places, chains, len(sizes))
    widths = [*(w for w, _ in sizes), *[_PATH_WIDTH] * (len(places) - len(sizes))]
    x = _side_by_side(rows, widths, chains, len(sizes), gap[0])
    _straighten(x, rows, widths, chains, gap[0])
    heights = [max([sizes[p][1] for p in row if p < len(sizes)], default=0.0) for row in rows]
    tops = np.cumsum([0.0, *(h + gap[1] for h in heights[:-1])])
    middle = [float(tops[layer] + heights[layer] / 2) for layer in places]
    left = min(x[p] - w / 2 for p, w in enumerate(widths))
    x -= left
    routes = []
    for chain in chains:
        first, *through, last = chain
        route = [(float(x[first]), middle[first] + sizes[first][1] / 2)]
        for place in through:
            top, height = float(tops[places[place]]), heights[places[place]]
            route += [(float(x[place]), top), (float(x[place]), top + height)]
        routes.append((*route, (float(x[last]), middle[last] - sizes[last][1] / 2)))
    width = max(float(x[p]) + w / 2 for p, w in enumerate(widths))
    centres = tuple((float(x[box]), middle[box]) for box in range(len(sizes)))
    return Layout(centres, tuple(routes), width, float(tops[-1] + heights[-1]))


def _chains(
    arrows: Sequence[tuple[int, int]], layers: Sequence[int]
) -> tuple[list[list[int]], list[int]]:
    """Return the places that each arrow passes, its ends among them, and the layer of each."""
    places = list(layers)
    chains = []
    for source, target in arrows:
        between = range(layers[source] + 1, layers[target])
        chains.append([source, *range(len(places), len(places) + len(between)), target])
        places += between
    return chains, places


def _links(chains: Sequence[Sequence[int]]) -> list[tuple[int, int]]:
    return [pair for chain in chains for pair in itertools.pairwise(chain)]


def _in_order(
    places: Sequence[int], chains: Sequence[Sequence[int]], num_boxes: int
) -> list[list[int]]:
    """Return the places of each layer in an order with few crossings (barycentres, both ways)."""
    rows: list[list[int]] = [[] for _ in range(max(places) + 1)]
    for place, layer in enumerate(places):
        rows[layer].append(place)
    links = _links(chains)
    above: list[list[int]] = [[] for _ in places]
    below: list[list[int]] = [[] for _ in places]
    for upper, lower in links:
        above[lower].append(upper)
        below[upper].append(lower)
    best, fewest = [list(row) for row in rows], _crossings(rows, links)
    for sweep in range(_SWEEPS):
        down = sweep % 2 == 0
        beside = above if down else below
        for row in rows if down else rows[::-1]:
            at = {place: n / len(r) for r in rows for n, place in enumerate(r, start=1)}
            means = {p: np.mean([at[o] for o in beside[p]]) if beside[p] else at[p] for p in row}
            row.sort(key=lambda place: float(means[place]))
        crossings = _crossings(rows, links)
        if crossings < fewest:
            best, fewest = [list(row) for row in rows], crossings
        if not fewest:
            break
    return best


def _crossings(rows: Sequence[Sequence[int]], links: Sequence[tuple[int, int]]) -> int:
    at = {place: (layer, n) for layer, row in enumerate(rows) for n, place in enumerate(row)}
    ends = sorted((at[upper], at[lower][1]) for upper, lower in links)
    return sum(
        one[0] == other[0] and one[1] < other[1] and low > high
        for number, (one, low) in enumerate(ends)
        for other, high in ends[number + 1 :]
    )


def _side_by_side(
    rows: Sequence[Sequence[int]],
    widths: Sequence[float],
    chains: Sequence[Sequence[int]],
    num_boxes: int,
    gap: float,
) -> NDArray[np.float64]:
    """Return the x of each place: near what it hangs on, in order, apart.

    The nearest such places of a layer, in the least squares, are an isotonic regression.
    """
    from sklearn.isotonic import isotonic_regression

    beside: list[list[tuple[int, float]]] = [[] for _ in widths]
    for upper, lower in _links(chains):
        weight = _PATH_WEIGHT if min(upper, lower) >= num_boxes else 1.0
        beside[upper].append((lower, weight))
        beside[lower].append((upper, weight))
    x = np.zeros(len(widths))
    for sweep in range(_SWEEPS):
        before = x.copy()
        for row in rows if sweep % 2 == 0 else rows[::-1]:
            half = np.array([widths[p] / 2 for p in row])
            apart = np.cumsum([0.0, *(half[:-1] + half[1:] + gap)])
            wanted, weights = [], []
            for place in row:
                near = np.array([w for _, w in beside[place]])
                others = np.array([x[other] for other, _ in beside[place]])
                wanted.append(float(others @ near / near.sum()) if len(near) else x[place])
                weights.append(max(near.sum(), 1.0))
            fitted = isotonic_regression(np.array(wanted) - apart, sample_weight=weights)
            x[list(row)] = fitted + apart
        if np.abs(x - before).max() < _SETTLED:
            break
    return x


def _straighten(
    x: NDArray[np.float64],
    rows: Sequence[Sequence[int]],
    widths: Sequence[float],
    chains: Sequence[Sequence[int]],
    gap: float,
) -> None:
    """Move the places of a long arrow below each other, as far as what is beside them lets it."""
    for chain in chains:
        run: list[int] = []
        low, high = -np.inf, np.inf
        for place in chain[1:-1]:
            least, most = _room(place, x, rows, widths, gap)
            if run and max(low, least) > min(high, most):
                x[run] = np.clip(np.mean(x[run]), low, high)
                run, low, high = [], -np.inf, np.inf
            run.append(place)
            low, high = max(low, least), min(high, most)
        if run:
            x[run] = np.clip(np.mean(x[run]), low, high)


def _room(
    place: int,
    x: NDArray[np.float64],
    rows: Sequence[Sequence[int]],
    widths: Sequence[float],
    gap: float,
) -> tuple[float, float]:
    """Return how far to the left and to the right a place can go."""
    row = next(row for row in rows if place in row)
    at = row.index(place)
    apart = [(widths[place] + widths[other]) / 2 + gap for other in row]
    least = x[row[at - 1]] + apart[at - 1] if at > 0 else -np.inf
    most = x[row[at + 1]] - apart[at + 1] if at + 1 < len(row) else np.inf
    # Rounding may have left less than no room.
    return float(min(least, x[place])), float(max(most, x[place]))
