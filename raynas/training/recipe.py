"""How a network is trained: the settings, their defaults, and what decides the result.

The defaults are NAS-Bench-201's recipe (SGD with Nesterov momentum, weight decay 5e-4, one cosine
to 0 over the full length), with the smaller batches and the gradient clipping that small networks
on little data need. The protocols of full trainings are in `raynas.retraining.config`.
"""

import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import torch
from pydantic import Field, model_validator
from torch import nn

from raynas.config import Section
from raynas.training.placement import Amp, ChannelsLast, Placement, choose_placement
from raynas.training.schedules import cosine, exponential, linear, linear_ramp

_NOT_DECIDING = {"device", "amp", "channels_last", "valid_batch_size", "test"}

_Share = Annotated[float, Field(ge=0, le=1)]
_Turn = Annotated[float, Field(ge=0, le=0.5)]


class TrainingConfig(Section):
    """How a network is trained.

    Attributes:
        full_epochs: Length of the learning-rate schedule, whether or not it is reached.
        batch_size: At most that many images a step; an epoch is cut into equal batches.
        optimizer: ``sgd`` or ``adamw``.
        lr: Learning rate at its highest.
        schedule: ``cosine`` or ``linear`` from `lr` to `min_lr`, or ``step``: times `decay` after
            every epoch.
        min_lr: Learning rate at the very end.
        decay: Of ``step``.
        tail_epochs: Last epochs of ``linear``, over which the slope is that many times gentler.
        warmup_epochs: Length of the linear rise to `lr`; may be a fraction.
        lr_per: Whether the schedule moves with every ``step`` or once an ``epoch``; warming up by
            the epoch, the first one trains at ``lr / warmup_epochs``.
        momentum: Of SGD.
        nesterov: Of SGD.
        weight_decay: On all parameters.
        label_smoothing: In the training loss.
        grad_clip: Largest norm of the gradient; None for no limit.
        auxiliary_weight: Weight of the auxiliary classifier's loss; 0 leaves it out.
        drop_path: Probability of dropping a path at the very end, rising from 0 epoch by epoch; 0
            leaves the network's own.
        ema: Decay of an exponential moving average of the weights, which is then what validates and
            what is delivered; None for the weights themselves.
        train_on: ``train``, or ``train+valid`` where a protocol has no validation part.
        cutout: Side of the square erased from training images; 0 for none.
        resized_crop: Train on random crops of at least that share of the image, resized to all of
            it, instead of shifted ones; None for no such crops.
        color_jitter: Most by which brightness, contrast, saturation and hue are changed.
        amp: Mixed precision: ``auto`` (on GPUs), ``off``, ``bf16``, ``fp16``.
        channels_last: Memory format; ``auto`` is true.
        device: ``auto`` (a GPU if there is one), ``cpu``, ``cuda`` or ``cuda:N``.
        valid_batch_size: Images in a validation batch.
        test: Report ``test_accuracy`` after every epoch too. For tables of learning curves; nothing
            in a search reads it.
    """

    full_epochs: int = Field(8, ge=1)
    batch_size: int = Field(64, ge=2)
    optimizer: Literal["sgd", "adamw"] = "sgd"
    lr: float = Field(0.1, gt=0, allow_inf_nan=False)
    schedule: Literal["cosine", "linear", "step"] = "cosine"
    min_lr: float = Field(0.0, ge=0, allow_inf_nan=False)
    decay: float = Field(0.97, gt=0, le=1)
    tail_epochs: int = Field(0, ge=0)
    warmup_epochs: float = Field(0.0, ge=0, allow_inf_nan=False)
    lr_per: Literal["step", "epoch"] = "step"
    momentum: float = Field(0.9, ge=0, lt=1)
    nesterov: bool = True
    weight_decay: float = Field(5e-4, ge=0, allow_inf_nan=False)
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    grad_clip: float | None = Field(5.0, gt=0, allow_inf_nan=False)
    auxiliary_weight: float = Field(0.0, ge=0, allow_inf_nan=False)
    drop_path: float = Field(0.0, ge=0, lt=1)
    ema: float | None = Field(None, gt=0, lt=1)
    train_on: Literal["train", "train+valid"] = "train"
    cutout: int = Field(0, ge=0)
    resized_crop: float | None = Field(None, gt=0, le=1)
    color_jitter: tuple[_Share, _Share, _Share, _Turn] = (0.0, 0.0, 0.0, 0.0)
    amp: Amp = "auto"
    channels_last: ChannelsLast = "auto"
    device: str = Field("auto", pattern=r"^(auto|cpu|cuda(:\d+)?)$")
    valid_batch_size: int = Field(256, ge=1)
    test: bool = False

    @model_validator(mode="after")
    def _check_together(self) -> "TrainingConfig":
        if self.nesterov and self.optimizer == "sgd" and not self.momentum:
            raise ValueError("nesterov needs a momentum above 0")
        if self.min_lr > self.lr:
            raise ValueError(f"min_lr {self.min_lr:g} is above lr {self.lr:g}")
        if self.warmup_epochs >= self.full_epochs:
            raise ValueError(
                f"warmup_epochs {self.warmup_epochs:g} must end before the "
                f"{self.full_epochs} epochs of full training"
            )
        if self.tail_epochs >= self.full_epochs:
            raise ValueError(
                f"tail_epochs {self.tail_epochs} must be fewer than the {self.full_epochs} epochs "
                "of full training"
            )
        return self

    def placement(self) -> Placement:
        """Return where and in what precision to train on this machine."""
        return choose_placement(self.device, self.amp, self.channels_last)

    def recipe(self) -> dict[str, Any]:
        """Return what decides the result, as plain values: all but where it is computed."""
        return self.model_dump(exclude=_NOT_DECIDING)

    def differs_from(self, recipe: Mapping[str, Any]) -> str | None:
        """Return the first setting of a stored recipe that is another here, in words; or None.

        A setting that the stored one does not know (an older raynas wrote it) had its default.
        """
        fields = type(self).model_fields
        for name, value in self.recipe().items():
            old = recipe.get(name, fields[name].default)
            if old != value:
                return f"{name} {old!r}, not {value!r}"
        return None

    def lr_at(self, epochs_done: float) -> float:
        """Return the learning rate after `epochs_done` epochs, fractions counting or not."""
        by_epoch = self.lr_per == "epoch"
        done = math.floor(epochs_done) if by_epoch else epochs_done
        lr = self._unwarmed_lr(done)
        warmed = done + by_epoch  # by the epoch, the first one must not train at 0
        return lr * warmed / self.warmup_epochs if warmed < self.warmup_epochs else lr

    def _unwarmed_lr(self, done: float) -> float:
        ends = {"peak": self.lr, "floor": self.min_lr}
        if self.schedule == "linear":
            return linear(done, self.full_epochs, tail_epochs=self.tail_epochs, **ends)
        if self.schedule == "step":
            return exponential(math.floor(done), decay=self.decay, **ends)
        if done < self.warmup_epochs:
            return self.lr
        return cosine(done, self.full_epochs, warmup_epochs=self.warmup_epochs, **ends)

    def drop_path_at(self, epoch: int) -> float:
        """Return the probability of dropping a path in `epoch`, counted from 1."""
        return linear_ramp(epoch - 1, self.full_epochs, maximum=self.drop_path)

    def make_optimizer(self, network: nn.Module) -> torch.optim.Optimizer:
        """Return the optimiser of a network's parameters."""
        if self.optimizer == "adamw":
            return torch.optim.AdamW(
                network.parameters(), lr=self.lr, weight_decay=self.weight_decay
            )
        return torch.optim.SGD(
            network.parameters(),
            lr=self.lr,
            momentum=self.momentum,
            nesterov=self.nesterov,
            weight_decay=self.weight_decay,
        )
