"""Does it matter which edge stands where? Accuracy before and after two edges are swapped.

Wang et al., "Rethinking Architecture Selection in Differentiable NAS", ICLR 2021, §4; thesis table
2.1. A network in which it matters little is one whose parts estimate the same features, and there
the mixing weight of a skip grows as it converges, whatever the op beside it is worth.

Everything is measured in eval mode, with the running statistics, on the validation part.
"""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from raynas.diagnostics.chain import LAYERS, WIDTH, Chain, ChainKind
from raynas.diagnostics.diagnostic import Base, Finding, Part, Record, Value
from raynas.diagnostics.drawing import rule
from raynas.diagnostics.subject import SupernetSubject
from raynas.diagnostics.swapping import edges_swapped, layers_swapped
from raynas.diagnostics.wording import counted, percent
from raynas.errors import TrialError
from raynas.networks.seeding import seeded
from raynas.report.palette import INK, SERIES, new_figure
from raynas.seeds import derive_rng, derive_seed
from raynas.selection.scoring import totals
from raynas.supernets.candidates import score_whole
from raynas.training.evaluation import evaluate
from raynas.training.loop import NetworkTrial
from raynas.training.recipe import TrainingConfig

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_CHUNK = 5
"""Draws measured in one part."""

_NAMES = {"supernet": "supernet", "vgg": "plain (VGG)", "resnet": "residual (ResNet)"}


class Shuffle(Base[SupernetSubject]):
    """Accuracy with two edges of every cell swapped; and the like of two reference networks."""

    title = "Does it matter which edge stands where?"

    def parts(self, subject: SupernetSubject) -> list[Part]:
        """Return the whole supernet, some draws a part, and one for each reference network."""
        step, seed, draws = subject.end.step, self.options.seed, self.options.draws
        parts = [Part("supernet as it is", _supernet, {"step": step, "seed": seed, "draws": []})]
        for first in range(0, draws, _CHUNK):
            some = list(range(first, min(first + _CHUNK, draws)))
            label = f"supernet, swaps {some[0] + 1} to {some[-1] + 1}"
            parts.append(Part(label, _supernet, {"step": step, "seed": seed, "draws": some}))
        epochs = self.options.reference_epochs
        if epochs:
            given = {"seed": seed, "draws": draws, "epochs": epochs}
            for kind in ("vgg", "resnet"):
                label = f"{_NAMES[kind]}, {epochs} epochs"
                parts.append(Part(label, _chain, {"kind": kind, **given}))
        return parts

    def conclude(self, subject: SupernetSubject, results: Sequence[Value]) -> Finding:
        """Make a row a draw; draw 0 is the network as it is."""
        epochs, num_chains = (
            self.options.reference_epochs,
            2 if self.options.reference_epochs else 0,
        )
        left = list(results)
        chains = [left.pop() for _ in range(num_chains)][::-1]
        accuracies = {"supernet": [accuracy for some in left for accuracy in some]}
        for kind, found in zip(("vgg", "resnet"), chains, strict=False):
            accuracies[kind] = found
        rows: list[Record] = [
            {"network": name, "draw": draw, "swapped": draw > 0, "accuracy": accuracy}
            for name, found in accuracies.items()
            for draw, accuracy in enumerate(found)
        ]
        settings = {
            "draws": self.options.draws,
            "reference_epochs": epochs,
            "reference_width": WIDTH,
            "reference_layers": LAYERS,
            "epoch": subject.end.epoch,
        }
        told = sentences(rows)
        failed = [_NAMES[name] for name, found in accuracies.items() if not found]
        told += [f"The {name} network diverged in training." for name in failed]
        return Finding(rows, told, settings)

    def draw(self, rows: Sequence[Record]) -> "Figure":
        """Draw a column a network: before as a bar, after as points with mean and deviation."""
        found = spread(rows)
        drawing = new_figure(2.0 + 1.7 * len(found), 3.6)
        axes = drawing.subplots()
        for place, (name, one) in enumerate(found.items()):
            after = [100 * r["accuracy"] for r in rows if r["network"] == name and r["swapped"]]
            jitter = np.linspace(0.05, 0.25, len(after))
            colour = SERIES[1] if name == "supernet" else SERIES[0]
            axes.bar(place - 0.2, 100 * one["before"], 0.34, color=colour)
            axes.plot(place + jitter, after, "o", ms=3.5, color=colour)
            mean, std = 100 * one["after"], 100 * one["std"]
            axes.errorbar(place + 0.34, mean, std, fmt="_", color=INK, ms=9, lw=1.2)
            axes.annotate(
                f"{mean:.1f} ± {std:.1f}",
                (place + 0.02, max([*after, mean + std])),
                (0, 6),
                textcoords="offset points",
                ha="left",
                fontsize="small",
            )
        axes.set_xticks(range(len(found)), [_NAMES[name] for name in found], color=INK)
        axes.set(ylabel="validation accuracy, %", ylim=(0, 112), xlim=(-0.5, len(found) - 0.3))
        axes.set_title("bar: as it is; points: two swapped, each draw")
        rule(axes)
        return drawing


