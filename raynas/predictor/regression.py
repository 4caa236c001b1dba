"""Predict accuracies with the ranker's own network and squared error: what ranking replaces.

Same graph network, options, folds and early stopping as `raynas.predictor.fit`; only the loss
differs, so that a comparison of the two is one of ranking against regression. A member learns
accuracies standardised to mean 0 and deviation 1 over those trained; the prediction is the mean
over the members.
"""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from raynas.config import Section
from raynas.networks.seeding import seeded
from raynas.predictor.ensemble import EnsembleRanker, repeated
from raynas.predictor.metrics import kendall_tau, spearman
from raynas.predictor.model import GraphRanker, GraphSet
from raynas.seeds import derive_rng, derive_seed
from raynas.spaces.space import Graph

Floats = NDArray[np.float64]


class RegressionConfig(Section):
    """What the predictor is and how it is fitted: as `PredictorConfig`, with its defaults.

    Attributes:
        hidden: Width of the graph network.
        layers: GIN layers.
        directed: Whether what feeds a node and what it feeds are told apart.
        dropout: Of the readout.
        lr: Of Adam.
        weight_decay: Likewise.
        epochs: At most that many full-batch steps.
        patience: Steps without a better held-out loss before a member stops.
        ensemble: Members, each holding out one fold in `folds`.
        folds: Parts the trained architectures are cut into; one is held out by each member.
    """

    hidden: int = Field(32, ge=1)
    layers: int = Field(2, ge=1)
    directed: bool = True
    dropout: float = Field(0.0, ge=0, lt=1)
    lr: float = Field(3e-3, gt=0)
    weight_decay: float = Field(1e-4, ge=0)
    epochs: int = Field(150, ge=1)
    patience: int = Field(25, ge=1)
    ensemble: int = Field(5, ge=1)
    folds: int = Field(5, ge=2)


@dataclass(slots=True)
class _Member:
    network: GraphRanker
    held_out: NDArray[np.bool_]
    epochs: int = 0
    loss: float = math.nan


class AccuracyRegressor:
    """Predicts accuracies of graphs.

    Args:
        num_labels: Node labels of the space's graphs.
        config: What it is and how it is fitted.
    """

    def __init__(self, num_labels: int, config: RegressionConfig | None = None) -> None:
        self.num_labels = num_labels
        self.config = config or RegressionConfig()
        self._members: list[_Member] = []
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
        self._members = self._new_members(len(accuracy), seed)
        with seeded(derive_seed(seed, "dropout"), torch.device("cpu")):
            self._descend(data, (accuracy - self._mean) / self._scale)
        return self._report(data, accuracy, time.perf_counter() - started)

    def predict(self, graphs: GraphSet) -> Floats:
        """Return the predicted accuracy of each graph."""
        total = np.zeros(len(graphs))
        for member in self._members:
            total += _score(member.network, graphs)
        return self._mean + self._scale * total / len(self._members)

    def _new_members(self, count: int, seed: int) -> list[_Member]:
        config = self.config
        fold = np.full(count, -1)  # never held out: too few to spare any
        if count >= 2 * config.folds:
            fold = derive_rng(seed, "folds").permutation(np.arange(count) % config.folds)
        members = []
        for number in range(config.ensemble):
            with seeded(derive_seed(seed, "member", number), torch.device("cpu")):
                network = GraphRanker(
                    self.num_labels,
                    hidden=config.hidden,
                    num_layers=config.layers,
                    directed=config.directed,
                    dropout=config.dropout,
                )
            members.append(_Member(network, fold == number % config.folds))
        return members

    def _descend(self, data: GraphSet, target: Floats) -> None:
        """Full-batch Adam, all members at once; keep the weights best on what is held out."""
        config, members = self.config, self._members
        ensemble = EnsembleRanker([member.network for member in members])
        graphs = repeated(data, len(members), self.num_labels)
        wanted = torch.from_numpy(target).float()
        held_out = torch.from_numpy(np.stack([member.held_out for member in members]))
        judged = torch.where(held_out.any(dim=1, keepdim=True), held_out, ~held_out)
        optimizer = torch.optim.Adam(
            ensemble.parameters(), lr=config.lr, weight_decay=config.weight_decay
        )
        best = [math.inf] * len(members)
        kept = ensemble.flat.detach().clone()
        for epoch in range(1, config.epochs + 1):
            optimizer.zero_grad(set_to_none=True)
            square = (ensemble(graphs) - wanted) ** 2
            losses = _mean_where(square, ~held_out)
            losses.sum().backward()  # type: ignore[no-untyped-call]
            # What was predicted before this step is free; the held-out loss is judged on it.
            values = _mean_where(square.detach(), judged).tolist()
            for number, member in enumerate(members):
                in_time = epoch <= member.epochs + config.patience
                if in_time and values[number] < best[number] - 1e-6:
                    best[number], member.epochs = values[number], epoch
                    member.loss = float(losses[number].detach())
                    kept[number] = ensemble.flat.detach()[number]
            if epoch >= max(member.epochs for member in members) + config.patience:
                break
            optimizer.step()
        for member, row in zip(members, kept, strict=True):
            ensemble.load_into(member.network, row)

    def _report(self, data: GraphSet, accuracy: Floats, fit_s: float) -> dict[str, Any]:
        found = []
        for member in self._members:
            predicted = _score(member.network, data)[member.held_out]
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


@torch.no_grad()
def _score(network: GraphRanker, graphs: GraphSet) -> Floats:
    scores: Floats = network.eval()(graphs).double().numpy()
    return scores
