"""Fit a ranking predictor to the pairs of a pool, and say how good it is.

An ensemble whose members each hold out another fold of the *architectures* (never of pairs: an
architecture seen in one pair would give away another). A member stops early on the pairs of its own
fold, and scores that fold as it would score newcomers; together these out-of-fold scores are what
the report's figures are of. The predictor's score is the mean rank over the members.

Every refit starts from new weights, so a predictor is a function of the pool and a seed.
"""

import math
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from raynas.networks.seeding import seeded
from raynas.predictor.loss import LOSSES, PairBatch
from raynas.predictor.members import (
    EnsembleConfig,
    Member,
    folds_of,
    make_members,
    score,
    train_members,
)
from raynas.predictor.metrics import average_ranks, kendall_tau, spearman
from raynas.predictor.model import GraphSet
from raynas.predictor.pairs import PairKind, PairSet
from raynas.seeds import derive_seed
from raynas.spaces.space import Graph

Scores = NDArray[np.float64]


class PredictorConfig(EnsembleConfig):
    """What the predictor is and how it is fitted: as `EnsembleConfig`, and by which loss.

    Attributes:
        loss: ``logistic`` (RankNet), ``hinge``, ``mse`` or ``listmle``.
    """

    loss: Literal["logistic", "hinge", "mse", "listmle"] = "logistic"


@dataclass(frozen=True, slots=True)
class FitReport:
    """How well the members rank architectures they did not learn from.

    Attributes:
        kendall_tau: Mean over levels of tau against accuracy at that level, weighted by pairs;
            of out-of-fold scores. NaN while too little is trained to hold anything out.
        spearman: Likewise.
        pair_accuracy: Share of held-out pairs of trained architectures ordered as labelled.
        pair_accuracy_cross_level: Of those, pairs of different levels.
        disagreement: See `PairSet`.
        num_trained: Trained architectures learnt from.
        num_held_out: Architectures the figures are of.
        num_pairs: Pairs learnt from.
        epochs: Mean number of steps until a member was best.
        loss: Mean training loss of the members where they were best.
        fit_s: Seconds the fit took.
    """

    kendall_tau: float
    spearman: float
    pair_accuracy: float
    pair_accuracy_cross_level: float
    disagreement: float
    num_trained: int
    num_held_out: int
    num_pairs: int
    epochs: float
    loss: float
    fit_s: float

    def as_record(self) -> dict[str, Any]:
        """Return the report as JSON values; what could not be measured is None."""
        return {
            name: None if isinstance(value, float) and math.isnan(value) else value
            for name, value in asdict(self).items()
        }


