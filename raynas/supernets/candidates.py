"""How well a supernet does without each of several ops or edges."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from raynas.spaces.cell import NONE
from raynas.supernets.decisions import Question
from raynas.supernets.mixture import Mixture
from raynas.supernets.supernet import Supernet

NormMode = Literal["batch", "running"]
"""Which statistics norms use: those of the batch, or the running ones."""


@dataclass(frozen=True)
class BatchScores:
    """What candidates score on each batch; N candidates, M batches.

    Attributes:
        correct: `N x M` int64, images whose largest logit is that of their class.
        loss: `N x M` float64, cross-entropy summed over the images of the batch.
        count: `M` int64, images of the batch.
    """

    correct: NDArray[np.int64]
    loss: NDArray[np.float64]
    count: NDArray[np.int64]


def score_candidates(
    supernet: Supernet,
    mixture: Mixture,
    question: Question,
    options: Sequence[int],
    batches: Iterable[tuple[Tensor, Tensor]],
    *,
    norm: NormMode = "batch",
) -> BatchScores:
    """Score, for each option of a question, the supernet without it.

    The op is left out without changing the weights of the others; of a node's edges, the whole edge
    is left out. Running statistics are left as they were.

    Args:
        supernet: Its mode is left as it was.
        mixture: Weights of the ops, and which are run.
        question: What is to be decided.
        options: Ops (columns) or edges (rows), as in ``question.options``.
        batches: Images `B x C x H x W` and labels `B`, on the supernet's device.
        norm: Which statistics norms use.
    """
    correct, loss, count = [], [], []
    with _evaluating(supernet, norm), torch.inference_mode():
        for images, labels in batches:
            row = []
            for option in options:
                logits = supernet(images, without(supernet, mixture, question, option))
                right = (logits.argmax(dim=1) == labels).sum()
                row.append((right, F.cross_entropy(logits, labels, reduction="sum")))
            correct.append([int(right) for right, _ in row])
            loss.append([float(total) for _, total in row])
            count.append(len(labels))
    shape = (len(count), len(options))
    return BatchScores(
        np.array(correct, dtype=np.int64).reshape(shape).T,
        np.array(loss, dtype=np.float64).reshape(shape).T,
        np.array(count, dtype=np.int64),
    )


def without(supernet: Supernet, mixture: Mixture, question: Question, option: int) -> Mixture:
    """Return the mixture without an option; as it is if the option adds nothing."""
    kind, edge = question.kind, question.edge
    if edge is None:
        return mixture.without_edge(kind, option)
    active = mixture.active[kind][edge, option]
    if not active or supernet.kinds[kind].ops[edge][option] == NONE:
        return mixture
    return mixture.without_op(kind, edge, option)


@contextmanager
def _evaluating(supernet: Supernet, norm: NormMode) -> Iterator[None]:
    modes = [(module, module.training) for module in supernet.modules()]
    tracking = supernet.tracking
    supernet.train(norm == "batch")
    supernet.tracking = False
    drop, supernet.drop_path_probability = supernet.drop_path_probability, 0.0
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode
        supernet.tracking = tracking
        supernet.drop_path_probability = drop
