"""The two halves of the training images, and the batches of an epoch.

Everything is drawn from a generator on the CPU for the batch of all workers together, of which each
takes its slice: what is trained on depends neither on the number of workers nor on the device.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from raynas.errors import ConfigError
from raynas.seeds import derive_rng
from raynas.supernets.config import SupernetTrainingConfig
from raynas.supernets.workers import Workers
from raynas.training.augment import Augmentation
from raynas.training.data import DataSplits, Part
from raynas.training.placement import Placement
from raynas.training.splitting import stratified_order

Batches = Iterator[tuple[Tensor, Tensor]]


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """This worker's share of a batch.

    Attributes:
        images: `b x C x S x S`, as the network sees them.
        labels: `b` int64.
        total: Images of all workers together.
    """

    images: Tensor
    labels: Tensor
    total: int

    @property
    def share(self) -> float:
        """This worker's share of the images; those of all workers add up to 1."""
        return len(self.labels) / self.total


@dataclass(frozen=True, slots=True, eq=False)
class Halves:
    """The training images, cut in two.

    Attributes:
        weights: What w learns from.
        alpha: What α learns from, and what candidates are evaluated on.
    """

    weights: Part
    alpha: Part


def split_halves(data: DataSplits, share: float) -> Halves:
    """Cut the training images in two: stratified, by the seed of the data, in their old order.

    Args:
        data: The data set.
        share: Share of the images that w learns from.
    """
    labels = data.train.labels.cpu().numpy()
    order = stratified_order(labels, derive_rng(data.spec.seed, "supernet halves"))
    cut = round(share * len(order))
    first, second = (torch.from_numpy(part).sort().values for part in (order[:cut], order[cut:]))
    return Halves(_take(data.train, first), _take(data.train, second))


def check_batches(halves: Halves, config: SupernetTrainingConfig, num_workers: int) -> None:
    """Refuse a batch that a half cannot fill, or that is too small for the workers.

    Args:
        halves: What is trained on.
        config: The settings.
        num_workers: How many share each batch.

    Raises:
        ConfigError: either, in one line.
    """
    parts = {"weights": halves.weights, "alphas": halves.alpha}
    for name, part in parts.items():
        if config.batch_size > len(part):
            raise ConfigError(
                f"training.batch_size: {config.batch_size} images a batch, but the half of the "
                f"training images that the {name} learn from has {len(part)}"
            )
        smallest = len(part) // math.ceil(len(part) / config.batch_size)
        if smallest < 2 * num_workers:
            raise ConfigError(
                f"training.batch_size: batches of {smallest} images are too small for "
                f"{num_workers} workers (each needs 2 images)"
            )


@dataclass(frozen=True, slots=True, eq=False)
class Feed:
    """Makes batches of a data set for one of several workers.

    Attributes:
        data: The data set, on the device.
        placement: How batches lie in memory.
        workers: Who shares the batches.
        cutout: Side of the erased square; 0 for none.
    """

    data: DataSplits
    placement: Placement
    workers: Workers
    cutout: int = 0

    def epoch(
        self, part: Part, generator: torch.Generator, *, batch_size: int, cutout_probability: float
    ) -> Iterator[Batch]:
        """Yield this worker's share of each batch of one pass over a part, in random order.

        Args:
            part: On the device.
            generator: On the CPU; decides order and augmentation.
            batch_size: At most that many images of all workers together.
            cutout_probability: Share of the images that a square is erased from.
        """
        count, device = len(part), self.placement.device
        augmentation = replace(self.data.augmentation, cutout=self.cutout)
        order = torch.randperm(count, generator=generator).to(device)
        draws = augmentation.draw(count, part.images.shape[1], generator).to(device)
        cuts = (torch.rand(count, generator=generator) < cutout_probability).to(device)
        # Equal batches: no image is dropped, and none is alone in a batch norm.
        num_batches = math.ceil(count / batch_size)
        pieces = (tensor.tensor_split(num_batches) for tensor in (order, draws, cuts))
        for joint in zip(*pieces, strict=True):
            mine = [piece.tensor_split(self.workers.size)[self.workers.rank] for piece in joint]
            images, labels = self._load(part, augmentation, *mine)
            yield Batch(images, labels, len(joint[0]))

    def endless(
        self, part: Part, generator: torch.Generator, *, batch_size: int, cutout_probability: float
    ) -> Iterator[Batch]:
        """Yield batches of one pass after another, each in an order of its own."""
        while True:
            yield from self.epoch(
                part, generator, batch_size=batch_size, cutout_probability=cutout_probability
            )

    def _load(
        self, part: Part, augmentation: Augmentation, indices: Tensor, draws: Tensor, cuts: Tensor
    ) -> tuple[Tensor, Tensor]:
        images = self.data.normalise(augmentation.move(part.images[indices], draws))
        if self.cutout:
            erased = augmentation.erase(images, draws)
            images = torch.where(cuts[:, None, None, None], erased, images)
        return self.placement.lay_out(images), part.labels[indices]


def num_selection_batches(part: Part, batch_size: int) -> int:
    """Return how many batches `selection_batches` makes of a part."""
    return math.ceil(len(part) / batch_size)


def selection_batches(
    data: DataSplits,
    part: Part,
    placement: Placement,
    batch_size: int,
    *,
    augmented: bool = False,
    shuffle_seed: int | None = None,
) -> Batches:
    """Yield the batches that candidates are evaluated on.

    Args:
        data: The data set, on the device.
        part: The half of α, on the device.
        placement: How batches lie in memory.
        batch_size: At most that many images in a batch; equal batches.
        augmented: Crop and flip as in training (without cutout).
        shuffle_seed: Decides order and augmentation; None: an order that never changes, in which
            every batch has about the class shares of the whole.

    Raises:
        ValueError: augmented, but nothing to draw from.
    """
    if augmented and shuffle_seed is None:
        raise ValueError("augmented batches need a shuffle_seed")
    order, draws = _fixed_order(data, part), None
    if shuffle_seed is not None:
        generator = torch.Generator().manual_seed(shuffle_seed)
        order = torch.randperm(len(part), generator=generator)
        draws = data.augmentation.draw(len(part), part.images.shape[1], generator)
    device, num_batches = placement.device, num_selection_batches(part, batch_size)
    for places in torch.arange(len(part)).tensor_split(num_batches):
        indices = order[places].to(device)
        images = part.images[indices]
        if augmented and draws is not None:
            images = data.augmentation.move(images, draws[places].to(device))
        yield placement.lay_out(data.normalise(images)), part.labels[indices]


def _fixed_order(data: DataSplits, part: Part) -> Tensor:
    rng = derive_rng(data.spec.seed, "selection batches")
    return torch.from_numpy(stratified_order(part.labels.cpu().numpy(), rng))


def _take(part: Part, indices: Tensor) -> Part:
    indices = indices.to(part.labels.device)
    return Part(part.images[indices], part.labels[indices])
