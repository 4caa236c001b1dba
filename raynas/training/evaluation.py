"""Evaluate a network on a fixed set of images: integer counts, so that comparisons are exact."""

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from raynas.training.data import DataSplits, Part
from raynas.training.placement import Placement


@dataclass(frozen=True, slots=True)
class Evaluation:
    """How a network does on a fixed set of images.

    Attributes:
        correct: Number of images classified right: an integer, the same in any order.
        count: Number of images.
        loss: Mean cross-entropy.
    """

    correct: int
    count: int
    loss: float

    @property
    def accuracy(self) -> float:
        """Fraction classified right."""
        return self.correct / self.count


@torch.no_grad()
def evaluate(
    network: nn.Module,
    data: DataSplits,
    part: Part,
    placement: Placement,
    *,
    batch_size: int = 256,
) -> Evaluation:
    """Evaluate a network on a part, in its fixed order; the network's mode is left as it was."""
    was_training = network.training
    network.eval()
    loss = torch.zeros((), dtype=torch.float64, device=placement.device)
    correct = torch.zeros((), dtype=torch.int64, device=placement.device)
    for images, labels in zip(
        torch.split(part.images, batch_size), torch.split(part.labels, batch_size), strict=True
    ):
        with placement.autocast():
            logits = logits_of(network(placement.lay_out(data.normalise(images))))
            loss += F.cross_entropy(logits, labels, reduction="sum")
        correct += (logits.argmax(1) == labels).sum()
    network.train(was_training)
    return Evaluation(int(correct), len(part), float(loss) / len(part))


@torch.no_grad()
def confusion_matrix(
    network: nn.Module,
    data: DataSplits,
    part: Part,
    placement: Placement,
    *,
    batch_size: int = 256,
) -> Tensor:
    """Return how often each class is taken for each: `K x K` int64 counts on the CPU.

    Row is the true class, column the predicted one; the diagonal adds up to what `evaluate` counts
    as correct. The network's mode is left as it was.
    """
    was_training = network.training
    network.eval()
    classes = data.task.num_classes
    counts = torch.zeros(classes * classes, dtype=torch.int64, device=placement.device)
    for images, labels in zip(
        torch.split(part.images, batch_size), torch.split(part.labels, batch_size), strict=True
    ):
        with placement.autocast():
            logits = logits_of(network(placement.lay_out(data.normalise(images))))
        counts += torch.bincount(classes * labels + logits.argmax(1), minlength=classes * classes)
    network.train(was_training)
    return counts.reshape(classes, classes).cpu()


def logits_of(output: Any) -> Tensor:
    """Return the logits, where a network returns those of auxiliary heads beside them."""
    logits: Tensor = output[0] if isinstance(output, tuple | list) else output
    return logits
