"""The protocols by which found architectures are trained in full and compared (presets).

``cifar``: Liu et al., "DARTS", ICLR 2019, and nearly all that followed on CIFAR-10.
``imagenet-mobile``: the same paper's ImageNet setting (step decay). ``imagenet-mobile-linear``:
that of Xu et al., "PC-DARTS", ICLR 2020, and Chen et al., "DrNAS", ICLR 2021 (large batches, linear
decay). ``plain``: for data of one's own; no protocol of anybody's.

Differences from the published code: an epoch is cut into equal batches instead of a short last
one; on ImageNet the square image in memory is what crops are taken from, and all of it is what is
tested on.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Protocol:
    """How networks are trained in full.

    Attributes:
        epochs: Length.
        training: Settings of `raynas.training.recipe.TrainingConfig` that differ from its defaults.
        space: Options of the space: the size of the networks.
        data: Data set, unless the user or the run says which; None: somebody must say.
        data_options: Options of the data, unless the user or the run says otherwise.
        darts_only: Whether it is for networks of the DARTS family only.
    """

    epochs: int
    training: Mapping[str, Any] = field(default_factory=dict)
    space: Mapping[str, Any] = field(default_factory=dict)
    data: str | None = None
    data_options: Mapping[str, Any] = field(default_factory=dict)
    darts_only: bool = True


_SGD = {"optimizer": "sgd", "momentum": 0.9, "nesterov": False, "grad_clip": 5.0}
_COMMON = {**_SGD, "lr_per": "epoch", "auxiliary_weight": 0.4, "train_on": "train+valid"}
_MOBILE: dict[str, Any] = {
    **_COMMON,
    "weight_decay": 3e-5,
    "label_smoothing": 0.1,
    "resized_crop": 0.08,
    "color_jitter": [0.4, 0.4, 0.4, 0.2],
    "train_on": "train",
}
# The validation images are what is reported on; none of the training images is kept for that.
_MOBILE_DATA = {"test_fraction": 0.0}
_MOBILE_SIZE = {"channels": 48, "layers": 14, "stem": "imagenet"}

PROTOCOLS: dict[str, Protocol] = {
    "plain": Protocol(epochs=30, data="digits", darts_only=False),
    "cifar": Protocol(
        epochs=600,
        training={
            **_COMMON,
            "batch_size": 96,
            "lr": 0.025,
            "schedule": "cosine",
            "weight_decay": 3e-4,
            "cutout": 16,
            "drop_path": 0.2,
        },
        space={"channels": 36, "layers": 20},
        data="torchvision:CIFAR10",
    ),
    "imagenet-mobile": Protocol(
        epochs=250,
        training={**_MOBILE, "batch_size": 128, "lr": 0.1, "schedule": "step", "decay": 0.97},
        space=_MOBILE_SIZE,
        data_options=_MOBILE_DATA,
    ),
    "imagenet-mobile-linear": Protocol(
        epochs=250,
        training={
            **_MOBILE,
            "batch_size": 768,
            "lr": 0.5,
            "schedule": "linear",
            "tail_epochs": 5,
            "warmup_epochs": 5,
        },
        space=_MOBILE_SIZE,
        data_options=_MOBILE_DATA,
    ),
}
"""Every preset of ``raynas retrain``, by name."""
