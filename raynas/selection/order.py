"""Which edge, or which node, is decided next."""

import numpy as np
from numpy.typing import NDArray

from raynas.seeds import derive_rng
from raynas.selection.config import Order
from raynas.selection.training import Trainable
from raynas.spaces.cell import NONE

_Weights = NDArray[np.float64]


def next_edge(training: Trainable, kind: int, order: Order, seed: int) -> int:
    """Return the undecided edge that comes next; the first of equals.

    Args:
        training: The supernet.
        kind: Number of the kind of cell.
        order: See `SelectionConfig`.
        seed: Of this draw.
    """
    edges = training.decisions.undecided_edges(kind)
    if order == "random":
        return _draw(edges, seed)
    if order == "forward":
        return edges[0]
    theta = training.theta()[kind].detach().double().cpu().numpy()
    if order == "entropy":
        return edges[int(np.argmin(entropy(theta[edges])))]
    is_none = np.array([[op == NONE for op in ops] for ops in training.decisions.kinds[kind].ops])
    return edges[int(np.argmax(certain_importance(theta, is_none)[edges]))]


def next_node(training: Trainable, kind: int, order: Order, seed: int) -> int:
    """Return the undecided node that comes next: at random, or the first."""
    nodes = training.decisions.undecided_nodes(kind)
    return _draw(nodes, seed) if order == "random" else nodes[0]


def entropy(weights: _Weights) -> _Weights:
    """Return the entropy of each row, in nats; zeros count nothing."""
    logs = np.log(np.where(weights > 0, weights, 1.0))
    found: _Weights = -(weights * logs).sum(axis=1)
    return found


def certain_importance(theta: _Weights, is_none: NDArray[np.bool_]) -> _Weights:
    """Return criterion 1 of SGAS (Li et al., CVPR 2020): importance times certainty, of each edge.

    Importance is the weight of all ops but `none`, certainty 1 minus the entropy among these over
    its maximum; both are stretched to [0, 1] over the edges. Where no edge has `none`, all are
    equally important, and certainty decides alone.
    """
    weights = np.where(is_none, 0.0, theta)
    importance = weights.sum(axis=1)
    # Rows with all weight on none pass nothing on: no op of theirs is more certain than another.
    shares = weights / np.where(importance > 0, importance, 1.0)[:, None]
    most = np.log(np.maximum((~is_none).sum(axis=1), 1))
    certainty = 1 - entropy(shares) / np.where(most > 0, most, 1.0)
    if not is_none.any():
        return _stretched(certainty)
    return _stretched(importance) * _stretched(certainty)


def _stretched(values: _Weights) -> _Weights:
    low, high = values.min(), values.max()
    return np.zeros_like(values) if high == low else (values - low) / (high - low)


def _draw(items: list[int], seed: int) -> int:
    return items[int(derive_rng(seed, "order").integers(len(items)))]
