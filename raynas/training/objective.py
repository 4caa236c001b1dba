"""The objective of a real search: build the architecture, train it on the data.

An objective holds only specifications and pickles small; each worker process loads the data once
and keeps it for every architecture it trains.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from raynas.config import validate
from raynas.errors import ConfigError
from raynas.networks.cost import flops, num_params
from raynas.networks.seeding import seeded
from raynas.scheduling.objective import Objective
from raynas.seeds import derive_rng, derive_seed
from raynas.spaces.architecture import Architecture
from raynas.spaces.space import SearchSpace, TaskShape
from raynas.training.data import (
    DataSpec,
    DataSplits,
    Part,
    load_data_once,
    load_test_once,
    make_spec,
)
from raynas.training.loop import NetworkTrial
from raynas.training.recipe import TrainingConfig
from raynas.training.replicas import Replicas
from raynas.training.splitting import stratified_order

_CPU = torch.device("cpu")


class TrainingObjective(Objective):
    """Trains architectures of a space on a data set.

    Args:
        space: Builds the networks.
        data: What to train on.
        training: How; its `full_epochs` is the length of the schedule.
    """

    def __init__(
        self, space: SearchSpace, data: DataSpec, training: TrainingConfig | None = None
    ) -> None:
        self.space = space
        self.data = data
        self.training = training or TrainingConfig()

    @classmethod
    def from_options(
        cls,
        space: SearchSpace,
        *,
        data: str,
        data_options: Mapping[str, Any],
        training_options: Mapping[str, Any],
        full_epochs: int,
    ) -> "TrainingObjective":
        """Make an objective from the sections of a config; reads no data.

        Raises:
            UsageError: an unknown data set or option, or a value out of range.
        """
        if "full_epochs" in training_options:
            raise ConfigError("training.full_epochs: is the last of `levels`; set that instead")
        options = {**training_options, "full_epochs": full_epochs}
        training = validate(TrainingConfig, options, where="training.")
        if training.train_on != "train":
            raise ConfigError(
                f"training.train_on: {training.train_on!r} leaves a search nothing to choose by "
                "(it is for `raynas retrain`)"
            )
        objective = cls(space, make_spec(data, **data_options), training)
        objective.check()
        return objective

    def check(self) -> None:
        """Raise `ConfigError` if the recipe needs what the space's networks do not have."""
        training, name = self.training, self.space.name
        if training.auxiliary_weight and not getattr(self.space, "auxiliary", False):
            raise ConfigError(
                f"training.auxiliary_weight: {training.auxiliary_weight:g}, but networks of {name} "
                "have no auxiliary classifier (space.auxiliary: true makes one in the DARTS family)"
            )
        if training.drop_path and not hasattr(self.space, "drop_path"):
            raise ConfigError(
                f"training.drop_path: {training.drop_path:g}, but networks of {name} drop no paths "
                "(those of the DARTS family do)"
            )

    def prepare(self) -> None:
        """Load the data where this worker trains.

        Raises:
            DataError: the data is missing or malformed here.
            ConfigError: the device is not here.
        """
        device = self.training.placement().device
        self.splits(device)
        self._test(device)

    @property
    def task(self) -> TaskShape:
        """What a network must fit (loads the data)."""
        return self.splits(_CPU).task

    def facts(self) -> dict[str, Any]:
        """Return what a run's manifest says of the data, as JSON values (loads the data)."""
        splits = self.splits(_CPU)
        return {
            "name": splits.spec.name,
            "fingerprint": splits.fingerprint(),
            "task": {
                "in_channels": splits.task.in_channels,
                "image_size": splits.task.image_size,
                "num_classes": splits.task.num_classes,
            },
            "train_images": len(splits.train),
            "valid_images": len(splits.valid),
            "mean": splits.mean.tolist(),
            "std": splits.std.tolist(),
            "crop_padding": splits.augmentation.crop_padding,
            "flip": splits.augmentation.flip,
            "training": self.training.model_dump(mode="json"),
        }

    def proxy_batch(self, count: int) -> tuple[Tensor, Tensor]:
        """Return training images to score proxies on: normalised, not augmented, all classes alike.

        Args:
            count: How many; at most all there are.

        Returns:
            `B x C x S x S` float32 images and `B` int64 labels, always the same for this data.
        """
        splits = self.splits(_CPU)
        labels = splits.train.labels.numpy().astype(np.int64)
        chosen = stratified_order(labels, derive_rng(self.data.seed, "proxy batch"))[:count]
        images = splits.normalise(splits.train.images[chosen])
        return images.contiguous(), splits.train.labels[chosen]

    def start(
        self, architecture: Architecture, seed: int, replicas: Replicas | None = None
    ) -> NetworkTrial:
        """Build the network and return its trial, untrained.

        The initial weights depend on `seed` alone; torch's own random state is left as it was.

        Args:
            architecture: What to build.
            seed: Fixes every draw.
            replicas: This process among those that train the network together (None: alone).
        """
        device = self.training.placement().device
        splits = self.splits(device)
        with seeded(derive_seed(seed, "weights"), _CPU):
            network = self.space.build(architecture, splits.task)
        counts = {
            "num_params": float(num_params(network)),
            "flops": float(flops(network, splits.task)),
        }
        test = self._test(device)
        return NetworkTrial(network, splits, self.training, seed, counts, test, replicas)

    @property
    def has_test(self) -> bool:
        """Whether there is a part that is kept for the end (loads the data, not that part)."""
        return self.splits(_CPU).has_test

    def final_part(self, device: torch.device) -> tuple[str, Part]:
        """Return what final figures are of: ``test`` and that part, or ``valid`` if there is none.

        Nothing may be decided by it; only what has been trained to the end may ask.
        """
        if self.has_test:
            return "test", load_test_once(self.data, device)
        return "valid", self.splits(device).valid

    def splits(self, device: torch.device) -> DataSplits:
        """Return the data on `device`, the validation part among the rest if so asked."""
        whole = self.training.train_on == "train+valid"
        return load_data_once(self.data, device, whole=whole)

    def _test(self, device: torch.device) -> Part | None:
        return load_test_once(self.data, device) if self.training.test else None
