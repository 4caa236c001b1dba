"""Scoring candidates: what is asked of whoever runs the supernet, and the answer added up."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from torch import Tensor

from raynas.selection.training import Trainable
from raynas.supernets.candidates import BatchScores, score_candidates
from raynas.supernets.decisions import Question
from raynas.supernets.mixture import Mixture


@dataclass(frozen=True, slots=True, eq=False)
class Request:
    """Candidates to be scored with the supernet as it is now.

    All requests of one step of a program are on the same weights and statistics of batch norms.

    Attributes:
        mixture: How the ops are mixed; no gradients.
        question: What is to be decided.
        options: Which of its options to score: each is left out of the network in turn.
        norm: Statistics that batch norms use.
        batch_size: Images of a validation batch.
        augmented: Whether the images are augmented as in training.
        shuffle_seed: Order (and augmentation) of the images; None: their fixed order.
        batches: Numbers of the batches to score on, ascending; None: all.
    """

    mixture: Mixture
    question: Question
    options: tuple[int, ...]
    norm: Literal["batch", "running"]
    batch_size: int
    augmented: bool = False
    shuffle_seed: int | None = None
    batches: tuple[int, ...] | None = None


Scorer = Callable[[Request], BatchScores]
"""Scores the options of a request, in its order, on its batches, in ascending order."""


@dataclass(frozen=True, slots=True)
class CandidateScore:
    """How the supernet does without one candidate.

    Attributes:
        option: The op or edge left out.
        correct: Images classified right.
        count: Images.
        loss: Sum of cross-entropies over the images.
        round: Number of the round, where the edges of a node are dropped one after another.
    """

    option: int
    correct: int
    count: int
    loss: float
    round: int = 0

    @property
    def accuracy(self) -> float:
        """Fraction classified right."""
        return self.correct / self.count

    @property
    def mean_loss(self) -> float:
        """Cross-entropy of an image."""
        return self.loss / self.count


def totals(options: Sequence[int], scores: BatchScores, round: int = 0) -> list[CandidateScore]:
    """Add up over batches, in their order, so that no split of the work changes a bit."""
    count = int(scores.count.sum())
    # Not ndarray.sum, which adds in pairs: the order must not depend on how many there are.
    losses = np.add.accumulate(scores.loss, axis=1)[:, -1]
    return [
        CandidateScore(option, int(correct), count, float(loss), round)
        for option, correct, loss in zip(options, scores.correct.sum(axis=1), losses, strict=True)
    ]


def batches_of(request: Request, training: Trainable) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the batches that a request is to be scored on."""
    batches = training.selection_batches(
        request.batch_size, augmented=request.augmented, shuffle_seed=request.shuffle_seed
    )
    wanted = None if request.batches is None else frozenset(request.batches)
    return (batch for i, batch in enumerate(batches) if wanted is None or i in wanted)


def local_scorer(training: Trainable) -> Scorer:
    """Return a scorer that runs the supernet under training in this process."""

    def score(request: Request) -> BatchScores:
        return score_candidates(
            training.supernet,
            request.mixture,
            request.question,
            request.options,
            batches_of(request, training),
            norm=request.norm,
        )

    return score
