"""Predict accuracies with the ranker's own network and squared error: what ranking replaces.

Same graph network, options, folds and early stopping as `raynas.predictor.fit`; only the loss
differs, so that a comparison of the two is one of ranking against regression. A member learns
accuracies standardised to mean 0 and deviation 1 over those trained; the prediction is the mean
over the members.
"""

import math
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from raynas.networks.seeding import seeded
from raynas.predictor.members import (
    EnsembleConfig,
    Floats,
    Member,
    folds_of,
    make_members,
    score,
    train_members,
)
from raynas.predictor.metrics import kendall_tau, spearman
from raynas.predictor.model import GraphSet
from raynas.seeds import derive_seed
from raynas.spaces.space import Graph


class RegressionConfig(EnsembleConfig):
    """What the predictor is and how it is fitted: as the ranker."""


class AccuracyRegressor:
    """Predicts accuracies of graphs.

    Args:
        num_labels: Node labels of the space's graphs.
        config: What it is and how it is fitted.
    """

    def __init__(self, num_labels: int, config: RegressionConfig | None = None) -> None:
        self.num_labels = num_labels
        self.config = config or RegressionConfig()
        self._members: list[Member] = []
        self._mean, self._scale = 0.0, 1.0

    def fit(self, graphs: Sequence[Graph], accuracy: Floats, seed: int) -> dict[str, Any]:
        """Fit new members.

        Args:
            graphs: A graphs, at least two.
            accuracy: `A`, not all equal.
            seed: Of folds and initial weights.

        Returns:
            Facts of the fit, as JSON values: Kendall's tau and Spearman's rho of out-of-fold
            predictions (None while too little is trained to hold anything out), number of
            architectures held out, mean number of steps and loss of the members where they were
            best, and seconds.
        """
        started = time.perf_counter()
        data = GraphSet.of(graphs, self.config.layers)
        self._mean, self._scale = float(accuracy.mean()), float(accuracy.std())
        fold = folds_of(len(accuracy), self.config, seed)
        if fold is None:
            fold = np.full(len(accuracy), -1)
        held_out = [fold == number % self.config.folds for number in range(self.config.ensemble)]
        self._members = make_members(self.num_labels, self.config, held_out, seed)
        with seeded(derive_seed(seed, "dropout"), torch.device("cpu")):
            self._learn(data, (accuracy - self._mean) / self._scale)
        return self._report(data, accuracy, time.perf_counter() - started)

    def predict(self, graphs: GraphSet) -> Floats:
        """Return the predicted accuracy of each graph."""
        total = np.zeros(len(graphs))
        for member in self._members:
            total += score(member.network, graphs)
        return self._mean + self._scale * total / len(self._members)

    def _learn(self, data: GraphSet, target: Floats) -> None:
        """Train the members until what they hold out is predicted no better."""
        wanted = torch.from_numpy(target).float()
        held_out = torch.from_numpy(np.stack([member.held_out for member in self._members]))
        judged_by = torch.where(held_out.any(dim=1, keepdim=True), held_out, ~held_out)

        def step(scores: Tensor, running: Sequence[int]) -> tuple[Tensor, list[float]]:
            square = (scores - wanted) ** 2
            values = _mean_where(square.detach(), judged_by).tolist()
            return _mean_where(square, ~held_out), [values[number] for number in running]

        train_members(self._members, self.config, data, self.num_labels, step)

    def _report(self, data: GraphSet, accuracy: Floats, fit_s: float) -> dict[str, Any]:
        found = []
        for member in self._members:
            predicted = score(member.network, data)[member.held_out]
            measured = accuracy[member.held_out]
            tau = kendall_tau(predicted, measured)
            if not math.isnan(tau):
                found.append((tau, spearman(predicted, measured)))
        mean_tau, mean_rho = np.mean(found, axis=0).tolist() if found else (None, None)
        return {
            "kendall_tau": mean_tau,
            "spearman": mean_rho,
            "num_held_out": int(np.any([m.held_out for m in self._members], axis=0).sum()),
            "epochs": float(np.mean([m.epochs for m in self._members])),
            "loss": float(np.mean([m.loss for m in self._members])),
            "fit_s": fit_s,
        }


def _mean_where(values: Tensor, chosen: Tensor) -> Tensor:
    """Return the mean over each row of `values` where `chosen` holds."""
    return (values * chosen).sum(dim=1) / chosen.sum(dim=1)