class RankingPredictor:
    """Scores architectures; higher is better, and only the order counts.

    Args:
        num_labels: Node labels of the space's graphs.
        config: What it is and how it is fitted.
    """

    def __init__(self, num_labels: int, config: PredictorConfig | None = None) -> None:
        self.num_labels = num_labels
        self.config = config or PredictorConfig()
        self._members: list[Member] = []

    def fit(self, graphs: Sequence[Graph], pairs: PairSet, seed: int) -> FitReport:
        """Fit new members to the pairs.

        Args:
            graphs: Of `pairs.texts`, in that order.
            pairs: At least one pair.
            seed: Of folds and initial weights.
        """
        started = time.perf_counter()
        data = GraphSet.of(graphs, self.config.layers)
        held_out = self._to_hold_out(pairs, seed)
        self._members = make_members(self.num_labels, self.config, held_out, seed)
        with seeded(derive_seed(seed, "dropout"), torch.device("cpu")):
            self._learn(data, pairs)
        return self._report(data, pairs, time.perf_counter() - started)

    def score(self, graphs: GraphSet) -> Scores:
        """Return the mean over the members of each graph's rank among `graphs`, in [0, 1]."""
        ranks: Scores = self.ranks(graphs).mean(axis=0)
        return ranks

    def ranks(self, graphs: GraphSet) -> Scores:
        """Return `M x B`: each member's rank of each graph, from 0 (worst) to 1 (best)."""
        scale = max(1, len(graphs) - 1)
        scores = (score(member.network, graphs) for member in self._members)
        return np.stack([average_ranks(score) / scale for score in scores])

    def held_out(self) -> NDArray[np.bool_]:
        """Return `M x A`: whether a member held an architecture of the fit out."""
        return np.stack([member.held_out for member in self._members])

    def _to_hold_out(self, pairs: PairSet, seed: int) -> list[NDArray[np.bool_]]:
        """Return for each member a fold of what is trained; nothing if that leaves no pairs."""
        folds, none = self.config.folds, np.zeros(len(pairs.texts), dtype=bool)
        fold = np.full(len(pairs.texts), -1)  # of those that are not trained: never held out
        drawn = folds_of(pairs.num_trained, self.config, seed)
        if drawn is not None:
            fold[: pairs.num_trained] = drawn
        masks = [fold == number % folds for number in range(self.config.ensemble)]
        return [mask if _divides(mask, pairs) else none for mask in masks]

    def _learn(self, data: GraphSet, pairs: PairSet) -> None:
        """Train the members until held-out pairs are ordered no better."""
        loss_of = LOSSES[self.config.loss]
        batches = [_batches(member.held_out, pairs) for member in self._members]

        def step(scores: Tensor, running: Sequence[int]) -> tuple[Tensor, list[float]]:
            losses = [loss_of(s, learnt) for s, (learnt, _) in zip(scores, batches, strict=True)]
            judged = []
            for number in running:
                checked = batches[number][1]
                loss = losses[number] if checked is None else loss_of(scores[number], checked)
                judged.append(float(loss.detach()))
            return torch.stack(losses), judged

        train_members(self._members, self.config, data, self.num_labels, step)

    def _report(self, data: GraphSet, pairs: PairSet, fit_s: float) -> FitReport:
        scores = np.full((len(self._members), len(pairs.texts)), np.nan)
        for row, member in enumerate(self._members):
            scores[row, member.held_out] = score(member.network, data)[member.held_out]
        tau, rho = _within_levels(scores, pairs)
        right, cross = _pairs_right(scores, pairs)
        return FitReport(
            kendall_tau=tau,
            spearman=rho,
            pair_accuracy=right,
            pair_accuracy_cross_level=cross,
            disagreement=pairs.disagreement,
            num_trained=pairs.num_trained,
            num_held_out=int((~np.isnan(scores)).any(axis=0).sum()),
            num_pairs=len(pairs),
            epochs=float(np.mean([member.epochs for member in self._members])),
            loss=float(np.mean([member.loss for member in self._members])),
            fit_s=fit_s,
        )


def _divides(held_out: NDArray[np.bool_], pairs: PairSet) -> bool:
    """Return whether holding these out leaves measured pairs to judge by, and pairs to learn."""
    outside = held_out[pairs.winner] | held_out[pairs.loser]
    measured = np.isin(pairs.kind, (PairKind.SAME_LEVEL, PairKind.CROSS_LEVEL))
    return bool((outside & measured).any() and not outside.all())


def _batches(held_out: NDArray[np.bool_], pairs: PairSet) -> tuple[PairBatch, PairBatch | None]:
    """Return the pairs a member learns from and those it is judged by."""
    if not held_out.any():
        return PairBatch.of(pairs), None
    outside = held_out[pairs.winner] | held_out[pairs.loser]
    measured = np.isin(pairs.kind, (PairKind.SAME_LEVEL, PairKind.CROSS_LEVEL))
    return PairBatch.of(pairs.select(~outside)), PairBatch.of(pairs.select(outside & measured))


def _within_levels(scores: Scores, pairs: PairSet) -> tuple[float, float]:
    """Return tau and rho of out-of-fold scores within levels, weighted by number of pairs.

    Scores of different members have no common scale, so each member counts for itself.
    """
    found: list[tuple[float, float, float]] = []
    for row in scores:
        for level in np.unique(pairs.levels[: pairs.num_trained]):
            chosen = ~np.isnan(row) & (pairs.levels == level)
            count = int(chosen.sum())
            tau = kendall_tau(row[chosen], pairs.accuracy[chosen])
            if not math.isnan(tau):
                rho = spearman(row[chosen], pairs.accuracy[chosen])
                found.append((count * (count - 1) / 2, tau, rho))
    if not found:
        return math.nan, math.nan
    weights, taus, rhos = np.array(found).T
    return float(np.average(taus, weights=weights)), float(np.average(rhos, weights=weights))


def _pairs_right(scores: Scores, pairs: PairSet) -> tuple[float, float]:
    """Return the share of held-out pairs in the right order: all, and across levels."""
    margin = scores[:, pairs.winner] - scores[:, pairs.loser]
    known = ~np.isnan(margin)
    kinds = np.broadcast_to(pairs.kind, margin.shape)
    shares = []
    for allowed in ((PairKind.SAME_LEVEL, PairKind.CROSS_LEVEL), (PairKind.CROSS_LEVEL,)):
        chosen = known & np.isin(kinds, allowed)
        shares.append(float((margin[chosen] > 0).mean()) if chosen.any() else math.nan)
    return shares[0], shares[1]
