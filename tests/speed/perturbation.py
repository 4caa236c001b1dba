"""Scoring the candidates of one decision: shared prefixes against one masked supernet at a time.

Run: ``python tests/speed/perturbation.py [--published] [--rounds 5]``.

The textbook (`tests/textbook/supernet.py`, NCHW, every op of every edge run) evaluates a batch once
for each op of the edge, its weight set to 0. First both are shown to give the same number of images
classified right and the same losses (float64); then they are timed, interleaved in one process (one
thread, CPU time, median of paired ratios). ``--published`` takes the papers' sizes instead of small
ones. Batches are 16 images: on fewer, calls into torch cost more than what they compute.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from raynas.networks.seeding import seeded
from raynas.spaces.darts import DartsSpace, S2Space
from raynas.spaces.mixture import MixableSpace
from raynas.spaces.nasbench201 import NasBench201
from raynas.spaces.space import TaskShape
from raynas.supernets.build import build_supernet
from raynas.supernets.candidates import BatchScores, score_candidates
from raynas.supernets.decisions import Decisions, Question

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from textbook.supernet import copy_weights, textbook_of

IMAGES = 16
TASK = TaskShape(in_channels=3, image_size=32, num_classes=10)


@dataclass(frozen=True)
class Case:
    """A decision.

    Attributes:
        name: What is printed.
        space: Name of the space.
        kind: Number of the kind of cell.
        edge: The edge that is asked for.
        decided: How many other edges of the kind are decided already.
    """

    name: str
    space: str
    kind: int = 0
    edge: int = 2
    decided: int = 0


CASES = (
    Case("NAS-Bench-201, nothing decided", "nasbench201"),
    Case("NAS-Bench-201, 3 of 6 decided", "nasbench201", edge=5, decided=3),
    Case("S2, normal edge", "s2"),
    Case("S2, reduction edge", "s2", kind=1),
    Case("DARTS, normal edge", "darts"),
    Case("DARTS, reduction edge", "darts", kind=1),
)


def spaces(published: bool) -> dict[str, MixableSpace]:
    """The three spaces, at the papers' sizes or at small ones."""
    if published:
        return {"nasbench201": NasBench201(), "darts": DartsSpace(), "s2": S2Space()}
    return {
        "nasbench201": NasBench201(channels=8, cells_per_stage=2),
        "darts": DartsSpace(channels=8, layers=6),
        "s2": S2Space(channels=8, layers=6),
    }


class Decision:
    """Both sides of a case, with equal weights."""

    def __init__(
        self, case: Case, space: MixableSpace, dtype: torch.dtype, sizes: Sequence[int]
    ) -> None:
        with seeded(0, torch.device("cpu")):
            self.supernet = build_supernet(space, TASK).to(dtype)
            theta = [
                torch.randn(k.num_edges, k.num_ops, dtype=dtype).softmax(dim=1)
                for k in self.supernet.kinds
            ]
            self.batches = [
                (
                    torch.randn(size, 3, 32, 32, dtype=dtype),
                    torch.randint(10, (size,)),
                )
                for size in sizes
            ]
        self.textbook = textbook_of(space, TASK).to(dtype)
        copy_weights(self.textbook, self.supernet)
        decisions = Decisions(self.supernet.kinds)
        for edge in range(case.decided):
            decisions.decide_op(case.kind, edge, edge % 3 + 1)
        self.mixture = decisions.mix(theta)
        ops = range(self.supernet.kinds[case.kind].num_ops)
        self.question = Question(case.kind, tuple(ops), edge=case.edge)

    def ours(self) -> BatchScores:
        """Score with everything shared."""
        question = self.question
        return score_candidates(
            self.supernet, self.mixture, question, question.options, self.batches
        )

    @torch.no_grad()
    def one_after_another(self) -> BatchScores:
        """Score with the textbook."""
        self.textbook.train()
        shape = (len(self.question.options), len(self.batches))
        correct, loss = np.zeros(shape, dtype=np.int64), np.zeros(shape)
        for row, op in enumerate(self.question.options):
            weights = [rows.clone() for rows in self.mixture.weights]
            weights[self.question.kind][self.question.edge, op] = 0
            for column, (images, labels) in enumerate(self.batches):
                logits: Tensor = self.textbook(images, weights)
                correct[row, column] = int((logits.argmax(dim=1) == labels).sum())
                loss[row, column] = float(F.cross_entropy(logits, labels, reduction="sum"))
        return BatchScores(correct, loss, np.array([len(labels) for _, labels in self.batches]))


def check_equal(case: Case, space: MixableSpace) -> None:
    """Compare the scores of both, in float64."""
    decision = Decision(case, space, torch.float64, [3, 2])
    ours, theirs = decision.ours(), decision.one_after_another()
    np.testing.assert_array_equal(ours.correct, theirs.correct)
    np.testing.assert_allclose(ours.loss, theirs.loss, rtol=1e-9)
    np.testing.assert_array_equal(ours.count, theirs.count)


def measure(case: Case, space: MixableSpace, rounds: int) -> None:
    """Time both and print the ratio."""
    decision = Decision(case, space, torch.float32, [IMAGES])
    ratios, times = [], []
    for round_ in range(rounds + 1):
        seconds = []
        for run in (decision.one_after_another, decision.ours):
            started = time.process_time()
            run()
            seconds.append(time.process_time() - started)
        if round_:  # the first warms up
            ratios.append(seconds[0] / seconds[1])
            times.append(seconds[1])
    spread = f"{min(ratios):.2f} to {max(ratios):.2f}"
    ms = 1000 * statistics.median(times)
    print(f"  {case.name:32} x{statistics.median(ratios):.2f} ({spread}), ours {ms:.0f} ms a batch")


def main() -> None:
    """Prove equality, time, print ratios."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--published", action="store_true", help="the papers' sizes")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    for case in CASES:
        check_equal(case, spaces(False)[case.space])
    print("equal in float64; CPU time, textbook / ours:")
    for case in CASES:
        measure(case, spaces(options.published)[case.space], options.rounds)


if __name__ == "__main__":
    main()
