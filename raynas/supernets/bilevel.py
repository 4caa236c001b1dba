"""The pieces of a step: losses and gradients that are those of all workers together.

The loss of a batch is the mean over the images of all workers. Each worker computes its share, the
sum over its own images divided by their total number, so gradients are added up (not averaged) and
uneven shares weigh what they should.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import zip_longest
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from raynas.supernets.halves import Batch
from raynas.supernets.mixture import Mixture
from raynas.supernets.supernet import Supernet
from raynas.supernets.workers import Workers
from raynas.training.data import DataSplits, Part
from raynas.training.evaluation import Evaluation
from raynas.training.placement import Placement

Gradients = list[Tensor | None]
"""Of each tensor; None for one that the loss does not depend on."""


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """A forward pass over this worker's share of a batch.

    Attributes:
        loss: Its share of the mean cross-entropy, with gradient.
        correct: Images classified right, int64.
    """

    loss: Tensor
    correct: Tensor


class Bilevel:
    """A supernet, and losses and gradients on it over all workers.

    Args:
        supernet: The network, on its device.
        placement: Device and precision.
        workers: Who shares the work.

    Attributes:
        supernet: Likewise.
        weights: Its parameters w.
    """

    def __init__(self, supernet: Supernet, placement: Placement, workers: Workers) -> None:
        self.placement = placement
        self.workers = workers
        self.use(supernet)
        self.scaler = torch.amp.GradScaler(placement.device.type, enabled=placement.needs_scaler)

    def use(self, supernet: Supernet) -> None:
        """Go on with another network."""
        self.supernet = supernet
        self.weights: list[Tensor] = list(supernet.parameters())

    def run(self, batch: Batch, mixture: Mixture) -> Outcome:
        """Run the supernet on a batch."""
        with self.placement.autocast():
            logits = self.supernet(batch.images, mixture)
            total = F.cross_entropy(logits, batch.labels, reduction="sum")
        correct = (logits.detach().argmax(1) == batch.labels).sum()
        return Outcome(total / batch.total, correct)

    def joint(self, loss: Tensor) -> float:
        """Return the loss of all workers together."""
        total = loss.detach().clone()
        self.workers.all_reduce_([total])
        return float(total)

    def gradient(self, loss: Tensor, tensors: Sequence[Tensor]) -> Gradients:
        """Return the gradient of the loss of all workers together.

        Args:
            loss: This worker's share of it.
            tensors: What to differentiate by.
        """
        scaled = self.scaler.scale(loss)
        gradients = _apart(torch.autograd.grad(scaled, tensors, allow_unused=True))
        present = [gradient for gradient in gradients if gradient is not None]
        self.workers.all_reduce_(present)
        if self.scaler.is_enabled() and present:
            torch._foreach_mul_(present, 1 / self.scaler.get_scale())
        return gradients

    def descend(
        self,
        optimizer: torch.optim.Optimizer,
        parameters: Sequence[Tensor],
        gradients: Sequence[Tensor | None],
        clip: float | None,
    ) -> None:
        """Take one step of an optimiser; parameters without gradient are left alone.

        In float16 a gradient that is not finite makes the step be left out, and the scale of the
        loss smaller.

        Args:
            optimizer: Of these parameters.
            parameters: What to move.
            gradients: Of each, as `gradient` returned them.
            clip: Largest norm of all gradients together; None for no limit.
        """
        present = [gradient for gradient in gradients if gradient is not None]
        if not present:
            return
        if self.scaler.is_enabled():  # a power of two, there and back without rounding
            torch._foreach_mul_(present, self.scaler.get_scale())
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient
        self.scaler.unscale_(optimizer)
        if clip is not None:
            nn.utils.clip_grad_norm_(parameters, clip)
        self.scaler.step(optimizer)
        self.scaler.update()
        optimizer.zero_grad(set_to_none=True)

    @contextmanager
    def frozen_weights(self) -> Iterator[None]:
        """Compute no gradients of w for a while, where only those of α are wanted."""
        for weight in self.weights:
            weight.requires_grad_(False)
        try:
            yield
        finally:
            for weight in self.weights:
                weight.requires_grad_(True)

    @contextmanager
    def untracked(self) -> Iterator[None]:
        """Leave the running statistics of batch norms alone for a while."""
        before = self.supernet.tracking
        self.supernet.tracking = False
        try:
            yield
        finally:
            self.supernet.tracking = before

    @torch.no_grad()
    def evaluate(
        self, data: DataSplits, part: Part, mixture: Mixture, *, batch_size: int
    ) -> Evaluation:
        """Evaluate on a part with running statistics, the batches shared among the workers.

        Losses are added up batch by batch in the order of the data, whoever computed them.
        """
        batches = list(
            zip(
                torch.split(part.images, batch_size),
                torch.split(part.labels, batch_size),
                strict=True,
            )
        )
        device = self.placement.device
        correct = torch.zeros(len(batches), dtype=torch.int64, device=device)
        losses = torch.zeros(len(batches), dtype=torch.float64, device=device)
        was_training = self.supernet.training
        self.supernet.eval()
        for number in range(self.workers.rank, len(batches), self.workers.size):
            raw, labels = batches[number]
            images = self.placement.lay_out(data.normalise(raw))
            outcome = self.run(Batch(images, labels, len(labels)), mixture)
            correct[number] = outcome.correct
            losses[number] = outcome.loss * len(labels)
        self.supernet.train(was_training)
        self.workers.all_reduce_([correct, losses])
        return Evaluation(int(correct.sum()), len(part), float(losses.sum()) / len(part))


@dataclass(slots=True, eq=False)
class Tally:
    """Losses and hits of an epoch, added up on the device.

    Attributes:
        loss: Sum over batches of this worker's share of the mean, times the images of the batch.
        correct: This worker's images classified right.
        count: Images of all workers.
    """

    loss: Tensor
    correct: Tensor
    count: int = 0

    @classmethod
    def on(cls, device: torch.device) -> "Tally":
        """Return an empty one."""
        return cls(
            torch.zeros((), dtype=torch.float64, device=device),
            torch.zeros((), dtype=torch.int64, device=device),
        )

    def add(self, outcome: Outcome, batch: Batch) -> None:
        """Count one batch in."""
        self.loss += outcome.loss.detach() * batch.total
        self.correct += outcome.correct
        self.count += batch.total

    def read(self, workers: Workers) -> Evaluation | None:
        """Return what all workers counted; None if there was no batch."""
        if not self.count:
            return None
        workers.all_reduce_([self.loss, self.correct])
        return Evaluation(int(self.correct), self.count, float(self.loss) / self.count)


@dataclass(slots=True, eq=False)
class Step:
    """One step of training, as a method sees it.

    Attributes:
        bilevel: The supernet, losses and gradients.
        train: Batch that w learns from.
        valid: Batch that α learns from.
        epoch: Epochs trained before this one.
        epochs: Length of the search.
        tuning: Whether the search is over and selection fine-tunes.
        lr: Learning rate of w.
        optimizer: SGD of w.
        generator: On the device; the same on every worker.
    """

    bilevel: Bilevel
    train: Batch
    valid: Batch
    epoch: int
    epochs: int
    tuning: bool
    lr: float
    optimizer: torch.optim.SGD
    generator: torch.Generator

    @property
    def progress(self) -> float:
        """How much of the search is done, from 0 to 1."""
        return min(self.epoch / self.epochs, 1.0)


class MakeBatches(Protocol):
    """Makes fixed batches of the half of α: images and labels, not augmented."""

    def __call__(self, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield batches of at most that many images, the same for all workers."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Epoch:
    """An epoch that was just trained, as a method sees it.

    Attributes:
        bilevel: The supernet, losses and gradients.
        number: Its number, from 0.
        tuning: Whether the search is over and selection fine-tunes.
        batches: Makes batches of the half of α.
    """

    bilevel: Bilevel
    number: int
    tuning: bool
    batches: MakeBatches


def without_zeros(mixture: Mixture) -> Mixture:
    """Return the mixture with ops of weight exactly 0 left out, so that they are not run.

    The weights have to be looked at on the host, for which a GPU is waited for.
    """
    weights = [rows.detach().cpu().numpy() for rows in mixture.weights]
    pairs = zip(mixture.active, weights, strict=True)
    return replace(mixture, active=tuple(np.logical_and(on, rows != 0) for on, rows in pairs))


def _apart(gradients: Sequence[Tensor | None]) -> Gradients:
    """Return gradients that can be changed in place; autograd may hand out one memory twice."""
    apart: Gradients = []
    seen = set()
    for gradient in gradients:
        if gradient is not None:
            if gradient.data_ptr() in seen or 0 in gradient.stride():
                gradient = gradient.clone(memory_format=torch.contiguous_format)
            seen.add(gradient.data_ptr())
        apart.append(gradient)
    return apart


def axpy(
    gradients: Sequence[Tensor | None], factor: float, others: Sequence[Tensor | None]
) -> Gradients:
    """Return ``gradients + factor · others``, None counting as 0."""
    return [
        first if second is None else factor * second + (0 if first is None else first)
        for first, second in zip_longest(gradients, others)
    ]
