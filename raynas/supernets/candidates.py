"""How well a supernet does without each of several ops or edges.

Batches outside, candidates inside: what all candidates have in common is run once a batch
(`raynas.supernets.sharing`). That is everything before the first cell of the kind asked about, in
that cell every op on a state that does not depend on the answer, and likewise in the cell after it,
which also reads the output of the cell before.
"""

import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal, cast

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from raynas.networks.darts_operations import Noise
from raynas.seeds import derive_seed
from raynas.supernets.decisions import Question
from raynas.supernets.mixture import Mixture
from raynas.supernets.sharing import SharedCell
from raynas.supernets.supernet import Carried, CellStage, Stage, Supernet, stage_of, weights_of

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
    run = _Run(supernet, mixture, question, options)
    rows, count = [], []
    with _evaluating(supernet, norm), torch.no_grad():
        for images, labels in batches:
            with _fixed_noise(supernet, images, labels):
                scores = {key: _score(logits, labels) for key, logits in run.logits(images)}
            rows.append(torch.stack([scores[key] for key in run.keys]))
            count.append(len(labels))
    table = torch.stack(rows, dim=1).cpu().numpy() if rows else np.zeros((len(options), 0, 2))
    return BatchScores(
        table[:, :, 0].astype(np.int64), table[:, :, 1], np.array(count, dtype=np.int64)
    )


def score_whole(
    supernet: Supernet,
    mixture: Mixture,
    batches: Iterable[tuple[Tensor, Tensor]],
    *,
    norm: NormMode = "batch",
) -> BatchScores:
    """Score the supernet with nothing left out: one candidate, under the rules of the others.

    Args:
        supernet: Its mode is left as it was.
        mixture: Weights of the ops, and which are run.
        batches: Images `B x C x H x W` and labels `B`, on the supernet's device.
        norm: Which statistics norms use.
    """
    rows, count = [], []
    with _evaluating(supernet, norm), torch.no_grad():
        for images, labels in batches:
            with _fixed_noise(supernet, images, labels):
                rows.append(_score(supernet(images, mixture), labels))
            count.append(len(labels))
    table = torch.stack(rows)[None].cpu().numpy() if rows else np.zeros((1, 0, 2))
    return BatchScores(
        table[:, :, 0].astype(np.int64), table[:, :, 1], np.array(count, dtype=np.int64)
    )


class _Run:
    """A question to a supernet.

    Attributes:
        keys: Of each option, what is left out; None for an option that adds nothing, so that the
            supernet is run whole.
    """

    def __init__(
        self, supernet: Supernet, mixture: Mixture, question: Question, options: Sequence[int]
    ) -> None:
        self._supernet = supernet
        self._question = question
        self._whole = weights_of(supernet, mixture)
        without = {option: leave_out(supernet, mixture, question, option) for option in options}
        self.keys = [None if without[option] is mixture else option for option in options]
        self._candidates = {
            key: self._whole if key is None else weights_of(supernet, without[key])
            for key in dict.fromkeys(self.keys)
        }

    def logits(self, images: Tensor) -> Iterator[tuple[int | None, Tensor]]:
        """Yield each key and the logits of its candidate."""
        common: Sequence[Tensor | None] = self._supernet.begin(images)
        carried = cast(Carried, common)
        rest: list[Stage | SharedCell] = []
        for stage in map(stage_of, self._supernet.stages):
            asked = isinstance(stage, CellStage) and stage.number == self._question.kind
            if not rest and not asked:
                common = carried = stage(carried, self._whole, 0.0)
            elif isinstance(stage, CellStage) and any(part is not None for part in common):
                question = self._question if asked else None
                rest.append(SharedCell(stage, common, self._whole[stage.number], question))
                common = stage.passed_on(common)
            else:
                rest.append(stage)
                common = ()
        for key, weights in self._candidates.items():
            own = carried
            for part in rest:
                own = part(own, weights, 0.0)
            yield key, self._supernet.end(own)


def _score(logits: Tensor, labels: Tensor) -> Tensor:
    """Return how many are right and the sum of losses, float64."""
    logits = logits.double()
    right = (logits.argmax(dim=1) == labels).sum()
    return torch.stack([right.double(), F.cross_entropy(logits, labels, reduction="sum")])


def leave_out(supernet: Supernet, mixture: Mixture, question: Question, option: int) -> Mixture:
    """Return the mixture without an option; as it is if the option adds nothing."""
    kind, edge = question.kind, question.edge
    if edge is None:
        return mixture.without_edge(kind, option)
    if not mixture.active[kind][edge, option] or supernet.adds_nothing(kind, edge, option):
        return mixture
    return mixture.without_op(kind, edge, option)


@contextmanager
def _evaluating(supernet: Supernet, norm: NormMode) -> Iterator[None]:
    """Run without drop path, and leave modes, running statistics and other buffers alone."""
    modes = [(module, module.training) for module in supernet.modules()]
    tracking, drop = supernet.tracking, supernet.drop_path_probability
    own = {id(buffer) for module in supernet.norms() for buffer in module.buffers()}
    others = [(b, b.clone()) for b in supernet.buffers() if id(b) not in own]
    supernet.train(norm == "batch")
    supernet.tracking, supernet.drop_path_probability = False, 0.0
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode
        supernet.tracking, supernet.drop_path_probability = tracking, drop
        for buffer, value in others:
            buffer.copy_(value)


@contextmanager
def _fixed_noise(supernet: Supernet, images: Tensor, labels: Tensor) -> Iterator[None]:
    """Draw the same noise for all candidates, from a seed that follows from the batch.

    So neither the split of batches nor that of candidates over workers changes a score.
    """
    noises = [module for module in supernet.modules() if isinstance(module, Noise)]
    if noises:
        content = labels.cpu().numpy().tobytes() + images[0].cpu().numpy().tobytes()
        seed = zlib.crc32(content)
        for number, noise in enumerate(noises):
            noise.seed = derive_seed(seed, "noise", number)
    try:
        yield
    finally:
        for noise in noises:
            noise.seed = None
