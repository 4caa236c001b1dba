"""How a network is trained: the settings, their defaults, and what decides the result.

The defaults are NAS-Bench-201's recipe (SGD with Nesterov momentum, weight decay 5e-4, one cosine
to 0 over the full length), with the smaller batches and the gradient clipping that small networks
on little data need.
"""

import math
from typing import Any, Literal

import torch
from pydantic import Field, model_validator
from torch import nn

from raynas.config import Section
from raynas.training.placement import Amp, ChannelsLast, Placement, choose_placement
from raynas.training.schedules import cosine

_NOT_DECIDING = {"device", "amp", "channels_last", "valid_batch_size", "test"}


class TrainingConfig(Section):
    """How a network is trained.

    Attributes:
        full_epochs: Length of the learning-rate schedule, whether or not it is reached.
        batch_size: At most that many images a step; an epoch is cut into equal batches.
        optimizer: ``sgd`` or ``adamw``.
        lr: Learning rate at its highest.
        min_lr: Learning rate at the very end.
        warmup_epochs: Length of the linear rise to `lr`; may be a fraction.
        lr_per: Whether the schedule moves with every ``step`` or once an ``epoch``.
        momentum: Of SGD.
        nesterov: Of SGD.
        weight_decay: On all parameters.
        label_smoothing: In the training loss.
        grad_clip: Largest norm of the gradient; None for no limit.
        cutout: Side of the square erased from training images; 0 for none.
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
    min_lr: float = Field(0.0, ge=0, allow_inf_nan=False)
    warmup_epochs: float = Field(0.0, ge=0, allow_inf_nan=False)
    lr_per: Literal["step", "epoch"] = "step"
    momentum: float = Field(0.9, ge=0, lt=1)
    nesterov: bool = True
    weight_decay: float = Field(5e-4, ge=0, allow_inf_nan=False)
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    grad_clip: float | None = Field(5.0, gt=0, allow_inf_nan=False)
    cutout: int = Field(0, ge=0)
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
        return self

    def placement(self) -> Placement:
        """Return where and in what precision to train on this machine."""
        return choose_placement(self.device, self.amp, self.channels_last)

    def recipe(self) -> dict[str, Any]:
        """Return what decides the result, as plain values: all but where it is computed."""
        return self.model_dump(exclude=_NOT_DECIDING)

    def lr_at(self, epochs_done: float) -> float:
        """Return the learning rate after `epochs_done` epochs, fractions counting or not."""
        return cosine(
            epochs_done if self.lr_per == "step" else math.floor(epochs_done),
            self.full_epochs,
            peak=self.lr,
            floor=self.min_lr,
            warmup_epochs=self.warmup_epochs,
        )

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