def _supernet(subject: SupernetSubject, step: int, seed: int, draws: list[int]) -> Value:
    """Return the accuracy under some draws; under none, as it is."""
    training = subject.restored(step)
    supernet, mixture = training.supernet, training.mixture()

    def accuracy() -> float:
        scores = score_whole(supernet, mixture, subject.valid_batches(), norm="running")
        return totals((0,), scores)[0].accuracy

    if not draws:
        return [accuracy()]
    found = []
    for draw in draws:
        with edges_swapped(supernet, derive_rng(seed, "edges to swap", draw)):
            found.append(accuracy())
    return found


def _chain(subject: SupernetSubject, kind: str, seed: int, draws: int, epochs: int) -> Value:
    """Train a reference network; return its accuracy as it is, then under each draw.

    Returns:
        Nothing if it diverged.
    """
    data, training = subject.data(), subject.job.training
    placement, task = training.placement(), data.task
    with seeded(derive_seed(seed, "weights", kind), placement.device):
        network = Chain(cast(ChainKind, kind), task.in_channels, task.num_classes)
    config = TrainingConfig(
        full_epochs=epochs, batch_size=min(64, len(data.train)), device=str(placement.device)
    )
    trial = NetworkTrial(network, data, config, derive_seed(seed, "chain", kind))
    try:
        trial.train(epochs)
    except TrialError:
        return []

    def accuracy() -> float:
        return evaluate(trial.network, data, data.valid, placement).accuracy

    found = [accuracy()]
    for draw in range(1, draws + 1):
        with layers_swapped(network, derive_rng(seed, f"layers of {kind}", draw)):
            found.append(accuracy())
    return found


def spread(rows: Sequence[Record]) -> dict[str, dict[str, float]]:
    """Return accuracy before, mean and standard deviation (n - 1) after, by network."""
    found: dict[str, dict[str, float]] = {}
    for name in dict.fromkeys(str(row["network"]) for row in rows):
        of = [row for row in rows if row["network"] == name]
        after = [float(row["accuracy"]) for row in of if row["swapped"]]
        mean = sum(after) / len(after)
        variance = sum((a - mean) ** 2 for a in after) / (len(after) - 1)
        before = float(of[0]["accuracy"])
        found[name] = {"before": before, "after": mean, "std": math.sqrt(variance)}
    return found


def sentences(rows: Sequence[Record]) -> list[str]:
    """Say what swapping costs the supernet, and what it costs the others."""
    found: dict[str, dict[str, Any]] = spread(rows)
    supernet = found.pop("supernet")
    draws = sum(row["network"] == "supernet" and row["swapped"] for row in rows)
    told = [
        f"With two random edges swapped in every cell the supernet's accuracy goes from "
        f"{_drop(supernet)} ({counted(draws, 'draw')})."
    ]
    others = [f"of the {_NAMES[name]} network from {_drop(one)}" for name, one in found.items()]
    if others:
        told.append(f"With two layers swapped in every stage, that {', that '.join(others)}.")
    if {"vgg", "resnet"} <= found.keys():
        lost = {name: one["before"] - one["after"] for name, one in found.items()}
        mine = supernet["before"] - supernet["after"]
        near = "residual" if abs(mine - lost["resnet"]) <= abs(mine - lost["vgg"]) else "plain"
        told.append(f"The supernet's loss is closer to that of the {near} network.")
    return told


def _drop(one: dict[str, float]) -> str:
    before, after, std = one["before"], one["after"], one["std"]
    return f"{percent(before)} to {100 * after:.1f} ± {100 * std:.1f} %"
