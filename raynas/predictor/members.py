"""The members of an ensemble of graph networks: made, trained side by side, stopped one by one.

What they are fitted to, and what the fit is worth, is the business of whoever holds them: pairs in
`raynas.predictor.fit`, accuracies in `raynas.predictor.regression`.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from raynas.config import Section
from raynas.networks.seeding import seeded
from raynas.predictor.ensemble import EnsembleRanker, repeated
from raynas.predictor.model import GraphRanker, GraphSet
from raynas.seeds import derive_rng, derive_seed

_BETTER_BY = 1e-6
"""A held-out loss that falls by less is no better: patience would never run out."""

Floats = NDArray[np.float64]


class EnsembleConfig(Section):
    """What the members are and how they are fitted.

    Attributes:
        hidden: Width of the graph network.
        layers: GIN layers.
        directed: Whether what feeds a node and what it feeds are told apart (the published
            encoder adds both).
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
class Member:
    """One network of the ensemble.

    Attributes:
        network: Itself; has the weights that were best once it is trained.
        held_out: `A`: which architectures it does not learn from.
        epochs: The step at which it was best.
        loss: What it then had on what it learns from.
    """

    network: GraphRanker
    held_out: NDArray[np.bool_]
    epochs: int = 0
    loss: float = math.nan


Step = Callable[[Tensor, Sequence[int]], tuple[Tensor, Sequence[float]]]
"""Takes the scores (`M x B`) and the members still running; returns what each of the M learns from
(a loss each) and what each of the running ones is judged by, before the step that follows."""


def folds_of(count: int, config: EnsembleConfig, seed: int) -> NDArray[np.int64] | None:
    """Return the fold of each of `count` architectures; None for too few to spare any."""
    if count < 2 * config.folds:
        return None
    return derive_rng(seed, "folds").permutation(np.arange(count) % config.folds)


def make_members(
    num_labels: int, config: EnsembleConfig, held_out: Sequence[NDArray[np.bool_]], seed: int
) -> list[Member]:
    """Return a new member for each mask of `held_out`.

    Args:
        num_labels: Node labels of the space's graphs.
        config: Shape of the networks.
        held_out: What each holds out.
        seed: Of the initial weights.
    """
    members = []
    for number, mask in enumerate(held_out):
        with seeded(derive_seed(seed, "member", number), torch.device("cpu")):
            network = GraphRanker(
                num_labels,
                hidden=config.hidden,
                num_layers=config.layers,
                directed=config.directed,
                dropout=config.dropout,
            )
        members.append(Member(network, mask))
    return members


def train_members(
    members: Sequence[Member], config: EnsembleConfig, data: GraphSet, num_labels: int, step: Step
) -> None:
    """Full-batch Adam, all members at once; each keeps the weights with which it was judged best.

    Args:
        members: At least one; trained in place.
        config: How.
        data: The graphs that they score.
        num_labels: As in `make_members`.
        step: The losses.
    """
    ensemble = EnsembleRanker([member.network for member in members])
    graphs = repeated(data, len(members), num_labels)
    optimizer = torch.optim.Adam(
        ensemble.parameters(), lr=config.lr, weight_decay=config.weight_decay
    )
    best = [math.inf] * len(members)
    kept = ensemble.flat.detach().clone()
    for epoch in range(1, config.epochs + 1):
        running = [n for n, m in enumerate(members) if epoch <= m.epochs + config.patience]
        if not running:
            break
        optimizer.zero_grad(set_to_none=True)
        losses, judged = step(ensemble(graphs), running)
        losses.sum().backward()  # type: ignore[no-untyped-call]
        for number, value in zip(running, judged, strict=True):
            if value < best[number] - _BETTER_BY:
                best[number], members[number].epochs = value, epoch
                members[number].loss = float(losses[number].detach())
                kept[number] = ensemble.flat.detach()[number]
        optimizer.step()
    for member, row in zip(members, kept, strict=True):
        ensemble.load_into(member.network, row)
        member.network.eval()


@torch.no_grad()
def score(network: GraphRanker, graphs: GraphSet) -> Floats:
    """Return a network's score of each graph."""
    scores: Floats = network.eval()(graphs).double().numpy()
    return scores
