"""Losses of a score per architecture against pairs: logistic, hinge, squared error, ListMLE.

A pair says that one score should exceed another, so every loss here is unchanged if a constant is
added to all scores (squared error excepted), and a difference of scores is antisymmetric and
transitive: one sort ranks a whole space.

Shapes: A architectures, P pairs.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from raynas.predictor.pairs import PairSet

HINGE_MARGIN = 0.1


@dataclass(frozen=True, slots=True, eq=False)
class PairBatch:
    """Pairs as tensors, with the list they amount to.

    Attributes:
        winner: `P` int64 positions in the scores.
        loser: `P` int64 positions.
        weight: `P` floats that sum to 1.
        ranked: Positions of the architectures that occur in a pair, best first: by strength.
        strength: Weighted share of won minus lost pairs of those, in [-1, 1].
    """

    winner: Tensor
    loser: Tensor
    weight: Tensor
    ranked: Tensor
    strength: Tensor

    @classmethod
    def of(cls, pairs: PairSet, dtype: torch.dtype = torch.float32) -> "PairBatch":
        """Make a batch of at least one pair."""
        winner, loser = torch.from_numpy(pairs.winner), torch.from_numpy(pairs.loser)
        weight = torch.from_numpy(pairs.weight)
        size = len(pairs.texts)
        won = torch.zeros(size, dtype=torch.float64).index_add_(0, winner, weight)
        lost = torch.zeros(size, dtype=torch.float64).index_add_(0, loser, weight)
        strength = (won - lost) / (won + lost)  # NaN where it occurs in no pair
        ranked = torch.sort(strength.nan_to_num(nan=-2.0), descending=True, stable=True)[1]
        ranked = ranked[: int((won + lost > 0).sum())]
        weight = (weight / weight.sum()).to(dtype)
        return cls(winner, loser, weight, ranked, strength[ranked].to(dtype))

    def margins(self, scores: Tensor) -> Tensor:
        """Return by how much each winner's score exceeds the loser's (`P`)."""
        return scores.index_select(0, self.winner) - scores.index_select(0, self.loser)


Loss = Callable[[Tensor, PairBatch], Tensor]


def logistic(scores: Tensor, pairs: PairBatch) -> Tensor:
    """Return the weighted mean of ``log(1 + exp(-(winner - loser)))``.

    RankNet (Burges et al., ICML 2005): cross-entropy of a sigmoid of the difference.
    """
    return (F.softplus(-pairs.margins(scores)) * pairs.weight).sum()


def hinge(scores: Tensor, pairs: PairBatch) -> Tensor:
    """Return the weighted mean of how far the winner's lead falls short of `HINGE_MARGIN`."""
    return (F.relu(HINGE_MARGIN - pairs.margins(scores)) * pairs.weight).sum()


def mse(scores: Tensor, pairs: PairBatch) -> Tensor:
    """Return the mean squared error against the share of won minus lost pairs.

    A regression on ranks, not on accuracies: those of different levels have no common scale.
    """
    return F.mse_loss(scores[pairs.ranked], pairs.strength)


def listmle(scores: Tensor, pairs: PairBatch) -> Tensor:
    """Return minus the mean log likelihood of the list (Plackett-Luce), best first.

    Xia et al., "Listwise approach to learning to rank", ICML 2008. Equal strengths stand in the
    order of the architectures.
    """
    listed = scores[pairs.ranked]
    rest = torch.logcumsumexp(listed.flip(0), dim=0).flip(0)
    return (rest - listed).mean()


LOSSES: Mapping[str, Loss] = {
    "logistic": logistic,
    "hinge": hinge,
    "mse": mse,
    "listmle": listmle,
}
